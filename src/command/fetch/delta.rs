//! Updates: what of a plan's files older files on this disk have, as Xet storage tells.
//!
//! It is asked while everything else goes on. `plan` waits for the answer; a fetch begins, and copies what nobody has
//! begun to fetch by then.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::catalog::Hub;
use crate::command::Context;
use crate::content::xet::{self, Reconstruction, WORTH_IT};
use crate::content::{Content, XetHash};
use crate::error::Error;
use crate::plan::{Action, Delta, Item, OlderFile, Plan};
use crate::report::{Event, Reporter};
use crate::request::RepoId;
use crate::store::Store;
use crate::store::copying::Originals;
use crate::store::older::Update;

/// Questions under way at once: an answer may take 64 MiB.
const QUESTIONS_PARALLEL: usize = 2;
/// All questions together end after this long; what is fetched until then need not be copied.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is known of each content of a plan.
type Found = HashMap<Content, Arc<Known>>;

/// How files are made, or why that is not known.
type Answers = HashMap<XetHash, Result<Reconstruction, String>>;

/// One file that older ones have much of.
struct Known {
    delta: Delta,
    originals: Originals,
}

/// The answer, once it is there.
type Answer = watch::Receiver<Option<Arc<Found>>>;

/// The updates of a run.
#[derive(Default)]
pub(super) struct Deltas(Mutex<Option<Asked>>);

/// Questions under way, for as long as this exists.
struct Asked {
    answer: Answer,
    /// What they are about.
    contents: HashSet<Content>,
    task: JoinSet<()>,
}

impl Deltas {
    /// Begins to ask what older files have of those that a plan wants to fetch.
    pub(super) async fn ask(
        &self,
        plan: &Plan,
        revision: &str,
        store: &Store,
        hub: &Arc<Hub>,
        context: &Context,
    ) -> Result<(), Error> {
        let updates = context.stop.or_blocking("looking at the disk", look(plan, store)).await?;
        if updates.is_empty() {
            return Ok(());
        }
        let contents = updates.iter().map(|update| update.file.content).collect();
        let (told, answer) = watch::channel(None);
        let (hub, repo, revision) = (Arc::clone(hub), plan.repo.clone(), revision.to_owned());
        let reporter = Arc::clone(&context.reporter);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let found = tokio::time::timeout(PATIENCE, ask(&hub, &repo, &revision, &updates)).await;
            let found = found.unwrap_or_else(|_| Err("nobody answered in time".into()));
            told.send_replace(Some(Arc::new(found.unwrap_or_else(|why| {
                tell(&why, &*reporter);
                Found::default()
            }))));
        });
        *self.lock() = Some(Asked { answer, contents, task });
        Ok(())
    }

    /// Adds the answer to a plan, once it is there.
    pub(super) async fn add_to(&self, plan: &mut Plan, context: &Context) -> Result<(), Error> {
        let Some(answer) = self.lock().as_ref().map(|asked| asked.answer.clone()) else { return Ok(()) };
        let found = context.stop.or("asking Xet storage", answered(answer).map(Ok)).await?;
        for item in &mut plan.items {
            if may_be_update(item) {
                item.delta = found.get(&item.file.content).map(|known| Box::new(known.delta.clone()));
            }
        }
        plan.bytes_to_fetch = plan.items.iter().map(Item::bytes_to_fetch).sum();
        Ok(())
    }

    /// What to copy for a content, as soon as that is known; the event tells of it. `None` if nobody was asked.
    pub(super) fn originals(
        &self,
        item: &Item,
        reporter: &Arc<dyn Reporter>,
    ) -> Option<BoxFuture<'static, Option<Originals>>> {
        let of_item = |asked: &&Asked| asked.contents.contains(&item.file.content);
        let answer = self.lock().as_ref().filter(of_item)?.answer.clone();
        let (file, reporter) = (item.file.clone(), Arc::clone(reporter));
        Some(Box::pin(async move {
            let found = answered(answer).await;
            let known = found.get(&file.content)?;
            reporter.report(&Event::Copying { path: &file.path, size: file.size(), delta: &known.delta });
            Some(known.originals.clone())
        }))
    }

    /// Asks no longer, and says so if there was no answer.
    pub(super) async fn end(&self, reporter: &dyn Reporter) {
        let Some(Asked { answer, mut task, .. }) = self.lock().take() else { return };
        task.shutdown().await;
        if answer.borrow().is_none() {
            tell("Xet storage had not answered when everything was there", reporter);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Asked>> {
        self.0.lock().expect("nothing panics while it holds the questions")
    }
}

async fn answered(mut answer: Answer) -> Arc<Found> {
    let found = answer.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
    // Who asked has gone without an answer.
    found.unwrap_or_default()
}

/// Finds the files of a plan that may be updates of older ones.
fn look(plan: &Plan, store: &Store) -> impl FnOnce() -> Result<Vec<Update>, Error> + Send + 'static {
    let is_candidate = |item: &&Item| may_be_update(item) && item.file.xet_hash().is_some();
    let files: Vec<_> = plan.items.iter().filter(is_candidate).map(|item| item.file.clone()).collect();
    let (origin, store) = (plan.origin(), store.clone());
    move || store.updates(&origin, &files)
}

