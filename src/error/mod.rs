//! Every way a run can end badly.
//!
//! Rules for a variant: one per thing a person or a Job can act on; the message says what failed
//! and where, [`Error::hint`] what to do next, the cause stays in `source`. No message holds a
//! token or a URL's query, which on signed links is a secret.

mod exits;
mod failure;
mod unfinished;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::content::look::Strange;
use crate::content::{Computed, Digest, Sha256};
use crate::request::{BadToken, Gap, RepoId, RepoPath, Revision, TokenInTheClear, TokenSource, glob_of};
use crate::words::{Bytes, Invalid, Span, chain, count};

pub use exits::{Advice, EXITS, Exit};
pub use failure::Failure;
pub(crate) use failure::{PROXY_LOGIN, WANTS_LOGIN};
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

/// The failure that decides how a run ends: a signal, else the first one that needs somebody's hand, else the first.
fn worst(failed: &[Failed]) -> Option<&Error> {
    let rank = |error: &Error| match (error, error.exit().advice) {
        (Error::Interrupted { .. }, _) => 2,
        (_, Advice::Fail) => 1,
        _ => 0,
    };
    failed.iter().map(|failed| &failed.error).rev().max_by_key(|error| rank(error))
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

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Internal(_) => exits::INTERNAL,
            Self::Invalid(_)
            | Self::BadToken(_)
            | Self::TokenInTheClear(_)
            | Self::NameRefused { .. }
            | Self::LayerRefused { .. }
            | Self::NotAModel { .. }
            | Self::IncompleteSet { .. }
            | Self::ClusterRejected { .. } => exits::USAGE,
            Self::Gated { .. }
            | Self::Unauthorised { .. }
            | Self::NoExchange { .. }
            | Self::RegistryRefused { .. }
            | Self::ClusterForbidden { .. } => exits::UNAUTHORISED,
            Self::RepoNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::ShardNotFound { .. }
            | Self::NothingMatches { .. }
            | Self::LayerGone { .. }
            | Self::ObjectNotFound { .. } => exits::NOT_FOUND,
            Self::PinMismatch { .. }
            | Self::BadSignature { .. }
            | Self::Unsigned { .. }
            | Self::SignedInParts { .. }
            | Self::SignatureContradicted { .. }
            | Self::LockContradicted { .. }
            | Self::LockOutdated { .. } => exits::PIN_MISMATCH,
            Self::ModelsFailed { failed, .. } => worst(failed).map_or(exits::INTERNAL, Self::exit),
            Self::DigestMismatch { .. }
            | Self::ManifestMismatch { .. }
            | Self::NotGguf { .. }
            | Self::WrongKind { .. }
            | Self::BrokenHeader { .. }
            | Self::VerifyFailed { .. } => exits::DIGEST_MISMATCH,
            Self::TooLarge { .. } => exits::TOO_LARGE,
            Self::UnknownArchitecture { .. } => exits::UNKNOWN_ARCHITECTURE,
            Self::NoSpace { .. } | Self::DiskFull { .. } => exits::NO_SPACE,
            Self::Io { .. } | Self::SameName { .. } => exits::IO,
            Self::Locked { .. } | Self::Meddled { .. } | Self::ClaimTerminating { .. } => exits::LOCKED,
            Self::GaveUp { .. }
            | Self::Refused { .. }
            | Self::ServerNotReady { .. }
            | Self::NotAHub { .. }
            | Self::NotARegistry { .. }
            | Self::KeepsChanging { .. }
            | Self::Deadline { .. } => exits::NETWORK,
            Self::RateLimited { .. } => exits::RATE_LIMITED,
            Self::Offline { .. } => exits::OFFLINE,
            Self::Interrupted { signal: Signal::Int } => exits::SIGINT,
            Self::Interrupted { signal: Signal::Term } => exits::SIGTERM,
        }
    }

    /// The process's exit status.
    pub fn exit_number(&self) -> u8 {
        self.exit().number
    }

    /// Whether it is about the way to the Hub, by its exit number: what is on disk is as good as before.
    pub fn is_outage(&self) -> bool {
        [exits::NETWORK.number, exits::RATE_LIMITED.number].contains(&self.exit_number())
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

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let token_hint = |token: &Option<TokenSource>| match token {
            Some(source @ TokenSource::Exchange { .. }) => format!(
                "the token from {source} was used, which is for that repository alone, or for public and gated ones that this user may read"
            ),
            Some(source) => format!(
                "the token from {source} was used; check that it is valid and may read this repository"
            ),
            None => "no token was used; set HF_TOKEN if the repository is private".into(),
        };
        Some(match self {
            Self::Invalid(_) | Self::Interrupted { .. } => return None,
            Self::BadToken(_) => "write the token alone, on one line".into(),
            Self::TokenInTheClear(_) => {
                "use https, name the host in NO_PROXY if a proxy is in between, or pass --insecure-token if nobody can listen on the way; HF_HUB_DISABLE_IMPLICIT_TOKEN=1 sends none".into()
            }
            Self::Gated { page, token, .. } => {
                let token = token.as_ref().map_or("set HF_TOKEN to a token of that account".into(), |source| {
                    format!("the token from {source} was used: is it of that account?")
                });
                format!("accept the conditions at {page}; {token}")
            }
            Self::NoExchange { claims, is_over: true, .. } => format!("the id token says: {claims}; a variable needs a new one for each job, and a file (--id-token-file) is read again each time"),
            Self::NoExchange { resource, claims, answer, .. } => no_exchange_hint(resource, claims, answer),
            Self::RepoNotFound { repo, .. } if repo.is_oci() => "check the spelling; some registries say so of what a login is needed for".into(),
            Self::RepoNotFound { token, .. } => format!("check the spelling; {}", token_hint(token)),
            Self::RevisionNotFound { repo, .. } if repo.is_oci() => {
                format!("give a tag or digest that exists: `oras repo tags {}/{}` lists them", repo.owner, repo.name)
            }
            Self::RevisionNotFound { .. } => "give a branch, tag or full commit hash that exists; in an address, a `/` in its name is written %2F".into(),
            Self::FileNotFound { .. } => "file names are case-sensitive and include their folder; `--include '*'` with `plan` lists all files".into(),
            Self::NotAModel { instead, .. } => format!("nothing was fetched; {instead}"),
            Self::RegistryRefused { login, .. } => login.clone(),
            Self::LayerGone { .. } => "it was removed (garbage collection), or never pushed whole: push the model again, or take another tag or endpoint".into(),
            Self::NotARegistry { .. } => "check host and port of the address, and whether a proxy or login page answers instead".into(),
            Self::ManifestMismatch { .. } => "nothing was fetched; look for a proxy that changes content, or a broken registry".into(),
            Self::NameRefused { name, .. } | Self::LayerRefused { name, .. } => format!("nothing was fetched; leave it out with --exclude '{}'", glob_of(name)),
            Self::IncompleteSet { can_be_had: true, .. } => "nothing was fetched: servers load a part of a model without an error; take all of its shards, or leave the index out with --exclude".into(),
            Self::IncompleteSet { .. } => "nothing was fetched: the repository has not all of them, or was not asked; tell its owner, or leave the index out with --exclude".into(),
            Self::ShardNotFound { .. } => "nothing was fetched; `--include NAME` takes one shard alone, and a glob those that are there".into(),
            Self::NothingMatches { quants, .. } if quants.is_empty() => "`plan` without file names lists all files".into(),
            Self::NothingMatches { quants, .. } => format!("quantizations there: {}", quants.join(", ")),
            Self::PinMismatch { .. } => "nothing was fetched; if the new content is wanted, change the pin, else pin the old commit with --revision".into(),
            Self::BadSignature { .. } => "ask whoever signs the model which key or certificate is right, and name that with --trust-key or --trust-cert; nothing was fetched".into(),
            Self::Unsigned { path, .. } => format!("nothing of the model was fetched; leave the file out with --exclude '{0}', or take it all the same with --allow-unsigned '{0}'", glob_of(path.as_str())),
            Self::SignedInParts { .. } => "nothing of the model was fetched; have it signed by files (`use_file_serialization`), or fetch it without --trust-key and look at it with `verify --signature`".into(),
            Self::SignatureContradicted { .. } => "nothing of the model was fetched: the file was changed since it was signed, or the signature is of another revision; tell the repository's owner, or take a --revision that fits".into(),
            Self::LockContradicted { .. } => "nothing was fetched: a commit never changes, so this is another repository, a mirror that lies, or a lock file of another one; check --endpoint, then run `modelfetch lock --update`".into(),
            Self::LockOutdated { .. } => "`modelfetch lock --update` writes what is there now; look at the difference before it is deployed".into(),
            Self::ModelsFailed { failed, .. } => return worst(failed)?.hint(),
            Self::DigestMismatch { computed: Computed::Collision, .. } => "nothing was published; do not trust this file, and tell the repository's owner and the Hub".into(),
            Self::DigestMismatch { .. } => "nothing was published and the wrong bytes were dropped, after each part was asked for again; look for a proxy or mirror that changes content".into(),
            Self::NotGguf { .. } => "nothing was published and what has arrived is kept; the file is broken at its source: tell the repository's owner, or pin its digest with --sha256 if it is wanted as it is".into(),
            Self::WrongKind { .. } => "nothing was published; the repository or mirror holds it so: tell its owner, try another --endpoint, leave the file out with --exclude, or pin its digest with --sha256 if it is wanted as it is".into(),
            Self::BrokenHeader { .. } => "nothing but the header was looked at; the file is cut off, damaged, or of another kind: fetch it again, or tell its owner".into(),
            Self::TooLarge { longest_context, others, .. } => too_large_hint(*longest_context, others),
            Self::UnknownArchitecture { .. } => "nothing was fetched; a newer release of the server may know it: choose its image, or another model".into(),
            Self::VerifyFailed { .. } => "`verify --repair` fetches again what is wrong".into(),
            Self::NoSpace { unfinished, .. } => format!("nothing was fetched; free space, or enlarge the volume{}", Unfinished::hint(unfinished.as_ref())),
            Self::DiskFull { unfinished, .. } => format!("what has arrived is kept; free space and run again to continue{}", Unfinished::hint(unfinished.as_ref())),
            Self::SameName { path, .. } => format!("nothing was fetched; leave one out with --exclude '{}', move away what is there, or choose a volume that tells them apart", glob_of(path.as_str())),
            Self::Io { action, cause, .. } => return io_hint(action, cause),
            Self::Locked { .. } => "if that process is gone, remove .modelfetch/owner*.json there and run again".into(),
            Self::Meddled { .. } => "let nothing else write there meanwhile, and run again: the file is looked at anew".into(),
            Self::GaveUp { last, .. } if last.advice().is_some() => {
                format!("{}; what has arrived is kept", last.advice()?)
            }
            Self::GaveUp { .. } | Self::KeepsChanging { .. } | Self::Deadline { .. } => "what has arrived is kept; run again to continue".into(),
            Self::Refused { answer, .. } | Self::Unauthorised { answer, .. } if answer.advice().is_some() => {
                answer.advice()?.into()
            }
            Self::Unauthorised { token, .. } => token_hint(token),
            Self::Refused { answer, .. } if matches!(**answer, Failure::Misconfigured { .. }) => {
                "it is how that server, or a proxy before it, is set up; check --endpoint, HF_ENDPOINT and the proxy variables, or name another --endpoint".into()
            }
            Self::Refused { .. } => "the server's own words are above; run again later, or try another --endpoint".into(),
            Self::NotAHub { .. } => "check --endpoint and HF_ENDPOINT, and whether a proxy or login page answers instead".into(),
            Self::RateLimited { .. } => "set HF_TOKEN for a higher limit, or run again later; what has arrived is kept".into(),
            Self::ClusterForbidden { verb, .. } => format!("the Role of this Job's service account needs the verb `{verb}` on it; the chart's rbac.create makes it"),
            Self::ClusterRejected { .. } => "the API server's own words are above; correct the values the object is made of".into(),
            Self::ObjectNotFound { .. } => "check the release name and namespace, and whether the sync that creates it went through".into(),
            Self::ServerNotReady { .. } => "look at the server's pod: `kubectl get pods` says whether it runs, its log why not; the name of an address is the Service's".into(),
            Self::ClaimTerminating { name } => format!("it goes when no pod uses it any more: stop those pods, wait for `kubectl get pvc {name}` to find nothing, and sync again"),
            Self::Offline { .. } => "run once without --offline and HF_HUB_OFFLINE".into(),
            Self::Internal(_) => "this is a bug in modelfetch; please report it with the output of --verbose".into(),
        })
    }
}

