//! `modelfetch verify`: hashes what is on disk against receipts or pins, says which file is wrong,
//! and changes nothing unless it is told to repair.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::signed_folder::{Found, SignedFolder, Verdict, fault_in_parts};
use super::{Context, fetch};
use crate::content::{Content, Sha256};
use crate::disk::Dir;
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{
    Destination, Endpoints, Limits, NetworkUse, Pins, Recheck, RepoPath, Request, Revision, Selection,
};
use crate::store::Store;
use crate::store::hashing::HashQueue;
use crate::store::receipt::Receipt;
use crate::trust::SignedFile;

/// Files on their way at the same time; of these as many are open and hashed as there are cores.
const AHEAD: usize = 16;
const MISSING: &str = "it is missing, or no regular file";

/// What `modelfetch verify` is asked for.
#[derive(Debug, Clone)]
pub struct VerifyRequest {
    /// The directory or cache whose receipts say what should be there.
    pub destination: Destination,
    /// Only these: paths as in the repository, or on disk. Empty means all.
    pub paths: Vec<PathBuf>,
    /// Digests that win over the receipts.
    pub pins: Pins,
    /// A signature that wins over all of them.
    pub signed: Option<SignedFolder>,
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
    let subjects = {
        let (request, watching) = (request.clone(), context.clone());
        let look = move || match &request.signed {
            Some(folder) => signed_subjects(folder, &request, &watching),
            None => subjects(&request),
        };
        context.stop.or_blocking("looking at the disk", look).await?
    };
    let (mut wrong, hashes) = (0, HashQueue::default());
    let hashes = &hashes;
    let check = |subject| async move { (subject, Subject::check(subject, hashes, context).await) };
    let checks = stream::iter(&subjects).map(check);
    let mut checks = std::pin::pin!(checks.buffered(AHEAD));
    while let Some((subject, checked)) = checks.next().await {
        let mut checked = checked?;
        if let Some(fault) = checked.fault.as_mut().filter(|_| request.repair) {
            match Box::pin(subject.repair(request, context)).await {
                Ok(()) => checked.repaired = true,
                // What was fetched once, and would be again, is not what the file's name says: what is there may be better.
                Err(why @ (Error::NotGguf { .. } | Error::WrongKind { .. })) => {
                    *fault = format!(
                        "{fault}; it was left as it is, because the one to be fetched is no better: {why}"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        wrong += usize::from(checked.fault.is_some() && !checked.repaired);
        found(&checked);
    }
    if wrong > 0 { Err(Error::VerifyFailed { wrong, checked: subjects.len() }) } else { Ok(()) }
}

/// A file and what it should be.
struct Subject {
    place: Place,
    wanted: WantedFile,
    receipt: Option<Receipt>,
    signed: Option<Verdict>,
}

#[derive(Clone)]
enum Place {
    /// Where a store has it.
    Stored(Store),
    /// Where the user says it is.
    At(PathBuf),
    /// The same, which may be a link.
    Followed(PathBuf),
}

/// What a signature says of the files of a folder.
fn signed_subjects(
    folder: &SignedFolder,
    request: &VerifyRequest,
    context: &Context,
) -> Result<Vec<Subject>, Error> {
    let subject = |Found { name, path, verdict }| {
        let size = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let (digest, signed) = match verdict {
            Verdict::Signed(SignedFile::Whole(digest)) => (digest, None),
            other => (Sha256::ZERO, Some(other)),
        };
        let is_link = std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
        let place = if is_link { Place::Followed(path) } else { Place::At(path) };
        let mut subject = Subject {
            place,
            wanted: WantedFile::new(name, Content::of_sha256(size, digest)),
            receipt: None,
            signed,
        };
        // A signature names its digest as a pin does.
        subject.wanted.vouchers.add_pin();
        subject
    };
    let found = folder.look(request.destination.root(), &request.paths, context)?;
    Ok(found.into_iter().map(subject).collect())
}

fn subjects(request: &VerifyRequest) -> Result<Vec<Subject>, Error> {
    let mut subjects = Vec::new();
    for store in Store::all(&request.destination)? {
        for receipt in store.receipts()? {
            let Some(content) = receipt.content() else { continue };
            let mut wanted = WantedFile::new(receipt.path.clone(), content).known_as(receipt.xet_hash);
            wanted.vouchers = receipt.vouched_by.clone();
            subjects.push(Subject {
                place: Place::Stored(store.clone()),
                wanted,
                receipt: Some(receipt),
                signed: None,
            });
        }
    }
    subjects.sort_by_cached_key(Subject::path);
    if !request.paths.is_empty() {
        let named = request.paths.iter().map(|path| select(path, &mut subjects, request));
        subjects = named.collect::<Result<_, _>>()?;
    }
    let selected = subjects.len();
    for subject in &mut subjects {
        if let Some(pin) = request.pins.for_file(&subject.wanted.path, selected) {
            subject.pin(pin);
        }
    }
    if subjects.is_empty() {
        let dir = request.destination.root().to_string_lossy();
        let why = "it holds no receipts; name a file and pin it with --sha256";
        return Err(Error::invalid("directory", &dir, why));
    }
    Ok(subjects)
}

/// Finds a named file among those with receipts; a pin makes up for a missing receipt.
fn select(path: &Path, subjects: &mut Vec<Subject>, request: &VerifyRequest) -> Result<Subject, Error> {
    let in_dir = request.destination.root().join(path);
    let same = |subject: &Subject| {
        let target = subject.path();
        Path::new(subject.wanted.path.as_str()) == path || target == in_dir || target == path
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
    let at = if path.exists() { path.to_owned() } else { in_dir };
    let size = open_at(&at)?.map(|file| file.metadata().map_err(Error::io("look at", &at))).transpose()?;
    let content = Content::of_sha256(size.map_or(0, |metadata| metadata.len()), pin);
    let mut wanted = WantedFile::new(named.unwrap_or(name), content);
    wanted.vouchers.add_pin();
    Ok(Subject { place: Place::At(at), wanted, receipt: None, signed: None })
}

/// Opens a file that the user named; `None` if there is none.
fn open_at(path: &Path) -> Result<Option<std::fs::File>, Error> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    match Dir::open(path.parent().unwrap_or(Path::new("")))? {
        Some(dir) => dir.file(name),
        None => Ok(None),
    }
}

/// The same, also behind a link.
fn follow(path: &Path) -> Result<Option<std::fs::File>, Error> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            std::fs::File::open(path).map(Some).map_err(Error::io("open", path))
        }
        _ => Ok(None),
    }
}

impl Subject {
    fn path(&self) -> PathBuf {
        match &self.place {
            Place::Stored(store) => store.target_path(&self.wanted),
            Place::At(path) | Place::Followed(path) => path.clone(),
        }
    }

