"""What a Dragonfly daemon promises as an HTTP proxy, as far as a client can see it: no Dragonfly, but its contract.

Read in dragonflyoss/client 1.5.1 (`proxy/mod.rs`, `proxy/header.rs`, `id_generator/mod.rs`, `http/query_params.rs`)."""

import contextlib
import hashlib
import re
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

DEFAULT_PARAMETERS = {
    *("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"),
    *("X-Amz-Security-Token", "X-Amz-User-Agent", "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires"),
    *("X-Goog-SignedHeaders", "X-Goog-Signature", "OSSAccessKeyId", "Expires", "Signature", "SecurityToken", "AccessKeyId"),
    *("X-Obs-Date", "X-Obs-Security-Token", "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list"),
    *("q-url-param-list", "q-signature", "x-cos-security-token", "ns"),
}


def task_id(url, parameters):
    parts = urlsplit(url)
    query = urlencode([(name, value) for name, value in parse_qsl(parts.query) if name not in parameters])
    return hashlib.sha256((parts._replace(query=query).geturl() + "STANDARD").encode()).hexdigest()


class Peers(ThreadingHTTPServer):
    """All daemons at once. With `prefetch` whoever asks first for a range of a task makes them fetch all of it, once."""

    daemon_threads = True

    def __init__(self, rule, parameters):
        super().__init__(("127.0.0.1", 0), Daemon)
        self.rule, self.parameters = re.compile(rule), parameters
        self.lock, self.tasks = threading.Lock(), {}

    def task(self, url):
        """Its id, the headers of the server and the bytes."""
        identity = task_id(url, self.parameters)
        with self.lock:
            if identity not in self.tasks:
                answer, body = ask("GET", url, {})
                assert answer.status == 200, answer.status
                self.tasks[identity] = answer.getheaders(), body
            return identity, *self.tasks[identity]


def ask(method, url, headers):
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc)
    connection.request(method, parts._replace(scheme="", netloc="").geturl(), headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


class Daemon(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        answer, _ = ask("HEAD", self.path, dict(self.headers))
        self.answer(answer.status, answer.getheaders(), b"")

    def do_GET(self):
        if self.server.rule.search(self.path.partition("?")[0]):
            return self.of_task()
        answer, body = ask("GET", self.path, dict(self.headers))
        self.answer(answer.status, answer.getheaders(), body)

    def of_task(self):
        identity, headers, body = self.server.task(self.path)
        own = [("X-Dragonfly-Task-ID", identity), ("X-Dragonfly-Server-IP", "127.0.0.1")]
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        status, size = 200, len(body)
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
            status, body = 206, body[start : end + 1]
            own.append(("Content-Range", f"bytes {start}-{end}/{size}"))
        self.answer(status, [*kept, *own, ("Content-Length", str(len(body)))], body)

    def answer(self, status, headers, body):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        self.end_headers()
        # A client may leave a connection for a better one.
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)


@contextlib.contextmanager
def peers(rule, parameters):
    server = Peers(rule, parameters)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
