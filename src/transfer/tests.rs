//! The engine against scripted sources: no socket, no sleep, in virtual time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use sha2::Digest as _;
use tokio::time::Instant;

use super::tuning::HELD_BACK_MIN;
use super::{Counts, Engine, Scope, Unfinished};
use crate::content::{Content, RangeSet, Sha256};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::report::{Event, Reporter};
use crate::request::{Connections, Limits, RepoId, RepoKind};
use crate::source::scripted::{CHUNK, Question, Reply, Scripted, Then};
use crate::source::{Beginning, LocalFile, Source};
use crate::stop::{self, StopSender};
use crate::store::copying::Originals;
use crate::store::hashing::Verified;
use crate::store::journal::Partials;
use crate::store::partial::Partial;

const MIB: usize = 1 << 20;

fn content(length: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(length as u64);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes.into()
}

fn partial(dir: &std::path::Path, name: &str, content: &Bytes) -> Arc<Partial> {
    let digest = Sha256::from_bytes(sha2::Sha256::digest(content).into());
    let file =
        WantedFile::new(name.parse().expect("a path"), Content::of_sha256(content.len() as u64, digest));
    let repo = RepoId::new(RepoKind::Model, "o/n").expect("a repository");
    Arc::new(Partial::open(&Partials::alone(dir), &file, &repo).expect("opened"))
}

/// Keeps the names of what happens.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Reporter for Seen {
    fn report(&self, event: &Event<'_>) {
        let name = match event {
            Event::Retrying { cause, .. } => format!("retrying: {cause}"),
            Event::Recovered { .. } => "recovered".into(),
            Event::Renewed { host, .. } => format!("renewed: {host}"),
            Event::Warning(text) => format!("warning: {text}"),
            _ => return,
        };
        self.0.lock().expect("the events").push(name);
    }
}

/// An engine with a directory, and with a clock that stands still while the disk is at work.
struct Bench {
    dir: tempfile::TempDir,
    engine: Arc<Engine>,
    scope: Scope,
    seen: Arc<Seen>,
    halt: StopSender,
}

impl Bench {
    fn new(connections: Connections) -> Self {
        Self::with(Limits { connections, ..limits() })
    }

    fn with(limits: Limits) -> Self {
        let (halt, stop) = stop::channel(None);
        let seen = Arc::new(Seen::default());
        let reporter: Arc<dyn Reporter> = Arc::clone(&seen) as Arc<dyn Reporter>;
        let dir = tempfile::tempdir().expect("a directory");
        Self { dir, engine: Arc::new(Engine::new(limits)), scope: Scope { reporter, stop }, seen, halt }
    }

    fn partial(&self, content: &Bytes) -> Arc<Partial> {
        partial(self.dir.path(), "m.bin", content)
    }

    /// Runs `job` with the connections at work.
    async fn run<T>(&self, job: impl Future<Output = T>) -> T {
        let clock = keep_time(Arc::clone(&self.engine));
        tokio::select! {
            result = self.engine.run(job) => result,
            () = clock => unreachable!("the clock never ends"),
        }
    }

    async fn fill(&self, partial: &Arc<Partial>, source: Arc<dyn Source>, counts: &mut Counts) -> Verdict {
        self.update(partial, source, None, counts).await
    }

    /// The same, while somebody finds out what older files have.
    async fn update(
        &self,
        partial: &Arc<Partial>,
        source: Arc<dyn Source>,
        originals: Option<BoxFuture<'_, Option<Originals>>>,
        counts: &mut Counts,
    ) -> Verdict {
        let demand = self.engine.admit(partial.wanted().size()).await;
        self.engine.fill(Arc::clone(partial), source, originals, &demand, &self.scope, counts).await
    }

    /// Fills a content from nothing, and says how long the bytes took.
    async fn fetch(&self, content: &Bytes, source: &Arc<Scripted>) -> (Verdict, Duration) {
        let started = Instant::now();
        let partial = self.partial(content);
        let filled = self.run(self.fill(&partial, Arc::clone(source) as _, &mut Counts::default())).await;
        (filled, source.last_sent().map_or(Duration::ZERO, |last| last - started))
    }

