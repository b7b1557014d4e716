//! Proxies and certificates: what a company puts between a cluster and the Hub.

use std::fs;

use fake_hub::{Certificate, FakeHub, Payload, Repo, Server};

use crate::support::proxy::Proxy;
use crate::support::secret::TOKEN;
use crate::support::{FILE, REPO, TestDir, built, hub, model};

fn tls_hub(dir: &TestDir, certificate: Certificate, model: &Payload) -> FakeHub {
    let repo = Repo::model(REPO).lfs(FILE, model.clone());
    built(FakeHub::builder().repo(repo).tls(dir.path().join("tls")).certificate(certificate))
}

#[test]
fn http_goes_through_the_proxy_of_the_environment() {
    let model = model(1, 4);
    let hub = hub(&model);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let proxy = Proxy::start();
        let dir = TestDir::new();
        dir.fetch(&hub, [REPO, FILE]).env(name, proxy.url()).run().succeeds();
        dir.assert_done(FILE, &model);
        let lines = proxy.lines();
        assert!(lines.iter().any(|line| line.starts_with("HEAD http://")), "{name}: {lines:?}");
        assert!(lines.iter().any(|line| line.starts_with("GET http://")), "{name}: {lines:?}");
    }
}

#[test]
fn no_proxy_is_respected() {
    let hub = hub(&model(1, 1));
    let proxy = Proxy::start();
    let dir = TestDir::new();
    let fetch = dir.fetch(&hub, [REPO, FILE]).env("HTTP_PROXY", proxy.url()).env("NO_PROXY", "127.0.0.1");
    fetch.run().succeeds();
    assert!(proxy.lines().is_empty());
}

#[test]
fn no_proxy_is_read_as_curl_reads_it() {
    let hub = hub(&model(1, 1));
    // The table of all forms is beside their reader.
    for (exempt, is_direct) in
        [("*", true), ("10.0.0.1, 127.0.0.0/8", true), ("*,x", false), ("127.0.0.1:80", false)]
    {
        for name in ["NO_PROXY", "no_proxy"] {
            let proxy = Proxy::start();
            let dir = TestDir::new();
            dir.fetch(&hub, [REPO, FILE]).env("HTTP_PROXY", proxy.url()).env(name, exempt).run().succeeds();
            assert_eq!(proxy.lines().is_empty(), is_direct, "{name}={exempt}");
        }
    }
}

#[test]
fn a_proxy_variable_that_cannot_be_read_ends_the_run_and_is_not_shown() {
    let hub = hub(&model(1, 1));
    for value in [
        "\"http://user:SECRET@127.0.0.1:9\"",
        "'http://user:SECRET@127.0.0.1:9'",
        "http://user:SEC^RET@127.0.0.1:9",
        "http://user:SECRET@127.0.0.1:9 ",
        "http://user:SECRET@127.0.0.1 :9",
        "//user:SECRET@127.0.0.1:9",
        "://user:SECRET@127.0.0.1:9",
        "htp://user:SECRET@127.0.0.1:9",
        "http://user:SECRET@",
    ] {
        for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
            let run = TestDir::new().fetch(&hub, [REPO, FILE, "--verbose"]).env(name, value).run();
            run.exits(2).says(name).does_not_say("SEC").does_not_say("user:");
        }
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn a_proxy_is_named_where_an_exchange_through_it_fails() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let fetch = |proxy: &str| {
        let fetch = dir.fetch(&hub, [REPO, FILE, "--give-up-after", "1s"]);
        fetch.env("ALL_PROXY", format!("http://user:SECRET@{proxy}")).run().exits(30).does_not_say("SECRET")
    };
    fetch("127.0.0.1:9").says("through the proxy 127.0.0.1:9");
    let busy = Proxy::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let place = busy.url().replace("http://", "");
    fetch(&place).says(&format!("through the proxy {place}")).says("503");
    let portal = Proxy::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>",
    );
    let place = portal.url().replace("http://", "");
    for selection in [FILE, "*.gguf"] {
        let fetch = dir.fetch(&hub, [REPO, selection]).env("HTTP_PROXY", portal.url());
        fetch.run().exits(30).says(&format!("through the proxy {place} does not answer like a Hub"));
    }
    assert!(hub.requests().is_empty());
}

