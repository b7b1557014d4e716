//! Every way a run can end badly.
//!
//! Rules for a variant: one per thing a person or a Job can act on; the message says what failed
//! and where, [`Error::hint`] what to do next, the cause stays in `source`. No message holds a
//! token or a URL's query, which on signed links is a secret.

mod exits;
mod failure;
mod hints;
mod unfinished;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::content::look::Strange;
use crate::content::{Computed, Digest, Sha256};
use crate::request::{BadToken, Gap, RepoId, RepoPath, Revision, TokenInTheClear, TokenSource};
use crate::words::{Bytes, Invalid, Span, chain, count};

pub use exits::{Advice, EXITS, Exit};
pub use failure::Failure;
pub(crate) use failure::{PROXY_LOGIN, WANTS_LOGIN};
pub use hints::GIVE_NAME;
pub use unfinished::Unfinished;

/// A model of a manifest that failed, and why.
#[derive(Debug)]
pub struct Failed {
    /// What the manifest calls it.
    pub model: String,
    /// What went wrong.
    pub error: Error,
}

fn in_lines(failed: &[Failed]) -> String {
    let lines: Vec<_> =
        failed.iter().map(|Failed { model, error }| format!("\n  {model}: {}", chain(error))).collect();
    lines.concat()
}

/// Where files were looked for: a plain address has no revision.
fn there(repo: &RepoId, revision: &Revision) -> String {
    if repo.is_address() { format!("`{repo}`") } else { format!("`{repo}` at revision `{revision}`") }
}

/// The first of many names.
fn some(paths: &[RepoPath]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<_> = paths.iter().take(SHOWN).map(RepoPath::as_str).collect();
    let more = paths.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &more
}

