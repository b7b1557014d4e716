//! What the exit numbers mean: one row each. Stable, a chart's `podFailurePolicy` depends on them.

use super::{Error, Failed, Signal};

/// How a run ends.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    /// The process's exit status.
    pub number: u8,
    /// One word for machines, part of the JSON schema; empty for success.
    pub reason: &'static str,
    /// What a Kubernetes Job should do about it.
    pub advice: Advice,
    /// When a run ends with it.
    pub meaning: &'static str,
}

/// Whether the same run can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// It has succeeded.
    Done,
    /// Trying again helps.
    Retry,
    /// Something must be changed first.
    Fail,
}

impl Advice {
    /// For tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "–",
            Self::Retry => "retry",
            Self::Fail => "fail",
        }
    }
}

macro_rules! exits {
    ($($name:ident: $number:literal, $reason:literal, $advice:ident, $meaning:literal;)*) => {
        $(
            pub(super) const $name: Exit =
                Exit { number: $number, reason: $reason, advice: Advice::$advice, meaning: $meaning };
        )*

        /// Every number that a run ends with.
        pub const EXITS: [Exit; [$($number),*].len()] = [$($name),*];
    };
}

exits! {
    DONE: 0, "", Done, "done, or already present and verified";
    INTERNAL: 1, "internal", Retry, "unexpected: a bug";
    USAGE: 2, "usage", Fail, "usage: bad flag, value, token or manifest";
    UNAUTHORISED: 10, "unauthorised", Fail, "not authorised, or gated";
    NOT_FOUND: 11, "not-found", Fail, "repository, revision, file or object not found";
    PIN_MISMATCH: 12, "pin-mismatch", Fail, "a pinned SHA256, the lock file or a signature contradicts the Hub";
    DIGEST_MISMATCH: 20, "digest-mismatch", Fail, "wrong bytes, after every part was asked for again";
    NO_SPACE: 21, "no-space", Fail, "not enough disk space";
    IO: 22, "io", Fail, "target not writable, or another I/O error";
    LOCKED: 23, "locked", Retry, "target held or changed by another process, or being deleted";
    TOO_LARGE: 24, "too-large", Fail, "the model does not fit into the memory that was named";
    UNKNOWN_ARCHITECTURE: 25, "unknown-architecture", Fail, "the server does not know the model's architecture";
    NETWORK: 30, "network", Retry, "network: gave up, or the deadline passed";
    RATE_LIMITED: 31, "rate-limited", Retry, "rate limited for longer than there was time";
    OFFLINE: 32, "offline", Retry, "offline, and the file is not there";
    SIGINT: 130, "interrupted", Retry, "SIGINT; what has arrived is kept";
    SIGTERM: 143, "interrupted", Retry, "SIGTERM; what has arrived is kept";
}

impl Error {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Internal(_) => INTERNAL,
            Self::Invalid(_)
            | Self::BadToken(_)
            | Self::TokenInTheClear(_)
            | Self::NameRefused { .. }
            | Self::LayerRefused { .. }
            | Self::NotAModel { .. }
            | Self::IncompleteSet { .. }
            | Self::ClusterRejected { .. } => USAGE,
            Self::Gated { .. }
            | Self::Unauthorised { .. }
            | Self::NoExchange { .. }
            | Self::RegistryRefused { .. }
            | Self::ClusterForbidden { .. } => UNAUTHORISED,
            Self::RepoNotFound { .. }
            | Self::RevisionNotFound { .. }
            | Self::FileNotFound { .. }
            | Self::ShardNotFound { .. }
            | Self::NothingMatches { .. }
            | Self::LayerGone { .. }
            | Self::ObjectNotFound { .. } => NOT_FOUND,
            Self::PinMismatch { .. }
            | Self::BadSignature { .. }
            | Self::Unsigned { .. }
            | Self::SignedInParts { .. }
            | Self::SignatureContradicted { .. }
            | Self::LockContradicted { .. }
            | Self::LockOutdated { .. } => PIN_MISMATCH,
            Self::ModelsFailed { failed, .. } => worst(failed).map_or(INTERNAL, Self::exit),
            Self::DigestMismatch { .. }
            | Self::ManifestMismatch { .. }
            | Self::NotGguf { .. }
            | Self::WrongKind { .. }
            | Self::BrokenHeader { .. }
            | Self::VerifyFailed { .. } => DIGEST_MISMATCH,
            Self::TooLarge { .. } => TOO_LARGE,
            Self::UnknownArchitecture { .. } => UNKNOWN_ARCHITECTURE,
            Self::NoSpace { .. } | Self::DiskFull { .. } => NO_SPACE,
            Self::Io { .. } | Self::SameName { .. } => IO,
            Self::Locked { .. } | Self::Meddled { .. } | Self::ClaimTerminating { .. } => LOCKED,
            Self::GaveUp { .. }
            | Self::Refused { .. }
            | Self::ServerNotReady { .. }
            | Self::NotAHub { .. }
            | Self::NotARegistry { .. }
            | Self::KeepsChanging { .. }
            | Self::Deadline { .. } => NETWORK,
            Self::RateLimited { .. } => RATE_LIMITED,
            Self::Offline { .. } => OFFLINE,
            Self::Interrupted { signal: Signal::Int } => SIGINT,
            Self::Interrupted { signal: Signal::Term } => SIGTERM,
        }
    }

    /// The process's exit status.
    pub fn exit_number(&self) -> u8 {
        self.exit().number
    }

    /// Whether it is about the way to the Hub, by its exit number: what is on disk is as good as before.
    pub fn is_outage(&self) -> bool {
        [NETWORK.number, RATE_LIMITED.number].contains(&self.exit_number())
    }
}

/// The failure that decides how a run ends: a signal, else the first one that needs somebody's hand, else the first.
pub(super) fn worst(failed: &[Failed]) -> Option<&Error> {
    let rank = |error: &Error| match (error, error.exit().advice) {
        (Error::Interrupted { .. }, _) => 2,
        (_, Advice::Fail) => 1,
        _ => 0,
    };
    failed.iter().map(|failed| &failed.error).rev().max_by_key(|error| rank(error))
}
