//! What the exit numbers mean. [`Error::exit_number`] assigns them; a test holds both together.
//!
//! [`Error::exit_number`]: crate::error::Error::exit_number

/// One exit number.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    /// The process's exit status.
    pub number: u8,
    /// When a run ends with it.
    pub meaning: &'static str,
    /// What a Kubernetes Job should do about it.
    pub job: Job,
}

/// Whether the same run can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// It has succeeded.
    Done,
    /// Trying again helps.
    Retry,
    /// Something must be changed first.
    Fail,
}

impl Job {
    /// For tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "–",
            Self::Retry => "retry",
            Self::Fail => "fail",
        }
    }
}

/// Every exit number there is.
pub const EXITS: [Exit; 15] = [
    exit(0, Job::Done, "done, or already present and verified"),
    exit(1, Job::Retry, "unexpected: a bug"),
    exit(2, Job::Fail, "usage: bad flag, value, token or manifest"),
    exit(10, Job::Fail, "not authorised, or gated"),
    exit(11, Job::Fail, "repository, revision, file or object not found"),
    exit(12, Job::Fail, "the pinned SHA256 contradicts the Hub"),
    exit(20, Job::Fail, "wrong bytes, after a clean second try"),
    exit(21, Job::Fail, "not enough disk space"),
    exit(22, Job::Fail, "target not writable, or another I/O error"),
    exit(23, Job::Retry, "target held by another process, or being deleted"),
    exit(30, Job::Retry, "network: gave up, or the deadline passed"),
    exit(31, Job::Retry, "rate limited for longer than there was time"),
    exit(32, Job::Retry, "offline, and the file is not there"),
    exit(130, Job::Retry, "SIGINT; what has arrived is kept"),
    exit(143, Job::Retry, "SIGTERM; what has arrived is kept"),
];

const fn exit(number: u8, job: Job, meaning: &'static str) -> Exit {
    Exit { number, meaning, job }
}
