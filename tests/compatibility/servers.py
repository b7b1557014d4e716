"""Servers that pass the requests of a client on to the Hub (a mirror), or serve its bytes (an edge)."""

import contextlib
import os
import subprocess

from parts import free_port, running, write


def address(url):
    return url.removeprefix("http://")


def nginx_configuration(place, port, locations, http=""):
    return write(place, "nginx.conf", f"""
        user root; daemon off; worker_processes 1; pid {place}/nginx.pid;
        events {{}}
        http {{
            access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
            fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s; {http}
            server {{ listen 127.0.0.1:{port}; {locations} }}
        }}""")  # fmt: skip


@contextlib.contextmanager
def nginx(place, origin, extra="", http=""):
    port = free_port()
    location = f"location / {{ proxy_pass {origin}; proxy_http_version 1.1; proxy_set_header Host $http_host; {extra} }}"
    configuration = nginx_configuration(place, port, location, http)
    with running(["nginx", "-p", place, "-c", configuration, "-e", place / "error.log"], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


def nginx_cache(place, origin):
    zone = f"proxy_cache_path {place}/cache keys_zone=c:1m;"
    return nginx(place, origin, "proxy_cache c; proxy_cache_valid 200 206 302 307 10m;", zone)


def nginx_gzip(place, origin):
    return nginx(place, origin, "gzip on; gzip_proxied any; gzip_types *; gzip_min_length 1;")


def nginx_prefix(place, origin):
    """Below a path, as artifact managers serve a remote repository."""
    return nginx_below(place, origin, "/api/huggingface/remote", "/ /api/huggingface/remote/")


def nginx_forgetful_prefix(place, origin):
    """Below a path, as one host serves many packages' indexes (devpi); redirects and pages lead to the Hub's own paths."""
    return nginx_below(place, origin, "/root/hf", "off")


@contextlib.contextmanager
def nginx_below(place, origin, prefix, redirects):
    port = free_port()
    location = f"location {prefix}/ {{ proxy_pass {origin}/; proxy_http_version 1.1; proxy_redirect {redirects}; }}"
    configuration = nginx_configuration(place, port, location)
    with running(["nginx", "-p", place, "-c", configuration, "-e", place / "error.log"], port, place / "log"):
        yield f"http://127.0.0.1:{port}{prefix}"


def nginx_slices(place, origin):
    """Asks its origin in slices of a megabyte, and answers from its cache."""
    zone = f"proxy_cache_path {place}/cache keys_zone=c:1m;"
    slices = "slice 1m; proxy_cache c; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;"
    return nginx(place, origin, slices + " proxy_cache_valid 200 206 10m;", zone)


@contextlib.contextmanager
def apache(place, origin, modules="", extra=""):
    port = free_port()
    load = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in f"mpm_event authz_core proxy proxy_http {modules}".split()
    )
    configuration = write(place, "apache.conf", f"""
ServerRoot {place}
PidFile {place}/apache.pid
ErrorLog {place}/error.log
Listen 127.0.0.1:{port}
ServerName localhost
{load}
ProxyPass / {origin}/ nocanon
ProxyPreserveHost On
AllowEncodedSlashes NoDecode
{extra}
""")
    with running(["apache2", "-D", "FOREGROUND", "-f", configuration], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


def apache_deflate(place, origin):
    """Compresses what it passes on, and marks the entity tags."""
    return apache(place, origin, "filter deflate", "SetOutputFilter DEFLATE")


@contextlib.contextmanager
def haproxy(place, origin, tls=""):
    port = free_port()
    configuration = write(place, "haproxy.cfg", f"""
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen hub
    bind 127.0.0.1:{port} {tls}
    server hub {address(origin)}
""")
    with running(["haproxy", "-f", configuration, "-db"], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def varnish(place, origin):
    port, (host, _, origin_port) = free_port(), address(origin).partition(":")
    vcl = write(place, "default.vcl", f"""vcl 4.1;
backend hub {{ .host = "{host}"; .port = "{origin_port}"; }}
sub vcl_recv {{ return (hash); }}
sub vcl_backend_response {{ set beresp.ttl = 10m; set beresp.uncacheable = false; }}
""")
    command = ["varnishd", "-F", "-n", place / "varnish", "-a", f"127.0.0.1:{port}", "-f", vcl, "-s", "malloc,256m"]
    with running(command, port, place / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def caddy(place, origin, directives="", scheme="http"):
    port = free_port()
    site = f"{scheme}://127.0.0.1:{port}"
    text = f"{{\n admin off\n auto_https off\n}}\n{site} {{\n {directives}\n reverse_proxy {address(origin)}\n}}\n"
    configuration = write(place, "Caddyfile", text)
    variables = {"PATH": "/usr/bin", "HOME": str(place)}
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", configuration]
    with running(command, port, place / "log", env=variables):
        yield site


def caddy_encode(place, origin):
    return caddy(place, origin, "encode gzip zstd")


@contextlib.contextmanager
def h2o(place, origin, tls=""):
    port = free_port()
    configuration = write(place, "h2o.conf", f"""
user: root
listen:
  host: 127.0.0.1
  port: {port}
{tls}
hosts:
  default:
    paths:
      /:
        proxy.reverse.url: {origin}/
        proxy.preserve-host: ON
        compress: ON
error-log: {place}/error.log
pid-file: {place}/h2o.pid
""")
    with running(["h2o", "-c", configuration], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def lighttpd(place, origin):
    port, (host, _, origin_port) = free_port(), address(origin).partition(":")
    configuration = write(place, "lighttpd.conf", f"""
server.document-root = "{place}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_proxy")
proxy.server = ("" => (("host" => "{host}", "port" => {origin_port})))
""")
    with running(["lighttpd", "-D", "-f", configuration], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def squid_accelerator(place, origin):
    port, (host, _, origin_port) = free_port(), address(origin).partition(":")
    # It does not run as root.
    place.chmod(0o777)
    configuration = write(place, "squid.conf", f"""
pid_filename none
access_log none
cache_log {place}/cache.log
coredump_dir {place}
cache deny all
shutdown_lifetime 0 seconds
http_port 127.0.0.1:{port} accel defaultsite={address(origin)} no-vhost
cache_peer {host} parent {origin_port} 0 no-query originserver name=hub
cache_peer_access hub allow all
http_access allow all
""")
    with running(["squid", "-N", "-n", f"squid{port}", "-f", configuration], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def files(place, folder):
    """The files of a folder, as they are on the disk."""
    port = free_port()
    configuration = nginx_configuration(place, port, f"root {folder};")
    with running(["nginx", "-p", place, "-c", configuration, "-e", place / "error.log"], port, place / "log"):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def olah(place, origin):
    """A mirror for this Hub alone, which keeps what it passed on."""
    port = free_port()
    here, hub = f"127.0.0.1:{port}", address(origin)
    command = [f"{os.environ['PACKAGES']}/olah-cli", "--host", "127.0.0.1", "--port", port]
    command += ["--hf-scheme", "http", "--hf-netloc", hub, "--hf-lfs-netloc", hub]
    command += ["--mirror-scheme", "http", "--mirror-netloc", here, "--mirror-lfs-netloc", here]
    command += ["--repos-path", place / "repos", "--log-path", place / "logs"]
    with running(command, port, place / "log", patience=60, cwd=place):
        yield f"http://{here}"


class Authority:
    """A private one, and a certificate for loopback of which it vouches."""

    def __init__(self, place):
        self.file, self.key, self.certificate = place / "ca.pem", place / "key.pem", place / "certificate.pem"
        self.both = place / "both.pem"
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        own = ["-days", "7", "-subj", "/CN=Private authority", "-keyout", place / "ca.key", "-out", self.file]
        signed = ["-CA", self.file, "-CAkey", place / "ca.key", "-days", "7", "-subj", "/CN=mirror"]
        signed += ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"]
        for command in [*new, *own], [*new, *signed, "-keyout", self.key, "-out", self.certificate]:
            subprocess.run(list(map(str, command)), check=True, capture_output=True)
        self.both.write_text(self.certificate.read_text() + self.key.read_text())
        for path in (self.key, self.both):
            path.chmod(0o644)


@contextlib.contextmanager
def nginx_tls(place, origin, authority):
    port = free_port()
    tls = f"ssl_certificate {authority.certificate}; ssl_certificate_key {authority.key};"
    server = f"server {{ listen 127.0.0.1:{port} ssl; {tls} location / {{ proxy_pass {origin}; }} }}"
    configuration = nginx_configuration(place, free_port(), "", server)
    with running(["nginx", "-p", place, "-c", configuration, "-e", place / "error.log"], port, place / "log"):
        yield f"https://127.0.0.1:{port}"


@contextlib.contextmanager
def apache_tls(place, origin, authority):
    tls = f"SSLEngine on\nSSLCertificateFile {authority.certificate}\nSSLCertificateKeyFile {authority.key}"
    with apache(place, origin, "ssl socache_shmcb", tls) as url:
        yield url.replace("http", "https")


@contextlib.contextmanager
def haproxy_tls(place, origin, authority):
    with haproxy(place, origin, f"ssl crt {authority.both} alpn h2,http/1.1") as url:
        yield url.replace("http", "https")


@contextlib.contextmanager
def caddy_tls(place, origin, authority):
    tls = f"tls {authority.certificate} {authority.key}"
    with caddy(place, origin, tls, "https") as url:
        yield url


@contextlib.contextmanager
def h2o_tls(place, origin, authority):
    tls = f"  ssl:\n    certificate-file: {authority.certificate}\n    key-file: {authority.key}"
    with h2o(place, origin, tls) as url:
        yield url.replace("http", "https")
