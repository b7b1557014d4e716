//! The program as a process: its streams, files, exit numbers and signals.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::command::AT_ONCE;

/// The program, with no variable of whoever runs the tests.
fn program(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelfetch"));
    command.args(line.split_whitespace()).env_clear();
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("the program exited by itself")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("the file is there")).expect("JSON")
}

/// A request that needs no network and cannot succeed: its error names what was understood.
fn offline(line: &str, variables: &[(&str, &str)]) -> String {
    let dir = TempDir::new().expect("directory");
    let mut command = program(line);
    let output =
        run(command.envs(variables.iter().copied()).env("MODELFETCH_OFFLINE", "1").current_dir(&dir));
    assert_eq!(code(&output), 32, "{}", stderr(&output));
    stderr(&output).lines().find(|line| line.starts_with("error: ")).expect("an error").to_owned()
}

#[test]
fn help_goes_to_stdout_and_wrong_usage_to_stderr() {
    let help = run(&mut program("--help"));
    assert_eq!((code(&help), stderr(&help)), (0, String::new()));
    assert!(stdout(&help).contains("modelfetch fetch ggml-org/gpt-oss-20b-GGUF"));
    let wrong = run(&mut program("fetch o/n --nonsense"));
    assert_eq!((code(&wrong), stdout(&wrong)), (2, String::new()));
    assert!(stderr(&wrong).contains("--nonsense"));
    let version = run(&mut program("--version"));
    assert_eq!(stdout(&version), concat!("modelfetch ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn variables_replace_flags_and_arguments() {
    let variables = [("MODELFETCH_REPO", "o/n"), ("MODELFETCH_FILES", "a.gguf\n\n  b.gguf \n")];
    let error = offline("fetch", &[variables[0], variables[1], ("MODELFETCH_DIR", "from-variable")]);
    assert_eq!(error, "error: `a.gguf, b.gguf` of `o/n` is not in `from-variable` and the run is offline");
}

#[test]
fn a_flag_beats_its_variable_and_the_variable_it_contradicts() {
    let error = offline("fetch o/n a --dir flag", &[("MODELFETCH_DIR", "variable")]);
    assert!(error.contains("`flag`"), "{error}");
    let error = offline("fetch o/n a --cache=flag", &[("MODELFETCH_DIR", "variable")]);
    assert!(error.contains("`flag`"), "{error}");
    let error = offline("fetch o/n a --dir flag", &[("MODELFETCH_CACHE", "true"), ("HOME", "/h")]);
    assert!(error.contains("`flag`"), "{error}");
    let error = offline("fetch o/n:Q8_0", &[("MODELFETCH_FILES", "a.gguf")]);
    assert!(error.contains("quantization Q8_0"), "{error}");
}

#[test]
fn the_cache_variable_is_a_place_or_a_switch() {
    let place = |value| offline("fetch o/n a", &[("MODELFETCH_CACHE", value), ("HF_HUB_CACHE", "usual")]);
    assert!(place("there").contains("`there`"));
    assert!(place("true").contains("`usual`"));
    assert!(place("off").contains("`.`"));
}

/// Charts render what is not set as an empty string.
#[test]
fn every_empty_variable_counts_as_absent() {
    let names = |name: &str| -> Vec<String> {
        let root = modelfetch::cli::command();
        let found = root.find_subcommand(name).expect("the command exists");
        found
            .get_arguments()
            .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
            .filter(|name| name != "MODELFETCH_OFFLINE")
            .collect()
    };
    let standard = modelfetch::cli::VARIABLES.iter().map(|variable| variable.name.to_owned());
    let all: Vec<_> = names("fetch").into_iter().chain(standard).collect();
    assert!(all.len() > 40, "{all:?}");
    for value in ["", " ", "\n"] {
        let empty: Vec<_> = all.iter().map(|name| (name.as_str(), value)).collect();
        let error = offline("fetch o/n a", &empty);
        assert_eq!(error, "error: `a` of `o/n` is not in `.` and the run is offline");
    }
}

#[test]
fn switches_in_variables_are_words_people_use() {
    let dir = TempDir::new().expect("directory");
    let run_with = |value: &str| {
        let mut command = program("plan o/n a --endpoint http://127.0.0.1:9 --give-up-after 100ms");
        code(&run(command.env("MODELFETCH_OFFLINE", value).env("HF_HUB_OFFLINE", "1").current_dir(&dir)))
    };
    for on in ["1", "true", "yes", "on", "TRUE"] {
        assert_eq!(run_with(on), 32, "{on}");
    }
    for off in ["0", "false", "no", "off"] {
        assert_eq!(run_with(off), 30, "{off} beats HF_HUB_OFFLINE, so the Hub is asked in vain");
    }
    assert_eq!(run_with("perhaps"), 2);
}

/// A script whose variable is empty must not fetch a whole repository.
#[test]
fn an_empty_file_argument_is_refused() {
    let mut command = program("fetch o/n");
    let output = run(command.arg(""));
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("file name"), "{}", stderr(&output));
}

#[test]
fn a_failure_leaves_its_reason_wherever_it_was_asked_for() {
    let dir = TempDir::new().expect("directory");
    let (last_words, metrics) = (dir.path().join("last-words"), dir.path().join("metrics.prom"));
    let mut command = program("fetch o/n a --offline --json");
    let output = run(command
        .current_dir(&dir)
        .env("MODELFETCH_TERMINATION_MESSAGE", &last_words)
        .env("MODELFETCH_METRICS_FILE", &metrics));
    assert_eq!(code(&output), 32);
    let printed: Value = serde_json::from_str(&stdout(&output)).expect("one JSON value");
    for summary in [printed, json(&last_words)] {
        assert_eq!(summary["schema"], 1);
        assert_eq!((&summary["command"], &summary["outcome"]), (&"fetch".into(), &"error".into()));
        assert_eq!((&summary["exit"], &summary["reason"]), (&32.into(), &"offline".into()));
        assert!(summary["hint"].as_str().expect("hint").contains("HF_HUB_OFFLINE"));
    }
    let metrics = std::fs::read_to_string(metrics).expect("metrics");
    assert!(metrics.contains("modelfetch_exit_number{command=\"fetch\",repo=\"\"} 32\n"), "{metrics}");
}

#[test]
fn wrong_usage_reaches_the_termination_message_too() {
    let dir = TempDir::new().expect("directory");
    let path = dir.path().join("last-words");
    for line in ["fetch o/n --nonsense", "fetch not-a-repo", "fetch o/n --sha256 abc"] {
        let mut command = program(line);
        let output = run(command.arg("--termination-message").arg(&path).current_dir(&dir));
        assert_eq!(code(&output), 2);
        let summary = json(&path);
        assert_eq!((&summary["exit"], &summary["reason"]), (&2.into(), &"usage".into()), "{line}");
        assert!(!summary["error"].as_str().expect("error").is_empty());
        std::fs::remove_file(&path).expect("removed");
    }
}

#[test]
fn an_unwritable_termination_message_is_a_warning_and_unwritable_metrics_an_error() {
    let dir = TempDir::new().expect("directory");
    let mut command = program("fetch o/n a --offline --termination-message absent/dir/file");
    let output = run(command.current_dir(&dir));
    assert_eq!(code(&output), 32);
    assert!(stderr(&output).contains("warning: cannot write the termination message"), "{}", stderr(&output));
    std::fs::write(dir.path().join("file"), "").expect("file");
    let mut command = program("fetch o/n a --offline --metrics-file file/metrics.prom");
    let output = run(command.current_dir(&dir));
    assert_eq!(code(&output), 32, "the first failure decides");
    assert!(
        stderr(&output).contains("metrics.prom") || stderr(&output).contains("`file`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn quiet_prints_nothing_but_the_error() {
    let dir = TempDir::new().expect("directory");
    let output = run(program("fetch o/n a --offline --quiet").current_dir(&dir));
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().map(|line| line.split(':').next().unwrap_or("")).collect();
    assert_eq!(lines, ["error", "hint"], "{text}");
}

#[test]
fn json_progress_is_json_from_the_first_line_to_the_last_event() {
    let dir = TempDir::new().expect("directory");
    let output = run(program("fetch o/n a --offline --progress json").current_dir(&dir));
    let text = stderr(&output);
    let events: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(events.iter().all(|event| event["schema"] == 1 && event["time"].is_number()), "{text}");
    assert_eq!(events.first().expect("events")["event"], "begin");
    let last = events.last().expect("events");
    assert_eq!((&last["event"], &last["summary"]["exit"]), (&"finished".into(), &32.into()));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = program("completions bash");
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn the_manual_is_printed_or_written() {
    let dir = TempDir::new().expect("directory");
    assert!(stdout(&run(&mut program("man"))).contains(".TH modelfetch"));
    let output = run(program("man").arg(dir.path().join("man1")));
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let page = std::fs::read_to_string(dir.path().join("man1/modelfetch-fetch.1")).expect("page");
    assert!(page.contains("limit\\-rate"), "{page}");
}

/// A Hub that takes the question and never answers.
struct Silence(TcpListener);

impl Silence {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// The program, once it waits for an answer.
    fn ask(&self, dir: &TempDir, line: &str) -> Child {
        let endpoint = format!("http://{}", self.0.local_addr().expect("address"));
        let mut command = program(line);
        command.arg("--endpoint").arg(endpoint).current_dir(dir);
        let child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (connection, _) = self.0.accept().expect("the program connects");
        // Kept open until the test ends.
        std::mem::forget(connection);
        child
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("the program is there");
}

#[test]
fn signals_end_the_run_at_once_and_have_their_own_numbers() {
    let silence = Silence::new();
    for (signal, number, name) in [(Signal::TERM, 143, "SIGTERM"), (Signal::INT, 130, "SIGINT")] {
        let dir = TempDir::new().expect("directory");
        let child = silence.ask(&dir, "fetch o/n a.gguf --dir d --json");
        let sent = Instant::now();
        send(&child, signal);
        let output = child.wait_with_output().expect("it ends");
        assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
        assert_eq!(code(&output), number);
        assert!(stderr(&output).contains(&format!("error: interrupted by {name}")), "{}", stderr(&output));
        let summary: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        assert_eq!(summary["reason"], "interrupted");
    }
}

#[test]
fn the_deadline_ends_the_run() {
    let silence = Silence::new();
    let dir = TempDir::new().expect("directory");
    let child = silence.ask(&dir, "fetch o/n a.gguf --dir d --deadline 300ms");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 30, "{}", stderr(&output));
    assert!(stderr(&output).contains("error: the deadline of 300 ms passed"), "{}", stderr(&output));
}

#[test]
fn a_log_shows_life_while_the_hub_is_still_being_asked() {
    let silence = Silence::new();
    let dir = TempDir::new().expect("directory");
    let child = silence.ask(&dir, "fetch o/n a.gguf --dir d");
    send(&child, Signal::TERM);
    let output = child.wait_with_output().expect("it ends");
    let text = stderr(&output);
    assert!(text.contains("\nasking 127.0.0.1:") && text.contains(" for a.gguf\n"), "{text}");
}