    /// The user's digest wins over the receipt's.
    fn pin(&mut self, pin: Sha256) {
        let content = self.wanted.content;
        let pinned = content.with_sha256(pin);
        self.wanted.content = pinned.unwrap_or(Content::of_sha256(content.size(), pin));
        self.wanted.vouchers.add_pin();
    }

    async fn check(&self, hashes: &HashQueue, context: &Context) -> Result<Checked, Error> {
        Ok(Checked {
            target: self.path(),
            size: self.wanted.size(),
            fault: self.fault(hashes, context).await?,
            repaired: false,
        })
    }

    async fn fault(&self, hashes: &HashQueue, context: &Context) -> Result<Option<String>, Error> {
        let (place, wanted) = (self.place.clone(), self.wanted.clone());
        let open = move || match place {
            Place::Stored(store) => store.open(&wanted),
            Place::At(path) => open_at(&path),
            Place::Followed(path) => follow(&path),
        };
        match &self.signed {
            None | Some(Verdict::Signed(SignedFile::Whole(_))) => {}
            Some(Verdict::Fault(why)) => return Ok(Some(why.clone())),
            Some(Verdict::Signed(SignedFile::Parts(parts))) => {
                let (path, parts) = (self.path(), parts.clone());
                let hash = move || match open()? {
                    Some(file) => fault_in_parts(file, &path, &parts),
                    None => Ok(Some(MISSING.into())),
                };
                return context.stop.or_blocking("hashing files", hash).await;
            }
        }
        let (reporter, stop) = (&*context.reporter, &context.stop);
        match hashes.hash(open, self.path(), &self.wanted, reporter, stop).await {
            Ok(None) => Ok(Some(MISSING.into())),
            Ok(Some(Err(unlike))) => Ok(Some(unlike.to_string())),
            Ok(Some(Ok(proven))) => {
                let strange = proven.strange();
                let admitted = fetch::admit(&self.wanted, strange, reporter);
                Ok(strange.filter(|_| admitted.is_err()).map(|strange| strange.why.clone()))
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches the file as its receipt describes it.
    async fn repair(&self, request: &VerifyRequest, context: &Context) -> Result<(), Error> {
        let receipt = self.receipt.as_ref().ok_or_else(|| {
            let why = "without a receipt it is not known where it came from; use `fetch`";
            Error::invalid("repair of", &self.path().to_string_lossy(), why)
        })?;
        let revision = match receipt.origin.commit {
            Some(commit) => commit.to_string().parse::<Revision>()?,
            None => receipt.origin.revision.clone(),
        };
        let path = &self.wanted.path;
        let pins = match self.wanted.content.sha256() {
            // Who wanted those bytes by their digest still does.
            Some(digest) if self.wanted.vouchers.has_pin() => Pins::parse([&*format!("{path}={digest}")])?,
            Some(digest) => Pins::recorded(path.clone(), digest),
            None => Pins::default(),
        };
        let fetch = Request {
            repo: receipt.origin.repo.clone(),
            revision,
            selection: Selection::single(self.wanted.path.clone()),
            pins,
            destination: match &self.place {
                Place::Stored(store) => store.destination(),
                Place::At(_) | Place::Followed(_) => request.destination.clone(),
            },
            endpoints: request.endpoints.clone(),
            network: NetworkUse::RequireFresh,
            recheck: Recheck::Full,
            limits: request.limits.clone(),
            locked: None,
            delta: false,
            signing: None,
        };
        Box::pin(fetch::fetch(&fetch, context)).await.map(|_| ())
    }
}
