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
    /// What earlier runs left, where the Hub has said more, and this may be used all the same.
    pub(super) earlier: Option<Arc<Resolution>>,
}

impl Known {
    fn recalled(resolution: Resolution, stale: bool) -> Self {
        Self { resolution: resolution.into(), from_disk: true, stale, earlier: None }
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
    let (recalled, is_present) = context
        .stop
        .or_blocking("looking at the disk", {
            let (request, store) = (request.clone(), store.clone());
            move || {
                let recalled = match request.locked.as_ref().filter(|locked| locked.is_enough) {
                    Some(locked) => Some(recall::of_lock(&request, locked)?),
                    None => recall::recall(&request, &store)?,
                };
                let is_present = match &recalled {
                    Some(known) => store.is_present(&known.files)?,
                    None => false,
                };
                Ok((recalled, is_present))
            }
        })
        .await?;
    debug!(files = recalled.as_ref().map(|known| known.files.len()), is_present, "known from earlier runs");
    let is_certain = recalled.as_ref().is_some_and(|known| recall::is_certain(request, known));
    let is_offline = request.network == NetworkUse::Offline;
    let recalled = match recalled {
        Some(known) if is_certain && is_present => {
            return Ok(Known::recalled(known, false));
        }
        _ if is_offline && !request.repo.is_here() => return Err(offline(request, store)),
        Some(known) if request.locked.as_ref().is_some_and(|locked| locked.is_enough) => {
            return Ok(Known::recalled(known, false));
        }
        recalled => recalled,
    };
    let may_fall_back = is_present && request.network != NetworkUse::RequireFresh;
    let asked = context.stop.or("asking the Hub", async {
        let question = catalog::resolve(hub, request, recalled.as_ref());
        if !may_fall_back {
            return question.await;
        }
        let silence =
            || Error::Deadline { deadline: PATIENCE_WHEN_SATISFIED, doing: "asking the Hub".into() };
        tokio::time::timeout(PATIENCE_WHEN_SATISFIED, question).await.unwrap_or_else(|_| Err(silence()))
    });
    match (Box::pin(asked).await, recalled) {
        (Ok(mut resolution), recalled) => {
            if let Some(locked) = &request.locked {
                trust::check_lock(&resolution.files, &locked.files)?;
                resolution
                    .files
                    .iter_mut()
                    .for_each(|file| file.vouchers = file.vouchers.and(&Vouchers::lock()));
            }
            tell(request, &resolution, context);
            let earlier = recalled.filter(|_| may_fall_back).map(Arc::new);
            Ok(Known { resolution: resolution.into(), from_disk: false, stale: false, earlier })
        }
        (Err(error), Some(known)) if may_fall_back && (error.is_outage() || error.is_refusal()) => {
            context.reporter.report(&Event::Warning(&unanswered(request, &error)));
            Ok(Known::recalled(known, true))
        }
        (Err(error), _) => Err(error),
    }
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
