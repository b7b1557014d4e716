"""Proxies, certificates, logins and names, as a machine's network has them."""

import contextlib
import os
import re
import socket
import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

import pytest
from fake_hub import FakeHub
from parts import free_port, release, running, write
from servers import nginx_configuration

TOKEN = "AKCp8xSECRETx0123456789"
"""What no output may have; passwords are `SECRET`."""
SQUID, TINYPROXY, DNSMASQ = (
    f"{name} {release(package)}" for name, package in (("Squid", "squid"), ("tinyproxy", "tinyproxy"), ("dnsmasq", "dnsmasq-base"))
)  # fmt: skip
NGINX = f"nginx {release('nginx-light')}, OpenSSL {release('openssl')}"
SILENT = "127.53.53.99"


class Network:
    """A Hub, and the servers around it, each of which is started when it is first asked for."""

    def __init__(self, place, stack):
        self.place, self.stack = place, stack
        place.chmod(0o777)
        self.hub = stack.enter_context(FakeHub("--file", "model.gguf", "--size", "4MiB"))

    def start(self, command, port, **options):
        self.stack.enter_context(running(command, port, self.place / f"{port}.log", **options))

    @cached_property
    def squid(self):
        """Three ports, of which the second wants a login, and the third lets nobody through."""
        first, second, third = (free_port() for _ in range(3))
        configuration = write(self.place, "squid.conf", f"""
pid_filename none
access_log none
cache_log {self.place}/squid.log
cache deny all
coredump_dir {self.place}
shutdown_lifetime 0 seconds
http_port 127.0.0.1:{first}
http_port 127.0.0.1:{second}
http_port 127.0.0.1:{third}
acl second localport {second}
acl third localport {third}
http_access deny third
auth_param basic program /usr/lib/squid/basic_fake_auth
acl known proxy_auth REQUIRED
http_access deny second !known
http_access allow all
""")
        self.start(["squid", "-N", "-n", f"squid{first}", "-f", configuration], second)
        return f"127.0.0.1:{first}", f"127.0.0.1:{second}", f"127.0.0.1:{third}"

    @cached_property
    def tinyproxy(self):
        return self.tinyproxy_with("")

    @cached_property
    def narrow_tinyproxy(self):
        """Lets nobody through but to port 443."""
        return self.tinyproxy_with("ConnectPort 443\n")

    def tinyproxy_with(self, more):
        port = free_port()
        text = f'Port {port}\nListen 127.0.0.1\nTimeout 600\nLogFile "{self.place}/{port}.tiny"\nMaxClients 100\n{more}'
        self.start(["tinyproxy", "-d", "-c", write(self.place, f"{port}.conf", text)], port)
        return f"127.0.0.1:{port}"

    @cached_property
    def certificate(self):
        """Key and certificate as a line of `openssl` makes them: its own authority, no other name."""
        key, own = self.place / "own.key", self.place / "own.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "7"]
            + ["-keyout", key, "-out", own],
            check=True, capture_output=True,
        )  # fmt: skip
        return key, own

    @cached_property
    def nginx(self):
        """Ports with TLS, with TLS 1.1 alone, and without TLS but with a login."""
        port, old, login, bytes_port = (free_port() for _ in range(4))
        hub, cdn, (key, own) = self.hub.endpoint, self.hub.cdn, self.certificate
        write(self.place, "passwd", "user:{PLAIN}SECRET\n")
        locations = f"location / {{ proxy_pass {cdn}; }}"
        servers = f"""
            ssl_certificate {own}; ssl_certificate_key {key};
            server {{ listen {port} ssl; location / {{ proxy_pass {hub};
                proxy_redirect {cdn} https://localhost:{bytes_port}; }} }}
            server {{ listen {bytes_port} ssl; location / {{ proxy_pass {cdn}; }} }}
            server {{ listen {old} ssl; ssl_protocols TLSv1.1; ssl_ciphers DEFAULT@SECLEVEL=0; return 404; }}
            server {{ listen {login}; auth_basic "mirror"; auth_basic_user_file {self.place}/passwd;
                location / {{ proxy_pass {hub}; proxy_set_header Authorization ""; }} }}"""
        listens = free_port()
        configuration = nginx_configuration(self.place, listens, locations, servers)
        self.start(["nginx", "-p", self.place, "-c", configuration, "-e", self.place / "error.log"], listens)
        return port, old, login

    @property
    def https(self):
        return f"https://localhost:{self.nginx[0]}"

    @property
    def trusted(self):
        return {"SSL_CERT_FILE": str(self.certificate[1])}

    @property
    def login(self):
        return f"127.0.0.1:{self.nginx[2]}"

    def named(self, name):
        """The Hub under another name than its address."""
        return self.hub.endpoint.replace("127.0.0.1", name)

    @cached_property
    def dnsmasq(self):
        """Knows an address of one family alone."""
        address = "127.53.53.1"
        command = ["dnsmasq", "-d", "-h", "-R", "--port=53", "--bind-interfaces"]
        command += [f"--listen-address={address}", "--address=/hub.test/127.0.0.1"]
        self.start(command, 53, host=address)
        return f"nameserver {address}\n"

    @cached_property
    def silent(self):
        """Takes questions and answers none."""
        sink = self.stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sink.bind((SILENT, 53))
        return f"nameserver {SILENT}\n"

    def fetch(self, endpoint, *arguments, job="fetch", hosts=None, resolv=None, **environment):
        """The exit number and everything that was said. Files of its own stand in place of those of `/etc`."""
        home = Path(tempfile.mkdtemp(dir=self.place))
        command = [os.environ["MODELFETCH"], job, "owner/name", "model.gguf", "--endpoint", endpoint]
        command += ["--dir", home / "models", "--give-up-after", "3s", *arguments]
        if hosts is not None or resolv is not None:
            files = [write(home, "hosts", hosts or ""), write(home, "resolv.conf", resolv or "")]
            script = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
            command = ["unshare", "--mount", "--", "sh", "-c", script, "sh", *files, *command]
        environment = {"HOME": str(home), "PATH": os.environ["PATH"], **environment}
        ended = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        said = ended.stdout + ended.stderr
        assert "SECRET" not in said, said
        return ended.returncode, said