fn may_be_update(item: &Item) -> bool {
    matches!(item.action, Action::Fetch | Action::Resume { .. })
}

/// The error says why nobody knows.
async fn ask(hub: &Hub, repo: &RepoId, revision: &str, updates: &[Update]) -> Result<Found, String> {
    let cas = &hub.cas(repo, revision).await?;
    let mut questions = HashMap::new();
    for update in updates {
        questions.insert(update.xet_hash, update.file.size());
        questions.extend(update.older.iter().map(|older| (older.xet_hash, older.size)));
    }
    let answers = stream::iter(questions)
        .map(|(hash, size)| async move { (hash, hub.reconstruction(cas, hash, size).await) });
    let answers = answers.buffer_unordered(QUESTIONS_PARALLEL).collect().await;
    let mut found = Found::new();
    for update in updates {
        found.extend(Known::new(update, &answers)?.map(|known| (update.file.content, Arc::new(known))));
    }
    Ok(found)
}

impl Known {
    /// `None` where older files have too little of it. Of an older one nothing may be known any more.
    fn new(update: &Update, answers: &Answers) -> Result<Option<Self>, String> {
        let new = answers[&update.xet_hash].as_ref().map_err(String::clone)?;
        let (mut older, mut made, mut refusal) = (Vec::new(), Vec::new(), None);
        for file in &update.older {
            match &answers[&file.xet_hash] {
                Ok(reconstruction) => {
                    older.push(file);
                    made.push(reconstruction);
                }
                Err(why) => refusal = Some(why.clone()),
            }
        }
        if let Some(why) = refusal.filter(|_| older.is_empty()) {
            return Err(why);
        }
        let files = older.iter().map(|older| older.original.clone()).collect();
        let originals = Originals { files, copies: xet::worth_copying(new, &made)? }.within(&update.missing);
        let bytes = originals.ranges().bytes();
        if bytes < WORTH_IT {
            return Ok(None);
        }
        let is_used = |at: usize| originals.copies.iter().any(|copy| copy.original == at);
        let used = older.iter().enumerate().filter(|(at, _)| is_used(*at));
        let from =
            used.map(|(_, older)| OlderFile { path: older.path.clone(), verified_at: older.verified_at });
        let delta = Delta { bytes_to_copy: bytes, missing: update.missing.bytes(), from: from.collect() };
        Ok(Some(Self { delta, originals }))
    }
}

fn tell(why: &str, reporter: &dyn Reporter) {
    let text =
        format!("what older files here have of the new ones is not known ({why}): all of it is fetched");
    reporter.report(&Event::Warning(&text));
}
