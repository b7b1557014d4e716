//! What users build upon: commands, flags, help, variables, exit numbers, fields of JSON, what lies on the disk, the chart's
//! values. Whatever of it differs from the last release has a line in a changelog, and under "Breaking" what would break them.
//! `MODELFETCH_BLESS=released cargo test --test it interface` takes down the interface at a release: docs/releasing.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use fake_hub::{FakeHub, Repo};
use modelfetch::cli;
use modelfetch::error::EXITS;
use serde_json::Value;

use crate::support::{FILE, REPO, TestDir, built, model};

/// A detail of each thing, by its name: `fetch --quant`, `exit 10`, `json of fetch: files[].path`.
type Interface = BTreeMap<String, String>;

const MANIFEST: &str = "[[model]]\nname = \"chat\"\nrepo = \"owner/name\"\n";
/// Words before a name. The first three may change as long as the change is told; to change the others breaks readers.
const PAGE: &str = "help of";
const FLAG: &str = "flag";
const VARIABLE: &str = "variable";
const EXIT: &str = "exit";
const JSON: &str = "json";
const DISK: &str = "disk";
const VALUES: &str = "values";

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

fn add_commands(command: &Command, path: &str, all: &mut Interface) {
    for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
        let name = argument.get_long().map_or_else(|| value_name(argument), |long| format!("--{long}"));
        all.insert(format!("{FLAG} {path} {name}"), detail(argument));
    }
    // All that is written beside the flags: examples, what the exit numbers mean.
    let page = command.clone().term_width(100).render_long_help().to_string();
    all.insert(format!("{PAGE} {path}"), short_digest(&page));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        add_commands(below, &format!("{path} {}", below.get_name()), all);
    }
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn detail(argument: &Arg) -> String {
    let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let default: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let possible: Vec<_> =
        argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    [value_name(argument), variable, default.join(" "), possible.join("|"), help].join("; ")
}

fn short_digest(text: &str) -> String {
    let mut hex = String::new();
    for byte in &<sha2::Sha256 as sha2::Digest>::digest(text)[..6] {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Paths and types of all fields, `[]` for the entries of a list.
fn add_fields(value: &Value, path: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(entries) => {
            for entry in entries {
                add_fields(entry, &format!("{path}[]"), found);
            }
            "list"
        }
        Value::Object(fields) => {
            let dot = if path.is_empty() { "" } else { "." };
            for (name, field) in fields {
                add_fields(field, &format!("{path}{dot}{name}"), found);
            }
            "object"
        }
    };
    if !path.is_empty() {
        found.entry(path.to_owned()).or_default().insert(kind);
    }
}

fn add_json(kind: &str, of: &str, value: &Value, all: &mut Interface) {
    let mut found = BTreeMap::new();
    add_fields(value, "", &mut found);
    for (path, kinds) in found {
        all.insert(format!("{kind} of {of}: {path}"), kinds.into_iter().collect::<Vec<_>>().join("|"));
    }
}

/// Runs every command that has a result of its own, and looks at what it prints and leaves.
fn add_runs(all: &mut Interface) {
    let model = model(1, 1);
    let hub: FakeHub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model)));
    let dir = TestDir::new();
    fs::write(dir.path().join("models.toml"), MANIFEST).expect("a manifest");
    let of_hub = |command, arguments: &[&'static str]| {
        let job = dir.job(command, &hub, arguments.iter().copied().chain(["--json"]));
        job.run().succeeds().json()
    };
    let here = |command, arguments: &[&'static str]| {
        let job = dir.command([command]).env("HF_ENDPOINT", hub.endpoint()).args(arguments).arg("--json");
        job.run().succeeds().json()
    };
    add_json(JSON, "plan", &of_hub("plan", &[REPO, FILE]), all);
    add_json(JSON, "smoke", &of_hub("smoke", &[REPO, FILE]), all);
    let events = dir.fetch(&hub, [REPO, FILE, "--progress", "json"]).run().succeeds().stderr;
    for event in events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        let name = event["event"].as_str().expect("a name");
        // How many of these there are is the machine's affair, and so is what is unknown at that moment.
        if !["progress", "retrying", "recovered"].contains(&name) {
            add_json(JSON, &format!("event {name}"), &event, all);
        }
    }
    add_json(JSON, "fetch", &of_hub("fetch", &[REPO, FILE]), all);
    add_json(JSON, "verify", &of_hub("verify", &[]), all);
    add_json(JSON, "list", &of_hub("list", &[]), all);
    add_json(JSON, "plan of models", &of_hub("plan", &["--manifest", "models.toml"]), all);
    add_json(JSON, "lock", &here("lock", &[]), all);
    add_json(JSON, "fetch of models", &of_hub("fetch", &["--manifest", "models.toml"]), all);
    add_json(JSON, "prune", &of_hub("prune", &["--keep", "models.lock"]), all);
    let receipt = fs::read(dir.state("receipts").join(format!("{FILE}.json"))).expect("a receipt");
    add_json(DISK, "a receipt", &serde_json::from_slice(&receipt).expect("JSON"), all);
    let lock = fs::read_to_string(dir.path().join("models.lock")).expect("a lock file");
    for line in lock.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, _)) = line.trim_start_matches(['{', ' ']).split_once(" = ") {
            all.insert(format!("{DISK} of models.lock: {key}"), String::new());
        }
    }
}

