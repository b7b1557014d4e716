//! Where each option came from: a flag on the command line beats a variable it contradicts.

use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::error::Error;

/// The origin of every option of one command.
pub(super) struct Given<'a>(pub(super) &'a ArgMatches);

/// One side of a contradiction.
pub(super) struct Side<'a> {
    /// clap's id of the option.
    pub(super) id: &'a str,
    /// Its name for the user.
    pub(super) label: &'a str,
    /// Whether it asks for something.
    pub(super) set: bool,
}

impl Given<'_> {
    /// Whether the option is on the command line or in its `MODELFETCH_*` variable.
    pub(super) fn is_explicit(&self, id: &str) -> bool {
        matches!(self.source(id), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    }

    /// Of two options that exclude each other, which are left set: at most one. With both at the
    /// same place, nobody can say which is meant.
    pub(super) fn at_most_one(&self, first: &Side<'_>, second: &Side<'_>) -> Result<(bool, bool), Error> {
        let chosen = self.one_of([first, second])?;
        let is_chosen = |side: &Side<'_>| side.set && chosen == Some(side.id);
        Ok((is_chosen(first), is_chosen(second)))
    }

    /// Of options that exclude each other, the one that counts, if any is set: the flag, if only one of them is a flag.
    pub(super) fn one_of<'s, const N: usize>(&self, sides: [&Side<'s>; N]) -> Result<Option<&'s str>, Error> {
        let set = || sides.iter().filter(|side| side.set);
        let flags = || set().filter(|side| self.is_flag(side.id));
        let chosen: Vec<_> = if flags().next().is_some() { flags().collect() } else { set().collect() };
        match chosen[..] {
            [] => Ok(None),
            [one] => Ok(Some(one.id)),
            [first, second, ..] => Err(contradiction(first.label, second.label)),
        }
    }

    /// The values of a list. A variable may hold blank lines, which a template easily leaves.
    pub(super) fn lines(&self, id: &str, values: Vec<String>) -> Vec<String> {
        if self.source(id) != Some(ValueSource::EnvVariable) {
            return values;
        }
        let lines = values.iter().map(|line| line.trim()).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    }

    /// The same of paths.
    pub(super) fn paths(&self, id: &str, values: &[PathBuf]) -> Vec<PathBuf> {
        if self.source(id) != Some(ValueSource::EnvVariable) {
            return values.to_vec();
        }
        let lines = values.iter().filter_map(|path| path.to_str()).map(str::trim);
        lines.filter(|line| !line.is_empty()).map(PathBuf::from).collect()
    }

    fn is_flag(&self, id: &str) -> bool {
        self.source(id) == Some(ValueSource::CommandLine)
    }

    fn source(&self, id: &str) -> Option<ValueSource> {
        // Some options exist for some commands only.
        self.0.try_contains_id(id).ok().and_then(|_| self.0.value_source(id))
    }
}

pub(super) fn contradiction(first: &str, second: &str) -> Error {
    Error::invalid("combination", &format!("{first} and {second}"), "give one of them")
}
