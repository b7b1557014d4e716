use sha2::Digest as _;

use super::{Content, Digest, GitSha1, Sha256};

/// Hashes bytes in file order, with every hash their content has a digest of.
pub struct Hasher {
    content: Content,
    sha256: Option<sha2::Sha256>,
    git_sha1: Option<sha1::Sha1>,
}

/// The bytes are not the content they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// What was announced or pinned.
    pub expected: Digest,
    /// What the bytes hash to.
    pub computed: Digest,
}

impl Hasher {
    /// For bytes that should be `content`.
    pub fn new(content: &Content) -> Self {
        Self {
            content: *content,
            sha256: content.sha256.map(|_| sha2::Sha256::new()),
            git_sha1: content
                .git_sha1
                .map(|_| sha1::Sha1::new_with_prefix(format!("blob {}\0", content.size))),
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
        let pairs = [
            self.content
                .git_sha1
                .map(Digest::GitSha1)
                .zip(self.git_sha1.map(|hash| Digest::GitSha1(GitSha1::from_bytes(hash.finalize().into())))),
            self.content
                .sha256
                .map(Digest::Sha256)
                .zip(self.sha256.map(|hash| Digest::Sha256(Sha256::from_bytes(hash.finalize().into())))),
        ];
        match pairs.into_iter().flatten().find(|(expected, computed)| expected != computed) {
            Some((expected, computed)) => Err(Mismatch { expected, computed }),
            None => Ok(()),
        }
    }
}
