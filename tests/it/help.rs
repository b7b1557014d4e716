//! The help pages, completions and manual: generated, complete and stable.

use clap::Command;
use modelfetch::cli::{self, command};

use crate::snapshot::assert_unchanged;

fn page(name: &str) -> String {
    let mut root = command().term_width(100);
    root.build();
    let found = root.find_subcommand_mut(name).expect("the command exists");
    found.clone().term_width(100).render_long_help().to_string()
}

#[test]
fn the_flags_are_consistent_with_themselves() {
    command().debug_assert();
}

#[test]
fn the_main_page_is_unchanged() {
    assert_unchanged("help.txt", &command().term_width(100).render_long_help().to_string());
}

#[test]
fn the_pages_of_fetch_and_verify_are_unchanged() {
    assert_unchanged("help-fetch.txt", &page("fetch"));
    assert_unchanged("help-verify.txt", &page("verify"));
}

/// Whoever configures a container can reach everything that a flag can.
#[test]
fn every_flag_has_a_variable_named_after_it() {
    fn check(command: &Command) {
        for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
            let name = argument.get_long().unwrap_or(argument.get_id().as_str());
            let expected = format!("MODELFETCH_{}", name.to_uppercase().replace('-', "_"));
            let variable = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(expected.as_str()), "of {name} in {}", command.get_name());
        }
    }
    let root = command();
    for name in ["fetch", "plan", "verify", "smoke", "inspect"] {
        check(root.find_subcommand(name).expect("the command exists"));
    }
}

/// What `fetch` accepts, `plan` and `smoke` accept: one word turns one command into another.
#[test]
fn plan_and_smoke_take_the_flags_of_fetch() {
    let root = command();
    let flags = |name: &str| -> Vec<String> {
        let found = root.find_subcommand(name).expect("the command exists");
        found.get_arguments().map(|argument| argument.get_id().to_string()).collect()
    };
    let fetch: Vec<_> = flags("fetch").into_iter().filter(|id| id != "dry_run").collect();
    assert_eq!(flags("plan"), fetch);
    assert_eq!(flags("smoke"), fetch);
}

#[test]
fn every_command_has_a_manual_page_and_every_shell_a_completion() {
    let pages = cli::man_pages().expect("pages");
    let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["modelfetch", "modelfetch-fetch", "modelfetch-verify", "modelfetch-cluster-ensure-claim"] {
        assert!(names.contains(&format!("{name}.1").as_str()), "{name} is missing in {names:?}");
    }
    assert!(pages.iter().all(|(_, page)| String::from_utf8_lossy(page).contains(".TH")));
    for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish] {
        assert!(String::from_utf8_lossy(&cli::completions(shell)).contains("limit-rate"), "{shell}");
    }
}