/// An error with its exit number and hint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that can never be right.
    #[error(transparent)]
    Invalid(#[from] Invalid),

    /// The token has characters that no header can carry.
    #[error(transparent)]
    BadToken(#[from] BadToken),

    /// The token would travel unencrypted to another machine.
    #[error(transparent)]
    TokenInTheClear(#[from] TokenInTheClear),

    /// The licence of a gated repository was not accepted, or the token is not enough.
    #[error("access to `{repo}` is gated")]
    Gated {
        /// The repository.
        repo: RepoId,
        /// The Hub's page where access is asked for.
        page: String,
        /// Which token was used.
        token: Option<TokenSource>,
        /// The Hub's answer.
        #[source]
        answer: Box<Failure>,
    },

    /// The token is wrong, or lacks a right.
    #[error("{host} refused access to `{repo}`")]
    Unauthorised {
        /// Host of the Hub.
        host: String,
        /// The repository.
        repo: RepoId,
        /// Which token was used.
        token: Option<TokenSource>,
        /// The Hub's answer.
        #[source]
        answer: Box<Failure>,
    },

    /// The Hub gives no access token for an identity token.
    #[error("{host} gives no access token for `{resource}` in exchange for the id token from {identity}")]
    NoExchange {
        /// Host of the Hub.
        host: String,
        /// What the access token was to be for.
        resource: String,
        /// Where the identity token was found.
        identity: TokenSource,
        /// What it says of itself.
        claims: String,
        /// It has run out.
        is_over: bool,
        /// The Hub's answer.
        #[source]
        answer: Box<Failure>,
    },

    /// No such repository, or a private one this token cannot see: the Hub does not tell which.
    #[error("repository `{repo}` not found on {host}, or it is private")]
    RepoNotFound {
        /// Host of the Hub.
        host: String,
        /// The repository.
        repo: RepoId,
        /// Which token was used.
        token: Option<TokenSource>,
    },

    /// No such branch, tag or commit.
    #[error("revision `{revision}` not found in `{repo}`")]
    RevisionNotFound {
        /// The repository.
        repo: RepoId,
        /// The revision.
        revision: Revision,
    },

    /// No such file at that revision.
    #[error("file `{path}` not found in {}", there(repo, revision))]
    FileNotFound {
        /// The repository.
        repo: RepoId,
        /// The revision.
        revision: Revision,
        /// The file.
        path: RepoPath,
    },

    /// Of a set of shards that was asked for there is only a part.
    #[error("file `{}` not found in {}, which has {} of the {} shards of its set", gap.missing, there(repo, revision), gap.present, gap.total)]
    ShardNotFound {
        /// The repository.
        repo: RepoId,
        /// The revision.
        revision: Revision,
        /// What is missing.
        gap: Gap,
    },

    /// Of the shards that an index names, some are taken and some are not.
    #[error("`{index}` names shards that are neither taken nor there: {}", some(missing))]
    IncompleteSet {
        /// The index.
        index: RepoPath,
        /// At least one.
        missing: Vec<RepoPath>,
        /// The repository has them.
        can_be_had: bool,
    },

    /// A file is wanted that cannot be had under its name, or not be verified.
    #[error("the list of files of `{repo}` holds a name that is refused: {why}")]
    NameRefused {
        /// The repository.
        repo: RepoId,
        /// What the list calls the file.
        name: String,
        /// Why it cannot be had.
        why: String,
    },

    /// A layer is wanted that is no file, or has no name that a file can have.
    #[error("layer `{name}` of `{repo}` cannot be fetched: {why}")]
    LayerRefused {
        /// The repository.
        repo: RepoId,
        /// What it is called; else its digest.
        name: String,
        /// Why it cannot be had.
        why: String,
    },

    /// A reference to a registry stands for something that has no files.
    #[error("`{repo}` at `{revision}` is no model: {why}")]
    NotAModel {
        /// The repository.
        repo: RepoId,
        /// The tag or digest.
        revision: Revision,
        /// What it is.
        why: String,
        /// What to do about it.
        instead: &'static str,
    },

    /// A registry lets nobody in, or not this user.
    #[error("{host} refused access to `{repo}`")]
    RegistryRefused {
        /// Host of the registry.
        host: String,
        /// The repository.
        repo: RepoId,
        /// Which login was used, or why none.
        login: String,
        /// The registry's answer.
        #[source]
        answer: Box<Failure>,
    },

    /// A registry does not have a content, although a manifest or a digest says what it is.
    #[error("{host} has no sha256:{digest} in `{repo}`")]
    LayerGone {
        /// Host of the registry.
        host: String,
        /// The repository.
        repo: RepoId,
        /// The content.
        digest: Sha256,
    },

    /// Something answers, but not a registry.
    #[error("{host} does not answer like a registry: {why}")]
    NotARegistry {
        /// Its host.
        host: String,
        /// What is wrong with the answer.
        why: String,
    },

    /// A registry sends another manifest than it says, or than was asked for.
    #[error(
        "digest mismatch for a manifest of `{repo}` from {host}\n  expected: sha256:{expected}\n  computed: sha256:{computed}"
    )]
    ManifestMismatch {
        /// Host of the registry.
        host: String,
        /// The repository.
        repo: RepoId,
        /// The digest that was asked for or announced.
        expected: Sha256,
        /// What the manifest hashes to.
        computed: Sha256,
    },

    /// Patterns or a quantization that match nothing.
    #[error("no file of {} matches {wanted}", there(repo, revision))]
    NothingMatches {
        /// The repository.
        repo: RepoId,
        /// The revision.
        revision: Revision,
        /// What was asked for.
        wanted: String,
        /// Quantizations the repository has.
        quants: Vec<String>,
    },

    /// The user's pin and the Hub disagree.
    #[error(
        "the pinned SHA256 of `{path}` is not what the Hub has\n  pinned: {pinned}\n  Hub:    {announced}"
    )]
    PinMismatch {
        /// The file.
        path: RepoPath,
        /// The user's digest.
        pinned: Sha256,
        /// The Hub's digest.
        announced: Sha256,
    },

    /// The signature that a model has to have is missing, broken, or of nobody who is trusted.
    #[error("the signature `{signature}` is not accepted: {why}")]
    BadSignature {
        /// Which one: a file of the repository, or on disk.
        signature: String,
        /// What is wrong with it.
        why: String,
    },

    /// A file is wanted that the signature does not name.
    #[error("`{path}` is not signed: `{signature}` does not name it")]
    Unsigned {
        /// The file.
        path: RepoPath,
        /// The signature.
        signature: RepoPath,
    },

    /// The signature knows a file in parts, and the Hub as a whole.
    #[error("`{path}` is signed in {parts} parts of {} in all, and nothing is signed of it as a whole", Bytes(*.size))]
    SignedInParts {
        /// The file.
        path: RepoPath,
        /// How many.
        parts: usize,
        /// Their length in bytes.
        size: u64,
    },

    /// The signature and the Hub, or a pin, disagree.
    #[error("what is signed of `{path}` is not what the Hub has\n  signed: {signed}\n  Hub:    {announced}")]
    SignatureContradicted {
        /// The file.
        path: RepoPath,
        /// The signed digest.
        signed: Sha256,
        /// The Hub's digest.
        announced: Sha256,
    },

    /// The lock file and the Hub disagree about a commit.
    #[error("the lock file and the Hub disagree about `{path}`\n  locked: {locked}\n  Hub:    {announced}")]
    LockContradicted {
        /// The file.
        path: RepoPath,
        /// What the lock file says.
        locked: String,
        /// What the Hub says.
        announced: String,
    },

    /// The Hub has something else now than when the lock file was written, or the manifest wants something else.
    #[error("`{}` is not up to date\n  {}", lockfile.display(), differences.join("\n  "))]
    LockOutdated {
        /// The lock file.
        lockfile: PathBuf,
        /// What is different, in words.
        differences: Vec<String>,
    },

    /// Some models of a manifest.
    #[error("{} of {} failed{}", failed.len(), count(*models as u64, "model"), in_lines(failed))]
    ModelsFailed {
        /// At least one.
        failed: Vec<Failed>,
        /// How many there are in all.
        models: usize,
    },

    /// Wrong bytes, still, after every part was asked for again.
    #[error("digest mismatch for `{path}`\n  expected: {expected}\n  computed: {computed} ({} received)", Bytes(*.size))]
    DigestMismatch {
        /// The file.
        path: RepoPath,
        /// The announced or pinned digest.
        expected: Digest,
        /// What the bytes hash to.
        computed: Computed,
        /// Length in bytes.
        size: u64,
    },

    /// The file is not what its name says: its digest is right, or only its header was seen, twice.
    #[error("`{path}` is not a valid GGUF file: {why}")]
    NotGguf {
        /// The file.
        path: RepoPath,
        /// What is wrong with its header.
        why: String,
    },

    /// A pointer or a page under the name of weights or data: its digest is right, or only its start was seen, twice.
    #[error("`{path}` is not what its name says: {why}")]
    WrongKind {
        /// The file.
        path: RepoPath,
        /// What it is.
        why: String,
    },

    /// The header of a file that was inspected cannot be one, or is not of the same model as the others.
    #[error("the header of `{path}` cannot be read: {why}")]
    BrokenHeader {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },

    /// A model does not fit into the memory that was named.
    #[error("`{path}` does not fit: {}", shares.join("; "))]
    TooLarge {
        /// Its first file.
        path: String,
        /// What each card that is too small would have to hold, in words.
        shares: Vec<String>,
        /// Tokens of the longest context that fits.
        longest_context: Option<u64>,
        /// Other models of the repository that would fit.
        others: Vec<String>,
    },

    /// A model is of an architecture that the server does not know.
    #[error("`{path}` is of the architecture `{architecture}`, which the server does not know")]
    UnknownArchitecture {
        /// Its first file.
        path: String,
        /// `general.architecture`, fit to be shown.
        architecture: String,
    },

    /// `verify` found files that are not what they should be.
    #[error("{wrong} of {checked} files failed verification")]
    VerifyFailed {
        /// How many are wrong or missing.
        wrong: usize,
        /// How many were looked at.
        checked: usize,
    },

    /// Not enough space for what is still to be written.
    #[error("not enough space in `{}`: {} needed, {} free, {} short", dir.display(), Bytes(*.need), Bytes(*.free), Bytes(need.saturating_sub(*.free)))]
    NoSpace {
        /// The target directory.
        dir: PathBuf,
        /// Bytes still to be written.
        need: u64,
        /// Bytes free.
        free: u64,
        /// What takes space there and could be given up.
        unfinished: Option<Unfinished>,
    },

    /// The file system said so while writing.
    #[error("no space left while writing `{}`", path.display())]
    DiskFull {
        /// The file being written.
        path: PathBuf,
        /// The operating system's error: ENOSPC or EDQUOT.
        #[source]
        cause: io::Error,
        /// What takes space there and could be given up.
        unfinished: Option<Unfinished>,
    },

    /// The target cannot be written, or another I/O error.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb: "write", "create directory".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        cause: io::Error,
    },

    /// Two files of different content would get one name.
    #[error("`{path}` and `{other}` are one name in `{}`, where small and capital letters are the same", dir.display())]
    SameName {
        /// The file that is wanted.
        path: RepoPath,
        /// What has its name already, or wants it too.
        other: String,
        /// The folder.
        dir: PathBuf,
    },

    /// Another process holds the directory and did not finish in time.
    #[error("`{}` is in use by {owner}, still after {}", dir.display(), Span(*.waited))]
    Locked {
        /// The target directory.
        dir: PathBuf,
        /// Who holds it.
        owner: String,
        /// How long this process waited.
        waited: Duration,
    },

    /// Another process changed a file while this one relied on it.
    #[error("another process changed `{}` during this run", path.display())]
    Meddled {
        /// The file.
        path: PathBuf,
    },

    /// Retried until the time for it was over.
    #[error("gave up on {what} after {attempts} attempts in {}", Span(*.elapsed))]
    GaveUp {
        /// What was asked for, with the host.
        what: String,
        /// Number of attempts without progress.
        attempts: u32,
        /// Since the last progress.
        elapsed: Duration,
        /// The last failure.
        #[source]
        last: Box<Failure>,
    },

    /// The server refused for a reason that asking again does not change.
    #[error("{what} failed")]
    Refused {
        /// What was asked for, with the host.
        what: String,
        /// The answer.
        #[source]
        answer: Box<Failure>,
    },

    /// Something answers at the endpoint, but not a Hub.
    #[error("{host} does not answer like a Hub: {why}")]
    NotAHub {
        /// The endpoint's host.
        host: String,
        /// What is wrong with the answer.
        why: String,
    },

    /// The file changed on the server while it was fetched, again after a clean start.
    #[error("`{path}` keeps changing on {host}: {why}")]
    KeepsChanging {
        /// The file.
        path: RepoPath,
        /// The serving host.
        host: String,
        /// What changed.
        why: String,
    },

    /// The run's `--deadline` passed, or the time for a question that need not be answered.
    #[error("the deadline of {} passed while {doing}", Span(*.deadline))]
    Deadline {
        /// How long it was.
        deadline: Duration,
        /// What was under way.
        doing: String,
    },

    /// The Hub wants a longer pause than there is time for.
    #[error("{host} limits the rate and asks to wait {}", Span(*.wait))]
    RateLimited {
        /// The host.
        host: String,
        /// How long it asks to wait.
        wait: Duration,
    },

    /// Offline, and the file is not there.
    #[error("`{wanted}` of `{repo}` is not in `{}` and the run is offline", dir.display())]
    Offline {
        /// The repository.
        repo: RepoId,
        /// What was asked for.
        wanted: String,
        /// The target directory.
        dir: PathBuf,
    },

    /// The pod's service account lacks a right.
    #[error("the pod's service account may not {verb} {object} in namespace {namespace}")]
    ClusterForbidden {
        /// The verb, as RBAC names it.
        verb: &'static str,
        /// Resource and name.
        object: String,
        /// The namespace.
        namespace: String,
        /// The API server's answer.
        #[source]
        answer: Box<Failure>,
    },

    /// The API server does not accept the object.
    #[error("the API server does not accept to {verb} {object} in namespace {namespace}")]
    ClusterRejected {
        /// The verb.
        verb: &'static str,
        /// Resource and name.
        object: String,
        /// The namespace.
        namespace: String,
        /// The API server's answer.
        #[source]
        answer: Box<Failure>,
    },

    /// An object that should have appeared did not.
    #[error("{object} is not in namespace {namespace}")]
    ObjectNotFound {
        /// Resource and name.
        object: String,
        /// The namespace.
        namespace: String,
    },

    /// The server does not answer as one that is ready.
    #[error("the server is not ready at {url}")]
    ServerNotReady {
        /// What was asked.
        url: String,
        /// How it answered.
        #[source]
        why: Box<Error>,
    },

    /// The claim is being deleted: what is written now would be lost.
    #[error("claim {name} is being deleted")]
    ClaimTerminating {
        /// Its name.
        name: String,
    },

    /// SIGINT or SIGTERM; the state is saved.
    #[error("interrupted by {}; the next run continues from here", .signal.name())]
    Interrupted {
        /// Which one.
        signal: Signal,
    },

    /// A bug: something this program takes for impossible.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<tokio::task::JoinError> for Error {
    /// A thread or task of this program that panicked.
    fn from(why: tokio::task::JoinError) -> Self {
        Self::Internal(format!("a thread failed: {why}"))
    }
}

