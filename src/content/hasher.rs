use std::fmt;

use sha1_checked::CollisionResult;
use sha2::Digest as _;

use super::{Content, Digest, GitSha1, Sha256};

/// Hashes bytes in file order, with every hash their content has a digest of.
pub struct Hasher {
    content: Content,
    sha256: Option<sha2::Sha256>,
    /// SHA-1 that notices input made to collide: whoever makes two files with one git blob id leaves traces in
    /// both.
    git_sha1: Option<sha1_checked::Sha1>,
}

/// The bytes are not the content they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// What was announced or pinned.
    pub expected: Digest,
    /// What the bytes hash to.
    pub computed: Computed,
}

/// What bytes were found to hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Computed {
    /// A digest.
    Digest(Digest),
    /// A digest that proves nothing: the bytes are one of two files that were made to have the same.
    Collision,
}

impl fmt::Display for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Collision => f.write_str("a SHA-1 collision: these bytes were made to pass for others"),
        }
    }
}

/// Finishes the hash of a git blob.
fn finish_git(hash: sha1_checked::Sha1) -> Computed {
    match hash.try_finalize() {
        CollisionResult::Ok(digest) => Computed::Digest(Digest::GitSha1(GitSha1::from_bytes(digest.into()))),
        CollisionResult::Mitigated(_) | CollisionResult::Collision(_) => Computed::Collision,
    }
}

/// Finishes a SHA-256.
fn finish_sha256(hash: sha2::Sha256) -> Computed {
    Computed::Digest(Digest::Sha256(Sha256::from_bytes(hash.finalize().into())))
}

impl Hasher {
    /// For bytes that should be `content`.
    pub fn new(content: &Content) -> Self {
        Self {
            content: *content,
            sha256: content.sha256.map(|_| sha2::Sha256::new()),
            git_sha1: content
                .git_sha1
                .map(|_| sha1_checked::Sha1::new_with_prefix(format!("blob {}\0", content.size))),
        }
    }

    /// The bytes that follow those before.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.git_sha1 {
            hash.update(bytes);
        }
    }

    /// Whether the bytes were the content.
    pub fn finish(self) -> Result<(), Mismatch> {
        let git = self.content.git_sha1.map(Digest::GitSha1).zip(self.git_sha1.map(finish_git));
        let sha256 = self.content.sha256.map(Digest::Sha256).zip(self.sha256.map(finish_sha256));
        let differs = |(expected, computed): &(Digest, Computed)| *computed != Computed::Digest(*expected);
        match [git, sha256].into_iter().flatten().find(differs) {
            Some((expected, computed)) => Err(Mismatch { expected, computed }),
            None => Ok(()),
        }
    }
}

impl Sha256 {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_bytes(sha2::Sha256::digest(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 320 bytes of shattered-1.pdf (shattered.io), which has a twin with the same SHA-1.
    const SHATTERED: &str = "
        255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033
        203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f72
        53706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a7374
        7265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01
        7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3
        dc38e96ac22fe7bd728f0e45bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500
        eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1";
    /// Their SHA-1, and that of the twin's.
    const SHATTERED_SHA1: &str = "f92d74e3874587aaf443d1db961d4e26dde13e9c";

    fn git_sha1(text: &str) -> GitSha1 {
        text.parse().expect("a digest")
    }

    #[test]
    fn a_small_file_has_the_digest_that_git_gives_it() {
        let hello = Content::new(6, Digest::GitSha1(git_sha1("ce013625030ba8dba906f756967f9e9ca394464a")));
        let mut hasher = Hasher::new(&hello);
        hasher.update(b"hello\n");
        assert_eq!(hasher.finish(), Ok(()));
        let mut hasher = Hasher::new(&hello);
        hasher.update(b"hallo\n");
        let mismatch = hasher.finish().expect_err("other bytes");
        assert!(matches!(mismatch.computed, Computed::Digest(_)));
    }

    #[test]
    fn bytes_that_were_made_to_collide_are_never_right() {
        let bytes: Vec<u8> = SHATTERED
            .split_whitespace()
            .flat_map(|line| line.as_bytes().chunks(2))
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hex"))
            .collect();
        let content = Content::new(320, Digest::GitSha1(git_sha1(SHATTERED_SHA1)));
        // Without git's header, with which nobody has made a collision yet.
        let finish = |hash: sha1_checked::Sha1| {
            let mut hasher = Hasher { content, sha256: None, git_sha1: Some(hash) };
            hasher.update(&bytes);
            hasher.finish()
        };
        assert_eq!(finish(sha1_checked::Sha1::builder().detect_collision(false).build()), Ok(()));
        let mismatch = finish(sha1_checked::Sha1::new()).expect_err("a collision");
        assert_eq!(mismatch.computed, Computed::Collision);
        assert!(mismatch.computed.to_string().contains("SHA-1 collision"));
    }
}
