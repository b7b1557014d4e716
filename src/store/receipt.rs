//! The receipt: what publishing writes and later runs read. It proves that the file with this size, times and
//! inode had these digests, so that it need not be hashed again.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::hashing::Proof;
use crate::content::{Content, GitSha1, Sha256, XetHash};
use crate::disk::Identity;
use crate::plan::{Origin, Vouchers, WantedFile};
use crate::request::{Recheck, RepoPath};

/// More is no receipt.
pub(super) const BYTES_MAX: u64 = 64 << 10;
const VERSION: u32 = 2;

/// One verified file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of this format.
    version: u32,
    /// Path in the repository.
    pub path: RepoPath,
    /// The file as it was when it was verified.
    #[serde(flatten)]
    identity: Identity,
    /// SHA-256 of the bytes, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<Sha256>,
    /// Git blob id, of a file that is not in LFS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    git_sha1: Option<GitSha1>,
    /// What Xet storage calls it, where somebody told: a newer version may have parts of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub xet_hash: Option<XetHash>,
    /// Where it came from.
    #[serde(flatten)]
    pub origin: Origin,
    /// Who said what its bytes must be; nobody in receipts of older versions.
    #[serde(skip_serializing_if = "Vouchers::is_empty", default)]
    pub vouched_by: Vouchers,
    /// When it was verified, in seconds since the epoch.
    pub verified_at: u64,
    /// Which program wrote this.
    tool: String,
}

impl Receipt {
    /// For a file whose bytes were found right.
    ///
    /// There is none without a proof, and a proof is made by hashing alone. What is in it can be read,
    ///
    /// ```
    /// # use modelfetch::{content::Content, disk::Identity, store::hashing::Proof};
    /// fn read(proof: &Proof) -> (&Content, &Identity) {
    ///     (proof.content(), proof.identity())
    /// }
    /// ```
    ///
    /// but not made up:
    ///
    /// ```compile_fail,E0451
    /// # use modelfetch::{content::Content, disk::Identity, store::hashing::Proof};
    /// fn forged(content: Content, identity: Identity) -> Proof {
    ///     Proof { content, identity }
    /// }
    /// ```
    pub fn new(wanted: &WantedFile, proof: &Proof, origin: &Origin) -> Self {
        Self {
            version: VERSION,
            path: wanted.path.clone(),
            identity: *proof.identity(),
            sha256: proof.content().sha256(),
            git_sha1: proof.content().git_sha1(),
            xet_hash: wanted.xet_hash(),
            origin: origin.clone(),
            vouched_by: wanted.vouchers.clone(),
            verified_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            tool: concat!("modelfetch ", env!("CARGO_PKG_VERSION")).into(),
        }
    }

    /// Understands the content of a receipt file. What cannot be understood proves nothing and counts as absent.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let receipt: Self = serde_json::from_slice(bytes).ok()?;
        (receipt.version == VERSION && receipt.content().is_some()).then_some(receipt)
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings are JSON")
    }

    /// The file as it was when it was verified.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether a file that is there is the one that was verified, as far as the user wants to know.
    pub(super) fn covers(&self, present: &Identity, recheck: Recheck) -> bool {
        match recheck {
            Recheck::Mtime => self.identity.is_as_old(present),
            Recheck::Receipt | Recheck::Full => self.identity.is_same(present),
        }
    }

    /// What its bytes were found to be.
    pub fn content(&self) -> Option<Content> {
        Content::of_digests(self.identity.size, self.sha256, self.git_sha1)
    }
}