#[test]
fn what_a_proxy_says_against_a_way_is_told_and_heeded() {
    for (answer, is_final) in [
        ("400 Bad Request", true),
        ("403 Forbidden", true),
        ("405 Method Not Allowed", true),
        ("502 Bad Gateway", false),
        ("503 Service Unavailable", false),
        ("504 Gateway Timeout", false),
    ] {
        let page = "<p>port 443 is not in the list</p>";
        let answered = format!("HTTP/1.1 {answer}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        let proxy = Proxy::answering(answered);
        let dir = TestDir::new();
        let run = dir
            .command(["fetch", REPO, FILE, "--endpoint", "https://hub.example", "--give-up-after", "1s"])
            .env("HTTPS_PROXY", proxy.url())
            .run()
            .exits(30)
            .says(&format!("hub.example through the proxy {}", proxy.url().replace("http://", "")))
            .says(&format!("answered {answer}: <p>port 443"))
            .says("the proxy refused to open a way to that host")
            .at_once();
        assert_eq!(run.stderr.contains("retry 1"), !is_final, "{}", run.stderr);
        let lines = proxy.lines();
        assert!(lines.iter().all(|line| line == "CONNECT hub.example:443 HTTP/1.1"), "{lines:?}");
        assert!(!is_final || lines.len() == 2, "asked, and asked why: {lines:?}");
    }
}

/// A company's list has the Hub in it, but not where the bytes are.
#[test]
fn a_cdn_to_which_a_proxy_opens_no_way_is_named_at_once() {
    let dir = TestDir::new();
    let hub = tls_hub(&dir, Certificate::Sound, &model(1, 32));
    let cdn = hub.cdn_url().replace("https://", "");
    let proxy = Proxy::keeping_from(cdn.clone());
    for job in ["fetch", "smoke"] {
        let run = dir.job(job, &hub, [REPO, FILE]).env("HTTPS_PROXY", proxy.url());
        run.env("SSL_CERT_FILE", hub.ca_file().expect("TLS"))
            .run()
            .exits(30)
            .says(&format!("{cdn} through the proxy {}", proxy.url().replace("http://", "")))
            .says("answered 403 Forbidden: not allowed")
            .says("the proxy refused to open a way to that host")
            .does_not_say("retry")
            .at_once();
    }
}

#[test]
fn a_proxy_that_wants_a_password_is_asked_once() {
    const WANTS: &str = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
    for endpoint in ["http://hub.example", "https://hub.example"] {
        let proxy = Proxy::answering(WANTS);
        let dir = TestDir::new();
        dir.command(["fetch", REPO, FILE, "--endpoint", endpoint])
            .env("ALL_PROXY", proxy.url())
            .run()
            .exits(30)
            .says("through the proxy 127.0.0.1:")
            .says("the proxy wants a user name and password")
            .does_not_say("retry")
            .at_once();
        assert_eq!(proxy.lines().len(), 1, "{:?}", proxy.lines());
    }
}

#[test]
fn a_token_never_travels_in_the_clear_to_a_proxy() {
    let model = model(1, 1);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model.clone()).private(&[TOKEN])));
    let dir = TestDir::new();
    let proxy = Proxy::start();
    let fetch = |host: &str, variable: &str| {
        let endpoint = hub.endpoint().replace("127.0.0.1", host);
        let fetch = dir.fetch(&hub, [REPO, FILE, "--endpoint", &endpoint]);
        fetch.env("HF_TOKEN", TOKEN).env(variable, proxy.url())
    };
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
            fetch(host, variable)
                .run()
                .exits(2)
                .says("refusing to send a token")
                .says(&format!("through the proxy {} of {variable}", proxy.url().replace("http://", "")))
                .says("NO_PROXY");
        }
    }
    assert!(proxy.lines().is_empty() && hub.requests().is_empty());
    fetch("127.0.0.1", "HTTP_PROXY").env("NO_PROXY", "127.0.0.1").run().succeeds();
    dir.assert_done(FILE, &model);
    assert!(proxy.lines().is_empty());
    let dir = TestDir::new();
    let wanted = dir.fetch(&hub, [REPO, FILE, "--insecure-token"]);
    wanted.env("HF_TOKEN", TOKEN).env("HTTP_PROXY", proxy.url()).run().succeeds();
    assert!(!proxy.lines().is_empty());
}

#[test]
fn https_goes_through_a_tunnel_that_sees_no_token() {
    let model = model(1, 4);
    let dir = TestDir::new();
    let hub = tls_hub(&dir, Certificate::Sound, &model);
    let proxy = Proxy::start();
    dir.fetch(&hub, [REPO, FILE])
        .env("HTTPS_PROXY", proxy.url())
        .env("SSL_CERT_FILE", hub.ca_file().expect("TLS"))
        .run()
        .succeeds();
    dir.assert_done(FILE, &model);
    assert!(
        !proxy.lines().is_empty() && proxy.lines().iter().all(|line| line.starts_with("CONNECT 127.0.0.1:"))
    );
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let model = model(1, 4);
    let dir = TestDir::new();
    let hub = tls_hub(&dir, Certificate::Sound, &model);
    let authority = hub.ca_file().expect("TLS");
    dir.fetch(&hub, [REPO, FILE]).env("SSL_CERT_FILE", authority).run().succeeds();
    dir.assert_done(FILE, &model);
    let other = TestDir::new();
    let folder = authority.parent().expect("a directory");
    other.fetch(&hub, [REPO, FILE]).env("SSL_CERT_DIR", folder).run().succeeds();
    other.assert_done(FILE, &model);
}

