//! Everything on the disk: one owner of a directory, who alone knows the names in it.
//!
//! A [`Store`] reads; who wants to change something takes the lock and has a [`WriteAccess`].

pub mod admission;
pub mod block;
pub mod copying;
pub mod crew;
pub mod filling;
pub mod hashing;
pub mod holdings;
pub mod journal;
mod layout;
mod leftovers;
mod lock;
mod notes;
pub mod older;
mod opening;
pub mod partial;
mod planner;
pub mod pruning;
mod publish;
pub mod receipt;
mod rehearsal;
mod tuning;
pub mod writer;

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::content::Content;
use crate::disk::{self, Dir, Kind, Stat};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Commit, Destination, Recheck, RepoId, RepoPath, Revision};

pub use publish::WriteAccess;

use hashing::Proof;
use layout::{Layout, Place};
use receipt::Receipt;

/// A commit in a reference, and no more.
const REFERENCE_BYTES_MAX: u64 = 4 << 10;
/// A listing of some hundred thousand files.
const LISTING_BYTES_MAX: u64 = 128 << 20;

/// A target directory, or the folder of one repository in a cache.
#[derive(Debug, Clone)]
pub struct Store {
    layout: Arc<Layout>,
    /// How hard a file with a receipt is looked at.
    recheck: Recheck,
}

impl Store {
    /// Of `destination` for `repo`. Looks at nothing yet.
    pub fn new(destination: &Destination, repo: &RepoId) -> Self {
        Self::with(Layout::new(destination, repo))
    }

    fn with(layout: Layout) -> Self {
        Self { layout: Arc::new(layout), recheck: Recheck::default() }
    }

    /// The same, where files with receipts are looked at that hard.
    #[must_use]
    pub fn rechecking(self, recheck: Recheck) -> Self {
        Self { recheck, ..self }
    }

    /// Of every repository in a cache; or of a directory, whatever is in it, and of the targets in folders below it.
    pub fn all(destination: &Destination) -> Result<Vec<Self>, Error> {
        let root = match destination {
            Destination::Dir(_) | Destination::LocalDir(_) => return Self::of_directories(destination),
            Destination::Cache(root) => root,
        };
        let Some(dir) = Dir::open(root)? else { return Ok(Vec::new()) };
        // Beside the repositories there may be files: CACHEDIR.TAG, version.txt.
        let folders = dir.entries()?.into_iter().filter(|(_, kind)| *kind == Kind::Dir);
        let store = |folder| Self::with(Layout::of_folder(destination, folder));
        Ok(folders.map(|(folder, _)| store(folder)).collect())
    }

    /// The directory the user named.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The folder that its state and its lock are in.
    pub fn place(&self) -> PathBuf {
        self.root().join(self.layout.base())
    }

    /// Whether it is a cache rather than plain files.
    pub fn is_cache(&self) -> bool {
        self.layout.is_cache()
    }

    /// Where the verified bytes of a file lie.
    pub fn target_path(&self, file: &WantedFile) -> PathBuf {
        self.layout.target_path(&file.path, &file.content)
    }

    /// Where a reader finds the file: in a cache, in the snapshot of the commit.
    pub fn visible_path(&self, file: &WantedFile, commit: Option<&Commit>) -> PathBuf {
        self.layout.visible_path(&file.path, &file.content, commit)
    }

