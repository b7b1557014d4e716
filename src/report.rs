//! What happens, told to whoever watches.
//!
//! All other rooms send [`Event`]s to a [`Reporter`] and never print. A reporter never decides
//! whether the run succeeded, and must not block: events come from the transfer's own tasks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::plan::{Delta, Plan};
use crate::request::{Commit, RepoId, RepoPath, Revision};

/// Receives events. Called from several threads.
pub trait Reporter: Send + Sync {
    /// Takes note of one event.
    fn report(&self, event: &Event<'_>);
}

/// A step of a run. Order for one file, unless the run fails: `Skipped`, or `Started`, then any of
/// `Copying`, `Progress`, `Retrying`, `Recovered`, `Renewed`, then `Published`. After `Restarted`, and after a file that
/// was there turned out to be wrong, it is `Started` again. A second name that needs no copy is `Published`
/// alone.
#[derive(Debug)]
pub enum Event<'a> {
    /// The run begins. Sent once, by whoever calls the library.
    Begin {
        /// `fetch`, `verify`, …
        command: &'a str,
        /// Of what, and where to.
        what: &'a str,
    },
    /// Another process holds the target directory; this one waits.
    Waiting {
        /// The other process.
        owner: &'a str,
        /// The directory it holds.
        dir: &'a std::path::Path,
    },
    /// A question to the Hub, or to the Kubernetes API, is about to be sent.
    Asking {
        /// What for.
        what: &'a str,
        /// Whom.
        host: &'a str,
    },
    /// The Hub answered: this is what will be on disk.
    Resolved {
        /// The repository.
        repo: &'a RepoId,
        /// What was asked for.
        revision: &'a Revision,
        /// What it is right now.
        commit: &'a Commit,
        /// Number of files.
        files: usize,
        /// Their total size.
        bytes: u64,
    },
    /// A signature was verified: the files that it names are pinned to it.
    Signed {
        /// The signature.
        signature: &'a RepoPath,
        /// The key or certificate.
        signer: &'a str,
        /// How many of the files that are wanted it names.
        files: usize,
    },
    /// What will be done about it; in a run of several models a plan for each.
    Planned(&'a [&'a Plan]),
    /// A file that was there needs nothing.
    Skipped {
        /// The file.
        path: &'a RepoPath,
    },
    /// Work on a file begins.
    Started {
        /// The file.
        path: &'a RepoPath,
        /// Its size in bytes.
        size: u64,
        /// Bytes already on disk from earlier runs.
        resumed: u64,
        /// Nothing is fetched: the file is there and only hashed.
        hash_only: bool,
    },
    /// A part of a file is copied from older files on the disk.
    Copying {
        /// The file.
        path: &'a RepoPath,
        /// Its size in bytes.
        size: u64,
        /// What is copied, and from where.
        delta: &'a Delta,
    },
    /// How far a file is; sent a few times per second, never per buffer.
    Progress(&'a Progress<'a>),
    /// Something failed and will be tried again.
    Retrying {
        /// What failed: a path, or a question to the Hub.
        what: &'a str,
        /// Why.
        cause: &'a dyn std::error::Error,
        /// Pause before the next attempt.
        delay: Duration,
        /// How many failures there were in a row, with this one.
        attempt: u32,
    },
    /// It works again.
    Recovered {
        /// What had failed.
        what: &'a str,
        /// After how many failures.
        attempts: u32,
    },
    /// A signed URL had expired and was replaced.
    Renewed {
        /// The file.
        path: &'a RepoPath,
        /// Host that serves it now.
        host: &'a str,
    },
    /// What had arrived of a file, or a part of it, must be fetched again.
    Restarted {
        /// The file.
        path: &'a RepoPath,
        /// Why what had arrived cannot be used.
        why: &'a str,
        /// How much was dropped, in bytes.
        dropped: u64,
        /// How much was not.
        kept: u64,
    },
    /// A file is complete, verified and at its final name.
    Published(&'a FileOutcome),
    /// Something a person should know, with what to do about it.
    Warning(&'a str),
    /// A text that is to be shown nowhere from now on: a server may repeat it.
    Secret(&'a str),
}

/// Time between two progress events of a file.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// How far one file is. All sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file.
    pub path: &'a RepoPath,
    /// Its size.
    pub size: u64,
    /// On disk, from this run and earlier ones.
    pub on_disk: u64,
    /// Hashed, from the start of the file.
    pub hashed: u64,
    /// Received by this run.
    pub received: u64,
    /// Copied by this run from older files on the disk.
    pub copied: u64,
    /// Connections at work on it.
    pub connections: usize,
}

/// What was done about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// It was there, with a valid receipt.
    Skipped,
    /// It was there and its bytes were right.
    Adopted,
    /// The same content was on disk under another name.
    Copied,
    /// Its missing part was fetched.
    Resumed,
    /// It was fetched.
    Fetched,
}

