//! What the user asked for, as types: who makes one from text, also from a file of this program's own state,
//! has bad input refused, so that no later step checks a name again.

mod address;
mod endpoint;
mod glob;
mod lockfile;
mod manifest;
mod oci;
mod pins;
mod place;
mod proxy;
mod quant;
mod reference;
mod repo;
mod selection;
mod shard;
mod signing;
mod table;
mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use address::file_at;
pub use endpoint::{Endpoint, Endpoints, Login, TokenInTheClear};
pub use lockfile::{LockedFile, LockedModel, Lockfile};
pub use manifest::{Manifest, Model, SigningWish, Wish};
pub use oci::{LoginFile, RegistryLogin, RegistryLogins};
pub use pins::Pins;
pub use place::{Place, is_localhost};
pub use proxy::{Proxies, Proxy};
pub use quant::{Quant, quants};
pub use reference::RepoRef;
pub use repo::{Commit, RepoId, RepoKind, RepoPath, Revision};
pub use selection::{Choice, Gap, Names, Patterns, Selection, Unmet, glob_of};
pub use shard::Shard;
pub use signing::{Globs, PemFile, SIGNATURE, Signing};
pub(crate) use token::Value as TokenValue;
pub(crate) use token::check_id_token;
pub use token::{BadToken, IdToken, Identity, Token, TokenSource};

use crate::words::Invalid;

/// One validated job for `fetch`, `plan` and `smoke`.
#[derive(Debug, Clone)]
pub struct Request {
    /// The repository.
    pub repo: RepoId,
    /// Branch, tag, pull-request ref or commit.
    pub revision: Revision,
    /// Which files of the repository are wanted.
    pub selection: Selection,
    /// SHA-256 digests given by the user.
    pub pins: Pins,
    /// Whose signature the files must have, if any is demanded; it is one of the files.
    pub signing: Option<Arc<Signing>>,
    /// Where the files go.
    pub destination: Destination,
    /// Hubs to ask, in order.
    pub endpoints: Endpoints,
    /// How much of the network may be used.
    pub network: NetworkUse,
    /// How hard a file that is already there is looked at.
    pub recheck: Recheck,
    /// Limits of the transfer.
    pub limits: Limits,
    /// What a lock file says of the files; their commit is the revision.
    pub locked: Option<Locked>,
    /// Whether what older files on the disk have of a new one may be copied.
    pub delta: bool,
}

/// What a lock file says of a request's files.
#[derive(Debug, Clone)]
pub struct Locked {
    /// All of them.
    pub files: Arc<[LockedFile]>,
    /// Nobody is asked whether it is so (`--locked`).
    pub is_enough: bool,
}

/// Where files are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Plain files below a directory: `DIR/<path in the repository>`.
    Dir(PathBuf),
    /// The same, with the metadata that `hf download --local-dir` keeps about such a directory.
    LocalDir(PathBuf),
    /// `huggingface_hub`'s cache layout below this root (`HF_HUB_CACHE`).
    Cache(PathBuf),
}

impl Destination {
    /// The directory the user named.
    pub fn root(&self) -> &std::path::Path {
        match self {
            Self::Dir(root) | Self::LocalDir(root) | Self::Cache(root) => root,
        }
    }

    /// One of the same kind in another directory.
    #[must_use]
    pub fn moved_to(&self, root: PathBuf) -> Self {
        match self {
            Self::Dir(_) => Self::Dir(root),
            Self::LocalDir(_) => Self::LocalDir(root),
            Self::Cache(_) => Self::Cache(root),
        }
    }
}

/// How much of the network a request may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkUse {
    /// Ask the Hub; if it does not answer, or not this user, verified files on disk will do.
    #[default]
    Allowed,
    /// Ask the Hub only if a file is missing: verified ones will do, even if a branch has moved
    /// (`--prefer-offline`).
    PreferOffline,
    /// Ask the Hub, and fail if it does not say what it has now, or that cannot be fetched (`--require-fresh`).
    RequireFresh,
    /// No request at all (`--offline`, `HF_HUB_OFFLINE`).
    Offline,
}

/// How hard a file with a receipt is looked at before it is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Recheck {
    /// Trust the receipt while size, times and inode agree with it.
    #[default]
    Receipt,
    /// Trust it while size and time of the last modification agree with it.
    Mtime,
    /// Hash the file again.
    Full,
}

/// Limits of a transfer.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Upper bound of parallel connections.
    pub connections: Connections,
    /// Bytes per second over all connections together; `None` is unlimited.
    pub rate_max: Option<u64>,
    /// The whole run ends after this long, with its state saved.
    pub deadline: Option<Duration>,
    /// A connection that brings no byte for this long is replaced.
    pub stall_timeout: Duration,
    /// A question that is not answered for this long is asked again.
    pub answer_timeout: Duration,
    /// Failures are retried until there was no progress for this long.
    pub give_up_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Connections::Auto,
            rate_max: None,
            deadline: None,
            stall_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            give_up_after: Duration::from_mins(5),
        }
    }
}

/// `--connections auto|N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Start few, grow while the total rate grows, at most [`Connections::AUTO_MAX`].
    Auto,
    /// Exactly this many, as far as there are ranges to hand out.
    Fixed(u16),
}

impl Connections {
    /// Servers that limit each connection give twice as much to 16 as to 8. Those that punish more
    /// than 4 to 8 (`huggingface_hub#4893`) are left before this many are open.
    pub const AUTO_MAX: u16 = 16;
    /// More than this punishes the server without helping the client.
    pub const FIXED_MAX: u16 = 64;

    /// The most connections ever open at a time.
    pub fn max(self) -> u16 {
        match self {
            Self::Auto => Self::AUTO_MAX,
            Self::Fixed(n) => n,
        }
    }
}

impl std::str::FromStr for Connections {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(n @ 1..=Self::FIXED_MAX) => Ok(Self::Fixed(n)),
            _ => Err(Invalid::new(
                "connections",
                text,
                format!("expected `auto` or a number from 1 to {}", Self::FIXED_MAX),
            )),
        }
    }
}