@pytest.fixture(scope="module")
def network():
    with tempfile.TemporaryDirectory(prefix="modelfetch-network-") as place, contextlib.ExitStack() as stack:
        yield Network(Path(place), stack)


@pytest.fixture
def tried(request, cell):
    """Says that a test's first line was tried with this part."""
    return lambda section, part: cell(section, (part, re.sub(r"\s+", " ", request.function.__doc__).strip()), "holds")


def exits(number, ended, *words):
    code, said = ended
    assert code == number, f"exit {code}: {said}"
    assert all(word in said for word in words), said


PROXIES = pytest.mark.parametrize("proxy", [SQUID, TINYPROXY], ids=["squid", "tinyproxy"])


def way_through(network, proxy):
    return network.squid[0] if proxy == SQUID else network.tinyproxy


@PROXIES
def test_http(proxy, network, tried):
    """http through it"""
    tried("proxies", proxy)
    exits(0, network.fetch(network.hub.endpoint, HTTP_PROXY=f"http://{way_through(network, proxy)}"))


@PROXIES
def test_connect(proxy, network, tried):
    """https by CONNECT"""
    tried("proxies", proxy)
    way = f"http://{way_through(network, proxy)}"
    exits(0, network.fetch(network.https, HTTPS_PROXY=way, **network.trusted))


@PROXIES
def test_a_token_in_the_clear(proxy, network, tried):
    """a token over plain http is refused"""
    tried("proxies", proxy)
    way = way_through(network, proxy)
    ended = network.fetch(network.hub.endpoint, HTTP_PROXY=f"http://{way}", HF_TOKEN=TOKEN)
    exits(2, ended, "HTTP_PROXY", way)


@PROXIES
def test_a_host_out_of_its_reach(proxy, network, tried):
    """a host that it cannot reach: its own host is named"""
    tried("proxies", proxy)
    way = way_through(network, proxy)
    exits(30, network.fetch("https://127.0.0.1:9", HTTPS_PROXY=f"http://{way}"), f"through the proxy {way}")


