"""A folder that every user of the disk may write: one of them fetches into it, another plants things."""

import hashlib
import os
import shutil
import stat
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass

from system_calls import AT_FDCWD, Ended, libc
from target import MIB, Target, Wanted

FETCHER, ATTACKER, COLLEAGUE, GROUP = 1000680001, 1000680002, 1000680003, 4242
RUNNERS = {"root": 0, "user": FETCHER}
FILE = "sub/model.gguf"
SECONDS = 20
"""However a file is planted, a run over 256 KiB ends within this time."""
RESIDENT_MAX = 64 * MIB
LEFTOVER = "tmp-" + "0123456789abcdef" * 2
"""Called like a temporary file that a killed run left."""


def as_user(uid, gid=None):
    """The beginning of a command that runs as a user without any rights of root."""
    ids = [f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups"]
    return [shutil.which("setpriv"), *ids, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


class Shared(Target):
    """Everyone may write the folder and what the attacker puts into it; nobody may lose what is beside it."""

    def __init__(self, place, wanted, cache=False, uid=0, **more):
        super().__init__(place, wanted, cache, **more)
        self.uid = uid
        self.prefix = as_user(uid) if uid else []
        self.place.chmod(0o755)
        self.root.mkdir(exist_ok=True)
        os.chown(self.root, uid, uid)
        self.root.chmod(0o777)
        made_by_attacker(self.where("metrics").parent)
        self.victim = Victim(self)

    def command(self, *more, verb="fetch"):
        binary, _, repo, where, *rest = super().command(*more)
        subject = [where, "--json", *more] if verb == "verify" else [repo, where, *rest]
        return [*self.prefix, binary, verb, *subject]

    def watch(self, *more, verb="fetch", **limits):
        return watched(self.command(*more, verb=verb), self.environment, **limits)

    @property
    def sha256(self):
        return self.wanted.files[FILE][1]

    @property
    def metadata(self):
        return self.repo if self.cache else self.state / "hub" / self.repo.name

    def files(self):
        """Where runs look for files and write them, by what they are."""
        partial = self.state / "partial"
        receipts = self.state / "receipts"
        receipt = f"{self.sha256}.json" if self.cache else f"{FILE}.json"
        files = {
            "journal": partial / f"{self.sha256}.json",
            "flushed journal": partial / f"{self.sha256}.flushed.json",
            "receipt": receipts / receipt,
            "reference": self.metadata / "refs" / "main",
            "listing": self.metadata / "trees" / f"{self.wanted.commit}.json",
            "owner": self.state / "owner.json",
            "final name": self.final(FILE),
            "metrics": self.place / "metrics" / "modelfetch.prom",
        }
        if self.cache:
            files["tag"] = self.root / "CACHEDIR.TAG"
            files["blob"] = self.repo / "blobs" / self.sha256
        files |= {"lock": self.state / "lock", "leftover": self.state / LEFTOVER}
        return files | {"partial": partial / self.sha256}

    def folders(self):
        """The same for folders."""
        parents = {"state": self.state, "partials": self.state / "partial", "receipts": self.state / "receipts"}
        if self.cache:
            snapshots = self.repo / "snapshots"
            parents |= {"repository": self.repo, "blobs": self.repo / "blobs", "snapshots": snapshots}
            parents["snapshot"] = snapshots / self.wanted.commit
        else:
            parents |= {"hub": self.state / "hub", "repository": self.metadata}
        parents |= {"references": self.metadata / "refs", "listings": self.metadata / "trees"}
        return parents | {"folder of the file": self.final(FILE).parent}

    def where(self, name):
        return (self.files() | self.folders())[name]

    def plant(self, name, make):
        """The attacker makes something where a run expects a file or folder."""
        path = self.where(name)
        made_by_attacker(path.parent)
        remove(path)
        make(path)
        return path

    @property
    def published(self):
        """Where the verified bytes are."""
        return self.where("blob" if self.cache else "final name")

    def assert_done(self, ended):
        # Of what is no file the digest may never come.
        assert ended.status != 0 or self.final(FILE).is_file(), "no file is at the final name"
        super().assert_done(ended)

    def assert_harmless(self, ended, statuses=(0, 22)):
        """The run did its work or said what is wrong with which path; either way it did nothing elsewhere."""
        self.victim.assert_untouched()
        assert ended.status in statuses, f"exit {ended.status}: {ended.stderr}"
        if ended.status == 0:
            self.assert_done(ended)
        elif ended.status == 22:
            assert str(self.place) in ended.stderr, ended.stderr

    def assert_not_trusted(self, *more):
        """A wrong file at the final name is not called a good one, whatever may be asked."""
        for how in ("--offline",), (f"--sha256={FILE}={self.sha256}",), (), ("--verify=full",):
            ended = self.watch(FILE, *more, *how)
            assert ended.status in (0, 20, 22, 32), f"{how}: exit {ended.status}: {ended.stderr}"
            if ended.status == 0:
                self.assert_done(ended)


class Victim:
    """A folder and files beside the shared one. They belong to the user who fetches, who could change them."""

    def __init__(self, target):
        self.folder = target.place / "victim"
        self.file = self.folder / "diary.txt"
        self.absent = self.folder / "authorized_keys"
        size = min(target.wanted.files[FILE][0], MIB)
        names = ["diary.txt", LEFTOVER, "model.gguf", target.sha256, f"{target.sha256}.json"]
        for folder in self.folder, self.folder / "partial", self.folder / "sub":
            folder.mkdir()
            for name in names:
                (folder / name).write_bytes(os.urandom(size))
        for path in [self.folder, *self.folder.rglob("*")]:
            os.chown(path, target.uid, target.uid)
            path.chmod(0o755 if path.is_dir() else 0o644)
            os.utime(path, (1, 1))
        self.before = self.look()

    def folder_like(self, name):
        """One that could take the place of the named one: a state folder has a folder of partial files in it, and
        nothing but files is in that."""
        return self.folder / "partial" if name == "partials" else self.folder

    def look(self):
        return {path: look(path) for path in [self.folder, *self.folder.rglob("*")]}

    def assert_untouched(self):
        now = self.look()
        changed = [str(path) for path in now.keys() | self.before.keys() if now.get(path) != self.before.get(path)]
        assert not changed, f"changed outside of the folder: {sorted(changed)}"


def look(path):
    """All that another user could notice, but for the number of names and what that changes."""
    status = path.lstat()
    content = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else None
    return status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_size, status.st_mtime_ns, content


def made_by_attacker(folder):
    """A folder with its parents, writable by all."""
    if not folder.exists():
        made_by_attacker(folder.parent)
        folder.mkdir()
        os.chown(folder, ATTACKER, ATTACKER)
        folder.chmod(0o777)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_to(destination):
    def make(path):
        path.symlink_to(destination)
        os.chown(path, ATTACKER, ATTACKER, follow_symlinks=False)

    return make


def pipe(path):
    os.mkfifo(path)
    owned_by_attacker(path)


def folder(path):
    path.mkdir()
    (path / "something").touch()
    owned_by_attacker(path)


def huge(path):
    """3 GB that take no space."""
    path.touch()
    os.truncate(path, 3 << 30)
    owned_by_attacker(path)


def owned_by_attacker(path):
    os.chown(path, ATTACKER, ATTACKER)
    path.chmod(0o777)


def exchange(one, other):
    """Swaps two names at once; says whether both were there."""
    swap = 2
    return libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), swap) == 0