/// A file at its final name.
#[derive(Debug, Clone, Serialize)]
pub struct FileOutcome {
    /// Path in the repository.
    pub path: RepoPath,
    /// Path on disk.
    pub target: PathBuf,
    /// Bytes.
    pub size: u64,
    /// SHA-256, or the git blob id of a small file.
    pub digest: String,
    /// What was done.
    pub done: Done,
    /// Bytes received for it, wasted ones included.
    pub bytes_fetched: u64,
    /// Bytes copied from older files on the disk.
    pub bytes_copied: u64,
    /// Time spent on it.
    pub seconds: f64,
}

/// The end of a good run.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The repository.
    #[serde(serialize_with = "crate::words::as_text")]
    pub repo: RepoId,
    /// What was asked for.
    pub revision: Revision,
    /// The commit the files are of.
    pub commit: Option<Commit>,
    /// Every file asked for, in order.
    pub files: Vec<FileOutcome>,
    /// The Hub could not be asked; what is there was verified earlier.
    pub stale: bool,
    /// Time of the whole run. The summary shows its own.
    #[serde(skip)]
    pub seconds: f64,
}

/// Tells of files below a folder: the models of a run may have files of one name. Plans are told by who knows them all.
pub struct Below {
    folder: Option<RepoPath>,
    next: Arc<dyn Reporter>,
}

impl Below {
    /// In front of `next`.
    pub fn new(folder: Option<RepoPath>, next: Arc<dyn Reporter>) -> Self {
        Self { folder, next }
    }

    fn place(&self, path: &RepoPath) -> RepoPath {
        self.folder.as_ref().map_or_else(|| path.clone(), |folder| path.below(folder))
    }
}

impl Reporter for Below {
    fn report(&self, event: &Event<'_>) {
        match event {
            Event::Planned(_) => {}
            Event::Skipped { path } => self.next.report(&Event::Skipped { path: &self.place(path) }),
            Event::Started { path, size, resumed, hash_only } => {
                let (size, resumed, hash_only) = (*size, *resumed, *hash_only);
                self.next.report(&Event::Started { path: &self.place(path), size, resumed, hash_only });
            }
            Event::Copying { path, size, delta } => {
                self.next.report(&Event::Copying { path: &self.place(path), size: *size, delta });
            }
            Event::Progress(progress) => {
                self.next
                    .report(&Event::Progress(&Progress { path: &self.place(progress.path), ..**progress }));
            }
            Event::Signed { signature, signer, files } => {
                let (signer, files) = (*signer, *files);
                self.next.report(&Event::Signed { signature: &self.place(signature), signer, files });
            }
            Event::Renewed { path, host } => {
                self.next.report(&Event::Renewed { path: &self.place(path), host });
            }
            Event::Restarted { path, why, dropped, kept } => {
                let (dropped, kept) = (*dropped, *kept);
                self.next.report(&Event::Restarted { path: &self.place(path), why, dropped, kept });
            }
            Event::Published(file) => {
                let placed = FileOutcome { path: self.place(&file.path), ..(*file).clone() };
                self.next.report(&Event::Published(&placed));
            }
            Event::Begin { .. }
            | Event::Waiting { .. }
            | Event::Asking { .. }
            | Event::Resolved { .. }
            | Event::Retrying { .. }
            | Event::Recovered { .. }
            | Event::Warning(_)
            | Event::Secret(_) => self.next.report(event),
        }
    }
}
