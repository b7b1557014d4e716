//! The digests that a user pins.

use super::RepoPath;
use crate::content::Sha256;
use crate::words::Invalid;

/// The digests a user pins with `--sha256 [FILE=]HEX`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    any: Option<Sha256>,
    by_path: Vec<(RepoPath, Sha256)>,
}

impl Pins {
    /// Reads the values of `--sha256`. At most one may come without a file name.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        let mut pins = Self::default();
        for value in values {
            // A digest never contains `=`, a path may.
            match value.rsplit_once('=') {
                Some((path, hex)) => pins.by_path.push((path.parse()?, hex.trim().parse()?)),
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

    /// The pin for `path`, where it is one of `selected` files.
    pub fn for_file(&self, path: &RepoPath, selected: usize) -> Option<Sha256> {
        self.by_path
            .iter()
            .find(|(pinned, _)| pinned == path)
            .map(|(_, digest)| *digest)
            .or(self.any.filter(|_| selected == 1))
    }

    /// Checks the pins against the files that were selected: a pin nobody uses is a mistake.
    pub fn check_used(&self, selected: &[&RepoPath]) -> Result<(), Invalid> {
        if let Some(digest) = self.any.filter(|_| selected.len() != 1) {
            return Err(Invalid::new(
                "SHA256 pin",
                &digest.to_string(),
                format!("{} files are selected; write FILE=HEX", selected.len()),
            ));
        }
        match self.by_path.iter().find(|(path, _)| !selected.contains(&path)) {
            Some((path, _)) => Err(Invalid::new("SHA256 pin", path.as_str(), "no such file is selected")),
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
}