    /// Which commit a revision was when the Hub was last asked.
    pub fn commit_of(&self, revision: &Revision) -> Result<Option<Commit>, Error> {
        let bytes = self.read(&self.layout.reference(revision), REFERENCE_BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| String::from_utf8_lossy(&bytes).trim().parse().ok()))
    }

    /// The listing of a commit, as [`WriteAccess::record_snapshot`] wrote it.
    pub fn listing(&self, commit: &Commit) -> Result<Option<Vec<u8>>, Error> {
        self.read(&self.layout.listing(commit), LISTING_BYTES_MAX)
    }

    /// The receipt of a name in a directory. In a cache receipts are kept by content: none there.
    pub fn receipt_of_name(&self, path: &RepoPath) -> Result<Option<Receipt>, Error> {
        if self.is_cache() {
            return Ok(None);
        }
        let bytes = self.read(&Layout::receipt_of_name(path), receipt::BYTES_MAX)?;
        Ok(bytes.and_then(|bytes| Receipt::parse(&bytes)).filter(|receipt| receipt.path == *path))
    }

    /// What the file of a name was verified to be, if it has not changed since.
    pub fn verified_content(&self, path: &RepoPath) -> Result<Option<Content>, Error> {
        let Some(content) = self.receipt_of_name(path)?.and_then(|receipt| receipt.content()) else {
            return Ok(None);
        };
        let file = WantedFile::new(path.clone(), content);
        Ok(self.proof(&file)?.map(|_| content))
    }

    /// What a cache's snapshot of a commit has for a path: the name of a blob, and its length.
    pub fn blob_in_snapshot(&self, path: &RepoPath, commit: &Commit) -> Result<Option<(String, u64)>, Error> {
        let Some(base) = self.base()? else { return Ok(None) };
        let pointer = Layout::pointer(path, commit);
        let Some(folder) = base.descend(&pointer.folder)? else { return Ok(None) };
        let link = folder.read_link(&pointer.name);
        let Some(name) = link.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()) else {
            return Ok(None);
        };
        let Some(blobs) = base.descend("blobs")? else { return Ok(None) };
        let stat = blobs.stat(name)?.filter(|stat| stat.kind == Kind::File);
        Ok(stat.map(|stat| (name.to_owned(), stat.identity.size)))
    }

    /// Opens the file at its final name to read it; `None` if there is none.
    pub fn open(&self, wanted: &WantedFile) -> Result<Option<File>, Error> {
        match self.entry(wanted)? {
            Some((folder, name, _)) => folder.file(&name),
            None => Ok(None),
        }
    }

    /// The content of a file at its final name, of at most `max` bytes; `None` if there is none.
    pub fn read_file(&self, wanted: &WantedFile, max: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.entry(wanted)? {
            Some((folder, name, _)) => folder.read(&name, max),
            None => Ok(None),
        }
    }

    /// The receipt of a file, and what it proves, if the file is still the one it was written for.
    fn proof(&self, wanted: &WantedFile) -> Result<Option<(Receipt, Proof)>, Error> {
        let place = self.layout.receipt(&wanted.path, &wanted.content);
        let bytes = self.read(&place, receipt::BYTES_MAX)?;
        let Some(receipt) = bytes.and_then(|bytes| Receipt::parse(&bytes)) else { return Ok(None) };
        let Some((.., present)) = self.entry(wanted)? else { return Ok(None) };
        let proof = Proof::of_receipt(&receipt, &present.identity, &wanted.content, self.recheck);
        Ok(proof.map(|proof| (receipt, proof)))
    }

    /// The file at its final name: its folder, its name there, and what is known of it.
    fn entry(&self, wanted: &WantedFile) -> Result<Option<(Dir, String, Stat)>, Error> {
        match self.find(&self.layout.target(&wanted.path, &wanted.content))? {
            Some((folder, name)) => self.regular(folder, name),
            None => Ok(None),
        }
    }

    /// A regular file by its name; `None` for anything that publishing would replace. A folder there is an
    /// error, because nothing could be published over it.
    fn regular(&self, folder: Dir, name: String) -> Result<Option<(Dir, String, Stat)>, Error> {
        match folder.stat(&name)? {
            Some(stat) if stat.kind == Kind::File => Ok(Some((folder, name, stat))),
            Some(stat) if stat.kind == Kind::Dir => {
                Err(Error::io("publish over", folder.join(&name))(ErrorKind::IsADirectory.into()))
            }
            Some(_) if self.is_cache() => self.shared_blob(&folder, &name),
            _ => Ok(None),
        }
    }

    /// A blob that is a link into the store that `huggingface_hub` (2.x) shares between the repositories of one
    /// cache. It may lead nowhere else.
    fn shared_blob(&self, blobs: &Dir, name: &str) -> Result<Option<(Dir, String, Stat)>, Error> {
        let Some(link) = blobs.read_link(name) else { return Ok(None) };
        let Some(place) = layout::shared_blob(self.layout.base(), &link) else { return Ok(None) };
        let Some(root) = Dir::open(self.root())? else { return Ok(None) };
        let Some(folder) = root.descend(&place.folder)? else { return Ok(None) };
        let stat = folder.stat(&place.name)?.filter(|stat| stat.kind == Kind::File);
        Ok(stat.map(|stat| (folder, place.name, stat)))
    }

    /// Every receipt there is.
    pub fn receipts(&self) -> Result<Vec<Receipt>, Error> {
        let mut receipts = Vec::new();
        if let Some(base) = self.base()?
            && let Some(dir) = base.descend(&Layout::receipts())?
        {
            collect_receipts(&dir, &mut receipts)?;
        }
        Ok(receipts)
    }

    /// Proves that it can be written: creates its state folder, and a file in it.
    pub fn probe(&self) -> Result<(), Error> {
        self.make_base()?.make(layout::STATE)?.probe()
    }

    /// Bytes free for this user where bytes are written, where the file system tells: another volume may be mounted
    /// on a folder below the directory.
    pub fn free_bytes(&self) -> Result<disk::Space, Error> {
        Ok(match self.base()? {
            Some(base) => disk::free_bytes_in(&base.nearest(&Layout::partials())?.0),
            None => disk::free_bytes(self.root()),
        })
    }

    fn base(&self) -> Result<Option<Dir>, Error> {
        match Dir::open(self.root())? {
            Some(root) => root.descend(self.layout.base()),
            None => Ok(None),
        }
    }

    fn make_base(&self) -> Result<Dir, Error> {
        Dir::create(self.root())?.make(self.layout.base())
    }

    fn find(&self, place: &Place) -> Result<Option<(Dir, String)>, Error> {
        let Some(base) = self.base()? else { return Ok(None) };
        Ok(base.descend(&place.folder)?.map(|folder| (folder, place.name.clone())))
    }

    fn read(&self, place: &Place, max: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.find(place)? {
            Some((folder, name)) => folder.read(&name, max),
            None => Ok(None),
        }
    }
}

fn collect_receipts(dir: &Dir, receipts: &mut Vec<Receipt>) -> Result<(), Error> {
    for (name, kind) in dir.entries()? {
        match kind {
            Kind::Dir => {
                if let Some(dir) = dir.descend(&name)? {
                    collect_receipts(&dir, receipts)?;
                }
            }
            Kind::File => {
                let bytes = dir.read(&name, receipt::BYTES_MAX)?;
                receipts.extend(bytes.and_then(|bytes| Receipt::parse(&bytes)));
            }
            Kind::Other => {}
        }
    }
    Ok(())
}
