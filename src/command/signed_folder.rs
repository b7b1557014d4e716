//! A folder beside its signature, whoever put both there: which files are signed, and which are not.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::Digest as _;

use super::Context;
use crate::content::Sha256;
use crate::error::Error;
use crate::report::Event;
use crate::request::{RepoPath, Signing};
use crate::trust::signature::{self, BYTES_MAX};
use crate::trust::{Signed, SignedFile, SignedFiles, Signers, Statement};

/// What only those who fetch read: this program's state, and `huggingface_hub`'s.
const STATE: &str = ".modelfetch";
const HUB_STATE: &str = ".cache/huggingface";
/// Bytes that are hashed at a time.
const READ_SIZE: usize = 256 << 10;

/// What `verify --signature` is asked for.
#[derive(Debug, Clone)]
pub struct SignedFolder {
    /// Who may have signed, and what need not be.
    pub signing: Arc<Signing>,
    /// The signature on disk.
    pub signature: PathBuf,
}

/// A path that is to be looked at, or was.
#[derive(Debug)]
pub(super) struct Found {
    /// Its name in the folder.
    pub(super) name: RepoPath,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What is known of it.
    pub(super) verdict: Verdict,
}

/// What the signature says of a path.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Its bytes have to be these.
    Signed(SignedFile),
    /// It is wrong, whatever its bytes are.
    Fault(String),
}

impl SignedFolder {
    /// Verifies the signature, and lists what has to be right for the folder to be what was signed; with `only`, for these
    /// paths to be.
    pub(super) fn look(&self, root: &Path, only: &[PathBuf], context: &Context) -> Result<Vec<Found>, Error> {
        let signed = self.verify()?;
        let (name, signer) = (self.signature.file_name().unwrap_or_default(), signed.signer().to_string());
        let name = name.to_str().and_then(|name| name.parse().ok());
        let signature = name.as_ref().unwrap_or(&self.signing.signature);
        let files = match &signed.statement().files {
            SignedFiles::Folder(files) => files.len(),
            SignedFiles::Alone(_) => 1,
        };
        context.reporter.report(&Event::Signed { signature, signer: &signer, files });
        let mut look = Look {
            folder: self,
            root,
            signed: signed.statement(),
            found: Vec::new(),
            passed_over: BTreeSet::new(),
        };
        if only.is_empty() {
            look.everything()?;
        } else {
            only.iter().try_for_each(|path| look.one(path, only.len() == 1))?;
        }
        if !look.passed_over.is_empty() {
            let names: Vec<_> = look.passed_over.iter().map(String::as_str).collect();
            let text =
                format!("the signature leaves these out, and they are not vouched for: {}", names.join(", "));
            context.reporter.report(&Event::Warning(&text));
        }
        look.found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(look.found)
    }

    fn verify(&self) -> Result<Signed, Error> {
        let bad = |why: String| Error::BadSignature { signature: self.signature.display().to_string(), why };
        let file = File::open(&self.signature).map_err(|why| match why.kind() {
            ErrorKind::NotFound => bad("there is no such file; name it with --signature".into()),
            _ => Error::io("read", &self.signature)(why),
        })?;
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", &self.signature))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(bad("it is too large to be a signature".into()));
        }
        Signed::verify(&bytes, &Signers::read(&self.signing)?).map_err(bad)
    }
}

struct Look<'a> {
    folder: &'a SignedFolder,
    root: &'a Path,
    signed: &'a Statement,
    found: Vec<Found>,
    /// What is there and was left out by whoever signed.
    passed_over: BTreeSet<String>,
}

