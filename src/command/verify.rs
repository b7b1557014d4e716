//! `modelfetch verify`: hashes what is on disk against receipts or pins, says which file is wrong,
//! and changes nothing unless it is told to repair.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{Context, fetch};
use crate::content::{Content, Digest};
use crate::disk;
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{
    Destination, Endpoints, Limits, NetworkUse, Pins, Recheck, RepoPath, Request, Revision, Selection,
};
use crate::store::hashing::hash_shown;
use crate::store::layout::STATE;
use crate::store::receipt::Receipt;

/// What `modelfetch verify` is asked for.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The directory or cache whose receipts say what should be there.
    pub destination: Destination,
    /// Only these: paths as in the repository, or on disk. Empty means all.
    pub paths: Vec<PathBuf>,
    /// Digests that win over the receipts.
    pub pins: Pins,
    /// Fetch again what is wrong or missing.
    pub repair: bool,
    /// Hubs for the repair.
    pub endpoints: Endpoints,
    /// Limits for the repair.
    pub limits: Limits,
}

/// What was found about one file.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// Path on disk.
    pub target: PathBuf,
    /// Size it should have, in bytes.
    pub size: u64,
    /// What is wrong, or `None`.
    pub fault: Option<String>,
    /// It was wrong and is right now.
    pub repaired: bool,
}

/// Hashes files against their receipts or pins; `found` hears of each one.
/// Fails with [`Error::VerifyFailed`] at the end if any is wrong and was not repaired, and with
/// [`Error::Invalid`] if there is nothing to verify.
pub async fn verify(
    request: &VerifyRequest,
    context: &Context,
    found: &mut (dyn FnMut(&Checked) + Send),
) -> Result<(), Error> {
    let subjects = subjects(request)?;
    let mut wrong = 0;
    for subject in &subjects {
        let mut checked = subject.check(context).await?;
        if checked.fault.is_some() && request.repair {
            subject.repair(request, context).await?;
            checked.repaired = true;
        }
        wrong += usize::from(checked.fault.is_some() && !checked.repaired);
        found(&checked);
    }
    if wrong > 0 { Err(Error::VerifyFailed { wrong, checked: subjects.len() }) } else { Ok(()) }
}

/// A file and what it should be.
struct Subject {
    target: PathBuf,
    file: WantedFile,
    receipt: Option<Receipt>,
}

fn subjects(request: &VerifyRequest) -> Result<Vec<Subject>, Error> {
    let mut subjects = Vec::new();
    for state in state_folders(&request.destination)? {
        let base = state.parent().unwrap_or(Path::new("."));
        for receipt in receipts(&state.join("receipts"))? {
            let Some(content) = receipt.content() else { continue };
            let target = match request.destination {
                Destination::Dir(_) => base.join(receipt.path.as_str()),
                Destination::Cache(_) => base.join("blobs").join(content.key().to_string()),
            };
            let file = WantedFile { path: receipt.path.clone(), content };
            subjects.push(Subject { target, file, receipt: Some(receipt) });
        }
    }
    subjects.sort_by(|a, b| a.target.cmp(&b.target));
    if !request.paths.is_empty() {
        subjects = request
            .paths
            .iter()
            .map(|path| select(path, &mut subjects, request))
            .collect::<Result<_, _>>()?;
    }
    let selected = subjects.len();
    for subject in &mut subjects {
        if let Some(pin) = request.pins.for_file(&subject.file.path, selected) {
            subject.file.content = Content::new(subject.file.size(), Digest::Sha256(pin));
        }
    }
    if subjects.is_empty() {
        let dir = request.destination.root().to_string_lossy().into_owned();
        return Err(Error::invalid(
            "directory",
            &dir,
            "it holds no receipts; name a file and pin it with --sha256",
        ));
    }
    Ok(subjects)
}