fn add_values(schema: &Value, root: &Value, path: &str, all: &mut Interface) {
    let named = schema["$ref"].as_str().and_then(|name| root.pointer(name.trim_start_matches('#')));
    let schema = named.unwrap_or(schema);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        add_values(below, root, &format!("{path}{dot}{name}"), all);
    }
    if !path.is_empty() {
        all.insert(format!("{VALUES} {path}"), schema["type"].to_string());
    }
}

fn interface() -> Interface {
    let mut all = Interface::new();
    let mut root = cli::command().term_width(100);
    root.build();
    add_commands(&root, "modelfetch", &mut all);
    for variable in cli::VARIABLES {
        all.insert(format!("{VARIABLE} {}", variable.name), variable.meaning.to_owned());
    }
    for exit in EXITS {
        let meaning = format!("{}; {}; {}", exit.reason, exit.advice.word(), exit.meaning);
        all.insert(format!("{EXIT} {}", exit.number), meaning);
    }
    add_runs(&mut all);
    let values: Value = serde_json::from_str(&read("chart/values.schema.json")).expect("JSON");
    add_values(&values, &values, "", &mut all);
    all
}

fn written(interface: &Interface) -> String {
    let lines =
        interface.iter().map(|(name, detail)| format!("{name} | {detail}").trim_end().to_owned() + "\n");
    lines.collect()
}

fn parsed(text: &str) -> Interface {
    let lines = text.lines().map(|line| line.split_once(" |").expect("a name and a detail"));
    lines.map(|(name, detail)| (name.to_owned(), detail.trim_start().to_owned())).collect()
}

/// The part of a changelog before its first release, and in it what is under "Breaking".
fn unreleased(changelog: &str) -> (&str, &str) {
    let unreleased = section(changelog, "\n## Unreleased\n", "\n## ");
    (unreleased, section(unreleased, "\n### Breaking\n", "\n### "))
}

fn section<'a>(text: &'a str, heading: &str, end: &str) -> &'a str {
    let Some(start) = text.find(heading) else { return "" };
    let rest = &text[start + heading.len() - 1..];
    &rest[..rest.find(end).unwrap_or(rest.len())]
}

/// Whether the word stands in the text between backticks, alone or with others.
fn mentions(text: &str, word: &str) -> bool {
    text.split('`').skip(1).step_by(2).any(|code| code.split([' ', ',']).any(|part| part == word))
}

/// What a changelog should say and doesn't.
fn missing(released: &Interface, now: &Interface, changelog: &str) -> Vec<String> {
    let (told, breaking) = unreleased(changelog);
    let names: BTreeSet<_> = released.keys().chain(now.keys()).collect();
    let changed = names.into_iter().filter(|name| released.get(*name) != now.get(*name));
    let untold = changed.filter_map(|name| {
        let kind = name.split(' ').next().expect("a kind");
        let breaks = released.contains_key(name)
            && (!now.contains_key(name) || [EXIT, JSON, DISK, VALUES].contains(&kind));
        let word = name.rsplit(' ').next().expect("a word");
        let (place, text) = if breaks { ("Breaking", breaking) } else { ("Unreleased", told) };
        (!mentions(text, word)).then(|| format!("`{word}` ({name}) under {place}"))
    });
    untold.collect()
}

#[test]
fn what_differs_from_the_last_release_is_in_a_changelog() {
    let now = interface();
    let path = file("tests/it/snapshots/released.txt");
    if std::env::var_os("MODELFETCH_BLESS").is_some_and(|value| value == "released") {
        fs::write(&path, written(&now)).expect("a file that can be written");
    }
    let released = parsed(&fs::read_to_string(&path).expect("the interface of the last release"));
    let is_of_chart = |name: &String| name.starts_with(VALUES);
    for (changelog, of_chart) in [("CHANGELOG.md", false), ("chart/CHANGELOG.md", true)] {
        let part = |all: &Interface| -> Interface {
            all.iter()
                .filter(|(name, _)| is_of_chart(name) == of_chart)
                .map(|(name, detail)| (name.clone(), detail.clone()))
                .collect()
        };
        let missing = missing(&part(&released), &part(&now), &read(changelog));
        assert!(missing.is_empty(), "{changelog} has no line about:\n{}", missing.join("\n"));
    }
}

#[test]
fn a_change_without_a_line_is_found_and_one_that_breaks_needs_the_line_under_breaking() {
    let released = parsed("flag fetch --old | a\nexit 10 | a\nhelp of fetch | 1\n");
    let now = parsed("flag fetch --new | a\nexit 10 | b\nhelp of fetch | 2\n");
    let untold = |log: &str| missing(&released, &now, log);
    assert_eq!(untold("# Changelog\n").len(), 4);
    let told = "\n## Unreleased\n\n- `--new`, `--old` and `10` of `fetch`.\n";
    let only_breaking = ["`10` (exit 10) under Breaking", "`--old` (flag fetch --old) under Breaking"];
    assert_eq!(untold(told), only_breaking);
    assert_eq!(untold(&format!("{told}\n### Breaking\n\n- `10`: b. `fetch --old` is gone.\n")), [""; 0]);
    // What was said of an older release is not said of this one.
    let before = "\n## Unreleased\n\n## 0.1.0\n\n- `--new`, `fetch`\n\n### Breaking\n\n- `10`, `--old`\n";
    assert_eq!(untold(before).len(), 4);
}