@contextmanager
def swapping(one, other):
    """Swaps them again and again meanwhile; afterwards each is what it was before."""
    over = threading.Event()
    count = 0

    def swap():
        nonlocal count
        while not over.wait(0.0005 * (count % 7)):
            count += exchange(one, other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if count % 2:
            exchange(one, other)


@dataclass
class Watched(Ended):
    resident: int = 0
    """Bytes of memory at most."""


def watched(command, environment, seconds=SECONDS, terminate_after=None):
    """Runs it within bounds of time and memory; `terminate_after` so many seconds it is asked to stop."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    begin = time.monotonic()
    resident, asked = 0, False
    try:
        while process.poll() is None:
            took = time.monotonic() - begin
            resident = max(resident, resident_of(process.pid))
            assert resident < RESIDENT_MAX, f"{resident / MIB:.0f} MiB of memory"
            assert took < seconds, f"not over after {seconds} s"
            if terminate_after is not None and took > terminate_after and not asked:
                process.terminate()
                asked = True
            time.sleep(0.005)
    finally:
        process.kill()
        said, complained = process.communicate()
    return Watched(process.returncode, said, complained, resident=resident)


def resident_of(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            peaks = [line.split()[1] for line in status if line.startswith("VmHWM:")]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(peaks[0]) * 1024 if peaks else 0


def change_in_place(path):
    """Other bytes of the same length in the same file, which shows the same time."""
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(status.st_size // 2)
        file.write(b"evil")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def evil_twin(path, size):
    """A file as large as the wanted one."""
    path.write_bytes(os.urandom(size))
    owned_by_attacker(path)


def gives_name(call, path):
    """Whether the call makes something appear under this name."""
    return call.name.startswith(("rename", "link")) and call.path == str(path)


def is_regular(path):
    return path.exists() and stat.S_ISREG(path.lstat().st_mode)


def names_of(kind):
    """Cases: in a directory or a cache, and the name of a file or folder there."""
    wanted = Wanted("", "owner/name", "0" * 40, {FILE: (0, "0" * 64)})
    cases = []
    for cache in (False, True):
        target = Target.__new__(Shared)
        Target.__init__(target, "/", wanted, cache)
        cases += [(cache, name) for name in getattr(target, kind)()]
    return cases