#[test]
fn a_certificate_that_is_wrong_ends_the_run_at_once() {
    for (certificate, reason, hint) in [
        (Certificate::Expired, "Expired", "check the clock"),
        (Certificate::WrongName, "NotValidForName", "the certificate is for another name"),
        (Certificate::UnknownAuthority, "UnknownIssuer", "in SSL_CERT_FILE"),
    ] {
        let dir = TestDir::new();
        let hub = tls_hub(&dir, certificate, &model(1, 1));
        let run =
            dir.fetch(&hub, [REPO, FILE]).env("SSL_CERT_FILE", hub.ca_file().expect("TLS")).run().exits(30);
        assert!(
            run.stderr.contains("invalid peer certificate") && run.stderr.contains(reason)
                || run.stderr.to_lowercase().contains("certificate"),
            "{}",
            run.stderr
        );
        run.does_not_say("retry").says(hint).does_not_say("run again").at_once();
        assert!(hub.requests_to(Server::Hub).is_empty());
    }
}

#[test]
fn a_server_with_the_certificate_of_an_authority_is_trusted_where_that_is_named() {
    let model = model(1, 1);
    let dir = TestDir::new();
    let hub = tls_hub(&dir, Certificate::Authority, &model);
    dir.fetch(&hub, [REPO, FILE]).env("SSL_CERT_FILE", hub.ca_file().expect("TLS")).run().succeeds();
    dir.assert_done(FILE, &model);
    let other = TestDir::new();
    let run = other.fetch(&hub, [REPO, FILE]).run().exits(30);
    run.says("hint: the server shows the certificate of an authority as its own").at_once();
    // Another authority in that place is none of this server's.
    let stranger = tls_hub(&other, Certificate::Authority, &model);
    let run = other.fetch(&hub, [REPO, FILE]).env("SSL_CERT_FILE", stranger.ca_file().expect("TLS")).run();
    run.exits(30).says("the certificate of an authority");
}

#[test]
fn directories_of_authorities_are_a_list() {
    let model = model(1, 1);
    let dir = TestDir::new();
    let hub = tls_hub(&dir, Certificate::Sound, &model);
    let folder = hub.ca_file().expect("TLS").parent().expect("a folder").to_owned();
    let absent = dir.path().join("absent");
    let list = format!("{}:{}::{}", absent.display(), dir.path().join("home").display(), folder.display());
    dir.fetch(&hub, [REPO, FILE]).env("SSL_CERT_DIR", list).run().succeeds();
    dir.assert_done(FILE, &model);
    dir.fetch(&hub, [REPO, FILE]).env("SSL_CERT_DIR", &absent).run().exits(22).says("SSL_CERT_DIR");
}

#[test]
fn a_server_that_speaks_no_tls_is_told_as_such() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let endpoint = hub.endpoint().replace("http://", "https://");
    dir.fetch(&hub, [REPO, FILE, "--endpoint", &endpoint, "--give-up-after", "1s"])
        .run()
        .exits(30)
        .says("hint: what answers there may speak no TLS")
        .at_once();
    let proxy = Proxy::start();
    dir.command(["fetch", REPO, FILE, "--endpoint", "https://hub.example", "--give-up-after", "1s"])
        .env("HTTPS_PROXY", proxy.url().replace("http://", "https://"))
        .run()
        .exits(30)
        .says("write http:// instead of https://")
        .says("through the proxy");
}

#[test]
fn without_the_authority_a_private_hub_is_not_trusted() {
    let dir = TestDir::new();
    let hub = tls_hub(&dir, Certificate::Sound, &model(1, 1));
    dir.fetch(&hub, [REPO, FILE]).run().exits(30).says("UnknownIssuer").at_once();
}

#[test]
fn an_authority_file_that_cannot_be_used_is_named() {
    let hub = hub(&model(1, 1));
    let dir = TestDir::new();
    let fetch = |path: &std::path::Path| dir.fetch(&hub, [REPO, FILE]).env("SSL_CERT_FILE", path).run();
    fetch(&dir.path().join("absent.pem")).exits(22).says("SSL_CERT_FILE").says("absent.pem");
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "no certificate").expect("a file");
    fetch(&empty).exits(2).says("SSL_CERT_FILE").says("holds no usable PEM certificate");
    assert!(hub.requests().is_empty());
}
