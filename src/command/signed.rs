//! The signature of a model, where one is demanded: fetched and verified before anything else, so that its digests are
//! pins.

use std::sync::Arc;

use bytes::Bytes;

use super::{Context, offline, sample};
use crate::catalog::{Hub, Resolution, Snapshot};
use crate::content::Hasher;
use crate::error::Error;
use crate::plan::WantedFile;
use crate::report::Event;
use crate::request::{NetworkUse, Request, Signing};
use crate::source::{Held, Provenance};
use crate::store::Store;
use crate::trust::{self, Signed, Signers, signature};

/// Servers that are asked for a signature until its digest is right.
const TRIES: usize = 2;

/// Pins the files of a request to what their signature says of them. Without a demand for one, nothing changes.
pub(super) async fn pin(
    request: &Request,
    store: &Store,
    hub: &Arc<Hub>,
    mut resolution: Resolution,
    context: &Context,
) -> Result<Resolution, Error> {
    let Some(signing) = &request.signing else { return Ok(resolution) };
    let file = find(signing, &resolution)?;
    let bytes = match from_disk(store, file, context).await? {
        Some(bytes) => bytes.into(),
        None if request.network == NetworkUse::Offline => return Err(offline(request, store)),
        None => {
            let (bytes, origin) = from_network(request, hub, &resolution, file, context).await?;
            resolution.held = Some((signing.signature.clone(), Held::new(bytes.clone(), origin)));
            bytes
        }
    };
    let (resolution, signer, files) = pin_to(signing, &bytes, resolution)?;
    context.reporter.report(&Event::Signed { signature: &signing.signature, signer: &signer, files });
    Ok(resolution)
}

/// The same for files that an earlier run left, if their signature lies there too and is right.
pub(super) async fn pin_earlier(
    request: &Request,
    store: &Store,
    resolution: Arc<Resolution>,
    context: &Context,
) -> Option<Arc<Resolution>> {
    let Some(signing) = &request.signing else { return Some(resolution) };
    let file = find(signing, &resolution).ok()?;
    let bytes = from_disk(store, file, context).await.ok()??;
    pin_to(signing, &bytes, (*resolution).clone()).ok().map(|(resolution, ..)| Arc::new(resolution))
}

/// Says of a repository without the signature that it is not signed.
pub(super) fn absent(request: &Request, error: Error) -> Error {
    match (&request.signing, error) {
        (Some(signing), Error::FileNotFound { repo, revision, path }) if path == signing.signature => {
            let why = format!("`{repo}` has no such file at revision `{revision}`");
            Error::BadSignature { signature: path.to_string(), why }
        }
        (_, error) => error,
    }
}

fn find<'a>(signing: &Signing, resolution: &'a Resolution) -> Result<&'a WantedFile, Error> {
    let file = resolution.files.iter().find(|file| file.path == signing.signature);
    let bad = |why: &str| Error::BadSignature { signature: signing.signature.to_string(), why: why.into() };
    let file = file.ok_or_else(|| bad("the lock file does not list it: run `modelfetch lock --update`"))?;
    if file.size() > signature::BYTES_MAX {
        return Err(bad("it is too large to be a signature"));
    }
    Ok(file)
}

/// The signature as it lies there, if it is the one that is wanted.
async fn from_disk(store: &Store, file: &WantedFile, context: &Context) -> Result<Option<Vec<u8>>, Error> {
    let (store, file) = (store.clone(), file.clone());
    let read = move || {
        let bytes = store.read_file(&file, file.size())?;
        Ok(bytes.filter(|bytes| is_right(bytes, &file).is_ok()))
    };
    context.stop.or_blocking("looking at the disk", read).await
}

async fn from_network(
    request: &Request,
    hub: &Arc<Hub>,
    resolution: &Resolution,
    file: &WantedFile,
    context: &Context,
) -> Result<(Bytes, Provenance), Error> {
    let snapshot = Snapshot::new(Arc::clone(hub), resolution);
    let is_locked = request.locked.as_ref().is_some_and(|locked| locked.is_enough);
    let url = resolution.urls.get(&file.path).cloned();
    let url = url.or_else(|| snapshot.place(file).filter(|_| is_locked));
    let source = snapshot.source(file, url);
    let whole = 0..file.size();
    let mut wrong = Error::Internal("a signature was not asked for".into());
    for _ in 0..TRIES {
        let read = sample::read(&*source, file, &whole, &request.limits, context);
        let (bytes, origin) = context.stop.or("fetching the signature", read).await?;
        match is_right(&bytes, file) {
            Ok(()) => return Ok((bytes.into(), origin)),
            Err(error) => wrong = error,
        }
        context.stop.or("asking the Hub", source.fail_over()).await?;
    }
    Err(wrong)
}

fn is_right(bytes: &[u8], file: &WantedFile) -> Result<(), Error> {
    let (path, size) = (file.path.clone(), bytes.len() as u64);
    let mut hasher = Hasher::new(&file.content);
    hasher.update(bytes);
    let hashed = hasher.finish();
    hashed.map_err(|why| Error::DigestMismatch { path, expected: why.expected, computed: why.computed, size })
}

/// With who signed, and how many of the files are signed.
fn pin_to(
    signing: &Signing,
    bytes: &[u8],
    mut resolution: Resolution,
) -> Result<(Resolution, String, usize), Error> {
    let signers = Signers::read(signing)?;
    let signed = Signed::verify(bytes, &signers)
        .map_err(|why| Error::BadSignature { signature: signing.signature.to_string(), why })?;
    let count = trust::pin_to_signature(&mut resolution.files, &signed, signing)?;
    trust::share_pins(&mut resolution.files)?;
    Ok((resolution, signed.signer().to_string(), count))
}
