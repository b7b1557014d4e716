//! The real binary, run to its end or killed on the way.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fake_hub::FakeHub;
use serde_json::Value;

use crate::content::{FILE, REPO};

/// `modelfetch fetch` into one directory.
pub(crate) struct Client<'a> {
    pub(crate) hub: &'a FakeHub,
    pub(crate) dir: &'a Path,
}

impl Client<'_> {
    /// Where the file is published.
    pub(crate) fn published(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    /// Runs to the end and returns the JSON result of a success.
    pub(crate) fn fetch(&self) -> Value {
        let output = self.command().arg("--json").output().expect("the binary");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{stderr}", output.status);
        serde_json::from_slice(&output.stdout).expect("a JSON result")
    }

    /// Sends SIGKILL when `on_disk` bytes are reported to have arrived; returns the last report.
    pub(crate) fn kill_after(&self, on_disk: u64) -> u64 {
        let mut child = self
            .command()
            .args(["--progress", "json", "--limit-rate", "40MiB"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let reported = lines.find_map(|line| {
            let event: Value = serde_json::from_str(&line.expect("text")).expect("a JSON event");
            event["on_disk"].as_u64().filter(|&bytes| bytes >= on_disk)
        });
        child.kill().expect("a running process");
        child.wait().expect("a killed process");
        assert!(!self.published().exists(), "the file was published before it was complete");
        reported.expect("progress up to that point")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfetch"));
        command
            .env_clear()
            .env("HF_ENDPOINT", self.hub.endpoint())
            .args(["fetch", REPO, FILE, "--dir"])
            .arg(self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

/// Bytes received by a run, wasted ones included.
pub(crate) fn bytes_fetched(result: &Value) -> u64 {
    result["bytes_fetched"].as_u64().expect("a count of bytes")
}
