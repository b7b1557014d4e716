//! The README's tables, rendered from the flags and the exit numbers themselves.

use std::fmt::Write;

use clap::{Arg, Command};

use super::{VARIABLES, command};
use crate::error::EXITS;

/// Every flag with its variable, default and meaning, as Markdown: one table for what `fetch`,
/// `plan` and `smoke` share, then one per command for what it has beside that.
pub fn flags() -> String {
    let command = command();
    let plan = subcommand(&command, "plan");
    let mut text = String::from("| `fetch`, `plan`, `smoke` | variable | default | |\n|---|---|---|---|\n");
    for argument in arguments(plan) {
        row(&mut text, argument);
    }
    let is_shared = |argument: &&Arg| plan.get_arguments().any(|shared| shared.get_id() == argument.get_id());
    let cluster = subcommand(&command, "cluster");
    for (name, special) in [
        ("fetch", subcommand(&command, "fetch")),
        ("inspect", subcommand(&command, "inspect")),
        ("lock", subcommand(&command, "lock")),
        ("prune", subcommand(&command, "prune")),
        ("verify", subcommand(&command, "verify")),
        ("cluster ensure-claim", subcommand(cluster, "ensure-claim")),
        ("cluster patch-service", subcommand(cluster, "patch-service")),
        ("cluster check-server", subcommand(cluster, "check-server")),
    ] {
        let _ = writeln!(text, "\n| only `{name}` | variable | default | |\n|---|---|---|---|");
        for argument in arguments(special).filter(|argument| !is_shared(argument)) {
            row(&mut text, argument);
        }
    }
    text
}

/// The standard variables, as Markdown.
pub fn variables() -> String {
    let mut text = String::from("| variable | meaning |\n|---|---|\n");
    for variable in VARIABLES {
        let _ = writeln!(text, "| `{}` | {} |", variable.name, escape(variable.meaning));
    }
    text
}

/// The exit numbers, as Markdown.
pub fn exits() -> String {
    let mut text = String::from("| number | meaning | a Job should |\n|---|---|---|\n");
    for exit in EXITS {
        let _ = writeln!(text, "| {} | {} | {} |", exit.number, escape(exit.meaning), exit.advice.word());
    }
    text
}

fn subcommand<'a>(command: &'a Command, name: &str) -> &'a Command {
    command.find_subcommand(name).expect("the command exists")
}

fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
}

fn row(text: &mut String, argument: &Arg) {
    let names: Vec<_> =
        argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let value = if is_switch(argument) { String::new() } else { names.join(" ") };
    let shown = match argument.get_long() {
        None => value,
        Some(long) if value.is_empty() => format!("--{long}"),
        Some(long) if argument.is_require_equals_set() => format!("--{long}[={value}]"),
        Some(long) => format!("--{long} {value}"),
    };
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let variable = argument.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let (help, default) = split_default(&help);
    let default = default.map_or_else(|| default_value(argument), str::to_owned);
    let _ = writeln!(
        text,
        "| `{}` | {variable} | {} | {} |",
        escape(&format!("{short}{shown}")),
        escape(&default),
        escape(help)
    );
}

/// Options whose default depends on other things name it at the end of their help.
fn split_default(help: &str) -> (&str, Option<&str>) {
    let Some((help, default)) = help.rsplit_once(" [default: ") else { return (help, None) };
    (help, default.strip_suffix(']'))
}

fn default_value(argument: &Arg) -> String {
    if argument.is_required_set() {
        return "required".into();
    }
    let values = argument.get_default_values().iter().filter(|_| !is_switch(argument));
    values.map(|value| value.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn is_switch(argument: &Arg) -> bool {
    !argument.get_action().takes_values()
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
