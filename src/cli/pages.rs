//! Pages generated from the flags: shell completions and manual pages.

use std::io;

use clap::Command;
use clap_complete::Shell;

use super::command;

/// The completion script for a shell.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "modelfetch", &mut script);
    script
}

/// The main manual page, in roff.
pub fn man_page() -> io::Result<Vec<u8>> {
    render(command())
}

/// One page per command, with its file name.
pub fn man_pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    add_pages(command(), "modelfetch".into(), &mut pages)?;
    Ok(pages)
}

fn add_pages(command: Command, name: String, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for subcommand in command.get_subcommands() {
        add_pages(subcommand.clone(), format!("{name}-{}", subcommand.get_name()), pages)?;
    }
    pages.push((format!("{name}.1"), render(command.name(name))?));
    Ok(())
}

fn render(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