fn too_large_hint(longest_context: Option<u64>, others: &[String]) -> String {
    let context = match longest_context {
        Some(tokens) => format!("a context of up to {tokens} tokens fits"),
        None => "no context fits".into(),
    };
    let others = match others {
        [] => "a smaller quantization, smaller types for the caches, fewer slots or experts in main memory (--n-cpu-moe) may".into(),
        others => format!("of the repository with the same caches {} would", others.join(", ")),
    };
    format!("nothing was fetched; {context}; {others}")
}

fn no_exchange_hint(resource: &str, claims: &str, answer: &Failure) -> String {
    let said = format!("the id token says: {claims}");
    let where_to = if resource.contains('/') {
        "in the settings of that repository"
    } else {
        "in that user's settings, under Authentication"
    };
    match answer {
        Failure::Status { status: 400 | 401 | 403, .. } => format!(
            "{said}; a trusted publisher with just that has to be set up {where_to}, and the audience has to be the Hub's address"
        ),
        _ => format!("check --endpoint and HF_ENDPOINT: it is asked at /oauth/token there; {said}"),
    }
}

/// What is tried with a name that a file or folder is to get: [`Error::Io`] has a hint of its own for it.
pub const GIVE_NAME: &str = "give a file the name";

fn io_hint(action: &str, cause: &io::Error) -> Option<String> {
    let is = |number: rustix::io::Errno| cause.raw_os_error() == Some(number.raw_os_error());
    if is(rustix::io::Errno::LOOP) {
        return Some("a link is there, and below the target directory none is followed: remove it, or name what it leads to as the directory".into());
    }
    let hint = match cause.kind() {
        io::ErrorKind::PermissionDenied if is(rustix::io::Errno::PERM) && action.starts_with("publish") => {
            "the volume does not allow a file to be renamed, so that none could appear as a whole, or only not in that folder: choose another one"
        }
        io::ErrorKind::PermissionDenied if action == "replace" => {
            "only its owner and that of the folder may replace it there, and nobody while it is immutable: have it removed, or choose another directory"
        }
        _ if action == GIVE_NAME => {
            "nothing was fetched; this volume takes no such name: leave the file out with --exclude, or choose another volume"
        }
        io::ErrorKind::CrossesDevices => {
            "it is on another volume than `.modelfetch`, and a file cannot be renamed from one to the other: name the folder that is mounted as the directory"
        }
        io::ErrorKind::Unsupported => {
            "the volume lacks what is needed for that: mount it in another way, or choose another one"
        }
        io::ErrorKind::PermissionDenied => {
            "the process needs write permission there: check the owner, group and fsGroup of the volume"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only: mount a writable volume there"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a directory",
        _ => return None,
    };
    Some(hint.into())
}
