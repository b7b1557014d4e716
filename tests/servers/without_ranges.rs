//! Python's `http.server`: HTTP/1.0, 200 with everything whatever is asked for.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::client::{Client, bytes_fetched};
use crate::content::{Content, SIZE};
use crate::{free_port, wait_for};

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(blobs: &Path) -> Self {
        let port = free_port();
        let process = Command::new("python3")
            .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
            .arg(blobs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3");
        wait_for(port);
        Self { process, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("a running server");
    }
}

#[test]
fn a_server_without_ranges_gives_the_file_in_one_stream() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let content = Content::new(temporary.path());
    let server = Server::start(&content.blobs);
    let hub = content.hub(server.port);
    let client = Client { hub: &hub, dir: &temporary.path().join("models") };

    let result = client.fetch();

    content.assert_is(&client.published());
    assert_eq!(result["files"][0]["size"], SIZE);
    assert_eq!(bytes_fetched(&result), SIZE, "one stream is enough");
}

#[test]
fn a_server_without_ranges_gives_the_right_file_after_sigkill_too() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let content = Content::new(temporary.path());
    let server = Server::start(&content.blobs);
    let hub = content.hub(server.port);
    let client = Client { hub: &hub, dir: &temporary.path().join("models") };

    client.kill_after(SIZE / 4);
    client.fetch();

    content.assert_is(&client.published());
}
