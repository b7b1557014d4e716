//! Files at plain addresses: a server, or this machine, tells how long they are, and a pin, a lock file or a receipt beside
//! them what they must be.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::{Response, Url};

use super::{Hub, Resolution, folder};
use crate::content::Content;
use crate::error::Error;
use crate::plan::{Vouchers, WantedFile};
use crate::request::{RepoId, RepoPath, Request, Selection, file_at};
use crate::retry::Setback;
use crate::source::http::{HttpSource, Locate, Located};
use crate::source::{LocalPath, Source};
use crate::stop::blocking;

/// Finds out which files are meant, and how long each is.
pub(super) async fn resolve(hub: &Hub, request: &Request) -> Result<Resolution, Error> {
    if let Some(signing) = request.signing.as_ref().filter(|_| !request.repo.is_here())
        && let Selection::Named(names) = &request.selection
        && request.pins.for_file(&signing.signature, names.paths().len()).is_none()
    {
        let why = "nobody there says what its signature must be: fetch it without one, and `modelfetch verify --trust-key` judges the folder";
        return Err(Error::invalid("address", &request.repo.to_string(), why));
    }
    let (paths, gaps) = match &request.selection {
        Selection::Named(names) => (names.paths().to_vec(), Vec::new()),
        Selection::Matching(patterns) => {
            let folder = request.repo.folder_here().ok_or_else(|| {
                let why = "a plain server has no list of files: name them, without globs";
                Error::invalid("address", &request.repo.to_string(), why)
            })?;
            let (request, patterns) = (request.clone(), patterns.clone());
            blocking(move || folder::choose(&request, &folder, &patterns)).await??
        }
    };
    request.pins.check_used(paths.iter())?;
    let contents = if request.repo.is_here() {
        let (request, paths) = (request.clone(), paths.clone());
        blocking(move || folder::contents(&request, &paths)).await??
    } else {
        measured(hub, request, &paths).await?
    };
    let mut resolution = Resolution::from_files(request, None, Vec::new());
    let count = paths.len();
    for (path, content) in paths.into_iter().zip(contents) {
        let is_pinned = request.pins.is_wanted_by_digest(&path, count);
        let mut file = WantedFile::new(path, content);
        file.vouchers = Vouchers::default();
        if is_pinned {
            file.vouchers.add_pin();
        }
        resolution.files.push(file);
    }
    resolution.gaps = gaps;
    Ok(resolution)
}

/// Asks a server how long each file is; what it must be is known before the first question.
async fn measured(hub: &Hub, request: &Request, paths: &[RepoPath]) -> Result<Vec<Content>, Error> {
    let pinned = paths.iter().map(|path| {
        let unknown = || {
            let why = "nobody there says what its bytes must be: give --sha256, or #sha256=HEX behind it";
            Error::invalid("address", &format!("{}{path}", request.repo), why)
        };
        Ok((path, request.pins.for_file(path, paths.len()).ok_or_else(unknown)?))
    });
    let mut contents = Vec::with_capacity(paths.len());
    for (path, pin) in pinned.collect::<Result<Vec<_>, Error>>()? {
        let url = request.repo.address_of(path)?;
        contents.push(Content::of_sha256(hub.measure(&request.repo, path, &url).await?, pin));
    }
    Ok(contents)
}

/// The bytes of one.
pub(super) fn source(hub: &Arc<Hub>, repo: &RepoId, file: &WantedFile) -> Arc<dyn Source> {
    if let Some(path) = repo.address_of(&file.path).ok().as_ref().and_then(file_at) {
        return Arc::new(LocalPath::new(path, hub.patience().usual()));
    }
    let place = Place { hub: Arc::clone(hub), repo: repo.clone(), path: file.path.clone() };
    Arc::new(HttpSource::new(place, file.clone(), None, Arc::clone(hub.patience())))
}

struct Place {
    hub: Arc<Hub>,
    repo: RepoId,
    path: RepoPath,
}

impl Locate for Place {
    fn locate(&self, _first: usize) -> BoxFuture<'_, Result<Located, Error>> {
        Box::pin(async {
            let url = self.repo.address_of(&self.path)?;
            self.hub.mean(&url);
            Ok(Located { url, size: None, digest: None, is_guess: false })
        })
    }

    fn places(&self) -> usize {
        1
    }

    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Response, Setback>> {
        Box::pin(self.hub.get(url, range))
    }

    /// A plain server has what it serves; redirects of its own are followed each time.
    fn is_endpoint(&self, _url: &Url) -> bool {
        false
    }
}
