//! What will be done about each file of a request: data alone. The store decides it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::content::{Content, XetHash};
use crate::error::Error;
use crate::request::{Commit, RepoId, RepoPath, Revision};

/// A name and the content it should have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedFile {
    /// Path in the repository.
    pub path: RepoPath,
    /// What its bytes must be.
    #[serde(flatten)]
    pub content: Content,
    /// What Xet storage calls them, where somebody told. It vouches for nothing. There may be 100,000 files of which nobody
    /// did, so it takes no room then.
    #[serde(skip)]
    xet_hash: Option<Arc<XetHash>>,
    /// Who says so.
    #[serde(skip)]
    pub vouchers: Vouchers,
}

/// Who says what the bytes of a file must be. In receipts and lists it is a list of words. Most files of a long list have
/// the same, so that all of these share one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<String>", into = "Vec<String>")]
pub struct Vouchers(Arc<Said>);

#[expect(clippy::struct_excessive_bools, reason = "who vouches, each by himself")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said {
    hub: bool,
    registry: bool,
    lock: bool,
    pin: bool,
    /// A key or certificate that is trusted, with which the model was signed.
    signer: Option<Arc<str>>,
}

impl Vouchers {
    /// A Hub, or a mirror of it, in what it announces.
    pub fn hub() -> Self {
        static HUB: LazyLock<Vouchers> =
            LazyLock::new(|| Vouchers(Arc::new(Said { hub: true, ..Said::default() })));
        HUB.clone()
    }

    /// A lock file.
    pub fn lock() -> Self {
        Self(Arc::new(Said { lock: true, ..Said::default() }))
    }

    /// Somebody who pinned a digest, too.
    pub fn add_pin(&mut self) {
        Arc::make_mut(&mut self.0).pin = true;
    }

    /// Somebody who signed the model, too.
    pub fn add_signer(&mut self, signer: Arc<str>) {
        Arc::make_mut(&mut self.0).signer = Some(signer);
    }

    /// All of both.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let (said, others) = (&self.0, &others.0);
        Self(Arc::new(Said {
            hub: said.hub || others.hub,
            registry: said.registry || others.registry,
            lock: said.lock || others.lock,
            pin: said.pin || others.pin,
            signer: said.signer.clone().or_else(|| others.signer.clone()),
        }))
    }

    /// The same, with a registry in the place of the Hub: the manifest of a model there says it.
    #[must_use]
    pub fn of_registry(&self) -> Self {
        Self(Arc::new(Said { hub: false, registry: true, ..(*self.0).clone() }))
    }

    /// The same, but for the Hub, or the registry.
    #[must_use]
    pub fn without_hub(&self) -> Self {
        Self(Arc::new(Said { hub: false, registry: false, ..(*self.0).clone() }))
    }

    /// Whether somebody has signed it.
    pub fn has_signer(&self) -> bool {
        self.0.signer.is_some()
    }

    /// Whether somebody pinned a digest.
    pub fn has_pin(&self) -> bool {
        self.0.pin
    }

    /// Whether somebody wants these bytes, whatever they are: a user who pinned their digest, or a signer.
    pub fn are_certain(&self) -> bool {
        self.has_pin() || self.has_signer()
    }

    /// Whether it is known of whoever signed the model that he did.
    pub fn has_signer_of(&self, others: &Self) -> bool {
        others.0.signer.is_none() || self.0.signer == others.0.signer
    }

    /// Whether nothing was written down.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Vec<String>> for Vouchers {
    fn from(words: Vec<String>) -> Self {
        let mut said = Said::default();
        for word in words {
            match word.as_str() {
                "hub" => said.hub = true,
                "registry" => said.registry = true,
                "lock" => said.lock = true,
                "pin" => said.pin = true,
                _ => said.signer = Some(word.into()),
            }
        }
        Self(Arc::new(said))
    }
}

