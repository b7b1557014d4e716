//! `cargo run --release --example demo`: the main job, shown on a machine without a network.
//!
//! A Hub on loopback offers a model over slow connections. The real program fetches it, is killed
//! half-way, goes on where it was, verifies the file, and has nothing to do when it is run again.

#![expect(clippy::print_stdout, reason = "a demo is read")]

use std::error::Error;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fake_hub::{FakeHub, Payload, Repo, Server};
use serde_json::Value;

const REPO: &str = "demo/tiny-model-GGUF";
const FILE: &str = "tiny-model-Q4_K_M.gguf";
const SIZE: u64 = 256 << 20;
/// Bytes per second of each connection: slow enough to watch.
const RATE: u32 = 4 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let program = built()?;
    let target = tempfile::tempdir()?;
    let hub = FakeHub::builder()
        .repo(Repo::model(REPO).lfs(FILE, Payload::gguf(7, SIZE)))
        .rate_per_connection(RATE)
        .build()?;
    let demo = Demo { program, hub, dir: target.path() };

    say("A Hub on this machine offers one model file");
    println!("{REPO}/{FILE}, {} at {}", mib(SIZE), demo.hub.endpoint());
    println!("Each connection brings {} per second.", mib(RATE.into()));

    say("Fetch it, and kill the fetch half-way with SIGKILL");
    demo.killed_at(SIZE / 2)?;

    say("Run the same command again");
    let resumed = demo.result(&["fetch", REPO, FILE])?;
    let fetched = resumed["bytes_fetched"].as_u64().ok_or("a result without bytes_fetched")?;

    say("Hash what is on disk once more");
    run(demo.command(&["verify"]))?;

    say("Run the fetch a third time");
    let (branch, asked) = demo.timed(&["fetch", REPO, FILE])?;
    let commit = resumed["commit"].as_str().ok_or("a result without a commit")?;
    let (pinned, silent) = demo.timed(&["fetch", REPO, FILE, "--revision", commit])?;

    say("What happened");
    println!("The killed fetch left {} that were not paid for twice:", mib(SIZE - fetched));
    println!(
        "the second run fetched {} of {}, and only a verified file was published.",
        mib(fetched),
        mib(SIZE)
    );
    println!("The third run took {} and {asked} request(s), because `main` may have moved;", millis(branch));
    println!("pinned to a commit it took {} and {silent} request(s).", millis(pinned));
    Ok(())
}

/// Builds the program that users get: cargo builds no binaries for an example. Asking for the example
/// too selects the same features, so that nothing is compiled twice.
fn built() -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--bin", "modelfetch", "--example", "demo"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("cargo build: {}", output.status).into());
    }
    let executable = output.stdout.split(|&byte| byte == b'\n').find_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        let is_program = message["target"]["kind"][0] == "bin";
        message["executable"].as_str().filter(|_| is_program).map(PathBuf::from)
    });
    Ok(executable.ok_or("cargo build named no executable")?)
}

struct Demo<'a> {
    program: PathBuf,
    hub: FakeHub,
    dir: &'a Path,
}

impl Demo<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--dir").arg(self.dir).env("HF_ENDPOINT", self.hub.endpoint());
        let shown: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        println!("{}", dim(&format!("$ modelfetch {}", shown.join(" "))));
        command
    }

    /// Starts a fetch and kills it when the CDN has sent this many bytes.
    fn killed_at(&self, bytes: u64) -> Result<(), Box<dyn Error>> {
        let mut child = self.command(&["fetch", REPO, FILE]).spawn()?;
        while self.hub.bytes_sent(Server::Cdn) < bytes {
            if let Some(status) = child.try_wait()? {
                return Err(format!("the fetch ended before it was killed: {status}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill()?;
        let status = child.wait()?;
        println!("\n{status}");
        let published = self.dir.join(FILE).exists();
        println!("A file at the final name: {}.", if published { "yes" } else { "no, it is not complete" });
        Ok(())
    }

    fn result(&self, arguments: &[&str]) -> Result<Value, Box<dyn Error>> {
        let mut command = self.command(arguments);
        let output = command.arg("--json").stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(output.status.to_string().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Runs to the end; gives the time and the number of requests it took.
    fn timed(&self, arguments: &[&str]) -> Result<(Duration, usize), Box<dyn Error>> {
        self.hub.clear();
        let command = self.command(arguments);
        let begin = Instant::now();
        run(command)?;
        Ok((begin.elapsed(), self.hub.requests().len()))
    }
}

/// To its end, which must be a success.
fn run(mut command: Command) -> Result<(), Box<dyn Error>> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

fn say(headline: &str) {
    println!("\n{}", styled("1", headline));
}

fn dim(text: &str) -> String {
    styled("2", text)
}

fn styled(code: &str, text: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain || !std::io::stdout().is_terminal() { text.into() } else { format!("\x1b[{code}m{text}\x1b[0m") }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