    fn saw(&self, what: &str) -> usize {
        self.seen.0.lock().expect("the events").iter().filter(|event| event.contains(what)).count()
    }
}

type Verdict = Result<Verified, Unfinished>;

fn limits() -> Limits {
    Limits {
        connections: Connections::Auto,
        rate_max: None,
        deadline: None,
        stall_timeout: STALL,
        answer_timeout: STALL,
        give_up_after: Duration::from_secs(25),
    }
}

const STALL: Duration = Duration::from_secs(10);

fn scripted(content: &Bytes, script: impl Fn(&Question) -> Reply + Send + Sync + 'static) -> Arc<Scripted> {
    Scripted::new(content, STALL, script)
}

/// Threads write and hash in real time. The clock of the test stands still until they are done, however long a busy
/// machine keeps them waiting: the disk is no part of what it measures. What a connection holds back until more bytes
/// come keeps no thread busy, and time goes on.
async fn keep_time(engine: Arc<Engine>) {
    let own = own_thread();
    clocks().insert(own.clone());
    let is_behind = || engine.admission.is_in_use() || !engine.files_plentiful();
    loop {
        let mut idle = 0;
        // Whoever was woken by a thread has its turn before the next look.
        while is_behind() && idle < 3 {
            idle = if is_a_thread_at_work(&own) { 0 } else { idle + 1 };
            std::thread::sleep(Duration::from_micros(50));
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The threads of tests that keep a clock.
fn clocks() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    static CLOCKS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    CLOCKS.lock().expect("nothing panics while it holds the clocks")
}

fn own_thread() -> PathBuf {
    Path::new("/proc").join(std::fs::read_link("/proc/thread-self").expect("proc(5)"))
}

/// Whether a thread of a filling runs, or would if a processor or the disk were free (proc(5): the state follows the
/// name). One that waits for bytes, or for another thread, sleeps. One that is still to start has the name of the
/// test's own thread.
fn is_a_thread_at_work(own: &Path) -> bool {
    let own_name = std::fs::read_to_string(own.join("comm")).expect("proc(5)");
    let threads = std::fs::read_dir("/proc/self/task").expect("proc(5)");
    let own_process = own.parent().expect("the threads of this process");
    let at_work = threads.filter_map(|thread| {
        let thread = thread.ok()?.path();
        let stat = std::fs::read_to_string(thread.join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let is_new =
            name == own_name.trim_end() && !clocks().contains(&own_process.join(thread.file_name()?));
        Some((is_new || name == "file" || name == "write blocks") && !rest.starts_with('S'))
    });
    at_work.into_iter().any(|is_at_work| is_at_work)
}

fn assert_holds(filled: Verdict, content: &Bytes) {
    let verified = filled.expect("filled");
    assert!(std::fs::read(verified.path()).expect("read") == *content, "other bytes than in the source");
}

#[tokio::test(start_paused = true)]
async fn files_that_wait_for_the_disk_keep_further_ones_from_beginning() {
    let bench = Bench::new(Connections::Auto);
    let begin = || tokio::time::timeout(Duration::from_mins(1), bench.engine.admit(0));
    let mut at_work = Vec::new();
    while let Ok(demand) = begin().await {
        at_work.push(demand);
        assert!(at_work.len() < 1000, "as many as there are");
    }
    at_work.pop();
    begin().await.expect("there is room for one");
}

#[tokio::test(start_paused = true)]
async fn a_healthy_source_is_asked_for_every_byte_once() {
    let content = content(24 * MIB + 5);
    let source = scripted(&content, |_| Reply::default());
    let bench = Bench::new(Connections::Fixed(4));
    let (partial, mut counts) = (bench.partial(&content), Counts::default());
    let filled = bench.run(bench.fill(&partial, Arc::clone(&source) as _, &mut counts)).await;
    assert_holds(filled, &content);
    // What a connection loses to another one is at most the chunk it has in hand.
    let wasted = counts.received - content.len() as u64;
    assert!(wasted <= source.asked().len() as u64 * CHUNK, "{wasted} bytes came twice");
    assert_eq!(source.most_open(), 4);
    assert!(bench.seen.0.lock().expect("events").is_empty());
}

#[tokio::test(start_paused = true)]
async fn connections_grow_while_each_brings_more() {
    let content = content(48 * MIB);
    let source = scripted(&content, |_| Reply { rate: 1 << 20, ..Reply::default() });
    let bench = Bench::new(Connections::Auto);
    let (filled, time) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    assert!(source.most_open() >= 10, "{} connections", source.most_open());
    assert!(time < Duration::from_secs(8), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_that_could_not_be_recorded_are_told_beside_the_failure() {
    let content = content(MIB);
    let source = scripted(&content, |question| {
        Reply::default().then(if question.number == 0 { Then::Cut(200_000) } else { Then::Final })
    });
    let bench = Bench::new(Connections::Fixed(1));
    let partial = bench.partial(&content);
    std::fs::remove_dir_all(bench.dir.path()).expect("removed");
    let filled = bench.run(bench.fill(&partial, source, &mut Counts::default())).await;
    assert!(matches!(filled, Err(Unfinished::Failed(_))), "{filled:?}");
    assert_eq!(bench.saw("`m.bin` could not be recorded"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_connection_is_replaced() {
    let content = content(MIB);
    let source = scripted(&content, |question| {
        Reply::default().then(if question.number == 0 { Then::Stall(100_000) } else { Then::Good })
    });
    let bench = Bench::new(Connections::Fixed(1));
    let (filled, time) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    assert!(time >= STALL && time < STALL + Duration::from_secs(2), "{time:?}");
    assert_eq!((bench.saw("no data from a"), bench.saw("recovered")), (1, 1));
    assert!(source.asked()[1].start >= 100_000, "what had come was asked for again");
}

#[tokio::test(start_paused = true)]
async fn others_take_over_from_a_silent_connection_before_it_counts_as_stalled() {
    let content = content(16 * MIB);
    let source = scripted(&content, |question| {
        Reply::default().then(if question.number == 0 { Then::Stall(0) } else { Then::Good })
    });
    let bench = Bench::new(Connections::Fixed(4));
    let (filled, time) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    assert!(time < STALL / 2, "{time:?}");
}

/// How many questions for a content are asked before its first bytes come, `late` after the first one, by connections
/// that do not know yet how quick they are, and by some that do.
async fn asked_before_the_first_bytes(beginning: Beginning, late: Duration) -> Vec<usize> {
    let bench = Bench::new(Connections::Fixed(4));
    let mut counts = Vec::new();
    let fills = async {
        for (length, name) in [(2 * MIB, "first.bin"), (3 * MIB, "second.bin")] {
            let content = content(length);
            let asked = Arc::new(Mutex::new(Vec::new()));
            let script = {
                let asked = Arc::clone(&asked);
                move |_: &Question| {
                    let mut asked = asked.lock().expect("the times");
                    asked.push(Instant::now());
                    let delay = late.saturating_sub(asked[0].elapsed()).max(Duration::from_millis(20));
                    Reply { delay, ..Reply::default() }
                }
            };
            let source = Scripted::beginning(beginning, &content, late * 2, script);
            let partial = partial(bench.dir.path(), name, &content);
            assert_holds(bench.fill(&partial, source, &mut Counts::default()).await, &content);
            let asked = asked.lock().expect("the times").clone();
            counts.push(asked.iter().filter(|at| **at - asked[0] < late).count());
        }
    };
    bench.run(fills).await;
    counts
}

#[tokio::test(start_paused = true)]
async fn first_bytes_that_may_come_late_are_asked_for_by_one_connection() {
    const LATE: Duration = Duration::from_secs(13);
    assert_eq!(asked_before_the_first_bytes(Beginning::Late, LATE).await, [1, 1]);
    // One for each MiB, and nobody takes them over.
    assert_eq!(asked_before_the_first_bytes(Beginning::Unknown, LATE).await, [2, 3]);
    let taken_over = asked_before_the_first_bytes(Beginning::Soon, LATE).await;
    assert!(taken_over[0] > 2, "{taken_over:?}");
}

#[tokio::test(start_paused = true)]
async fn a_straggler_at_the_end_of_a_file_is_relieved() {
    let content = content(16 * MIB);
    // The first range trickles, though quick enough never to stall.
    let source = scripted(&content, |question| Reply {
        rate: if question.number == 0 { 20_000 } else { 10 << 20 },
        ..Reply::default()
    });
    let bench = Bench::new(Connections::Fixed(4));
    let (filled, time) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    assert!(time < Duration::from_secs(5), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_file_is_shared_by_all_connections() {
    let content = content(17 * MIB);
    let source = scripted(&content, |_| Reply { rate: 1 << 20, ..Reply::default() });
    let bench = Bench::new(Connections::Fixed(4));
    let (filled, time) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    // In four equal shares it would take 4.25 s.
    assert!(time < Duration::from_secs(5), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn of_wrong_bytes_those_of_the_least_trusted_come_first() {
    let content = content(20 * MIB);
    // A mirror that is asked now and then, and lies.
    let source = scripted(&content, |question| {
        let is_mirror = question.number % 3 == 1;
        Reply {
            host: if is_mirror { "mirror" } else { "hub" },
            then: if is_mirror && question.number < 5 { Then::Lie } else { Then::Good },
            ..Reply::default()
        }
    });
    let bench = Bench::new(Connections::Fixed(2));
    let mut counts = Counts::default();
    let partial = bench.partial(&content);
    let filled = bench.run(bench.fill(&partial, Arc::clone(&source) as _, &mut counts)).await;
    assert!(matches!(filled, Err(Unfinished::Mismatch(_))), "{filled:?}");
    let lies: RangeSet = of_origin(&counts, "mirror");
    let mut suspects = bench.engine.suspects(
        content.len() as u64,
        &RangeSet::default(),
        &RangeSet::default(),
        &counts.origins,
    );
    let first = suspects.next().expect("suspects");
    assert_eq!(first, lies);
    assert!(first.bytes() < content.len() as u64 / 2);
    partial.doubt(&first).expect("doubted");
    let again = bench.partial(&content);
    assert_eq!(again.missing(), lies);
    let filled = bench.run(bench.fill(&again, source, &mut counts)).await;
    assert_holds(filled, &content);
}

fn of_origin(counts: &Counts, name: &str) -> RangeSet {
    let mut ranges = counts.origins.iter().filter(|(origin, _)| origin.as_str() == name);
    ranges.next().map(|(_, ranges)| ranges.clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_source_that_only_fails_is_given_up() {
    let content = content(MIB);
    let source = scripted(&content, |_| Reply::default().then(Then::Status(503)));
    let bench = Bench::new(Connections::Fixed(4));
    let (filled, _) = bench.fetch(&content, &source).await;
    assert!(matches!(filled, Err(Unfinished::Failed(Error::GaveUp { .. }))), "{filled:?}");
    assert!(bench.saw("503") > 0);
}

#[tokio::test(start_paused = true)]
async fn after_failures_in_a_row_another_place_is_asked() {
    let content = content(MIB);
    let source = scripted(&content, |question| {
        Reply::default().then(if question.failovers == 0 { Then::Status(500) } else { Then::Good })
    });
    let bench = Bench::new(Connections::Fixed(1));
    let (filled, _) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    assert_eq!(source.asked().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_source_without_ranges_is_read_as_a_whole_by_one_connection() {
    let content = content(20 * MIB);
    let source = scripted(&content, |_| Reply::default().then(Then::NoRanges));
    let bench = Bench::new(Connections::Fixed(4));
    let (filled, _) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    let all = 0..content.len() as u64;
    assert_eq!(source.asked().iter().filter(|range| **range == all).count(), 1);
    assert_eq!(source.most_open(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_expires_is_renewed_and_what_had_come_is_kept() {
    let content = content(24 * MIB);
    // The first place is good for three answers.
    let source = scripted(&content, |question| {
        let is_expired = question.generation == 0 && question.number >= 3;
        Reply::default().then(if is_expired { Then::Expired } else { Then::Good })
    });
    let bench = Bench::new(Connections::Fixed(2));
    let mut counts = Counts::default();
    let partial = bench.partial(&content);
    let filled = bench.run(bench.fill(&partial, source, &mut counts)).await;
    assert_holds(filled, &content);
    assert!(bench.saw("renewed: a") >= 1);
    assert!(counts.received < content.len() as u64 + 16 * CHUNK);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_place_that_is_refused_too_ends_the_run() {
    let content = content(MIB);
    let source = scripted(&content, |_| Reply::default().then(Then::Expired));
    let bench = Bench::new(Connections::Fixed(2));
    let (filled, time) = bench.fetch(&content, &source).await;
    assert!(matches!(filled, Err(Unfinished::Failed(Error::Refused { .. }))), "{filled:?}");
    assert!(time < Duration::from_secs(5) && source.asked().len() < 8);
}

#[tokio::test(start_paused = true)]
async fn another_content_at_the_source_stops_the_file() {
    let content = content(24 * MIB);
    let source = scripted(&content, |question| {
        Reply::default().then(if question.number == 3 { Then::Changed } else { Then::Good })
    });
    let bench = Bench::new(Connections::Fixed(2));
    let (filled, _) = bench.fetch(&content, &source).await;
    assert!(matches!(filled, Err(Unfinished::Changed { .. })), "{filled:?}");
}

/// Fetches while somebody is asked what older files have, who says "nothing" after so long, or never; says how long the
/// bytes took.
async fn asking(content: &Bytes, source: &Arc<Scripted>, answer: Option<Duration>) -> Duration {
    let bench = Bench::new(Connections::Fixed(4));
    let nothing = async move {
        match answer {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
        None
    };
    let (partial, started, mut counts) = (bench.partial(content), Instant::now(), Counts::default());
    let source_of = Arc::clone(source) as Arc<dyn Source>;
    let filled = bench.run(bench.update(&partial, source_of, Some(Box::pin(nothing)), &mut counts)).await;
    assert_holds(filled, content);
    source.last_sent().expect("bytes") - started
}

#[tokio::test(start_paused = true)]
async fn who_never_says_what_older_files_have_costs_a_round_trip_and_a_hundredth() {
    let content = content(64 * MIB);
    let reply = || Reply { rate: 25 << 20, ..Reply::default() };
    let bench = Bench::new(Connections::Fixed(4));
    let (filled, plain) = bench.fetch(&content, &scripted(&content, move |_| reply())).await;
    assert_holds(filled, &content);
    let source = scripted(&content, move |_| reply());
    let asked = asking(&content, &source, None).await;
    let most = 2 * reply().delay + plain.mul_f64(0.01) + HELD_BACK_MIN;
    assert!(asked <= plain + most, "{asked:?}, else {plain:?}");
    assert_eq!(source.asked()[0], 0..256 << 10, "it begins at once, and with little");
}

#[tokio::test(start_paused = true)]
async fn what_older_files_have_is_awaited_by_all_but_one_connection_and_no_longer_than_it_takes() {
    let content = content(64 * MIB);
    let source = scripted(&content, |question| Reply {
        delay: Duration::from_millis(if question.number == 0 { 400 } else { 20 }),
        ..Reply::default()
    });
    let soon = asking(&content, &source, Some(Duration::from_millis(5))).await;
    let source = scripted(&content, |question| Reply {
        delay: Duration::from_millis(if question.number == 0 { 400 } else { 20 }),
        ..Reply::default()
    });
    let late = asking(&content, &source, Some(Duration::from_millis(600))).await;
    let between = late.saturating_sub(soon);
    assert!(
        between > Duration::from_millis(450) && between < Duration::from_millis(610),
        "{soon:?} {late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_first_range_that_never_comes_holds_back_the_others_for_a_second() {
    let content = content(8 * MIB);
    let source = scripted(&content, |question| {
        Reply::default().then(if question.number == 0 { Then::Stall(0) } else { Then::Good })
    });
    let time = asking(&content, &source, None).await;
    assert!(time < Duration::from_secs(3), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn less_than_was_asked_for_is_no_failure() {
    let content = content(6 * MIB);
    let source = scripted(&content, |_| Reply::default().then(Then::Half));
    let bench = Bench::new(Connections::Fixed(3));
    let (filled, _) = bench.fetch(&content, &source).await;
    assert_holds(filled, &content);
    assert_eq!(bench.saw("retrying"), 0);
}

#[tokio::test(start_paused = true)]
async fn many_files_share_the_connections() {
    let bench = Bench::new(Connections::Fixed(4));
    let contents: Vec<_> = (0..24).map(|n| content(200_000 + 40_000 * n)).collect();
    let sources: Vec<_> = contents.iter().map(|content| scripted(content, |_| Reply::default())).collect();
    let fill = |n: usize| {
        let partial = partial(bench.dir.path(), &format!("{n}.bin"), &contents[n]);
        let source = Arc::clone(&sources[n]) as Arc<dyn Source>;
        let (engine, scope) = (&bench.engine, &bench.scope);
        async move {
            let demand = engine.admit(partial.wanted().size()).await;
            engine.fill(partial, source, None, &demand, scope, &mut Counts::default()).await
        }
    };
    let started = Instant::now();
    let filled = bench.run(futures_util::future::join_all((0..contents.len()).map(fill))).await;
    for (filled, content) in filled.into_iter().zip(&contents) {
        assert_holds(filled, content);
    }
    // One after the other they would take 2.2 s.
    let last = sources.iter().filter_map(|source| source.last_sent()).max().expect("bytes");
    assert!(last - started < Duration::from_secs(1), "{:?}", last - started);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_keeps_what_has_come() {
    let content = content(8 * MIB);
    let source = scripted(&content, |_| Reply { rate: 1 << 20, ..Reply::default() });
    let bench = Bench::new(Connections::Fixed(2));
    let stop = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        bench.halt.stop(stop::Cause::Deadline(Duration::from_secs(2)));
        std::future::pending::<()>().await;
    };
    let (filled, _) = tokio::select! {
        filled = bench.fetch(&content, &source) => filled,
        () = stop => unreachable!("it never ends"),
    };
    assert!(matches!(filled, Err(Unfinished::Failed(Error::Deadline { .. }))), "{filled:?}");
    let there = bench.partial(&content).written();
    assert!(there > 3 << 20 && there < 5 << 20, "{there} bytes are kept");
}

#[tokio::test(start_paused = true)]
async fn who_drops_a_file_half_way_leaves_no_thread_and_no_connection() {
    let content = content(8 * MIB);
    let source = scripted(&content, |_| Reply { rate: 1 << 20, ..Reply::default() });
    let bench = Bench::new(Connections::Fixed(2));
    let partial = bench.partial(&content);
    bench
        .run(async {
            let mut counts = Counts::default();
            let fill = bench.fill(&partial, Arc::clone(&source) as _, &mut counts);
            assert!(tokio::time::timeout(Duration::from_secs(1), fill).await.is_err(), "it takes longer");
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(Arc::strong_count(&partial), 1, "a thread holds the file");
            assert_eq!(source.open_now(), 0, "a connection is at work for nobody");
        })
        .await;
}

#[tokio::test]
async fn another_name_of_a_content_is_filled_from_the_first() {
    // More than may be dirty at a time.
    let content = content(80 * MIB);
    let bench = Bench::with(Limits { rate_max: Some(1000), ..limits() });
    let original = bench.dir.path().join("original");
    std::fs::write(&original, &content).expect("written");
    let file = std::fs::File::open(&original).expect("opened");
    let source = Arc::new(LocalFile::new(Arc::new(file), &original, STALL));
    let mut counts = Counts::default();
    let partial = bench.partial(&content);
    let filled = bench.engine.run(bench.fill(&partial, source, &mut counts)).await;
    assert_holds(filled, &content);
    assert_eq!(counts.received, 0, "nothing came over a network");
}

#[tokio::test]
async fn a_first_name_that_was_cut_short_is_no_source() {
    let content = content(MIB);
    let bench = Bench::with(limits());
    let original = bench.dir.path().join("original");
    std::fs::write(&original, &content[..MIB / 2]).expect("written");
    let file = std::fs::File::open(&original).expect("opened");
    let source = Arc::new(LocalFile::new(Arc::new(file), &original, STALL));
    let partial = bench.partial(&content);
    let filled = bench.engine.run(bench.fill(&partial, source, &mut Counts::default())).await;
    assert!(matches!(filled, Err(Unfinished::Changed { .. })), "{filled:?}");
}

fn any_reply() -> impl Strategy<Value = Reply> {
    let then = prop_oneof![
        8 => Just(Then::Good),
        2 => (0..3_000_000_u64).prop_map(Then::Stall),
        2 => (0..3_000_000_u64).prop_map(Then::Cut),
        1 => Just(Then::Lie),
        1 => Just(Then::Elsewhere),
        2 => Just(Then::Half),
        2 => prop_oneof![Just(500), Just(503), Just(429), Just(416)].prop_map(Then::Status),
        1 => Just(Then::NoRanges),
        2 => Just(Then::Expired),
        1 => Just(Then::Changed),
        1 => Just(Then::Final),
    ];
    let host = prop_oneof![Just("a"), Just("b")];
    (0..3000_u64, 30_000..20_000_000_u64, host, then).prop_map(|(delay, rate, host, then)| Reply {
        delay: Duration::from_millis(delay),
        rate,
        host,
        then,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn in_every_universe_the_bytes_are_right_or_the_error_can_be_read(
        // From 16 MiB on bytes at the frontier are collected in blocks.
        length in prop_oneof![7 => 1..6 * MIB, 1 => 16 * MIB..18 * MIB],
        replies in proptest::collection::vec(any_reply(), 1..16),
        for_ever: bool,
        connections in 1..6_u16,
    ) {
        let content = content(length);
        let script = {
            let replies = replies.clone();
            move |question: &Question| match replies.get(question.number) {
                Some(reply) => reply.clone(),
                None if for_ever => replies[question.number % replies.len()].clone(),
                None => Reply::default(),
            }
        };
        let has = |then: &dyn Fn(Then) -> bool| replies.iter().any(|reply| then(reply.then));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let source = scripted(&content, script);
            let bench = Bench::new(Connections::Fixed(connections));
            let filled = tokio::time::timeout(Duration::from_hours(24), bench.fetch(&content, &source)).await;
            match filled.expect("it ends").0 {
                Ok(verified) => assert_holds(Ok(verified), &content),
                Err(Unfinished::Mismatch(_)) => assert!(has(&|then| then == Then::Lie), "nobody lied"),
                Err(Unfinished::Strange { .. }) => panic!("the name promises nothing"),
                Err(Unfinished::Changed { .. }) => assert!(has(&|then| then == Then::Changed)),
                Err(Unfinished::Failed(error)) => {
                    assert!(!matches!(error, Error::Internal(_)), "{error}");
                    assert!(error.exit_number() >= 10 && error.hint().is_some(), "{error}");
                }
            }
        });
    }
}
