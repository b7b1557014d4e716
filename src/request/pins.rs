//! The digests that a user pins.

use std::collections::{BTreeMap, BTreeSet};

use super::RepoPath;
use crate::content::Sha256;
use crate::words::Invalid;

/// The digests a user pins with `--sha256 [FILE=]HEX`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    any: Option<Sha256>,
    by_path: BTreeMap<RepoPath, Sha256>,
    /// An earlier run wrote them down; nobody asked for these bytes by their digest.
    are_recorded: bool,
}

impl Pins {
    /// Reads the values of `--sha256`. At most one may come without a file name.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let mut pins = Self::default();
        for value in values {
            // A digest never contains `=`, a path may.
            match value.rsplit_once('=') {
                Some((path, hex)) => {
                    let digest = hex.trim().parse()?;
                    if pins.by_path.insert(path.parse()?, digest).is_some_and(|other| other != digest) {
                        return Err(Invalid::new("SHA256 pin", path, "two different digests for one file"));
                    }
                }
                None if pins.any.is_none() => pins.any = Some(value.trim().parse()?),
                None => {
                    return Err(Invalid::new(
                        "SHA256 pin",
                        value,
                        "a second digest without a file name; write FILE=HEX",
                    ));
                }
            }
        }
        Ok(pins)
    }

    /// What an earlier run found a file to be: it must be that again.
    pub fn recorded(path: RepoPath, digest: Sha256) -> Self {
        Self { any: None, by_path: BTreeMap::from([(path, digest)]), are_recorded: true }
    }

    /// Whether somebody wants `path`, one of `selected` files, by its digest, whatever its bytes are.
    pub fn is_wanted_by_digest(&self, path: &RepoPath, selected: usize) -> bool {
        !self.are_recorded && self.for_file(path, selected).is_some()
    }

    /// The pin for `path`, where it is one of `selected` files.
    pub fn for_file(&self, path: &RepoPath, selected: usize) -> Option<Sha256> {
        self.by_path.get(path).copied().or(self.any.filter(|_| selected == 1))
    }

    /// Checks the pins against the files that were selected: a pin nobody uses is a mistake.
    pub fn check_used<'a>(
        &self,
        selected: impl ExactSizeIterator<Item = &'a RepoPath>,
    ) -> Result<(), Invalid> {
        let number = selected.len();
        if let Some(digest) = self.any.filter(|_| number != 1) {
            return Err(Invalid::new(
                "SHA256 pin",
                &digest.to_string(),
                format!("{number} files are selected; write FILE=HEX"),
            ));
        }
        if self.by_path.is_empty() {
            return Ok(());
        }
        let mut unused: BTreeSet<_> = self.by_path.keys().collect();
        for path in selected {
            unused.remove(path);
        }
        match unused.first() {
            Some(path) => Err(Invalid::new("SHA256 pin", path.as_str(), "no such file is selected")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_of_the_wrong_length_says_how_long_it_should_be() {
        let error = Pins::parse(["abc"]).expect_err("too short");
        assert!(error.to_string().contains("expected 64 hex digits, found 3"));
    }

    #[test]
    fn a_pin_is_of_one_digest_and_of_a_file_that_is_selected() {
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        assert!(Pins::parse([format!("a={one}").as_str(), format!("a={one}").as_str()]).is_ok());
        assert!(Pins::parse([format!("a={one}").as_str(), format!("a={two}").as_str()]).is_err());
        let pins = Pins::parse([format!("a={one}").as_str(), format!("b={two}").as_str()]).expect("pins");
        let paths: Vec<RepoPath> = ["b", "a", "c"].iter().map(|name| name.parse().expect("a path")).collect();
        assert!(pins.check_used(paths.iter()).is_ok());
        let error = pins.check_used(paths[1..].iter()).expect_err("`b` is not selected");
        assert_eq!(error.value, "b");
        assert_eq!(pins.for_file(&paths[0], 3).map(|digest| digest.to_string()), Some(two));
    }
}
