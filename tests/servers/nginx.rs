//! nginx as the CDN.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::client::{Client, bytes_fetched};
use crate::content::{Content, SIZE};
use crate::{free_port, wait_for};

/// Bytes on the disk that a SIGKILL may cost.
const KILL_COST_MAX: u64 = 32 << 20;

struct Nginx {
    process: Child,
    dir: PathBuf,
    port: u16,
}

impl Nginx {
    /// Serves `blobs`; `extra` goes into the server block.
    fn start(dir: &Path, blobs: &Path, extra: &str) -> Self {
        let port = free_port();
        let root = blobs.display();
        // Workers change to an unprivileged user, who may not enter a private temporary directory.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = format!(
            "{user} daemon off; worker_processes 2; pid nginx.pid; error_log error.log;
            events {{}}
            http {{
              log_format request '$request_method $status \"$http_range\" $body_bytes_sent';
              access_log access.log request;
              client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
              uwsgi_temp_path uwsgi; scgi_temp_path scgi;
              server {{ listen 127.0.0.1:{port}; root {root}; {extra} }}
            }}"
        );
        fs::write(dir.join("nginx.conf"), config).expect("a writable directory");
        let process = Self::command(dir)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin")
            .spawn()
            .expect("nginx: `tests/run` installs it, or `apt-get install nginx`");
        wait_for(port);
        Self { process, dir: dir.into(), port }
    }

    fn command(dir: &Path) -> Command {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "error.log"]);
        command
    }

    /// One line per answer: method, status, range, bytes.
    fn requests(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.join("access.log")).expect("a log");
        log.lines().map(ToOwned::to_owned).collect()
    }

    /// Cuts all connections: the workers are killed, and the master starts new ones.
    fn kill_workers(&self) {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        for worker in fs::read_to_string(children).expect("a running master").split_whitespace() {
            let status = Command::new("kill").args(["-KILL", worker]).status().expect("kill");
            assert!(status.success(), "worker {worker} was not there");
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master takes its workers with it.
        let stopped = Self::command(&self.dir).args(["-s", "stop"]).status();
        let waited = self.process.wait();
        assert!(stopped.is_ok() && waited.is_ok() || std::thread::panicking(), "nginx did not stop");
    }
}

/// The directories of one test.
struct Place {
    temporary: TempDir,
    content: Content,
}

impl Place {
    fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let content = Content::new(temporary.path());
        Self { temporary, content }
    }

    fn nginx(&self, extra: &str) -> Nginx {
        Nginx::start(self.temporary.path(), &self.content.blobs, extra)
    }

    fn target(&self) -> PathBuf {
        self.temporary.path().join("models")
    }
}

#[test]
#[ignore = "needs nginx, which tests/run installs"]
fn a_file_comes_whole_in_answered_ranges() {
    let place = Place::new();
    let nginx = place.nginx("");
    let hub = place.content.hub(nginx.port);
    let client = Client { hub: &hub, dir: &place.target() };

    let result = client.fetch();

    place.content.assert_is(&client.published());
    // What a slow connection had under way when another one took over its rest comes twice.
    assert!(bytes_fetched(&result) < SIZE + SIZE / 50, "{result}");
    let requests = nginx.requests();
    assert!(requests.len() > 1, "{requests:?}");
    assert!(requests.iter().all(|line| line.starts_with("GET 206 \"bytes=")), "{requests:?}");
}

#[test]
#[ignore = "needs nginx, which tests/run installs"]
fn after_sigkill_the_next_run_fetches_only_what_is_missing() {
    let place = Place::new();
    let nginx = place.nginx("");
    let hub = place.content.hub(nginx.port);
    let client = Client { hub: &hub, dir: &place.target() };

    let mut on_disk = client.kill_after(SIZE / 4);
    on_disk = on_disk.max(client.kill_after(SIZE / 2));
    let result = client.fetch();

    place.content.assert_is(&client.published());
    assert_eq!(result["files"][0]["done"], "resumed");
    let fetched = bytes_fetched(&result);
    assert!(fetched <= SIZE - on_disk + KILL_COST_MAX, "{fetched} fetched, {on_disk} were on disk");
}

#[test]
#[ignore = "needs nginx, which tests/run installs"]
fn a_blob_that_was_stored_anew_between_two_runs_is_not_mixed_with_the_old_one() {
    let place = Place::new();
    let nginx = place.nginx("");
    let hub = place.content.hub(nginx.port);
    let client = Client { hub: &hub, dir: &place.target() };

    client.kill_after(SIZE / 4);
    // nginx makes its validators from the time and the size.
    let blob = fs::File::options().append(true).open(place.content.blob()).expect("the blob");
    blob.set_modified(SystemTime::now() - Duration::from_hours(1)).expect("a file of ours");
    let result = client.fetch();

    place.content.assert_is(&client.published());
    assert_eq!(result["files"][0]["size"], SIZE);
}

#[test]
#[ignore = "needs nginx, which tests/run installs"]
fn workers_that_die_on_the_way_cost_a_retry_and_no_failure() {
    let place = Place::new();
    let nginx = place.nginx("limit_rate 16m;");
    let hub = place.content.hub(nginx.port);
    let client = Client { hub: &hub, dir: &place.target() };

    let result = std::thread::scope(|scope| {
        let fetch = scope.spawn(|| client.fetch());
        let partial = place.target().join(".modelfetch/partial");
        while !partial.exists() {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        nginx.kill_workers();
        fetch.join().expect("a fetch that succeeds")
    });

    place.content.assert_is(&client.published());
    assert!(result["retries"].as_u64() > Some(0), "{result}");
}

#[test]
#[ignore = "needs nginx, which tests/run installs"]
fn connections_that_nginx_closes_after_two_answers_do_no_harm() {
    let place = Place::new();
    let nginx = place.nginx("keepalive_requests 2;");
    let hub = place.content.hub(nginx.port);
    let client = Client { hub: &hub, dir: &place.target() };

    let result = client.fetch();

    place.content.assert_is(&client.published());
    assert_eq!(result["retries"], 0, "{result}");
}
