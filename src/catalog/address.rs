//! Files at plain addresses: a server, or this machine, tells how long they are, and a pin, a lock file or a receipt beside
//! them what they must be.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::{Response, Url};

use super::{Hub, Resolution};
use crate::content::{Content, Sha256};
use crate::error::Error;
use crate::plan::{Vouchers, WantedFile};
use crate::request::{Destination, RepoId, RepoPath, Request, Selection, file_at};
use crate::retry::Setback;
use crate::source::http::{HttpSource, Locate, Located};
use crate::source::{LocalPath, Source};
use crate::stop::blocking;
use crate::store::Store;

/// Asks how long each file is.
pub(super) async fn resolve(hub: &Hub, request: &Request) -> Result<Resolution, Error> {
    let Selection::Named(names) = &request.selection else {
        let why = "a plain server has no list of files: name them, without globs";
        return Err(Error::invalid("address", &request.repo.to_string(), why));
    };
    let paths = names.paths();
    if let Some(signing) = request.signing.as_ref().filter(|_| !request.repo.is_here())
        && request.pins.for_file(&signing.signature, paths.len()).is_none()
    {
        let why = "nobody there says what its signature must be: fetch it without one, and `modelfetch verify --trust-key` judges the folder";
        return Err(Error::invalid("address", &request.repo.to_string(), why));
    }
    request.pins.check_used(paths.iter())?;
    let mut resolution = Resolution::from_files(request, None, Vec::new());
    for path in paths {
        let pin = request.pins.for_file(path, paths.len());
        let url = request.repo.address_of(path)?;
        let unknown = || {
            let why = "nobody there says what its bytes must be: give --sha256, or #sha256=HEX behind it";
            Error::invalid("address", &format!("{}{path}", request.repo), why)
        };
        let content = match (file_at(&url), pin) {
            (Some(file), pin) => {
                let (request, path) = (request.clone(), path.clone());
                blocking(move || here(&request, &path, &file, pin)).await??.ok_or_else(unknown)?
            }
            (None, Some(pin)) => Content::of_sha256(hub.measure(&request.repo, path, &url).await?, pin),
            (None, None) => return Err(unknown()),
        };
        let mut file = WantedFile::new(path.clone(), content);
        file.vouchers = Vouchers::default();
        if request.pins.is_wanted_by_digest(path, paths.len()) {
            file.vouchers.add_pin();
        }
        resolution.files.push(file);
    }
    Ok(resolution)
}

/// What a file of this machine must be: what its pin says, or the receipt of an earlier run that brought it there.
fn here(
    request: &Request,
    path: &RepoPath,
    file: &Path,
    pin: Option<Sha256>,
) -> Result<Option<Content>, Error> {
    let size = match std::fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Err(Error::invalid("file", &file.to_string_lossy(), "it is no regular file")),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            let (repo, revision) = (request.repo.clone(), request.revision.clone());
            return Err(Error::FileNotFound { repo, revision, path: path.clone() });
        }
        Err(why) => return Err(Error::io("look at", file)(why)),
    };
    if let Some(pin) = pin {
        return Ok(Some(Content::of_sha256(size, pin)));
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let path = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    let store = Store::new(&Destination::Dir(folder.into()), &request.repo);
    path.map_or(Ok(None), |path| store.verified_content(&path))
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
