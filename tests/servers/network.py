#!/usr/bin/env python3
"""Fetches through real proxies, resolvers and TLS servers, and prints the rows for docs/compatibility.md.

Needs root (port 53, own mounts), squid, tinyproxy, dnsmasq, nginx and openssl.
Usage: network.py DIRECTORY_OF_BINARIES (with `modelfetch` and `fake-hub`)
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BINARIES = Path(sys.argv[1]).resolve()
WORK = Path(tempfile.mkdtemp(prefix="modelfetch-network-"))
WORK.chmod(0o777)
TOKEN = "AKCp8xSECRETx0123456789"
running = []


def start(*command, **options):
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    process = subprocess.Popen([str(word) for word in command], **options)
    running.append(process)
    return process


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


def release(*command):
    output = subprocess.run(command, capture_output=True, text=True)
    line = (output.stdout + output.stderr).splitlines()[0]
    words = line.replace("Version", "").replace("version:", "").replace("version", "").replace("Cache:", "").replace("nginx/", "").split()
    return " ".join(words[:2])


def fetch(endpoint, *arguments, hosts=None, resolv=None, **environment):
    """The exit number and everything that was said."""
    target = tempfile.mkdtemp(dir=WORK)
    command = [str(BINARIES / "modelfetch"), "fetch", "owner/name", "model.gguf", "--endpoint", endpoint]
    command += ["--dir", target, "--give-up-after", "3s", *arguments]
    if hosts is not None or resolv is not None:
        files = []
        for name, text in (("hosts", hosts or ""), ("resolv.conf", resolv or "")):
            path = Path(target) / name
            path.write_text(text)
            files.append(str(path))
        mounts = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
        command = ["unshare", "--mount", "--", "sh", "-c", mounts, "sh", *files, *command]
    environment = {"HOME": target, "PATH": os.environ["PATH"], **environment}
    begun = time.monotonic()
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    said = run.stdout + run.stderr
    assert "SECRET" not in said, said
    return run.returncode, said, time.monotonic() - begun


def row(server, tried, holds):
    if holds is not True:
        print(f"FAILED: {server}: {tried}: {holds}", file=sys.stderr)
    print(f"| {server} | {tried} | {'yes' if holds is True else '**no**'} |", flush=True)


def exits(number, result, *words):
    code, said, seconds = result
    return code == number and all(word in said for word in words) and seconds < 15 or said


def certificates():
    key, own = WORK / "own.key", WORK / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "7"]
        + ["-keyout", key, "-out", own],
        check=True, capture_output=True,
    )
    return key, own


def nginx(hub, cdn, key, own):
    port, bytes_port, old, wants = (free_port() for _ in range(4))
    (WORK / "nginx.conf").write_text(
        f"""daemon off; pid {WORK}/nginx.pid; error_log {WORK}/nginx.log; events {{}}
        http {{ access_log off; client_body_temp_path {WORK}/b; proxy_temp_path {WORK}/p;
        fastcgi_temp_path {WORK}/f; uwsgi_temp_path {WORK}/u; scgi_temp_path {WORK}/s;
        ssl_certificate {own}; ssl_certificate_key {key};
        server {{ listen {port} ssl; location / {{ proxy_pass {hub};
            proxy_redirect {cdn} https://localhost:{bytes_port}; }} }}
        server {{ listen {bytes_port} ssl; location / {{ proxy_pass {cdn}; }} }}
        server {{ listen {old} ssl; ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0; return 404; }}
        server {{ listen {wants}; auth_basic "mirror"; auth_basic_user_file {WORK}/passwd;
            location / {{ proxy_pass {hub}; proxy_set_header Authorization ""; }} }} }}"""
    )
    (WORK / "passwd").write_text("user:{PLAIN}SECRET\n")
    start("nginx", "-c", WORK / "nginx.conf")
    for each in (port, old, wants):
        wait_for(each)
    return port, old, wants


def proxies():
    port, closed, tiny = free_port(), free_port(), free_port()
    common = f"""pid_filename {WORK}/squid.pid
        cache_log {WORK}/squid.log
        access_log none
        cache deny all
        coredump_dir {WORK}
        shutdown_lifetime 0 seconds
        """
    (WORK / "squid.conf").write_text(
        common
        + f"""http_port 127.0.0.1:{port}
        http_port 127.0.0.1:{closed}
        acl closed localport {closed}
        auth_param basic program /usr/lib/squid/basic_fake_auth
        acl known proxy_auth REQUIRED
        http_access deny closed !known
        http_access allow all
        """
    )
    start("squid", "-N", "-f", WORK / "squid.conf")
    (WORK / "tinyproxy.conf").write_text(
        f'Port {tiny}\nListen 127.0.0.1\nTimeout 600\nLogFile "{WORK}/tinyproxy.log"\nMaxClients 100\n'
    )
    start("tinyproxy", "-d", "-c", WORK / "tinyproxy.conf")
    for each in (port, closed, tiny):
        wait_for(each)
    return port, closed, tiny


def main():
    hub = start(BINARIES / "fake-hub", "--repo", "owner/name", "--file", "model.gguf", "--size", "4MiB",
                stdout=subprocess.PIPE, text=True)
    served = json.loads(hub.stdout.readline())
    base = served["endpoint"]
    place = base.removeprefix("http://")
    hub_port = place.rsplit(":", 1)[1]
    key, own = certificates()
    tls, old, wants = nginx(base, served["cdn"], key, own)
    https = f"https://localhost:{tls}"
    trusted = {"SSL_CERT_FILE": str(own)}
    squid, closed, tiny = proxies()

    print("| server | tried | holds |\n|---|---|---|")
    for name, port in ((release("squid", "-v"), squid), (release("tinyproxy", "-v"), tiny)):
        way = f"http://127.0.0.1:{port}"
        row(name, "http through it", exits(0, fetch(base, HTTP_PROXY=way)))
        row(name, "https by CONNECT", exits(0, fetch(https, HTTPS_PROXY=way, **trusted)))
        row(name, "NO_PROXY=*", exits(0, fetch(base, HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="*")))
        row(name, "a token over plain http is refused", exits(
            2, fetch(base, HTTP_PROXY=way, HF_TOKEN=TOKEN), "HTTP_PROXY", f"127.0.0.1:{port}"))
        row(name, "a host that it cannot reach: its own host is named", exits(
            30, fetch("https://127.0.0.1:9", HTTPS_PROXY=way), f"through the proxy 127.0.0.1:{port}"))
    way = f"127.0.0.1:{closed}"
    name = release("squid", "-v")
    row(name, "407 to http and to CONNECT: once, and what to do", all(
        exits(30, fetch(endpoint, ALL_PROXY=f"http://{way}"), "user name and password", way) is True
        for endpoint in (base, https)))
    row(name, "user name and password", all(
        exits(0, fetch(endpoint, ALL_PROXY=f"http://user:SECRET@{way}", **trusted)) is True
        for endpoint in (base, https)))

    name = release("nginx", "-v") + ", " + release("openssl", "version")
    row(name, "the certificate of `openssl req -x509`, without another name", exits(0, fetch(https, **trusted)))
    row(name, "the same where it is not named", exits(30, fetch(https), "name that very certificate in SSL_CERT_FILE"))
    row(name, "the same under another name", exits(
        30, fetch(https.replace("localhost", "127.0.0.1"), **trusted), "the certificate is for another name"))
    row(name, "https to a port without TLS", exits(
        30, fetch(f"https://127.0.0.1:{wants}"), "may speak no TLS"))
    row(name, "TLS 1.1 alone", exits(30, fetch(f"https://localhost:{old}", **trusted), "it needs TLS 1.2 or 1.3"))
    row(name, "Basic authentication is named", exits(
        10, fetch(f"http://127.0.0.1:{wants}"), "WWW-Authenticate: Basic", ".netrc"))
    row(name, "Basic authentication by the URL", exits(0, fetch(f"http://user:SECRET@127.0.0.1:{wants}")))
    netrc = WORK / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password SECRET\n")
    row(name, "Basic authentication by .netrc", exits(0, fetch(f"http://127.0.0.1:{wants}", NETRC=str(netrc))))

    name = release("dnsmasq", "-v")
    dns = ("dnsmasq", "-d", "-h", "-R", "--port=53", "--bind-interfaces")
    start(*dns, "--listen-address=127.53.53.1", "--address=/hub.test/127.0.0.1")
    time.sleep(0.5)
    named = f"http://hub.test:{hub_port}"
    row(name, "an address of one family alone", exits(0, fetch(named, resolv="nameserver 127.53.53.1\n")))
    row(name, "a name that it does not know", exits(
        30, fetch(named.replace("hub", "typo"), resolv="nameserver 127.53.53.1\n"), "the name typo.test cannot be resolved"))
    silent = "nameserver 127.53.53.99\n"
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.53.53.99", 53))
    row("a silent resolver", "a name in /etc/hosts", exits(0, fetch(named, hosts="127.0.0.1 hub.test\n", resolv=silent)))
    row("a silent resolver", "localhost", exits(0, fetch(base.replace("127.0.0.1", "localhost"), resolv=silent)))
    row("a silent resolver", "a second one that answers", exits(
        0, fetch(named, resolv=silent + "nameserver 127.53.53.1\n")))
    row("an empty resolv.conf", "a name in /etc/hosts", exits(0, fetch(named, hosts="127.0.0.1 hub.test\n")))


try:
    main()
finally:
    for process in running:
        process.terminate()
    for process in running:
        process.wait()
    shutil.rmtree(WORK, ignore_errors=True)
