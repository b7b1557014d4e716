"""A registry of the distribution project, what oras pushes into it, and a server of tokens for it."""

import base64
import contextlib
import http.server
import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "reader", "s3cret-of-the-registry"
ISSUER, SERVICE = "tests", "registry.tests"


@dataclass
class Registry:
    place: Path
    host: str
    certificate: Path | None = None
    logins: Path | None = None
    """A folder with docker's config.json."""

    def address(self, name="models/small", reference=":v1"):
        return f"oci://{self.host}/{name}{reference}"

    def oras(self, *arguments, cwd=None):
        options = ["--registry-config", self.logins / "config.json"] if self.logins else []
        options += ["--ca-file", self.certificate] if self.certificate else ["--plain-http"]
        command = [os.environ["ORAS"], *arguments, *options]
        ended = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended.stdout

    def push(self, files, *options, name="models/small", tag="v1"):
        """Pushes files by their names, each with its bytes, as an artifact. Returns the digest of the manifest."""
        work = self.place / f"push-{time.monotonic_ns()}"
        for path, content in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).write_bytes(content)
        self.oras("push", f"{self.host}/{name}:{tag}", *options, *files, cwd=work)
        return self.oras("resolve", f"{self.host}/{name}:{tag}").strip()

    def requests(self):
        """Methods, paths and statuses of what was asked so far, beginning with the oldest."""
        lines = (line.split() for line in (self.place / "registry.log").read_text().splitlines() if '"' in line)
        return [(line[5].strip('"'), line[6], int(line[8])) for line in lines if len(line) > 8 and line[6].startswith("/v2/")]

    def collect_garbage(self):
        command = [os.environ["REGISTRY"], "garbage-collect", "--delete-untagged", self.place / "registry.yml"]
        subprocess.run(list(map(str, command)), capture_output=True, check=True)

    def blob(self, digest):
        return self.place / f"data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(place, auth="", certificate=None, host="127.0.0.1"):
    """A registry that keeps its blobs below `place`; `auth` is a part of its configuration."""
    port = free_port()
    place.mkdir(parents=True, exist_ok=True)
    tls = f"tls: {{certificate: {certificate[0]}, key: {certificate[1]}}}" if certificate else ""
    (place / "registry.yml").write_text(f"""
version: 0.1
log: {{level: warn, accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: {place}/data}}, delete: {{enabled: true}}}}
http:
  addr: {host}:{port}
  {tls}
{auth}
""")
    with open(place / "registry.log", "w") as log:
        process = subprocess.Popen([os.environ["REGISTRY"], "serve", place / "registry.yml"], stdout=log, stderr=log)
    try:
        wait_for(host, port, process, place / "registry.log")
        yield Registry(place, f"{host}:{port}", certificate and certificate[2])
    finally:
        process.terminate()
        process.wait()


def wait_for(host, port, process, log):
    until = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.02)


def write_logins(folder, host, entry=None):
    """What `docker login` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    entry = entry or {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))
    return folder


def htpasswd(place):
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["htpasswd", "-Bbc", place / "htpasswd", USER, PASSWORD], capture_output=True, check=True)
    return f"auth: {{htpasswd: {{realm: tests, path: {place}/htpasswd}}}}"


def certificate(place, names="IP:127.0.0.1"):
    """Certificate, key, and the authority that signed it."""
    place.mkdir(parents=True, exist_ok=True)

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=place, capture_output=True, check=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", 2, "-subj", "/CN=tests")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=registry")
    (place / "extensions").write_text(f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 2, "-extfile", "extensions"]
    openssl("x509", "-req", "-in", "request.pem", "-out", "cert.pem", *sign)
    return place / "cert.pem", place / "key.pem", place / "ca.pem"


@dataclass
class Tokens:
    """A server of tokens, by distribution's own contract (`spec/auth/token`): it knows one user, and what it was asked."""

    realm: str
    configuration: str
    seconds: int = 60
    asked: list = field(default_factory=list)


@contextlib.contextmanager
def tokens(place, seconds=60, is_public=False):
    place.mkdir(parents=True, exist_ok=True)
    certificate_file, key_file, _ = certificate(place / "issuer")
    port = free_port()
    realm = f"http://127.0.0.1:{port}/token"
    auth = f"auth: {{token: {{realm: '{realm}', service: {SERVICE}, issuer: {ISSUER}, rootcertbundle: {certificate_file}}}}}"
    state = Tokens(realm, auth, seconds)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            header = self.headers.get("Authorization", "")
            is_known = header == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            self.give("GET", query, is_known or is_public and not header)

        def do_POST(self):
            form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.give("POST", form, form.get("refresh_token") == [PASSWORD])

        def give(self, method, query, is_known):
            state.asked.append((method, query, self.headers.get("Authorization")))
            answer = {"errors": [{"code": "UNAUTHORIZED", "message": "who is that?"}]}
            if is_known:
                answer = {"token": signed(key_file, certificate_file, query["scope"], state.seconds), "expires_in": state.seconds}
            body = json.dumps(answer).encode()
            self.send_response(200 if is_known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def signed(key, certificate_file, scopes, seconds):
    """A token that the registry takes (RFC 7515, ES256): the certificate goes along in `x5c`."""

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    pem = certificate_file.read_text()
    body = "".join(line for line in pem.splitlines() if "CERTIFICATE" not in line)
    access = []
    for scope in " ".join(scopes).split():
        kind, name, actions = scope.split(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    # The registry grants a minute's leeway to clocks that differ.
    claims = {"iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": now + seconds - 60, "nbf": now - 120, "iat": now - 120,
              "jti": str(time.monotonic_ns()), "access": access}  # fmt: skip
    header = {"typ": "JWT", "alg": "ES256", "x5c": [body]}
    message = b".".join(encoded(json.dumps(part).encode()) for part in (header, claims))
    der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=message, capture_output=True, check=True).stdout
    return (message + b"." + encoded(raw_signature(der))).decode()


def raw_signature(der):
    """Two numbers of 32 bytes, out of their ASN.1."""
    first = der[4 : 4 + der[3]]
    rest = der[4 + der[3] :]
    second = rest[2 : 2 + rest[1]]
    return b"".join(number.lstrip(b"\0").rjust(32, b"\0") for number in (first, second))
