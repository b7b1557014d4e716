//! Progress for logs: whole lines, few of them, that make sense to somebody who reads them at
//! night in `kubectl logs`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sentence::sentence;
use super::track::{Phase, Track};
use super::{Findings, Show, Summary, Writer};
use crate::report::{Event, Progress, Reporter};
use crate::request::RepoPath;
use crate::words::{Bytes, Span, count};

/// A line comes after this long and this many percents, whichever is later …
const QUIET_TIME: Duration = Duration::from_secs(10);
const QUIET_PERCENT: u64 = 5;
/// … but a big file on a slow link shows life after this long.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// With more files than this, those that need nothing are only counted.
const FEW_FILES: usize = 20;

/// Writes lines.
pub struct Lines {
    writer: Writer,
    state: Mutex<LineState>,
}

impl Lines {
    /// Writes through `writer`.
    pub fn new(writer: Writer) -> Self {
        Self { writer, state: Mutex::default() }
    }
}

impl Reporter for Lines {
    fn report(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // While it is locked: lines come in the order of their events.
        if let Some(line) = state.line(event, Instant::now()) {
            self.writer.tell(event, &(line + "\n"));
        }
    }
}

impl Show for Lines {
    fn finished(&self, summary: &Summary<'_>) {
        if let Some(line) = finished(summary) {
            self.writer.message(&(line + "\n"));
        }
    }
}

#[derive(Default)]
struct LineState {
    files: usize,
    begun: usize,
    active: HashMap<RepoPath, Active>,
}

struct Active {
    track: Track,
    /// `[2/5] `, where there is more than one file.
    position: String,
    told_at: Instant,
    told_percent: u64,
}

impl LineState {
    fn line(&mut self, event: &Event<'_>, now: Instant) -> Option<String> {
        match event {
            Event::Planned(plans) => {
                self.files = plans.iter().map(|plan| plan.items.len()).sum();
                self.begun = 0;
                sentence(event)
            }
            Event::Skipped { .. } => {
                let position = self.next_position();
                (self.files <= FEW_FILES).then(|| position + &sentence(event).unwrap_or_default())
            }
            Event::Started { path, size, resumed, hash_only } => {
                let track = Track::new(now, *size, *resumed, *hash_only);
                let position = self.next_position();
                let line = started(&position, path, &track);
                let told_percent = track.percent();
                self.active.insert((*path).clone(), Active { track, position, told_at: now, told_percent });
                Some(line)
            }
            Event::Progress(progress) => self.active.get_mut(progress.path)?.progress(progress, now),
            Event::Published(outcome) => {
                let position = self.active.remove(&outcome.path).map(|file| file.position);
                Some(position.unwrap_or_default() + &sentence(event)?)
            }
            _ => sentence(event),
        }
    }

    fn next_position(&mut self) -> String {
        self.begun += 1;
        if self.files > 1 { format!("[{}/{}] ", self.begun, self.files) } else { String::new() }
    }
}

impl Active {
    fn progress(&mut self, progress: &Progress<'_>, now: Instant) -> Option<String> {
        let phase = self.track.phase();
        self.track.update(now, progress);
        let percent = self.track.percent();
        if self.track.phase() != phase {
            (self.told_at, self.told_percent) = (now, percent);
        }
        let silence = now.duration_since(self.told_at);
        let is_due = silence >= QUIET_TIME && percent >= self.told_percent + QUIET_PERCENT;
        if !(is_due || silence >= SILENCE_MAX) {
            return None;
        }
        (self.told_at, self.told_percent) = (now, percent);
        let done = Bytes(self.track.done());
        let (path, size, speed) = (progress.path, Bytes(self.track.size), self.track.speed(now));
        let far = format!("{percent} %, {done} of {size}, {speed}");
        Some(match self.track.phase() {
            Phase::Verifying => format!("{}{path}: checking, {far}", self.position),
            Phase::Fetching => {
                let connections = count(self.track.connections() as u64, "connection");
                format!("{}{path}: {far}, {connections}", self.position)
            }
        })
    }
}

fn started(position: &str, path: &RepoPath, track: &Track) -> String {
    let size = Bytes(track.size);
    match (track.phase(), track.done()) {
        (Phase::Verifying, _) => format!("{position}{path}: already there, checking its {size}"),
        (Phase::Fetching, 0) => format!("{position}{path}: fetching {size}"),
        (Phase::Fetching, done) => {
            format!("{position}{path}: continuing at {} %, {} of {size}", track.percent(), Bytes(done))
        }
    }
}

/// The last line of a good run; a bad one ends with its error.
fn finished(summary: &Summary<'_>) -> Option<String> {
    let time = Duration::try_from_secs_f64(summary.seconds).unwrap_or_default();
    let retries = match summary.retries {
        0 => String::new(),
        1 => ", 1 retry".into(),
        retries => format!(", {retries} retries"),
    };
    let (fetched, total) = (Bytes(summary.bytes_fetched), Bytes(summary.bytes_total));
    let done = match summary.findings {
        Some(Findings::Planned { .. } | Findings::PlannedModels { .. }) => "nothing was changed".into(),
        Some(Findings::Locked { lock }) => {
            let state = if lock.written { "was written" } else { "is as it was" };
            format!("`{}` {state}", lock.lockfile.display())
        }
        Some(Findings::Listed { held }) => count(held.files.len() as u64, "verified file"),
        Some(Findings::Pruned { pruned }) if !pruned.done => "nothing was removed; --yes does it".into(),
        Some(Findings::Pruned { pruned }) => format!("{} freed", Bytes(pruned.bytes_freed)),
        Some(Findings::Verified { files }) => {
            format!("{} with {total} verified", count(files.len() as u64, "file"))
        }
        Some(Findings::Cluster { did }) => did.into(),
        _ => format!("{fetched} fetched of {total}{retries}"),
    };
    (summary.exit == 0).then(|| format!("done in {}: {done}", Span(time)))
}

