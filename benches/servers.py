"""The Hub that announces one file, and the servers its redirects lead to."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

import line
from fake_hub import FakeHub

REPO, FILE = "owner/name", "model.gguf"
NGINX_PORT = 8080


@contextlib.contextmanager
def uncapped(directory, *arguments):
    """nginx serves the files as fast as it can."""
    blobs = pathlib.Path(directory, "blobs")
    # Serving from the cache of the file system: a bench of the clients, not of the server's disk.
    elsewhere = ["--blobs", blobs, "--cdn-base", f"http://127.0.0.1:{NGINX_PORT}"]
    with FakeHub("--repo", REPO, *arguments, *elsewhere) as hub, nginx(str(directory), blobs):
        yield hub


def cdn(*arguments):
    """The fake Hub's own CDN."""
    return FakeHub("--repo", REPO, *arguments)


@contextlib.contextmanager
def behind_a_line(directory, line_options, *arguments):
    """The same, at the other end of a line."""
    blobs = pathlib.Path(directory, "blobs")
    elsewhere = ["--blobs", blobs, "--cdn-base", f"http://{line.FAR}:{NGINX_PORT}", "--listen", f"{line.NEAR}:0"]
    command = [sys.executable, line.__file__, *line_options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            process.stdout.readline()
            with FakeHub("--repo", REPO, *arguments, *elsewhere) as hub, nginx(str(directory), blobs):
                hub.endpoint = hub.endpoint.replace(line.NEAR, line.FAR)
                yield hub
        finally:
            process.kill()


@contextlib.contextmanager
def nginx(directory, blobs):
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = f"""
        {user} daemon off; worker_processes auto; pid nginx.pid; error_log error.log;
        events {{}}
        http {{
            access_log off; sendfile on; tcp_nopush on;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            server {{ listen {NGINX_PORT}; root {blobs}; }}
        }}"""
    pathlib.Path(directory, "nginx.conf").write_text(configuration)
    process = subprocess.Popen(["nginx", "-p", directory, "-c", "nginx.conf", "-e", "error.log"])
    try:
        wait_for(NGINX_PORT)
        yield
    finally:
        process.terminate()
        process.wait()


def wait_for(port):
    for _ in range(500):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on port {port}")
