//! What a run that works says, and where.

use std::path::Path;
use std::process::{Command, Output};

use fake_hub::{FakeHub, Payload, Repo};
use serde_json::Value;
use tempfile::TempDir;

const SIZE: u64 = 3 << 20;

struct Setting {
    hub: FakeHub,
    dir: TempDir,
}

impl Setting {
    fn new() -> Self {
        let repo = Repo::model("o/n").lfs("model.gguf", Payload::gguf(7, SIZE)).small("config.json", "{}");
        let hub = FakeHub::builder().repo(repo).build().expect("a Hub");
        Self { hub, dir: TempDir::new().expect("directory") }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelfetch"));
        command.args(line.split_whitespace()).env_clear().env("HF_ENDPOINT", self.hub.endpoint());
        command.env("HF_HUB_CACHE", self.path("cache")).current_dir(&self.dir);
        command
    }

    fn run(&self, line: &str) -> Output {
        let output = self.command(line).output().expect("the program starts");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn stdout(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stdout).expect("UTF-8")
    }

    fn stderr(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stderr).expect("UTF-8")
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.stdout(line)).expect("one JSON value")
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn the_published_paths_are_all_there_is_on_stdout() {
    let setting = Setting::new();
    assert_eq!(setting.stdout("fetch o/n --dir d"), "d/config.json\nd/model.gguf\n");
    assert_eq!(setting.stdout("fetch o/n model.gguf --dir d"), "d/model.gguf\n");
    let cached = setting.stdout("fetch o/n model.gguf --cache");
    let pointer = Path::new(cached.trim_end());
    assert!(pointer.ends_with("model.gguf") && cached.contains("/snapshots/"), "{cached}");
    assert_eq!(std::fs::metadata(pointer).expect("the path can be opened").len(), SIZE);
}

#[test]
fn a_log_tells_the_run_from_its_request_to_its_result() {
    let setting = Setting::new();
    let log = setting.stderr("fetch o/n model.gguf --dir d");
    let lines: Vec<_> = log.lines().collect();
    for (line, words) in lines.iter().zip([
        "fetch o/n@main (model.gguf) into `d`",
        "asking 127.0.0.1:",
        "o/n at main is commit ",
        "1 of 1 file to do, 3.15 MB to fetch",
        "model.gguf: fetching 3.15 MB",
    ]) {
        assert!(line.contains(words), "{words:?} expected in {log}");
    }
    let [.., published, done] = lines.as_slice() else { panic!("{log}") };
    assert!(
        published.starts_with("model.gguf: verified, 3.") && published.ends_with(" -> d/model.gguf"),
        "{log}"
    );
    assert!(done.starts_with("done in ") && done.ends_with(" fetched of 3.15 MB"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\r'), "{log}");
    let again = setting.stderr("fetch o/n model.gguf --dir d");
    assert!(again.contains("\nnothing to do: 1 verified file in `d`\n"), "{again}");
    assert!(again.ends_with(": 0 B fetched of 3.15 MB\n"), "{again}");
}

/// In a file that takes both, as under `nohup`.
#[test]
fn results_stand_where_they_belong_between_the_messages() {
    let setting = Setting::new();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = setting.command("fetch o/n model.gguf --dir d");
    command.stdout(writer.try_clone().expect("a copy")).stderr(writer);
    let mut child = command.spawn().expect("the program starts");
    drop(command);
    let text = std::io::read_to_string(&mut reader).expect("the log");
    assert!(child.wait().expect("it ends").success(), "{text}");
    let [.., published, result, done] = &*text.lines().collect::<Vec<_>>() else { panic!("{text}") };
    assert!(published.contains(": verified, ") && done.starts_with("done in "), "{text}");
    assert_eq!(*result, "d/model.gguf");
}

#[test]
fn the_json_result_says_what_was_done_about_each_file() {
    let setting = Setting::new();
    let first = setting.json("fetch o/n model.gguf --dir d --json");
    assert_eq!((&first["outcome"], &first["repo"]), (&"ok".into(), &"o/n".into()));
    assert_eq!(first["bytes_total"], SIZE);
    assert!(first["bytes_fetched"].as_u64().expect("a number") >= SIZE, "{first}");
    let file = &first["files"][0];
    assert_eq!((&file["target"], &file["done"]), (&"d/model.gguf".into(), &"fetched".into()));
    assert_eq!(file["digest"], Payload::gguf(7, SIZE).sha256().to_string());
    let second = setting.json("fetch o/n model.gguf --dir d --json");
    assert_eq!((&second["files"][0]["done"], &second["bytes_fetched"]), (&"skipped".into(), &0.into()));
}

#[test]
fn a_plan_says_what_would_be_done_and_leaves_no_trace() {
    let setting = Setting::new();
    let text = setting.stdout("plan o/n --dir d");
    assert!(text.contains("\n  fetch    3.15 MB  model.gguf\n"), "{text}");
    // Other tests write to the same disk.
    let without_space = |text: &str| text.rsplit_once(", ").map(|(text, _)| text.to_owned());
    assert_eq!(without_space(&setting.stdout("fetch o/n --dir d --dry-run")), without_space(&text));
    let plan = setting.json("plan o/n --dir d --json");
    assert_eq!((&plan["command"], &plan["plan"]["repo"]), (&"plan".into(), &"o/n".into()));
    assert_eq!(plan["plan"]["bytes_to_fetch"], SIZE + 2);
    assert!(!setting.path("d").exists());
}

#[test]
fn events_as_json_are_all_that_is_on_stderr() {
    let setting = Setting::new();
    let text = setting.stderr("fetch o/n model.gguf --dir d --progress json");
    let names: Vec<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["event"].as_str().expect("a name").into()
        })
        .filter(|name| name != "progress")
        .collect();
    assert_eq!(names, ["begin", "asking", "resolved", "planned", "started", "published", "finished"]);
}

#[test]
fn the_metrics_of_a_good_run_name_its_repository() {
    let setting = Setting::new();
    setting.run("fetch o/n model.gguf --dir d --metrics-file m.prom --quiet");
    let metrics = std::fs::read_to_string(setting.path("m.prom")).expect("metrics");
    let wanted = format!("modelfetch_wanted_bytes{{command=\"fetch\",repo=\"o/n\"}} {SIZE}\n");
    assert!(metrics.contains(&wanted), "{metrics}");
    assert!(metrics.contains("modelfetch_success{command=\"fetch\",repo=\"o/n\"} 1\n"), "{metrics}");
}

#[test]
fn verify_names_each_file_and_smoke_each_check() {
    let setting = Setting::new();
    setting.run("fetch o/n model.gguf --dir d");
    assert_eq!(setting.stdout("verify --dir d"), "ok        d/model.gguf (3.15 MB)\n");
    let smoke = setting.stdout("smoke o/n model.gguf --dir e");
    let (checks, end) = smoke.trim_end().rsplit_once('\n').expect("lines");
    assert!(checks.lines().count() > 3 && checks.lines().all(|line| line.starts_with("ok  ")), "{smoke}");
    assert!(end.starts_with("a fetch would work: 3.15 MB to fetch"), "{smoke}");
}
