//! Digests of a file's bytes, and other numbers that are written as hex digits.

use std::fmt;
use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::words::Invalid;

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
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// All zeros: no content is known to have it.
            pub const ZERO: Self = Self([0; $bytes]);

            /// From the raw bytes of a finished hash.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                let invalid = |why: String| Invalid::new($what, text, why);
                if text.len() != 2 * $bytes {
                    return Err(invalid(format!(
                        "expected {} hex digits, found {} characters",
                        2 * $bytes,
                        text.chars().count()
                    )));
                }
                let mut bytes = [0; $bytes];
                let decoded = HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes);
                decoded.map_err(|_| invalid("only hex digits are allowed".into()))?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::words::FromText::new($what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 2 * $bytes];
                HEXLOWER.encode_mut(&self.0, &mut digits);
                f.write_str(str::from_utf8(&digits).expect("hex digits are ASCII"))
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
hex_digest!(
    /// What Xet storage calls a file's content. Written down and asked for, never computed.
    XetHash,
    32,
    "Xet hash"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_what_it_prints() {
        let text = "00ff10".repeat(10) + "abcd";
        assert_eq!(text.parse::<Sha256>().expect("64 digits").to_string(), text);
    }
}