impl From<Vouchers> for Vec<String> {
    fn from(vouchers: Vouchers) -> Self {
        let Said { hub, registry, lock, pin, signer } = &*vouchers.0;
        let words = [(*hub, "hub"), (*registry, "registry"), (*lock, "lock"), (*pin, "pin")].into_iter();
        let words = words.filter(|(is_so, _)| *is_so).map(|(_, word)| word.to_owned());
        words.chain(signer.as_ref().map(ToString::to_string)).collect()
    }
}

impl WantedFile {
    /// As the Hub announces it; Xet storage is not known to have anything of it.
    pub fn new(path: RepoPath, content: Content) -> Self {
        Self { path, content, xet_hash: None, vouchers: Vouchers::hub() }
    }

    /// With what Xet storage calls it, where that is known.
    #[must_use]
    pub fn known_as(self, xet_hash: Option<XetHash>) -> Self {
        Self { xet_hash: xet_hash.map(Arc::new), ..self }
    }

    /// What Xet storage calls it, where that is known.
    pub fn xet_hash(&self) -> Option<XetHash> {
        self.xet_hash.as_deref().copied()
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.content.size()
    }
}

/// Where the files of a request come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The repository.
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit it is; unknown where receipts alone answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub commit: Option<Commit>,
}

/// What will be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The repository.
    pub repo: RepoId,
    /// The revision that was asked for.
    pub revision: Revision,
    /// The commit it is.
    pub commit: Option<Commit>,
    /// The directory the user named.
    pub dir: PathBuf,
    /// Where the verified bytes of its files will lie.
    pub targets: Targets,
    /// Every file, in the order asked for.
    pub items: Vec<Item>,
    /// Files that other requests have brought, by the content that this one wants too.
    pub originals: HashMap<Content, Original>,
    /// Size of all files.
    pub bytes_total: u64,
    /// Bytes to be fetched.
    pub bytes_to_fetch: u64,
    /// Bytes of disk space still to be taken.
    pub bytes_needed: u64,
    /// Bytes of disk space free, where the file system tells.
    pub bytes_free: Option<u64>,
    /// How long the Hub's limit of requests makes it last at least, where it is known.
    pub limited_for: Option<Duration>,
    /// Files to be hashed that are as long and as old as when they were verified: their inode number or the time of its
    /// last change is another one.
    pub doubted: u64,
}

/// How a file's place follows from its name or content: a plan of very many files does not hold every path.
#[derive(Debug, Clone)]
pub enum Targets {
    /// In this folder, by its path in the repository.
    ByName(PathBuf),
    /// In this folder, by its content.
    ByContent(PathBuf),
}

impl Targets {
    /// The place of a file.
    pub fn of(&self, file: &WantedFile) -> PathBuf {
        match self {
            Self::ByName(folder) => folder.join(file.path.as_str()),
            Self::ByContent(folder) => folder.join(file.content.key().to_string()),
        }
    }
}

/// One file of a plan.
#[derive(Debug, Clone)]
pub struct Item {
    /// The file.
    pub file: WantedFile,
    /// What will be done.
    pub action: Action,
    /// What of it older files have, where that is known.
    pub delta: Option<Box<Delta>>,
}

/// What of a file can be copied from older files on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// Bytes that are copied.
    pub bytes_to_copy: u64,
    /// Bytes that are not there yet, with those.
    #[serde(skip)]
    pub missing: u64,
    /// The older files.
    #[serde(rename = "copy_from")]
    pub from: Vec<OlderFile>,
}

impl Delta {
    /// Bytes that the network has to bring.
    pub fn bytes_to_fetch(&self) -> u64 {
        self.missing.saturating_sub(self.bytes_to_copy)
    }
}

/// A verified file on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OlderFile {
    /// Path in its repository.
    pub path: RepoPath,
    /// When it was verified, in seconds since the epoch.
    pub verified_at: u64,
}

/// A verified file of the target that is not one of the request, or not under its name there.
#[derive(Debug, Clone)]
pub struct Original {
    /// Its repository: a folder of a cache.
    pub repo: RepoId,
    /// Its name and content.
    pub file: WantedFile,
}

