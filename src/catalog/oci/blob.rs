//! The bytes of one layer, from its registry or a mirror of it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::{Response, Url};

use crate::catalog::Hub;
use crate::content::{Digest, Sha256};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::RepoId;
use crate::retry::Setback;
use crate::source::Source;
use crate::source::http::{HttpSource, Locate, Located};

/// The bytes of a layer of `repo`. Registries among the endpoints are asked after it.
pub fn source(hub: Arc<Hub>, repo: RepoId, file: &WantedFile) -> Arc<dyn Source> {
    let patience = Arc::clone(hub.patience());
    let places = [repo].into_iter().chain(hub.mirrors().cloned()).collect();
    let layer = Layer { hub, places, file: file.clone() };
    Arc::new(HttpSource::new(layer, file.clone(), None, patience))
}

struct Layer {
    hub: Arc<Hub>,
    places: Vec<RepoId>,
    file: WantedFile,
}

impl Layer {
    async fn find(&self, first: usize, digest: Sha256) -> Result<Located, Error> {
        let registries = self.hub.registries();
        let places = self.places.iter().cycle().skip(first % self.places.len()).take(self.places.len());
        registries
            .among(places, self.file.path.as_str(), |repo| async move {
                let (url, size) = registries.blob(repo, digest).await?;
                Ok(Located { url, size, digest: Some(Digest::Sha256(digest)), is_guess: false })
            })
            .await
    }
}

impl Locate for Layer {
    fn locate(&self, first: usize) -> BoxFuture<'_, Result<Located, Error>> {
        Box::pin(async move {
            let nameless = || Error::Internal(format!("`{}` of a registry has no SHA256", self.file.path));
            self.find(first, self.file.content.sha256().ok_or_else(nameless)?).await
        })
    }

    fn places(&self) -> usize {
        self.places.len()
    }

    fn get<'a>(
        &'a self,
        url: &'a Url,
        range: Option<(u64, u64)>,
    ) -> BoxFuture<'a, Result<Response, Setback>> {
        Box::pin(async move { Ok(self.hub.registries().get(url, range).await?) })
    }

    fn is_blind(&self, url: &Url) -> bool {
        self.hub.registries().has(url)
    }

    fn is_endpoint(&self, url: &Url) -> bool {
        self.hub.registries().has(url)
    }
}