/// Finds a named file among those with receipts; a pin makes up for a missing receipt.
fn select(path: &Path, subjects: &mut Vec<Subject>, request: &VerifyRequest) -> Result<Subject, Error> {
    let in_dir = request.destination.root().join(path);
    let same = |subject: &Subject| {
        Path::new(subject.file.path.as_str()) == path || subject.target == in_dir || subject.target == path
    };
    if let Some(at) = subjects.iter().position(same) {
        return Ok(subjects.remove(at));
    }
    let text = path.to_string_lossy();
    let name: RepoPath = path.file_name().unwrap_or_default().to_string_lossy().parse()?;
    let named: Option<RepoPath> = text.parse().ok();
    let pin = named.as_ref().and_then(|named| request.pins.for_file(named, request.paths.len()));
    let pin = pin.or_else(|| request.pins.for_file(&name, request.paths.len()));
    let Some(pin) = pin else {
        return Err(Error::invalid(
            "file",
            &text,
            "there is no receipt for it; pin its digest with --sha256",
        ));
    };
    let target = if path.exists() { path.to_owned() } else { in_dir };
    let size = disk::regular_file(&target)?.map_or(0, |metadata| metadata.len());
    let content = Content::new(size, Digest::Sha256(pin));
    let file = WantedFile { path: named.unwrap_or(name), content };
    Ok(Subject { target, file, receipt: None })
}

impl Subject {
    async fn check(&self, context: &Context) -> Result<Checked, Error> {
        Ok(Checked {
            target: self.target.clone(),
            size: self.file.size(),
            fault: self.fault(context).await?,
            repaired: false,
        })
    }

    async fn fault(&self, context: &Context) -> Result<Option<String>, Error> {
        let Some(metadata) = disk::regular_file(&self.target)? else {
            return Ok(Some("it is missing".into()));
        };
        if metadata.len() != self.file.size() {
            return Ok(Some(format!("it has {} bytes, should have {}", metadata.len(), self.file.size())));
        }
        let hashed = hash_shown(&self.target, &self.file, &*context.reporter, &context.stop).await?;
        Ok(hashed
            .err()
            .map(|mismatch| format!("its digest is {}, should be {}", mismatch.computed, mismatch.expected)))
    }

    /// Fetches the file as its receipt describes it.
    async fn repair(&self, request: &VerifyRequest, context: &Context) -> Result<(), Error> {
        let receipt = self.receipt.as_ref().ok_or_else(|| {
            let why = "without a receipt it is not known where it came from; use `fetch`";
            Error::invalid("repair of", &self.target.to_string_lossy(), why)
        })?;
        let revision = match receipt.commit {
            Some(commit) => commit.to_string().parse::<Revision>()?,
            None => receipt.revision.clone(),
        };
        let pins: Vec<_> = self
            .file
            .content
            .sha256()
            .map(|digest| format!("{}={digest}", self.file.path))
            .into_iter()
            .collect();
        let fetch = Request {
            repo: receipt.repo.clone(),
            revision,
            selection: Selection::single(self.file.path.clone()),
            pins: Pins::parse(pins.iter().map(String::as_str))?,
            destination: request.destination.clone(),
            endpoints: request.endpoints.clone(),
            network: NetworkUse::RequireFresh,
            recheck: Recheck::Full,
            limits: request.limits.clone(),
        };
        fetch::fetch(&fetch, context).await.map(|_| ())
    }
}

/// The state folders of a directory, or of every repository in a cache.
fn state_folders(destination: &Destination) -> Result<Vec<PathBuf>, Error> {
    match destination {
        Destination::Dir(root) => Ok(vec![root.join(STATE)]),
        // Beside the repositories there may be files: CACHEDIR.TAG, version.txt.
        Destination::Cache(root) => {
            let repos = disk::entries(root)?.into_iter().filter(|path| path.is_dir());
            Ok(repos.map(|repo| repo.join(STATE)).collect())
        }
    }
}

fn receipts(dir: &Path) -> Result<Vec<Receipt>, Error> {
    let mut found = Vec::new();
    for path in disk::entries(dir)? {
        if path.is_dir() {
            found.extend(receipts(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.extend(Receipt::read(&path)?);
        }
    }
    Ok(found)
}