#[cfg(test)]
mod tests {
    use super::super::Totals;
    use super::super::fixture::{self, path};
    use super::*;
    use crate::report::{Done, FileOutcome};

    const GB: u64 = 1_000_000_000;

    /// Feeds a download of `size` bytes at `rate` bytes per second, with one event per second.
    fn download(state: &mut LineState, start: Instant, size: u64, rate: u64) -> Vec<(u64, String)> {
        let model = path("model.gguf");
        let begin = Event::Started { path: &model, size, resumed: 0, hash_only: false };
        let mut lines = vec![(0, state.line(&begin, start).expect("a line at the start"))];
        for second in 1..=size / rate {
            let on_disk = second * rate;
            let progress = Progress {
                path: &model,
                size,
                on_disk,
                hashed: on_disk,
                received: on_disk,
                copied: 0,
                connections: 4,
            };
            let now = start + Duration::from_secs(second);
            lines.extend(state.line(&Event::Progress(&progress), now).map(|line| (second, line)));
        }
        lines
    }

    #[test]
    fn a_line_comes_every_ten_seconds_or_five_percent_whichever_is_later() {
        let fast = download(&mut LineState::default(), Instant::now(), 10 * GB, GB / 5);
        let seconds: Vec<_> = fast.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [0, 10, 20, 30, 40, 50]);
        assert_eq!(fast[0].1, "model.gguf: fetching 10.0 GB");
        assert_eq!(fast[1].1, "model.gguf: 20 %, 2.00 GB of 10.0 GB, 200 MB/s, 40.0 s left, 4 connections");
        let steady = download(&mut LineState::default(), Instant::now(), 10 * GB, GB / 100);
        assert_eq!(steady[1].0, 50, "five percent take 50 s");
    }

    #[test]
    fn a_slow_link_shows_life_every_minute() {
        let slow = download(&mut LineState::default(), Instant::now(), GB, GB / 10_000);
        assert_eq!(
            slow[1],
            (60, "model.gguf: 0 %, 6.00 MB of 1.00 GB, 100 kB/s, 2 h 45 min left, 4 connections".into())
        );
        assert_eq!(slow[2].0, 120);
    }

    #[test]
    fn an_estimate_that_is_nonsense_is_not_shown() {
        let crawling = download(&mut LineState::default(), Instant::now(), GB / 1000, 10);
        assert!(crawling[1].1.contains("10 B/s, -- left"), "{}", crawling[1].1);
    }

    #[test]
    fn files_are_numbered_and_the_result_names_its_path_and_rate() {
        let mut state = LineState::default();
        let now = Instant::now();
        let plan = fixture::plan(2);
        assert_eq!(
            state.line(&Event::Planned(&[&plan]), now).expect("line"),
            "2 of 2 files to do, 2.00 GB to fetch; 500 GB free in `/models`"
        );
        let first = path("0.gguf");
        let begin = Event::Started { path: &first, size: GB, resumed: GB / 4, hash_only: false };
        assert_eq!(
            state.line(&begin, now).expect("line"),
            "[1/2] 0.gguf: continuing at 25 %, 250 MB of 1.00 GB"
        );
        let outcome = FileOutcome {
            target: "/models/0.gguf".into(),
            done: Done::Resumed,
            bytes_fetched: 750_000_000,
            seconds: 10.0,
            ..fixture::outcome(1).files.remove(0)
        };
        assert_eq!(
            state.line(&Event::Published(&outcome), now).expect("line"),
            "[1/2] 0.gguf: verified, 750 MB fetched in 10.0 s (75.0 MB/s) -> /models/0.gguf"
        );
        let summary = Summary::new(
            "fetch",
            None,
            None,
            Totals { bytes_total: 2 * GB, bytes_fetched: GB, bytes_copied: 0, retries: 2 },
            12.0,
        );
        assert_eq!(
            finished(&summary).expect("line"),
            "done in 12.0 s: 1.00 GB fetched of 2.00 GB, 2 retries"
        );
    }

    #[test]
    fn no_line_holds_a_control_character_whatever_a_server_says() {
        let cause = std::io::Error::other("bad\u{1b}[31m\r\n\u{7}news");
        let event =
            Event::Retrying { what: "x", cause: &cause, delay: Duration::from_millis(1200), attempt: 3 };
        assert_eq!(
            LineState::default().line(&event, Instant::now()).expect("line"),
            "x: bad [31m news; retry 3 in 1.2 s"
        );
    }

    #[test]
    fn there_is_life_before_the_first_byte() {
        let event = Event::Asking { what: "model.gguf", host: "huggingface.co" };
        let line = LineState::default().line(&event, Instant::now());
        assert_eq!(line.as_deref(), Some("asking huggingface.co for model.gguf"));
    }
}
