//! One connection: takes a range, fetches it, and deals with what goes wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::active::Active;
use super::assemble::{Assembler, Over};
use super::engine::{Engine, Unfinished};
use super::schedule::Segment;
use super::tuner::Estimate;
use super::tuning::{FAILURES_BEFORE_FAILOVER, PROGRESS};
use crate::error::Failure;
use crate::report::Event;
use crate::retry::{Backoff, Retry};
use crate::source::{self, Opened, Trouble};

/// Why a range was not fetched to its end.
enum Halt {
    /// Another connection has the range now, or the file is over.
    Gone,
    /// The source's side of it.
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Halt {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

/// One connection's memory of itself.
struct Connection {
    index: u16,
    estimate: Estimate,
    backoff: Backoff,
}

/// Serves files until the task is dropped.
pub(super) async fn work(engine: Arc<Engine>, index: u16) {
    let mut connection = Connection { index, estimate: Estimate::default(), backoff: Backoff::default() };
    loop {
        engine.tuner.admitted(index).await;
        let (file, segment) = engine.next(&connection.estimate).await;
        file.connections.fetch_add(1, Ordering::Relaxed);
        let fetched = fetch(&engine, &file, &segment, &mut connection).await;
        file.connections.fetch_sub(1, Ordering::Relaxed);
        // Given back before any pause: another connection may have more luck.
        file.release(&segment);
        engine.offer();
        if let Err(Halt::Trouble(trouble)) = fetched {
            settle(&file, trouble, &mut connection.backoff).await;
        }
    }
}

/// Does what a trouble calls for, and pauses as long as it should.
async fn settle(file: &Active, trouble: Trouble, backoff: &mut Backoff) {
    match trouble {
        // The file is read as a whole from now on.
        Trouble::NoRanges(_) => {}
        Trouble::Final(error) => file.fail(error),
        Trouble::Changed { host, why } => file.stop(Unfinished::Changed { host, why }),
        Trouble::Failed(failure) => pause(file, failure, backoff).await,
        Trouble::Expired(expired) => {
            match file.source.renew(expired).await {
                Ok(origin) => {
                    file.reporter.report(&Event::Renewed { path: &file.path, host: origin.as_str() });
                }
                Err(error) => return file.fail(error),
            }
            // The first time may be an expired URL; a second one in a row is no accident.
            backoff.attempts += 1;
            if backoff.attempts > 1 {
                let pause = Duration::from_secs(1).mul_f64(fastrand::f64());
                tokio::select! { () = tokio::time::sleep(pause) => {}, () = file.over() => {} }
            }
        }
    }
}

async fn pause(file: &Active, failure: Failure, backoff: &mut Backoff) {
    let retry = retry(file);
    let paused = tokio::select! {
        paused = retry.pause(failure, backoff) => paused,
        () = file.over() => return,
    };
    let settled = match paused {
        Ok(()) if backoff.attempts.is_multiple_of(FAILURES_BEFORE_FAILOVER) => file.source.fail_over().await,
        settled => settled,
    };
    if let Err(error) = settled {
        file.fail(error);
    }
}

fn retry(file: &Active) -> Retry<'_> {
    let doing = |path: &str, host: &str| format!("fetching `{path}` from {host}");
    Retry { what: file.path.as_str(), doing, budget: &file.budget, reporter: &*file.reporter }
}

/// Fetches one range.
async fn fetch(
    engine: &Engine,
    file: &Active,
    segment: &Segment,
    connection: &mut Connection,
) -> Result<(), Halt> {
    let asked = Instant::now();
    let opened = unless_over(engine, file, segment, connection.index, open(file, segment)).await?;
    let latency = asked.elapsed();
    engine.tuner.answered(latency);
    if file.begin() {
        engine.offer();
    }
    let looked_at = async {
        file.looked_at(segment).await;
        Ok(())
    };
    unless_over(engine, file, segment, connection.index, looked_at).await?;
    let flowing = Instant::now();
    let mut assembler = Assembler::new(&engine.admission, file, segment).ok_or(Halt::Gone)?;
    let origin = opened.origin.clone();
    let received = receive(engine, file, segment, connection, opened, &mut assembler).await;
    assembler.close().await;
    file.note_origin(segment, &origin);
    let received = received?;
    connection.estimate.learn(received, latency, flowing.elapsed());
    debug!(file = %file.path, start = segment.range.start, received, estimate = ?connection.estimate, "range finished");
    Ok(())
}

/// Runs `step` unless the segment or the connection is taken away first. Only for steps that hold
/// no claimed bytes.
async fn unless_over<T>(
    engine: &Engine,
    file: &Active,
    segment: &Segment,
    index: u16,
    step: impl Future<Output = Result<T, Halt>>,
) -> Result<T, Halt> {
    tokio::select! {
        result = step => result,
        () = segment.cut.notified() => Err(Halt::Gone),
        () = engine.tuner.dismissed(index) => Err(Halt::Gone),
        () = file.over() => Err(Halt::Gone),
    }
}

/// Asks for the range.
async fn open(file: &Active, segment: &Segment) -> Result<Opened, Halt> {
    let range = &segment.range;
    match file.source.open(range).await {
        Ok(opened) => {
            source::check_start(range, &opened.covers, &opened.origin)?;
            Ok(opened)
        }
        Err(Trouble::NoRanges(origin)) if *range == (0..file.size) => {
            let why = "it has no ranges, and not the whole either".into();
            Err(Failure::Wrong { host: origin.to_string(), why }.into())
        }
        Err(trouble) => {
            // Before the range is given back, so that nobody takes a part again.
            if let Trouble::NoRanges(origin) = &trouble
                && file.read_whole()
            {
                let text = format!("{origin} gives no ranges of `{}`: it is read as a whole", file.path);
                file.reporter.report(&Event::Warning(&text));
            }
            Err(trouble.into())
        }
    }
}

/// Passes the body on to the writer. Says how many bytes came.
async fn receive(
    engine: &Engine,
    file: &Active,
    segment: &Segment,
    connection: &mut Connection,
    opened: Opened,
    assembler: &mut Assembler<'_>,
) -> Result<u64, Halt> {
    let Opened { mut body, covers, origin } = opened;
    let is_metered = file.source.is_metered();
    let (mut received, mut news) = (0, 0);
    while !file.is_done(segment) {
        let next = async { body.chunk().await.map_err(Halt::from) };
        let Some(mut bytes) = unless_over(engine, file, segment, connection.index, next).await? else {
            if received >= covers.end - covers.start {
                // As much as the source had to give; the rest is asked for again.
                break;
            }
            let missing = file.missing_of(segment);
            return Err(Failure::Truncated { host: origin.to_string(), missing }.into());
        };
        received += bytes.len() as u64;
        if is_metered {
            file.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            engine.tuner.received(bytes.len());
        }
        // Claimed as soon as they are here, so that nobody fetches them again. From here to the
        // writer only the end of the file may interrupt: claimed bytes must arrive.
        let claimed = file.advance(segment, bytes.len());
        bytes.truncate(usize::try_from(claimed.end - claimed.start).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            break;
        }
        file.look(claimed.start, &bytes);
        news += bytes.len() as u64;
        if news >= PROGRESS || file.is_done(segment) {
            news = 0;
            progressed(file, &mut connection.backoff);
        }
        if let Some(throttle) = engine.throttle.as_ref().filter(|_| is_metered) {
            tokio::select! { () = throttle.pass(bytes.len()) => {}, () = file.over() => return Err(Halt::Gone) }
        }
        assembler.take(claimed.start, bytes).await.map_err(|Over| Halt::Gone)?;
    }
    Ok(received)
}

/// Notes that the connection is of use.
fn progressed(file: &Active, backoff: &mut Backoff) {
    file.budget.progressed();
    retry(file).recovered(backoff);
}
