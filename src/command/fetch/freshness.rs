//! What is known about a request's files, and whether the Hub has to be asked.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::Context;
use crate::catalog::{self, Hub, Resolution, recall};
use crate::command::{offline, signed, tell_gaps};
use crate::error::Error;
use crate::plan::{Vouchers, WantedFile};
use crate::report::Event;
use crate::request::{NetworkUse, Request};
use crate::store::Store;
use crate::trust;
use crate::words::chain;

/// How long the Hub may take to answer when everything asked for seems to be there.
const PATIENCE_WHEN_SATISFIED: Duration = Duration::from_secs(5);

/// What is known, and how.
pub(super) struct Known {
    pub(super) resolution: Arc<Resolution>,
    /// No question was asked.
    pub(super) from_disk: bool,
    /// The Hub did not say what it has now.
    pub(super) stale: bool,
    /// What earlier runs left, where the Hub has said more, and this may be used all the same if it is there.
    pub(super) earlier: Option<Arc<Resolution>>,
}

impl Known {
    fn recalled(resolution: Arc<Resolution>, stale: bool) -> Self {
        Self { resolution, from_disk: true, stale, earlier: None }
    }
}

/// Asks the Hub, unless what earlier runs left is certain; falls back on that if it is there and the Hub does
/// not answer, or not any more for this user: the files were his to have when they were fetched, and
/// `huggingface_hub` (2.x, `_get_metadata_or_catch_error`) decides the same. A revision or file that is gone is
/// the Hub's word on what was asked for, and an error there and here.
pub(super) async fn look_up(
    request: &Request,
    store: &Store,
    hub: &Arc<Hub>,
    context: &Context,
) -> Result<Known, Error> {
    let known = look_up_unsigned(request, store, hub, context).await;
    let Known { resolution, from_disk, stale, earlier } =
        known.map_err(|error| signed::absent(request, error))?;
    let resolution = Arc::unwrap_or_clone(resolution);
    let resolution = Box::pin(signed::pin(request, store, hub, resolution, context)).await?.into();
    let earlier = match earlier {
        Some(earlier) => signed::pin_earlier(request, store, earlier, context).await,
        None => None,
    };
    Ok(Known { resolution, from_disk, stale, earlier })
}

async fn look_up_unsigned(
    request: &Request,
    store: &Store,
    hub: &Hub,
    context: &Context,
) -> Result<Known, Error> {
    let is_locked = request.locked.as_ref().is_some_and(|locked| locked.is_enough);
    let recalled = recalled(request, store, context).await?;
    let certain = recalled.as_ref().filter(|known| recall::is_certain(request, known));
    if let Some(certain) = certain
        && is_present(certain, store, context).await?
    {
        return Ok(Known::recalled(Arc::clone(certain), false));
    }
    if request.network == NetworkUse::Offline && !request.repo.is_here() {
        return Err(offline(request, store));
    }
    if let Some(known) = recalled.as_ref().filter(|_| is_locked) {
        return Ok(Known::recalled(Arc::clone(known), false));
    }
    let fallback = recalled.as_ref().filter(|_| request.network != NetworkUse::RequireFresh);
    let question = Box::pin(catalog::resolve(hub, request, recalled.as_deref()));
    let asked = context.stop.or("asking the Hub", async {
        match fallback {
            Some(fallback) => with_patience(question, || is_present(fallback, store, context)).await,
            None => question.await,
        }
    });
    match (Box::pin(asked).await, fallback) {
        (Ok(mut resolution), fallback) => {
            if let Some(locked) = &request.locked {
                trust::check_lock(&resolution.files, &locked.files)?;
                resolution
                    .files
                    .iter_mut()
                    .for_each(|file| file.vouchers = file.vouchers.and(&Vouchers::lock()));
            }
            tell(request, &resolution, context);
            let earlier = fallback.cloned();
            Ok(Known { resolution: resolution.into(), from_disk: false, stale: false, earlier })
        }
        (Err(error), Some(fallback))
            if (error.is_outage() || error.is_refusal()) && is_present(fallback, store, context).await? =>
        {
            context.reporter.report(&Event::Warning(&unanswered(request, &error)));
            Ok(Known::recalled(Arc::clone(fallback), true))
        }
        (Err(error), _) => Err(error),
    }
}

/// What earlier runs, or a lock file, say of the request.
async fn recalled(
    request: &Request,
    store: &Store,
    context: &Context,
) -> Result<Option<Arc<Resolution>>, Error> {
    let (request, store) = (request.clone(), store.clone());
    let recall = move || match request.locked.as_ref().filter(|locked| locked.is_enough) {
        Some(locked) => recall::of_lock(&request, locked).map(Some),
        None => recall::recall(&request, &store),
    };
    let recalled = context.stop.or_blocking("looking at the disk", recall).await?;
    debug!(files = recalled.as_ref().map(|known| known.files.len()), "known from earlier runs");
    Ok(recalled.map(Arc::new))
}

/// Whether what is known from earlier runs lies there, as far as can be told without hashing.
pub(super) async fn is_present(
    known: &Arc<Resolution>,
    store: &Store,
    context: &Context,
) -> Result<bool, Error> {
    let (known, store) = (Arc::clone(known), store.clone());
    context.stop.or_blocking("looking at the disk", move || store.is_present(&known.files)).await
}

/// The answer to a question, for which nobody waits long if all seems to be there. That is looked at once it matters: with
/// thousands of files it takes longer than most answers.
async fn with_patience<T>(
    mut question: impl Future<Output = Result<T, Error>> + Unpin,
    is_present: impl AsyncFnOnce() -> Result<bool, Error>,
) -> Result<T, Error> {
    if let Ok(answer) = tokio::time::timeout(PATIENCE_WHEN_SATISFIED, &mut question).await {
        return answer;
    }
    if is_present().await? {
        return Err(Error::Deadline { deadline: PATIENCE_WHEN_SATISFIED, doing: "asking the Hub".into() });
    }
    question.await
}

/// Why the Hub did not say what it has now, and what is done about it.
fn unanswered(request: &Request, error: &Error) -> String {
    let (revision, cause) = (&request.revision, chain(error));
    if error.is_outage() {
        return format!(
            "the Hub could not be asked whether {revision} moved ({cause}); what is here was verified earlier and is used"
        );
    }
    let hint = error.hint().map_or_else(String::new, |hint| format!(": {hint}"));
    format!(
        "the Hub refuses to say whether {revision} moved ({cause}){hint}. What is here was verified earlier and is used; --require-fresh makes this an error"
    )
}

fn tell(request: &Request, resolution: &Resolution, context: &Context) {
    if let Some(commit) = &resolution.commit {
        context.reporter.report(&Event::Resolved {
            repo: &request.repo,
            revision: &request.revision,
            commit,
            files: resolution.files.len(),
            bytes: resolution.files.iter().map(WantedFile::size).sum(),
        });
    }
    tell_gaps(resolution, context);
}
