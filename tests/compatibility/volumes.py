"""Volumes as machines mount them: file systems in image files, on other file systems, and of other servers."""

import contextlib
import json
import os
import platform
import subprocess
import time
import urllib.request
from pathlib import Path

from parts import free_port, release, running, write

MIB = 1 << 20


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
    return done.stdout


def folder(place, name):
    path = Path(place) / name
    path.mkdir()
    return path


@contextlib.contextmanager
def mounted(volume, *command):
    run(*command)
    try:
        yield volume
    finally:
        run("umount", volume)


@contextlib.contextmanager
def in_the_foreground(volume, *command, **options):
    """A file system of FUSE whose program runs as long as it is mounted."""
    log = volume.with_suffix(".log")
    with open(log, "w") as output:
        process = subprocess.Popen(list(map(str, command)), **{"stdout": output, "stderr": output} | options)
    try:
        until = time.monotonic() + 20
        while not os.path.ismount(volume):
            assert process.poll() is None, f"{command[0]} ended: {log.read_text()}"
            assert time.monotonic() < until, f"{command[0]} does not mount: {log.read_text()}"
            time.sleep(0.02)
        yield volume
    finally:
        if os.path.ismount(volume):
            run("umount", volume)
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def image(place, make, *options):
    """A file system in a file, by the kernel."""
    file, volume = Path(place) / "image", folder(place, "volume")
    with open(file, "wb") as created:
        created.truncate(512 * MIB)
    run(*make, file)
    with mounted(volume, "mount", "-o", ",".join(["loop", *options]), file, volume):
        yield volume


def ext4(place):
    return image(place, ["mkfs.ext4", "-q"])


def xfs(place):
    return image(place, ["mkfs.xfs", "-q"])


def btrfs(place):
    return image(place, ["mkfs.btrfs", "-q"])


def vfat(place):
    return image(place, ["mkfs.vfat", "-F", "32"])


def tmpfs(place):
    volume = folder(place, "volume")
    return mounted(volume, "mount", "-t", "tmpfs", "-o", "size=512m", "none", volume)


@contextlib.contextmanager
def overlay(place):
    """As a container's root is. Its layers are in memory: an overlay takes no overlay for its upper layer."""
    layers = folder(place, "layers")
    with mounted(layers, "mount", "-t", "tmpfs", "none", layers):
        lower, upper, work = (folder(layers, name) for name in ("lower", "upper", "work"))
        volume = folder(place, "volume")
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        with mounted(volume, "mount", "-t", "overlay", "-o", options, "none", volume):
            yield volume


def bindfs(place):
    volume = folder(place, "volume")
    return in_the_foreground(volume, "bindfs", "-f", folder(place, "below"), volume)


@contextlib.contextmanager
def fuse_image(place, make, program):
    """A file system in a file, by a program. FUSE wants a device."""
    file, volume = Path(place) / "image", folder(place, "volume")
    with open(file, "wb") as created:
        created.truncate(512 * MIB)
    device = run("losetup", "--find", "--show", file).strip()
    try:
        run(*make, device)
        with mounted(volume, program, device, volume):
            yield volume
    finally:
        run("losetup", "--detach", device)


def ntfs(place):
    return fuse_image(place, ["mkfs.ntfs", "--fast", "--quiet"], "ntfs-3g")


def exfat(place):
    return fuse_image(place, ["mkfs.exfat"], "mount.exfat-fuse")


@contextlib.contextmanager
def sshfs(place):
    """Spoken to the server's own program, without a network in between."""
    volume, remote = folder(place, "volume"), folder(place, "remote")
    with subprocess.Popen(["/usr/lib/openssh/sftp-server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        command = ["sshfs", "-f", "-o", "passive", f":{remote}", volume]
        with in_the_foreground(volume, *command, stdin=server.stdout, stdout=server.stdin):
            yield volume
        server.kill()


@contextlib.contextmanager
def s3(place):
    """A bucket of a small S3 server."""
    port = free_port()
    command = [f"{os.environ['PACKAGES']}/moto_server", "-H", "127.0.0.1", "-p", port]
    with running(command, port, Path(place) / "moto.log", patience=60):
        url = f"http://127.0.0.1:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/models", method="PUT")).close()
        yield url


@contextlib.contextmanager
def s3fs(place):
    volume = folder(place, "volume")
    keys = write(Path(place), "keys", "user:secret\n")
    keys.chmod(0o600)
    with s3(place) as url:
        options = f"url={url},use_path_request_style,passwd_file={keys}"
        with in_the_foreground(volume, "s3fs", "models", volume, "-f", "-o", options):
            yield volume


WRITTEN_BACK = {}
"""Where a volume tells how many files it has still to bring home."""


def settle(volume):
    """Waits until what was written to a volume is where it belongs: until then its files change their times."""
    while volume in WRITTEN_BACK:
        request = urllib.request.Request(WRITTEN_BACK[volume], method="POST")
        with urllib.request.urlopen(request) as answer:
            cache = json.load(answer).get("diskCache", {})
        if not cache.get("uploadsQueued") and not cache.get("uploadsInProgress"):
            return
        time.sleep(0.1)


