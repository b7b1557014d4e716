//! A reader that does not read stops no download, and no order to stop.

use std::fs::File;
use std::io::{BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fake_hub::{FakeHub, Payload, Repo};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Action, tcflow};
use serde_json::Value;
use tempfile::TempDir;

const SIZE: u64 = 3 << 20;
/// A process that waits for a reader, and is told to end, ends within this.
const SOON: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(20);

struct Setting {
    hub: FakeHub,
    dir: TempDir,
}

impl Setting {
    fn new() -> Self {
        let repo =
            Repo::model("o/n").lfs("a.gguf", Payload::gguf(7, SIZE)).lfs("b.gguf", Payload::gguf(8, SIZE));
        let hub = FakeHub::builder().repo(repo).build().expect("a Hub");
        Self { hub, dir: TempDir::new().expect("directory") }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfetch"));
        command.args(line.split_whitespace()).env_clear().env("HF_ENDPOINT", self.hub.endpoint());
        command.args(["--termination-message", "last-words"]).current_dir(&self.dir);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn fetched(self) -> Self {
        assert!(self.command("fetch o/n --dir d").status().expect("it runs").success());
        std::fs::remove_file(self.path("last-words")).expect("removed");
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn last_words(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("last-words")).expect("last words")).expect("JSON")
    }
}

/// A pipe that takes nothing more, and what it holds.
fn full_pipe() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("set");
    let mut held = 0;
    while writer.write_all(b"\n").is_ok() {
        held += 1;
    }
    fcntl_setfl(&writer, flags).expect("set");
    (reader, writer, held)
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Its exit number, and how long that took.
fn terminated(mut child: Child) -> (Option<i32>, Duration) {
    let pid = Pid::from_raw(child.id().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, Signal::TERM).expect("the program is there");
    let sent = Instant::now();
    wait_for("it ends", || child.try_wait().expect("a child").is_some());
    (child.wait().expect("a child").code(), sent.elapsed())
}

#[test]
fn a_run_whose_messages_nobody_reads_works_and_says_it_all_in_the_end() {
    for style in ["lines", "json", "none"] {
        let setting = Setting::new();
        let (mut reader, writer, held) = full_pipe();
        let mut command = setting.command(&format!("fetch o/n --dir d --verbose --progress {style}"));
        let mut child = command.stderr(writer).spawn().expect("the program starts");
        drop(command);
        wait_for("the last words", || setting.path("last-words").exists());
        assert!(setting.path("d/a.gguf").exists() && setting.path("d/b.gguf").exists());
        assert!(child.try_wait().expect("a child").is_none(), "what was said waits for its reader");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("the rest");
        assert!(child.wait().expect("a child").success());
        let lines: Vec<_> = text[held..].lines().filter(|line| !line.starts_with("DEBUG")).collect();
        match style {
            "lines" => {
                assert!(lines.iter().filter(|line| line.contains(": verified, ")).count() == 2, "{lines:?}");
                assert!(lines.last().is_some_and(|line| line.starts_with("done in ")), "{lines:?}");
            }
            "json" => {
                let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let names: Vec<_> =
                    events.map(|event| event["event"].as_str().unwrap_or("").to_owned()).collect();
                assert_eq!(names.iter().filter(|name| *name == "published").count(), 2, "{names:?}");
                assert_eq!(names.last().map(String::as_str), Some("finished"));
            }
            _ => {}
        }
    }
}

/// As after Ctrl-S.
#[test]
fn a_terminal_that_stands_still_stops_no_download_and_shows_the_end_later() {
    for is_stopped in [false, true] {
        let setting = Setting::new();
        let (keyboard, terminal) = terminal();
        tcflow(&terminal, Action::OOff).expect("stopped");
        let mut command = setting.command("fetch o/n --dir d");
        let mut child = command.stderr(terminal.try_clone().expect("a copy")).spawn().expect("it starts");
        drop(command);
        wait_for("the last words", || setting.path("last-words").exists());
        assert!(setting.path("d/a.gguf").exists() && setting.path("d/b.gguf").exists());
        assert!(child.try_wait().expect("a child").is_none(), "what was said waits for its reader");
        if is_stopped {
            let (number, time) = terminated(child);
            assert_eq!(number, Some(0));
            assert!(time < SOON, "{time:?}");
            continue;
        }
        tcflow(&terminal, Action::OOn).expect("started");
        drop(terminal);
        // Reading from a terminal that nobody has open any more is an error.
        let shown: Vec<u8> = BufReader::new(keyboard).bytes().map_while(Result::ok).collect();
        let shown = String::from_utf8_lossy(&shown);
        assert!(child.wait().expect("a child").success());
        for file in ["a.gguf: verified, ", "b.gguf: verified, "] {
            assert!(shown.contains(file), "{shown}");
        }
        assert!(shown.len() < 4_000, "what is over is not drawn: {shown}");
    }
}

/// The two ends of a terminal.
fn terminal() -> (File, File) {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("its other end");
    let name = ptsname(&keyboard, Vec::new()).expect("its name").into_string().expect("UTF-8");
    let mut options = File::options();
    options.read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed());
    (keyboard.into(), options.open(name).expect("its other end"))
}

#[test]
fn a_signal_ends_a_run_whose_messages_nobody_reads() {
    let setting = Setting::new();
    let (_reader, writer, _) = full_pipe();
    let child = setting.command("fetch o/n --dir d").stderr(writer).spawn().expect("the program starts");
    wait_for("the last words", || setting.path("last-words").exists());
    std::thread::sleep(Duration::from_millis(100));
    let (number, time) = terminated(child);
    assert_eq!(number, Some(0), "the work was done");
    assert!(time < SOON, "{time:?}");
    assert_eq!(setting.last_words()["outcome"], "ok");
}

#[test]
fn a_signal_ends_a_run_whose_results_nobody_reads() {
    let setting = Setting::new().fetched();
    for line in ["verify --dir d", "smoke o/n --dir d", "fetch o/n --dir d"] {
        let (_reader, writer, _) = full_pipe();
        let (mut log, stderr) = pipe().expect("a pipe");
        let mut command = setting.command(line);
        let child = command.stdout(writer).stderr(stderr).spawn().expect("the program starts");
        drop(command);
        std::thread::sleep(Duration::from_millis(700));
        let (number, time) = terminated(child);
        assert!(time < SOON, "{line}: {time:?}");
        let mut text = String::new();
        log.read_to_string(&mut text).expect("stderr");
        assert_eq!(number, Some(143), "{line}: {text}");
        assert!(text.contains("error: interrupted by SIGTERM"), "{line}: {text}");
        assert_eq!(setting.last_words()["reason"], "interrupted", "{line}");
        std::fs::remove_file(setting.path("last-words")).expect("removed");
    }
}
