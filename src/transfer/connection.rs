//! One connection: takes a range, fetches it, and deals with what goes wrong.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Response;
use tokio::time::Instant;
use tracing::debug;

use super::active::Active;
use super::assemble::{Assembler, Over};
use super::engine::{Engine, Unfinished};
use super::schedule::Segment;
use super::tuner::Estimate;
use super::tuning::{FAILURES_BEFORE_FAILOVER, PROGRESS};
use crate::error::{Error, Failure};
use crate::net::{self, Watchdog};
use crate::report::Event;
use crate::retry::Backoff;
use crate::source::Location;
use crate::source::answer::{self, Answer};

/// Why a range was not fetched to its end.
enum Trouble {
    /// Worth another try after a pause.
    Failed(Failure),
    /// The URL is no longer good.
    Expired(Location, Failure),
    /// The file must begin again.
    Changed(String, String),
    /// The server knows no ranges.
    NoRanges,
    /// Another connection has the range now, or the file is over.
    Gone,
    /// No use trying again.
    Fatal(Error),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
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
        if let Err(trouble) = fetched {
            settle(&engine, &file, trouble, &mut connection.backoff).await;
        }
    }
}

/// Does what a failure calls for, and pauses as long as it should.
async fn settle(engine: &Engine, file: &Active, trouble: Trouble, backoff: &mut Backoff) {
    match trouble {
        Trouble::Gone | Trouble::NoRanges => {}
        Trouble::Fatal(error) => file.fail(error),
        Trouble::Changed(host, why) => file.stop(Unfinished::Changed { host, why }),
        Trouble::Failed(failure) => pause(engine, file, failure, backoff).await,
        Trouble::Expired(location, failure) => {
            if !file.may_renew(&location) {
                let what = format!("fetching `{}` from {}, with a fresh URL,", file.path, location.host());
                return file.fail(Error::Refused { what, answer: Box::new(failure) });
            }
            match file.source.renew(&location, false).await {
                Ok(fresh) => {
                    let path = &file.path;
                    engine.reporter.report(&Event::Renewed { path, host: &fresh.host() });
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

async fn pause(engine: &Engine, file: &Active, failure: Failure, backoff: &mut Backoff) {
    let what = format!("fetching `{}` from {}", file.path, failure.host());
    let (delay, failure) = match file.budget.pause_after(failure, backoff, &what) {
        Ok(pause) => pause,
        Err(error) => return file.fail(error),
    };
    let attempt = backoff.attempts;
    engine.reporter.report(&Event::Retrying { what: file.path.as_str(), cause: &failure, delay, attempt });
    tokio::select! { () = tokio::time::sleep(delay) => {}, () = file.over() => return }
    if attempt.is_multiple_of(FAILURES_BEFORE_FAILOVER)
        && file.source.has_alternatives()
        && let Ok(location) = file.source.location().await
        && let Err(error) = file.source.renew(&location, true).await
    {
        file.fail(error);
    }
}

/// Fetches one range.
async fn fetch(
    engine: &Engine,
    file: &Active,
    segment: &Segment,
    connection: &mut Connection,
) -> Result<(), Trouble> {
    let asked = Instant::now();
    let opened = open(engine, file, segment);
    let (location, response) = unless_over(engine, file, segment, connection.index, opened).await?;
    let latency = asked.elapsed();
    let flowing = Instant::now();
    let mut assembler = Assembler::new(&engine.admission, file, segment).ok_or(Trouble::Gone)?;
    let received = receive(engine, file, segment, connection, &location, response, &mut assembler).await;
    assembler.close().await;
    let received = received?;
    connection.estimate.learn(received, latency, flowing.elapsed());
    debug!(file = %file.path, start = segment.range.start, received, estimate = ?connection.estimate, "range finished");
    Ok(())
}

/// Runs `step` unless the segment or the connection is taken away first. Only for steps that hold
/// no bytes.
async fn unless_over<T>(
    engine: &Engine,
    file: &Active,
    segment: &Segment,
    index: u16,
    step: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::select! {
        result = step => result,
        () = segment.cut.notified() => Err(Trouble::Gone),
        () = engine.tuner.dismissed(index) => Err(Trouble::Gone),
        () = file.over() => Err(Trouble::Gone),
    }
}

/// Asks for the range and checks the headers of the answer.
async fn open(engine: &Engine, file: &Active, segment: &Segment) -> Result<(Location, Response), Trouble> {
    let location = file.source.location().await.map_err(Trouble::Fatal)?;
    let whole = file.is_whole();
    let range = &segment.range;
    let bounds = (!whole).then(|| (range.start, range.end - 1));
    let response = file.source.get(&location, bounds, engine.limits.stall_timeout).await?;
    match answer::judge(location.url(), response, range, file.size).await? {
        Answer::Part(_) if whole => {
            Err(net::wrong(location.url(), "a part of a file that was asked for as a whole").into())
        }
        Answer::Part(response) => {
            file.note_ranged();
            check_validator(file, &location, &response)?;
            Ok((location, response))
        }
        Answer::Whole(response) if whole || (range.start == 0 && range.end == file.size) => {
            check_validator(file, &location, &response)?;
            Ok((location, response))
        }
        Answer::Whole(_) if file.fall_back_to_whole() => Err(Trouble::NoRanges),
        Answer::Whole(_) => Err(net::wrong(location.url(), "the whole file instead of a range").into()),
        Answer::Expired(failure) => Err(Trouble::Expired(location, failure)),
        Answer::Changed(why) => Err(Trouble::Changed(location.host(), why)),
    }
}

fn check_validator(file: &Active, location: &Location, response: &Response) -> Result<(), Trouble> {
    let proven = file.prove(location, answer::etag(response));
    proven.map_err(|why| Trouble::Changed(location.host(), why))
}

/// Passes the body on to the writer. Says how many bytes came.
async fn receive(
    engine: &Engine,
    file: &Active,
    segment: &Segment,
    connection: &mut Connection,
    location: &Location,
    mut response: Response,
    assembler: &mut Assembler<'_>,
) -> Result<u64, Trouble> {
    let (mut received, mut news) = (0, 0);
    let mut watchdog = Watchdog::new(engine.limits.stall_timeout);
    while !file.is_done(segment) {
        let next = async { watchdog.chunk(location.url(), &mut response).await.map_err(Trouble::Failed) };
        let Some(mut bytes) = unless_over(engine, file, segment, connection.index, next).await? else {
            let missing = file.missing_of(segment);
            return Err(Failure::Truncated { host: location.host(), missing }.into());
        };
        received += bytes.len() as u64;
        file.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        engine.tuner.received(bytes.len());
        // Claimed as soon as they are here, so that nobody fetches them again. From here to the
        // writer only the end of the file may interrupt: claimed bytes must arrive.
        let claimed = file.advance(segment, bytes.len());
        bytes.truncate(usize::try_from(claimed.end - claimed.start).unwrap_or(usize::MAX));
        if bytes.is_empty() {
            break;
        }
        news += bytes.len() as u64;
        if news >= PROGRESS || file.is_done(segment) {
            news = 0;
            progressed(engine, file, &mut connection.backoff);
        }
        if let Some(throttle) = &engine.throttle {
            tokio::select! { () = throttle.pass(bytes.len()) => {}, () = file.over() => return Err(Trouble::Gone) }
        }
        assembler.take(claimed.start, bytes).await.map_err(|Over| Trouble::Gone)?;
    }
    Ok(received)
}

/// Notes that the connection is of use.
fn progressed(engine: &Engine, file: &Active, backoff: &mut Backoff) {
    file.budget.progressed();
    if backoff.attempts > 0 {
        let (what, attempts) = (file.path.as_str(), backoff.attempts);
        engine.reporter.report(&Event::Recovered { what, attempts });
        backoff.reset();
    }
}
