//! What a file holds, whatever it is called: its length and the digests of its bytes, sets of byte ranges,
//! GGUF headers, what a name promises. Reads bytes that it is given; opens nothing.

mod digest;
pub mod gguf;
mod hasher;
pub mod kind;
pub mod look;
mod ranges;
pub mod safetensors;
pub mod xet;

use std::fmt;

use serde::Serialize;
use serde::ser::SerializeStruct;

pub use digest::{Digest, GitSha1, Sha256, XetHash};
pub use hasher::{Computed, Hasher, Mismatch};
pub use ranges::RangeSet;

/// The bytes a file must have: their number, and every digest that is known of them. All must match.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    size: u64,
    /// At least one of the two is known.
    sha256: Option<Sha256>,
    git_sha1: Option<GitSha1>,
}

impl Content {
    /// Of `size` bytes that hash to `digest`.
    pub fn new(size: u64, digest: Digest) -> Self {
        let (sha256, git_sha1) = match digest {
            Digest::Sha256(digest) => (Some(digest), None),
            Digest::GitSha1(digest) => (None, Some(digest)),
        };
        Self { size, sha256, git_sha1 }
    }

    /// Of `size` bytes with this SHA-256, such as a user pins.
    pub fn of_sha256(size: u64, digest: Sha256) -> Self {
        Self::new(size, Digest::Sha256(digest))
    }

    /// Of `size` bytes with these digests; `None` if there is none.
    pub fn of_digests(size: u64, sha256: Option<Sha256>, git_sha1: Option<GitSha1>) -> Option<Self> {
        (sha256.is_some() || git_sha1.is_some()).then_some(Self { size, sha256, git_sha1 })
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The SHA-256, where it is known.
    pub fn sha256(&self) -> Option<Sha256> {
        self.sha256
    }

    /// The git blob id, of a file that is not in LFS.
    pub fn git_sha1(&self) -> Option<GitSha1> {
        self.git_sha1
    }

    /// The digest that names it on disk, as `huggingface_hub` names the blobs of its cache: the git blob id
    /// of a small file, else the SHA-256.
    pub fn key(&self) -> Digest {
        match (self.git_sha1, self.sha256) {
            (Some(digest), _) => Digest::GitSha1(digest),
            (None, Some(digest)) => Digest::Sha256(digest),
            (None, None) => unreachable!("no constructor leaves out both digests"),
        }
    }

    /// The same bytes, of which the SHA-256 is now known too. Fails with the one that was known, if it differs.
    pub fn with_sha256(self, digest: Sha256) -> Result<Self, Sha256> {
        match self.sha256 {
            Some(known) if known != digest => Err(known),
            _ => Ok(Self { sha256: Some(digest), ..self }),
        }
    }

    /// Whether bytes of one content can be the other's: nothing that is known of both contradicts that.
    pub fn may_be(&self, other: &Self) -> bool {
        let sha256 = self.sha256.zip(other.sha256);
        let git_sha1 = self.git_sha1.zip(other.git_sha1);
        self.size == other.size && sha256.is_none_or(|(a, b)| a == b) && git_sha1.is_none_or(|(a, b)| a == b)
    }

    /// Whether bytes that were found to be this content are `wanted` too.
    pub fn proves(&self, wanted: &Self) -> bool {
        self.size == wanted.size
            && (wanted.sha256.is_none() || self.sha256 == wanted.sha256)
            && (wanted.git_sha1.is_none() || self.git_sha1 == wanted.git_sha1)
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.key(), self.size)
    }
}

impl Serialize for Content {
    /// `size`, `digest`, and `pin` for the SHA-256 of a file that the Hub names by its git blob id.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pin = self.sha256.filter(|_| self.git_sha1.is_some());
        let mut fields = serializer.serialize_struct("Content", 2 + usize::from(pin.is_some()))?;
        fields.serialize_field("size", &self.size)?;
        fields.serialize_field("digest", &self.key().to_string())?;
        if let Some(pin) = pin {
            fields.serialize_field("pin", &pin)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(digit: &str) -> Sha256 {
        digit.repeat(64).parse().expect("a digest")
    }

    #[test]
    fn every_known_digest_must_match() {
        let small = Content::new(3, Digest::GitSha1("c".repeat(40).parse().expect("a digest")));
        let pinned = small.with_sha256(sha256("a")).expect("nothing else was known");
        assert!(pinned.proves(&small) && pinned.proves(&pinned));
        assert!(!small.proves(&pinned), "an unknown SHA-256 proves nothing");
        assert_eq!(pinned.with_sha256(sha256("b")), Err(sha256("a")));
        assert_eq!(pinned.key(), small.key());
    }
}
