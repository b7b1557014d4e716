//! Digests the Hub announces and digests the user pins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::RepoPath;
use crate::error::Error;

/// What a file's bytes must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256 of the bytes: the name of an LFS or Xet file.
    Sha256(Sha256),
    /// Git blob id, `sha1("blob " + length + NUL + bytes)`: the name of a small file.
    GitSha1(GitSha1),
}

impl Digest {
    /// Reads an etag as the Hub sends it: 64 hex digits are a SHA-256, 40 a git blob id
    /// (`huggingface_hub` `utils/_verification.py`). Anything else is no digest.
    pub fn from_etag(etag: &str) -> Option<Self> {
        match etag.len() {
            64 => etag.parse().ok().map(Self::Sha256),
            40 => etag.parse().ok().map(Self::GitSha1),
            _ => None,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::GitSha1(digest) => digest.fmt(f),
        }
    }
}

/// A number of bytes written as lower-case hex digits.
macro_rules! hex_digest {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// All zeros: no content is known to have it.
            pub const ZERO: Self = Self([0; $bytes]);

            /// From the raw bytes of a finished hash.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let invalid = |why: String| Error::invalid($what, text, why);
                if text.len() != 2 * $bytes {
                    return Err(invalid(format!(
                        "expected {} hex digits, found {} characters",
                        2 * $bytes,
                        text.chars().count()
                    )));
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                    let digit = |c: u8| (c as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
                    *byte = match (digit(pair[0]), digit(pair[1])) {
                        (Some(high), Some(low)) => high << 4 | low,
                        _ => return Err(invalid("only hex digits are allowed".into())),
                    };
                }
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(digest: $name) -> Self {
                digest.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_digest!(
    /// A SHA-256 digest.
    Sha256,
    32,
    "SHA256 digest"
);
hex_digest!(
    /// A git object id (SHA-1).
    GitSha1,
    20,
    "git object id"
);

/// The digests a user pins with `--sha256 [FILE=]HEX`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pins {
    any: Option<Sha256>,
    by_path: Vec<(RepoPath, Sha256)>,
}

impl Pins {
    /// Reads the values of `--sha256`. At most one may come without a file name.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut pins = Self::default();
        for value in values {
            // A digest never contains `=`, a path may.
            match value.rsplit_once('=') {
                Some((path, hex)) => pins.by_path.push((path.parse()?, hex.trim().parse()?)),
                None if pins.any.is_none() => pins.any = Some(value.trim().parse()?),
                None => {
                    return Err(Error::invalid(
                        "SHA256 pin",
                        value,
                        "a second digest without a file name; write FILE=HEX".into(),
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
    pub fn check_used(&self, selected: &[&RepoPath]) -> Result<(), Error> {
        if let Some(digest) = self.any.filter(|_| selected.len() != 1) {
            return Err(Error::invalid(
                "SHA256 pin",
                &digest.to_string(),
                format!("{} files are selected; write FILE=HEX", selected.len()),
            ));
        }
        match self.by_path.iter().find(|(path, _)| !selected.contains(&path)) {
            Some((path, _)) => {
                Err(Error::invalid("SHA256 pin", path.as_str(), "no such file is selected".into()))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_prints() {
        let text = "00ff10".repeat(10) + "abcd";
        assert_eq!(text.parse::<Sha256>().expect("64 digits").to_string(), text);
    }

    #[test]
    fn a_pin_of_the_wrong_length_says_how_long_it_should_be() {
        let error = Pins::parse(["abc"]).expect_err("too short");
        assert!(error.to_string().contains("expected 64 hex digits, found 3"));
    }
}