/// What to do about one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Action {
    /// It is there and was verified.
    Skip,
    /// Something of its length is there, without a proof, or one is asked for anew: hash it, and fetch the file
    /// only if it is wrong.
    Adopt,
    /// Another name has the same content, or brings it in this run: a copy of that.
    Copy,
    /// A part of it is there.
    Resume {
        /// Bytes that need not be fetched again.
        have: u64,
    },
    /// Fetch all of it.
    Fetch,
}

impl Action {
    /// Whether it is there, as far as can be told without hashing.
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Skip | Self::Adopt)
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Placed<'a> {
            #[serde(flatten)]
            file: &'a WantedFile,
            target: PathBuf,
            #[serde(flatten)]
            action: &'a Action,
            #[serde(flatten)]
            delta: Option<&'a Delta>,
        }
        struct Items<'a>(&'a Plan);
        impl Serialize for Items<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq(self.0.items.iter().map(|Item { file, action, delta }| Placed {
                    file,
                    target: self.0.targets.of(file),
                    action,
                    delta: delta.as_deref(),
                }))
            }
        }
        let mut fields = serializer.serialize_struct("Plan", 12)?;
        fields.serialize_field("repo", &self.repo.to_string())?;
        fields.serialize_field("revision", &self.revision)?;
        fields.serialize_field("commit", &self.commit)?;
        fields.serialize_field("dir", &self.dir)?;
        fields.serialize_field("items", &Items(self))?;
        fields.serialize_field("bytes_total", &self.bytes_total)?;
        fields.serialize_field("bytes_to_fetch", &self.bytes_to_fetch)?;
        fields.serialize_field("bytes_to_copy", &self.bytes_to_copy())?;
        fields.serialize_field("bytes_needed", &self.bytes_needed)?;
        fields.serialize_field("bytes_free", &self.bytes_free)?;
        fields.serialize_field("requests", &self.requests())?;
        fields.serialize_field("seconds_at_least", &self.limited_for.map(|time| time.as_secs()))?;
        fields.end()
    }
}

impl Plan {
    /// Where its files come from.
    pub fn origin(&self) -> Origin {
        Origin { repo: self.repo.clone(), revision: self.revision.clone(), commit: self.commit }
    }

    /// Bytes that are copied from older files on the disk.
    pub fn bytes_to_copy(&self) -> u64 {
        self.items.iter().filter_map(|item| item.delta.as_ref()).map(|delta| delta.bytes_to_copy).sum()
    }

    /// Requests that the Hub has to answer for it, at least: each file's place is asked for once.
    pub fn requests(&self) -> u64 {
        self.items.iter().filter(|item| item.bytes_to_fetch() > 0).count() as u64
    }

    /// Fails with the exact shortfall if there is not enough room.
    pub fn check_space(&self) -> Result<(), Error> {
        Self::check_space_of(&[self])
    }

    /// Fails with the exact shortfall if there is not enough room for all of some plans on one file system.
    pub fn check_space_of(plans: &[&Self]) -> Result<(), Error> {
        let need = plans.iter().map(|plan| plan.bytes_needed).sum();
        let tightest =
            plans.iter().filter_map(|plan| Some((plan.bytes_free?, plan))).min_by_key(|(free, _)| *free);
        match tightest {
            Some((free, plan)) if need > free => {
                Err(Error::NoSpace { dir: plan.dir.clone(), need, free, unfinished: None })
            }
            _ => Ok(()),
        }
    }
}

impl Item {
    /// Bytes that the network has to bring.
    pub fn bytes_to_fetch(&self) -> u64 {
        if let Some(delta) = &self.delta {
            return delta.bytes_to_fetch();
        }
        match self.action {
            Action::Resume { have } => self.file.size().saturating_sub(have),
            Action::Fetch => self.file.size(),
            Action::Skip | Action::Adopt | Action::Copy => 0,
        }
    }
}
