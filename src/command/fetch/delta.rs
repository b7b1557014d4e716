//! Updates: what of a plan's files older files on this disk have, as Xet storage tells.
//!
//! It is asked while everything else goes on. A plan waits for the answer, but not for long: who gets it later copies
//! what nobody has begun to fetch by then.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
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
/// How long a plan waits for the right to ask: one round trip, mostly.
const WAIT_FOR_TOKEN: Duration = Duration::from_secs(1);
/// How long for the answers after that, beside four round trips to another host and what nobody notices.
const WAIT_AT_LEAST: Duration = Duration::from_millis(300);
/// And how long at most.
const WAIT_FOR_ANSWERS: Duration = Duration::from_secs(2);
/// Bytes per second of a quick link. A hundredth of the time that it would take is not missed.
const QUICK_LINK: u64 = 100_000_000;

/// What is known of each content of a plan.
type Found = HashMap<Content, Arc<Known>>;

/// How files are made, or why that is not known.
type Answers = HashMap<XetHash, Result<Reconstruction, String>>;

/// One file that older ones have much of.
struct Known {
    delta: Delta,
    originals: Originals,
}

/// How far the questions are.
#[derive(Clone)]
enum Stage {
    /// Whether anybody may be asked is not known yet.
    Begun,
    /// Somebody is asked, who needed this long for a first answer.
    Allowed(Duration),
    /// It is over.
    Over(Arc<Found>),
}

/// The updates of a run.
#[derive(Default)]
pub(super) struct Deltas(Mutex<Option<Asked>>);

/// Questions under way, for as long as this exists.
struct Asked {
    stage: watch::Receiver<Stage>,
    _task: JoinSet<()>,
}

/// How long a plan waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not so long that anybody would miss it.
    Shortly,
    /// As long as it takes.
    ToTheEnd,
}

impl Deltas {
    /// Asks what older files have of those that a plan wants to fetch, and adds to the plan what is known soon.
    pub(super) async fn look_up(
        &self,
        plan: &mut Plan,
        revision: &str,
        store: &Store,
        hub: &Arc<Hub>,
        wait: Wait,
        context: &Context,
    ) -> Result<(), Error> {
        let updates = context.stop.or_blocking("looking at the disk", look(plan, store)).await?;
        if updates.is_empty() {
            return Ok(());
        }
        let bytes = updates.iter().map(|update| update.file.size()).sum();
        let (told, mut stage) = watch::channel(Stage::Begun);
        let (hub, repo, revision) = (Arc::clone(hub), plan.repo.clone(), revision.to_owned());
        let reporter = Arc::clone(&context.reporter);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let asked = ask(&hub, &repo, &revision, &updates, &told);
            let found = tokio::time::timeout(PATIENCE, asked).await;
            let found = found.unwrap_or_else(|_| Err("nobody answered in time".into()));
            told.send_replace(Stage::Over(Arc::new(found.unwrap_or_else(|why| {
                tell(&why, &*reporter);
                Found::default()
            }))));
        });
        *self.lock() = Some(Asked { stage: stage.clone(), _task: task });
        let waited = async {
            wait_for(&mut stage, bytes, wait).await;
            Ok(())
        };
        context.stop.or("asking Xet storage", waited).await?;
        if let Stage::Over(found) = &*stage.borrow() {
            for item in &mut plan.items {
                add(item, found);
            }
            plan.bytes_to_fetch = plan.items.iter().map(Item::bytes_to_fetch).sum();
        }
        Ok(())
    }

    /// What to copy for a content, as soon as that is known; the event tells of it.
    pub(super) fn originals(
        &self,
        item: &Item,
        reporter: &Arc<dyn Reporter>,
    ) -> BoxFuture<'static, Option<Originals>> {
        let stage = self.lock().as_ref().map(|asked| asked.stage.clone());
        let (file, reporter) = (item.file.clone(), Arc::clone(reporter));
        Box::pin(async move {
            let mut stage = stage?;
            let over = stage.wait_for(|stage| matches!(stage, Stage::Over(_))).await.ok()?.clone();
            let Stage::Over(found) = over else { return None };
            let known = found.get(&file.content)?;
            reporter.report(&Event::Copying { path: &file.path, size: file.size(), delta: &known.delta });
            Some(known.originals.clone())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Asked>> {
        self.0.lock().expect("nothing panics while it holds the questions")
    }
}

/// Finds the files of a plan that may be updates of older ones.
fn look(plan: &Plan, store: &Store) -> impl FnOnce() -> Result<Vec<Update>, Error> + Send + 'static {
    let is_candidate = |item: &&Item| {
        let is_fetched = matches!(item.action, Action::Fetch | Action::Resume { .. });
        is_fetched && item.file.xet_hash().is_some()
    };
    let files: Vec<_> = plan.items.iter().filter(is_candidate).map(|item| item.file.clone()).collect();
    let (origin, store) = (plan.origin(), store.clone());
    move || store.updates(&origin, &files)
}

async fn wait_for(stage: &mut watch::Receiver<Stage>, bytes: u64, wait: Wait) {
    let is_over = |stage: &Stage| matches!(stage, Stage::Over(_));
    if wait == Wait::ToTheEnd {
        let _ = stage.wait_for(is_over).await;
        return;
    }
    let begun = stage.wait_for(|stage| !matches!(stage, Stage::Begun));
    let Ok(Ok(reached)) =
        tokio::time::timeout(WAIT_FOR_TOKEN, begun).await.map(|reached| reached.map(|stage| stage.clone()))
    else {
        return;
    };
    if let Stage::Allowed(round_trip) = reached {
        // Of another host: name, connection and TLS come before its answer.
        let unnoticed = Duration::from_millis(bytes / (QUICK_LINK / 1000) / 100);
        let time = (WAIT_AT_LEAST + 4 * round_trip + unnoticed).min(WAIT_FOR_ANSWERS);
        let _ = tokio::time::timeout(time, stage.wait_for(is_over)).await;
    }
}

/// The error says why nobody knows.
async fn ask(
    hub: &Hub,
    repo: &RepoId,
    revision: &str,
    updates: &[Update],
    told: &watch::Sender<Stage>,
) -> Result<Found, String> {
    let asked = Instant::now();
    let cas = &hub.cas(repo, revision).await?;
    told.send_replace(Stage::Allowed(asked.elapsed()));
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

fn add(item: &mut Item, found: &Found) {
    if matches!(item.action, Action::Fetch | Action::Resume { .. }) {
        item.delta = found.get(&item.file.content).map(|known| Box::new(known.delta.clone()));
    }
}

fn tell(why: &str, reporter: &dyn Reporter) {
    let text =
        format!("what older files here have of the new ones is not known ({why}): all of it is fetched");
    reporter.report(&Event::Warning(&text));
}
