//! A directory that cannot be written: a volume mounted read-only, or somebody else's. What is there will do, if it
//! is right.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::freshness::Known;
use super::one_file;
use crate::catalog::Resolution;
use crate::command::Context;
use crate::error::Error;
use crate::plan::{Action, Item, Plan};
use crate::report::{Event, FileOutcome};
use crate::request::Request;
use crate::store::Store;
use crate::store::hashing::HashQueue;
use crate::words::{chain, count};

/// Files on their way at the same time; of these as many are hashed as there are cores.
const AHEAD: usize = 16;

/// Takes what is there for the files of a request, without a word written down: as the Hub has them now, else as
/// an earlier run verified them. Fails with `why` nothing can be written if neither is there.
pub(super) async fn settle(
    request: &Request,
    store: &Store,
    known: Known,
    why: Error,
    context: &Context,
) -> Result<(Known, Vec<FileOutcome>), Error> {
    let dir = store.root().display();
    if let Some((files, hashed)) = as_it_is(store, &known.resolution, context).await? {
        let again = match hashed {
            0 => String::new(),
            hashed => format!("; without a receipt {} will be hashed at every start", count(hashed, "file")),
        };
        let text = format!(
            "nothing can be written in `{dir}` ({}): all that is wanted is there and verified{again}",
            chain(&why)
        );
        context.reporter.report(&Event::Warning(&text));
        return Ok((known, files));
    }
    // What is new could be fetched once there is room.
    let earlier = known.earlier.clone().filter(|_| why.is_unwritable());
    if let Some(earlier) = earlier
        && let Some((files, _)) = as_it_is(store, &earlier, context).await?
    {
        let text = format!(
            "{} is commit {} now, which cannot be fetched ({}): what is here of commit {} was verified earlier and is used; --require-fresh makes this an error",
            request.revision,
            known.resolution.commit_or_revision(),
            chain(&why),
            earlier.commit_or_revision(),
        );
        context.reporter.report(&Event::Warning(&text));
        return Ok((Known { resolution: earlier, stale: true, ..known }, files));
    }
    Err(why)
}

/// The files, if all of them are there, right, and found by those who read them; and how many had to be hashed.
async fn as_it_is(
    store: &Store,
    resolution: &Arc<Resolution>,
    context: &Context,
) -> Result<Option<(Vec<FileOutcome>, u64)>, Error> {
    let look = {
        let (store, resolution) = (store.clone(), Arc::clone(resolution));
        move || {
            let plan = store.plan(&resolution.origin(), &resolution.files)?;
            let is_visible = store.is_visible(&resolution.files, resolution.commit.as_ref())?;
            Ok(Some(plan).filter(|plan| is_visible && plan.items.iter().all(|item| item.action.is_there())))
        }
    };
    let Some(plan) = context.stop.or_blocking("looking at the disk", look).await? else { return Ok(None) };
    context.reporter.report(&Event::Planned(&[&plan]));
    let hashes = HashQueue::default();
    let files = stream::iter(&plan.items).map(|item| one(item, &plan, store, &hashes, context));
    let files: Option<Vec<_>> = files.buffered(AHEAD).try_collect::<Vec<_>>().await?.into_iter().collect();
    let hashed = plan.items.iter().filter(|item| item.action == Action::Adopt).count();
    Ok(files.map(|files| (files, hashed as u64)))
}

/// A file that is there; `None` if it is not what it should be.
async fn one(
    item: &Item,
    plan: &Plan,
    store: &Store,
    hashes: &HashQueue,
    context: &Context,
) -> Result<Option<FileOutcome>, Error> {
    if item.action == Action::Skip {
        return Ok(Some(one_file::skip(item, store, plan.commit, context)));
    }
    one_file::check(item, store, plan.commit, hashes, context).await
}