@PROXIES
def test_a_port_that_is_refused(proxy, network, tried):
    """a port that it lets nobody to: told at once, with its 403"""
    tried("proxies", proxy)
    way = network.squid[2] if proxy == SQUID else network.narrow_tinyproxy
    ended = network.fetch(network.https, HTTPS_PROXY=f"http://{way}", **network.trusted)
    exits(30, ended, f"{way} answered 403", "refused to open a way")
    assert "retry" not in ended[1]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_login_that_a_proxy_wants(scheme, network, tried):
    """407 to http and to CONNECT: told at once, and what to do"""
    tried("proxies", SQUID)
    way = network.squid[1]
    endpoint = network.hub.endpoint if scheme == "http" else network.https
    exits(30, network.fetch(endpoint, ALL_PROXY=f"http://{way}"), "user name and password", way)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_login_for_a_proxy(scheme, network, tried):
    """user name and password"""
    tried("proxies", SQUID)
    endpoint = network.hub.endpoint if scheme == "http" else network.https
    exits(0, network.fetch(endpoint, ALL_PROXY=f"http://user:SECRET@{network.squid[1]}", **network.trusted))


def test_no_proxy(network, tried):
    """NO_PROXY=*"""
    tried("proxies", "a port where nobody listens")
    exits(0, network.fetch(network.hub.endpoint, HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="*"))


def test_an_own_certificate(network, tried):
    """the certificate of `openssl req -x509`, without another name"""
    tried("certificates", NGINX)
    exits(0, network.fetch(network.https, **network.trusted))


def test_an_own_certificate_that_is_not_named(network, tried):
    """the same where it is not named"""
    tried("certificates", NGINX)
    exits(30, network.fetch(network.https), "name that very certificate in SSL_CERT_FILE")


def test_a_certificate_for_another_name(network, tried):
    """the same under another name"""
    tried("certificates", NGINX)
    endpoint = network.https.replace("localhost", "127.0.0.1")
    exits(30, network.fetch(endpoint, **network.trusted), "the certificate is for another name")


def test_a_certificate_that_runs_out(network, tried):
    """smoke tells its issuer, and warns of its last 7 days"""
    tried("certificates", NGINX)
    ended = network.fetch(network.https, job="smoke", **network.trusted)
    exits(0, ended, "trusted, localhost, and runs out in", "the certificate of localhost runs out in")


def test_a_port_without_tls(network, tried):
    """https to a port without TLS"""
    tried("certificates", NGINX)
    exits(30, network.fetch(f"https://{network.login}"), "may speak no TLS")


def test_an_old_tls(network, tried):
    """TLS 1.1 alone"""
    tried("certificates", NGINX)
    exits(30, network.fetch(f"https://localhost:{network.nginx[1]}", **network.trusted), "it needs TLS 1.2 or 1.3")


def test_a_login_that_a_mirror_wants(network, tried):
    """Basic authentication is named"""
    tried("certificates", NGINX)
    exits(10, network.fetch(f"http://{network.login}"), "WWW-Authenticate: Basic", ".netrc")


def test_a_login_by_the_url(network, tried):
    """Basic authentication by the URL"""
    tried("certificates", NGINX)
    exits(0, network.fetch(f"http://user:SECRET@{network.login}"))


def test_a_login_by_netrc(network, tried):
    """Basic authentication by .netrc"""
    tried("certificates", NGINX)
    netrc = write(network.place, "netrc", "machine 127.0.0.1 login user password SECRET\n")
    exits(0, network.fetch(f"http://{network.login}", NETRC=str(netrc)))


def test_one_family(network, tried):
    """an address of one family alone"""
    tried("names", DNSMASQ)
    exits(0, network.fetch(network.named("hub.test"), resolv=network.dnsmasq))


def test_an_unknown_name(network, tried):
    """a name that it does not know"""
    tried("names", DNSMASQ)
    ended = network.fetch(network.named("typo.test"), resolv=network.dnsmasq)
    exits(30, ended, "the name typo.test cannot be resolved")


HOSTS = "127.0.0.1 hub.test\n"


def test_hosts_beside_silence(network, tried):
    """a name in /etc/hosts"""
    tried("names", "a silent resolver")
    exits(0, network.fetch(network.named("hub.test"), hosts=HOSTS, resolv=network.silent))


def test_localhost_beside_silence(network, tried):
    """localhost"""
    tried("names", "a silent resolver")
    exits(0, network.fetch(network.named("localhost"), resolv=network.silent))


def test_a_second_resolver(network, tried):
    """a second one that answers"""
    tried("names", "a silent resolver")
    exits(0, network.fetch(network.named("hub.test"), resolv=network.silent + network.dnsmasq))


def test_hosts_without_a_resolver(network, tried):
    """a name in /etc/hosts"""
    tried("names", "an empty resolv.conf")
    exits(0, network.fetch(network.named("hub.test"), hosts=HOSTS))