/// A signal that ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Int,
    /// What Kubernetes sends first.
    Term,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Int => "SIGINT",
            Self::Term => "SIGTERM",
        }
    }
}

impl Error {
    /// An [`Error::Invalid`].
    pub fn invalid(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self::Invalid(Invalid::new(what, value, why))
    }

    /// For `map_err`: an I/O error with what was tried on which path. A full disk or quota is
    /// told apart, because the answer to it is another one.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, cause, unfinished: None }
            }
            _ => Self::Io { action, path, cause },
        }
    }

    /// A file that is not what its name says.
    pub fn strange(path: &RepoPath, Strange { is_gguf, why }: Strange) -> Self {
        let path = path.clone();
        if is_gguf { Self::NotGguf { path, why } } else { Self::WrongKind { path, why } }
    }

    /// The same failure of the disk, for somebody else who is to hear of it.
    pub(crate) fn repeated(&self) -> Self {
        let again = |cause: &io::Error| match cause.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => cause.kind().into(),
        };
        match self {
            Self::Io { action, path, cause } => Self::Io { action, path: path.clone(), cause: again(cause) },
            Self::DiskFull { path, cause, unfinished } => {
                Self::DiskFull { path: path.clone(), cause: again(cause), unfinished: unfinished.clone() }
            }
            other => Self::Internal(other.to_string()),
        }
    }

    /// Whether the Hub has no such repository for this user: gated, private, disabled, gone.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Gated { .. }
                | Self::Unauthorised { .. }
                | Self::NoExchange { .. }
                | Self::RegistryRefused { .. }
                | Self::RepoNotFound { .. }
        )
    }

    /// Whether something cannot be written because it is mounted read-only, or is somebody else's.
    pub fn is_unwritable(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self, Self::Io { cause, .. } if matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem))
    }

    /// Whether there is no room on the disk.
    pub fn is_about_space(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::DiskFull { .. })
    }

    /// The same error, with what takes space and could be given up.
    #[must_use]
    pub fn with_unfinished(mut self, found: Unfinished) -> Self {
        if let Self::NoSpace { unfinished, .. } | Self::DiskFull { unfinished, .. } = &mut self {
            *unfinished = Some(found);
        }
        self
    }
}
