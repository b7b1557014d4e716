//! Carries a plan out: several files at a time where one does not use all connections.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::delta::Deltas;
use super::one_file::FileWork;
use crate::catalog::{Hub, Resolution, Snapshot};
use crate::command::Context;
use crate::content::Content;
use crate::error::Error;
use crate::plan::{Action, Item, Original, Plan};
use crate::report::FileOutcome;
use crate::request::{Limits, NetworkUse};
use crate::source::Source;
use crate::stop::{self, Cause};
use crate::store::hashing::HashQueue;
use crate::store::{Store, WriteAccess};
use crate::transfer::{Engine, Scope};

/// What is to be done.
pub(super) struct Work<'a> {
    pub(super) plan: &'a Plan,
    pub(super) access: &'a Arc<WriteAccess>,
    pub(super) resolution: &'a Resolution,
    pub(super) limits: &'a Limits,
    pub(super) network: NetworkUse,
    /// A lock file says it all: nobody is asked but for the bytes.
    pub(super) is_locked: bool,
    pub(super) deltas: &'a Arc<Deltas>,
}

/// Does it, with the connections of `engine`, which has to run. One outcome per item of the plan, in its order. When a
/// file fails the others of this plan are stopped, with their state recorded, and its error is returned.
pub(super) async fn work(
    work: &Work<'_>,
    hub: &Arc<Hub>,
    engine: &Arc<Engine>,
    context: &Context,
) -> Result<Vec<FileOutcome>, Error> {
    let (halt, stop) = stop::channel(context.stop.deadline());
    let of_file = Arc::new(FileWork {
        access: Arc::clone(work.access),
        origin: work.resolution.origin(),
        network: work.network,
        stall_timeout: work.limits.stall_timeout,
        engine: Arc::clone(engine),
        hashes: HashQueue::default(),
        scope: Scope { reporter: Arc::clone(&context.reporter), stop },
        deltas: Arc::clone(work.deltas),
        turn: Mutex::default(),
    });
    let mut all = std::pin::pin!(all_files(work, hub, &of_file, &halt));
    tokio::select! {
        result = &mut all => return result,
        cause = context.stop.raised() => halt.stop(cause),
    }
    all.await
}

async fn all_files(
    work: &Work<'_>,
    hub: &Arc<Hub>,
    of_file: &Arc<FileWork>,
    halt: &stop::StopSender,
) -> Result<Vec<FileOutcome>, Error> {
    let plan = work.plan;
    let snapshot = Snapshot::new(Arc::clone(hub), work.resolution);
    let mut tasks: JoinSet<Result<(usize, FileOutcome), Error>> = JoinSet::new();
    let mut outcomes = Outcomes::new(plan.items.len());
    for (index, item) in plan.items.iter().enumerate().filter(|(_, item)| item.action != Action::Copy) {
        // The first file may take all connections; the next one begins when it leaves one idle.
        let demand = loop {
            tokio::select! {
                demand = of_file.engine.admit(item.bytes_to_fetch()) => break demand,
                finished = tasks.join_next(), if !tasks.is_empty() => outcomes.note(finished, halt),
            }
        };
        if outcomes.failed() || of_file.scope.stop.cause().is_some() {
            break;
        }
        let source = source_of(work, &snapshot, item);
        let (of_file, item) = (Arc::clone(of_file), item.clone());
        tasks.spawn(async move { Ok((index, of_file.settle(&item, source, &demand).await?)) });
    }
    while let Some(finished) = tasks.join_next().await {
        outcomes.note(Some(finished), halt);
    }
    of_file.scope.stop.check("downloading").or_else(|error| outcomes.error.take().map_or(Err(error), Err))?;
    let own = originals(plan);
    let store = of_file.access.store();
    for (index, item) in plan.items.iter().enumerate().filter(|(_, item)| item.action == Action::Copy) {
        let content = &item.file.content;
        let copied = match (own.get(content), plan.originals.get(content)) {
            (Some(original), _) => of_file.copy(item, store, &original.file).await,
            (None, Some(Original { repo, file })) => {
                let elsewhere = Store::new(&store.destination(), repo);
                match of_file.copy(item, &elsewhere, file).await {
                    // It is not what it was: this run may have replaced it, too.
                    Err(Error::Meddled { .. }) => {
                        let demand = of_file.engine.admit(item.file.size()).await;
                        let source = source_of(work, &snapshot, item);
                        of_file.settle(item, source, &demand).await
                    }
                    copied => copied,
                }
            }
            (None, None) => Err(Error::Internal("a copy without an original".into())),
        };
        outcomes.done[index] = Some(copied?);
    }
    of_file.check_kept(plan).await?;
    Ok(outcomes.done.into_iter().flatten().collect())
}

/// Who has the bytes of a file: memory, or a server whose address may be known without a question.
fn source_of(work: &Work<'_>, snapshot: &Snapshot, item: &Item) -> Arc<dyn Source> {
    let held = work.resolution.held.as_ref().filter(|(path, _)| *path == item.file.path);
    if let Some((_, held)) = held {
        return Arc::new(held.clone());
    }
    let url = work.resolution.urls.get(&item.file.path).cloned();
    let url = url.or_else(|| snapshot.place(&item.file).filter(|_| work.is_locked));
    snapshot.source(&item.file, url)
}

/// Who brings each content.
fn originals(plan: &Plan) -> HashMap<Content, &Item> {
    let originals = plan.items.iter().rev().filter(|item| item.action != Action::Copy);
    originals.map(|item| (item.file.content, item)).collect()
}

/// What has come of the files so far.
struct Outcomes {
    done: Vec<Option<FileOutcome>>,
    error: Option<Error>,
}

type Finished = Result<Result<(usize, FileOutcome), Error>, tokio::task::JoinError>;

impl Outcomes {
    fn new(files: usize) -> Self {
        Self { done: vec![None; files], error: None }
    }

    fn failed(&self) -> bool {
        self.error.is_some()
    }

    /// Keeps an outcome; the first error stops the other files.
    fn note(&mut self, finished: Option<Finished>, halt: &stop::StopSender) {
        match finished {
            None => {}
            Some(Ok(Ok((index, outcome)))) => self.done[index] = Some(outcome),
            Some(Ok(Err(error))) => self.fail(error, halt),
            Some(Err(why)) => self.fail(why.into(), halt),
        }
    }

    fn fail(&mut self, error: Error, halt: &stop::StopSender) {
        self.error.get_or_insert(error);
        halt.stop(Cause::Abandoned);
    }
}
