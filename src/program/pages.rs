//! Pages about the program.

use std::io::Write as _;
use std::path::Path;

use modelfetch::cli::{self, Page};
use modelfetch::disk::{self, Durability};
use modelfetch::error::Error;
use modelfetch::show::message;

use super::stdout::print;

/// Prints a page about the program, or writes the manual pages into a directory.
pub(super) fn show(page: Page) -> u8 {
    let result = match page {
        Page::Completions(shell) => print(|stdout| stdout.write_all(&cli::completions(shell))),
        Page::Man(None) => cli::man_page()
            .map_err(Error::io("write", "stdout"))
            .and_then(|page| print(|stdout| stdout.write_all(&page))),
        Page::Man(Some(dir)) => write_manual(&dir),
    };
    result.map_or_else(
        |error| {
            message::to_stderr(&message::error(&error, false));
            error.exit_number()
        },
        |()| 0,
    )
}

fn write_manual(dir: &Path) -> Result<(), Error> {
    disk::Dir::create(dir).map(drop)?;
    for (name, page) in cli::man_pages().map_err(Error::io("write", dir))? {
        disk::replace(&dir.join(name), &page, Durability::Process)?;
    }
    Ok(())
}
