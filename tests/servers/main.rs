//! Transfers from real servers, behind the fake Hub's redirect: nginx, and one that knows no
//! ranges. Both come from Debian's packages; `tests/run` installs them.

mod client;
mod content;
mod nginx;
mod without_ranges;

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A port nobody listens on at the moment.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits for a server to accept connections.
fn wait_for(port: u16) {
    let begin = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(10), "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