@contextlib.contextmanager
def written_back(volume, url):
    WRITTEN_BACK[volume] = url
    yield
    del WRITTEN_BACK[volume]


@contextlib.contextmanager
def rclone(place, mode):
    volume, port = folder(place, "volume"), free_port()
    environment = os.environ | {"HOME": str(place)}
    serve = ["rclone", "serve", "webdav", folder(place, "remote"), "--addr", f"127.0.0.1:{port}"]
    remote = f":webdav,url='http://127.0.0.1:{port}',vendor=other:"
    control = free_port()
    mount = ["rclone", "mount", remote, volume, "--vfs-cache-mode", mode, "--vfs-write-back", "1s"]
    mount += ["--rc", "--rc-no-auth", "--rc-addr", f"127.0.0.1:{control}"]
    with (
        running(serve, port, Path(place) / "webdav.log", env=environment),
        in_the_foreground(volume, *mount, env=environment),
        written_back(volume, f"http://127.0.0.1:{control}/vfs/stats"),
    ):
        yield volume


def rclone_writes(place):
    return rclone(place, "writes")


def rclone_plain(place):
    return rclone(place, "off")


@contextlib.contextmanager
def nfs(place, version):
    """What Longhorn gives to pods on several nodes: Ganesha before ext4."""
    with ext4(place) as exported:
        port = free_port()
        configuration = write(Path(place), "ganesha.conf", f"""
NFS_CORE_PARAM {{ Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; NFS_Port = {port}; }}
NFSv4 {{ Graceless = true; RecoveryRoot = {folder(place, "recovery")}; Minor_Versions = 1, 2; }}
EXPORT {{ Export_Id = 7; Path = {exported}; Pseudo = /models; Access_Type = RW; Squash = None; SecType = sys;
    FSAL {{ Name = VFS; }} }}
""")
        command = ["ganesha.nfsd", "-F", "-L", Path(place) / "ganesha.log", "-f", configuration, "-p", Path(place) / "pid"]
        volume = folder(place, "nfs")
        options = f"vers={version},proto=tcp,port={port}"
        with (
            running(command, port, Path(place) / "log"),
            mounted(volume, "mount", "-t", "nfs4", "-o", options, "127.0.0.1:/models", volume),
        ):
            yield volume


def nfs41(place):
    return nfs(place, "4.1")


@contextlib.contextmanager
def samba(place):
    port, shared = free_port(), folder(place, "shared")
    state = folder(place, "state")
    configuration = write(Path(place), "smb.conf", f"""
[global]
interfaces = lo
bind interfaces only = yes
smb ports = {port}
server role = standalone server
map to guest = Bad User
guest account = root
disable netbios = yes
private dir = {state}
lock directory = {state}
state directory = {state}
cache directory = {state}
pid directory = {state}
ncalrpc dir = {state}
log file = {place}/smbd.log
[models]
path = {shared}
guest ok = yes
read only = no
""")
    volume = folder(place, "smb")
    command = ["smbd", "--foreground", "--no-process-group", "-s", configuration]
    options = f"guest,vers=3.1.1,port={port},ip=127.0.0.1"
    with (
        # It ends all of its session with it.
        running(command, port, Path(place) / "log", start_new_session=True),
        mounted(volume, "mount", "-t", "cifs", "-o", options, "//127.0.0.1/models", volume),
    ):
        yield volume


def linux():
    return f"Linux {platform.release().partition('-')[0]}"


def of(package, *more):
    return lambda: " ".join([release(package), *more])


QUICK = {
    "ext4": (ext4, linux),
    "XFS": (xfs, linux),
    "Btrfs": (btrfs, linux),
    "tmpfs": (tmpfs, linux),
    "overlay": (overlay, linux),
    "bindfs": (bindfs, of("bindfs")),
}
"""By name: what mounts it, and what tells its release."""

THOROUGH = {
    "NTFS, by ntfs-3g": (ntfs, of("ntfs-3g")),
    "exFAT, by exfat-fuse": (exfat, of("exfat-fuse")),
    "SSHFS": (sshfs, of("sshfs")),
    "S3 (moto), by s3fs": (s3fs, of("s3fs")),
    "WebDAV, by rclone with a cache for writes": (rclone_writes, of("rclone")),
}

REFUSED = {
    "WebDAV, by rclone without a cache": (rclone_plain, of("rclone"), "--vfs-cache-mode writes"),
}
"""Volumes that cannot take parts of files, and what is said about that."""

IN_GUEST = {
    "NFS 4.1, by Ganesha before ext4": (nfs41, of("nfs-ganesha")),
    "SMB 3.1.1, by Samba": (samba, of("samba")),
    "vFAT": (vfat, of("dosfstools")),
}
"""Volumes whose client is a kernel that this machine need not have: see `guest`."""
