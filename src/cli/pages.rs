//! Pages generated from the flags: shell completions and manual pages.

use std::io;

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
    let mut command = command();
    command.build();
    let mut pages = vec![("modelfetch.1".to_owned(), man_page()?)];
    for subcommand in command.get_subcommands() {
        let name = format!("modelfetch-{}", subcommand.get_name());
        pages.push((format!("{name}.1"), render(subcommand.clone().name(name))?));
    }
    Ok(pages)
}

fn render(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