impl Look<'_> {
    /// Every file that is signed, and whatever else is there.
    fn everything(&mut self) -> Result<(), Error> {
        let SignedFiles::Folder(files) = &self.signed.files else {
            let why = "it is the signature of a single file: name that file after the flags";
            return Err(Error::invalid("signature", &self.folder.signature.to_string_lossy(), why));
        };
        for (name, file) in files {
            self.found.push(Found {
                name: name.clone(),
                path: self.root.join(name.as_str()),
                verdict: Verdict::Signed(file.clone()),
            });
        }
        let mut folders = vec![String::new()];
        while let Some(below) = folders.pop() {
            let dir = self.root.join(below.trim_end_matches('/'));
            for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
                let entry = entry.map_err(Error::io("read", &dir))?;
                let kind = entry.file_type().map_err(Error::io("look at", entry.path()))?;
                let text = format!("{below}{}", entry.file_name().to_string_lossy());
                if self.is_outside(&text, &entry.path()) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push(text + "/");
                } else if let Some(why) = self.fault(&text, &entry.path(), kind)? {
                    self.reject(&text, entry.path(), why);
                }
            }
        }
        Ok(())
    }

    /// A file that the user named.
    fn one(&mut self, path: &Path, is_alone: bool) -> Result<(), Error> {
        let at = self.root.join(path);
        let at = if path.is_absolute() || !at.exists() && path.exists() { path.to_owned() } else { at };
        let below = at.strip_prefix(self.root).unwrap_or(path).to_string_lossy();
        let name: RepoPath = match below.trim_start_matches("./").parse() {
            Ok(name) => name,
            Err(_) if is_alone => at.file_name().unwrap_or_default().to_string_lossy().parse()?,
            Err(invalid) => return Err(invalid.into()),
        };
        let kind = fs::symlink_metadata(&at).map(|metadata| metadata.file_type());
        let verdict = match (self.signed.file(&name, is_alone), kind) {
            (_, Ok(kind)) if kind.is_symlink() && !self.may_be_link(&at) => {
                Verdict::Fault("it is a link, and none were signed".into())
            }
            (Some(file), _) => Verdict::Signed(file.clone()),
            (None, _) if self.folder.signing.allow_unsigned.is_match(&name) => return Ok(()),
            (None, _) => Verdict::Fault("it is not signed".into()),
        };
        self.found.push(Found { name, path: at, verdict });
        Ok(())
    }

    /// Whether a path is nothing that the signature is about.
    fn is_outside(&mut self, name: &str, path: &Path) -> bool {
        let is_in = |folder: &str| {
            name.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if let Some(folder) = self.signed.left_out.iter().find(|folder| is_in(folder.as_str())) {
            let is_signature = path == self.folder.signature || same_file(path, &self.folder.signature);
            if !signature::is_never_signed(name) && !is_signature {
                self.passed_over.insert(folder.to_string());
            }
            return true;
        }
        signature::is_never_signed(name)
            || is_in(HUB_STATE)
            || name.split('/').any(|part| part == STATE)
            || same_file(path, &self.folder.signature)
    }

    /// What is wrong with what is there, before a byte of it is read.
    fn fault(&self, name: &str, path: &Path, kind: fs::FileType) -> Result<Option<String>, Error> {
        if kind.is_symlink() && !self.may_be_link(path) {
            return Ok(Some("it is a link, and none were signed".into()));
        }
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Some("it leads nowhere".into())),
            Err(why) => return Err(Error::io("look at", path)(why)),
        };
        if metadata.is_dir() {
            return Ok(Some("it is a link to a folder, whose files nobody signed".into()));
        }
        if !metadata.is_file() {
            return Ok(Some("it is neither a file nor a folder".into()));
        }
        let parsed: Result<RepoPath, _> = name.parse();
        let is_known = parsed.as_ref().is_ok_and(|name| {
            self.signed.file(name, false).is_some() || self.folder.signing.allow_unsigned.is_match(name)
        });
        // Of a file without bytes there are no parts to be signed.
        let is_nothing = metadata.len() == 0 && self.is_in_parts();
        Ok((!is_known && !is_nothing).then(|| "it is not signed".into()))
    }

    /// Links were signed as what they lead to; or it is one that `huggingface_hub`'s cache is made of.
    fn may_be_link(&self, path: &Path) -> bool {
        let is_of_cache = |link: PathBuf| {
            let link = link.to_string_lossy().into_owned();
            let blob = link.trim_start_matches("../").strip_prefix("blobs/");
            link.starts_with("../") && blob.is_some_and(|blob| !blob.contains('/'))
        };
        self.signed.allows_links || fs::read_link(path).is_ok_and(is_of_cache)
    }

    fn is_in_parts(&self) -> bool {
        match &self.signed.files {
            SignedFiles::Folder(files) => files.values().all(|file| matches!(file, SignedFile::Parts(_))),
            SignedFiles::Alone(file) => matches!(file, SignedFile::Parts(_)),
        }
    }

    /// A path that is wrong. It is one fault, also where it is signed.
    fn reject(&mut self, name: &str, path: PathBuf, why: String) {
        self.found.retain(|found| found.path != path);
        // A name that no repository has, as one that is no UTF-8, is told by its path on disk.
        let name = name.parse().unwrap_or_else(|_| self.folder.signing.signature.clone());
        self.found.push(Found { name, path, verdict: Verdict::Fault(why) });
    }
}

/// Whether both lead to one file.
fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    a.file_name() == b.file_name() && place(a).is_some_and(|place_of_a| place(b) == Some(place_of_a))
}

/// What is wrong with a file that was signed in parts; `None` if nothing is.
pub(super) fn fault_in_parts(
    mut file: File,
    path: &Path,
    parts: &[(u64, Sha256)],
) -> Result<Option<String>, Error> {
    let io = || Error::io("read", path);
    let (size, wanted) = (file.metadata().map_err(io())?.len(), parts.last().map_or(0, |(end, _)| *end));
    if size != wanted {
        return Ok(Some(format!("it has {size} bytes, should have {wanted}")));
    }
    let (mut buffer, mut position) = (vec![0; READ_SIZE], 0);
    for (end, digest) in parts {
        let (start, mut hasher) = (position, sha2::Sha256::new());
        while position < *end {
            let left = usize::try_from(*end - position).unwrap_or(READ_SIZE).min(READ_SIZE);
            file.read_exact(&mut buffer[..left]).map_err(io())?;
            hasher.update(&buffer[..left]);
            position += left as u64;
        }
        let computed = Sha256::from_bytes(hasher.finalize().into());
        if computed != *digest {
            return Ok(Some(format!(
                "the digest of its bytes {start} to {end} is {computed}, should be {digest}"
            )));
        }
    }
    Ok(None)
}
