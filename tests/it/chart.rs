//! The chart and the program agree: on variables, commands and exit numbers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use modelfetch::cli;
use modelfetch::error::{Advice, EXITS};

fn chart_files(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart").join(folder);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the chart") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("text");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no files in {folder}");
    found
}

fn words_with_prefix<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    text.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

fn variables(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env());
    let mut all: BTreeSet<_> = own.map(|name| name.to_string_lossy().into_owned()).collect();
    all.extend(command.get_subcommands().flat_map(variables));
    all
}

#[test]
fn every_variable_that_the_chart_sets_is_one_that_the_program_reads() {
    let known = variables(&cli::command());
    let mut used = 0;
    for folder in ["templates", "examples"] {
        for (path, text) in chart_files(folder) {
            // The bare prefix is what a template looks for.
            for name in
                words_with_prefix(&text, "MODELFETCH_").into_iter().filter(|name| *name != "MODELFETCH_")
            {
                assert!(known.contains(name), "{}: {name} is read by no command", path.display());
                used += 1;
            }
        }
    }
    assert!(used > 0);
}

#[test]
fn the_job_fails_at_once_on_the_numbers_that_no_retry_helps() {
    // Only `inspect` weighs a model, or asks for its architecture: a fetch never ends with these.
    let is_of_fetch = |reason: &str| !matches!(reason, "too-large" | "unknown-architecture");
    let fail = EXITS.iter().filter(|exit| exit.advice == Advice::Fail && is_of_fetch(exit.reason));
    let expected: Vec<_> = fail.map(|exit| i64::from(exit.number)).collect();
    let (_, text) = chart_files("templates")
        .into_iter()
        .find(|(_, text)| text.contains("onExitCodes"))
        .expect("a podFailurePolicy");
    let list = text.split("values:").nth(1).and_then(|rest| rest.split(['[', ']']).nth(1)).expect("a list");
    let numbers: Vec<i64> = list.split(',').map(|number| number.trim().parse().expect("a number")).collect();
    assert_eq!(numbers, expected);
}

#[test]
fn the_chart_asks_for_the_program_of_its_own_version() {
    let (_, chart) = chart_files("")
        .into_iter()
        .find(|(path, _)| path.file_name().is_some_and(|name| name == "Chart.yaml"))
        .expect("Chart.yaml");
    let version = env!("CARGO_PKG_VERSION");
    assert!(chart.contains(&format!("appVersion: \"{version}\"")), "appVersion is not {version}");
}
