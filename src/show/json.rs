//! Progress for machines: one JSON object per line, described in `docs/progress.md`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::track::Track;
use super::{Show, Summary, Writer};
use crate::plan::{Delta, Plan};
use crate::report::{Event, FileOutcome, Progress, Reporter};
use crate::request::{Commit, RepoPath, Revision};
use crate::words::chain;

/// Between two progress lines of one file.
const SPACING: Duration = Duration::from_secs(1);
/// Changes when a field changes its meaning or goes away; new fields and events may come.
const SCHEMA: u32 = 1;

/// Writes JSON lines.
pub struct JsonLines {
    writer: Writer,
    state: Mutex<JsonState>,
}

impl JsonLines {
    /// Writes through `writer`.
    pub fn new(writer: Writer) -> Self {
        Self { writer, state: Mutex::default() }
    }
}

impl Reporter for JsonLines {
    fn report(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // While it is locked: lines come in the order of their events.
        if let Some(line) = state.line(event, Instant::now(), SystemTime::now()) {
            self.writer.tell(event, &line);
        }
    }
}

impl Show for JsonLines {
    fn finished(&self, summary: &Summary<'_>) {
        self.writer.message(&line(Body::Finished { summary }, SystemTime::now()));
    }
}

#[derive(Default)]
struct JsonState(HashMap<RepoPath, (Track, Option<Instant>)>);

#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    time: f64,
    #[serde(flatten)]
    body: Body<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Body<'a> {
    Begin {
        command: &'a str,
        what: &'a str,
        version: &'static str,
    },
    Waiting {
        owner: &'a str,
        dir: &'a Path,
    },
    Asking {
        what: &'a str,
        host: &'a str,
    },
    Resolved {
        repo: String,
        revision: &'a Revision,
        commit: &'a Commit,
        files: usize,
        bytes: u64,
    },
    Signed {
        signature: &'a RepoPath,
        signer: &'a str,
        files: usize,
    },
    Planned {
        plan: &'a Plan,
    },
    #[serde(rename = "planned")]
    PlannedModels {
        plans: &'a [&'a Plan],
    },
    Skipped {
        path: &'a RepoPath,
    },
    Started {
        path: &'a RepoPath,
        size: u64,
        resumed: u64,
        hash_only: bool,
    },
    Copying {
        path: &'a RepoPath,
        bytes_to_fetch: u64,
        #[serde(flatten)]
        delta: &'a Delta,
    },
    Progress(Far<'a>),
    Retrying {
        what: &'a str,
        cause: String,
        delay_seconds: f64,
        attempt: u32,
    },
    Recovered {
        what: &'a str,
        attempts: u32,
    },
    Renewed {
        path: &'a RepoPath,
        host: &'a str,
    },
    Restarted {
        path: &'a RepoPath,
        why: &'a str,
        dropped: u64,
        kept: u64,
    },
    Published {
        file: &'a FileOutcome,
    },
    Warning {
        message: &'a str,
    },
    Finished {
        summary: &'a Summary<'a>,
    },
}

#[derive(Serialize)]
struct Far<'a> {
    path: &'a RepoPath,
    size: u64,
    on_disk: u64,
    hashed: u64,
    received: u64,
    copied: u64,
    connections: usize,
    bytes_per_second: Option<u64>,
    seconds_left: Option<u64>,
}

fn line(body: Body<'_>, time: SystemTime) -> String {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact in a double")]
    let record = Record { schema: SCHEMA, time: time.as_millis() as f64 / 1000.0, body };
    serde_json::to_string(&record).expect("every field has a JSON form") + "\n"
}

impl JsonState {
    fn line(&mut self, event: &Event<'_>, now: Instant, time: SystemTime) -> Option<String> {
        Some(line(self.body(event, now)?, time))
    }

    fn body<'a>(&mut self, event: &'a Event<'a>, now: Instant) -> Option<Body<'a>> {
        Some(match *event {
            Event::Begin { command, what } => {
                Body::Begin { command, what, version: env!("CARGO_PKG_VERSION") }
            }
            Event::Waiting { owner, dir } => Body::Waiting { owner, dir },
            Event::Asking { what, host } => Body::Asking { what, host },
            Event::Resolved { repo, revision, commit, files, bytes } => {
                Body::Resolved { repo: repo.to_string(), revision, commit, files, bytes }
            }
            Event::Signed { signature, signer, files } => Body::Signed { signature, signer, files },
            Event::Planned([plan]) => Body::Planned { plan },
            Event::Planned(plans) => Body::PlannedModels { plans },
            Event::Skipped { path } => Body::Skipped { path },
            Event::Started { path, size, resumed, hash_only } => {
                self.0.insert(path.clone(), (Track::new(now, size, resumed, hash_only), None));
                Body::Started { path, size, resumed, hash_only }
            }
            Event::Copying { path, delta, .. } => {
                Body::Copying { path, bytes_to_fetch: delta.bytes_to_fetch(), delta }
            }
            Event::Progress(progress) => Body::Progress(self.far(progress, now)?),
            Event::Retrying { what, cause, delay, attempt } => {
                Body::Retrying { what, cause: chain(cause), delay_seconds: delay.as_secs_f64(), attempt }
            }
            Event::Recovered { what, attempts } => Body::Recovered { what, attempts },
            Event::Renewed { path, host } => Body::Renewed { path, host },
            Event::Restarted { path, why, dropped, kept } => Body::Restarted { path, why, dropped, kept },
            Event::Published(file) => {
                self.0.remove(&file.path);
                Body::Published { file }
            }
            Event::Warning(message) => Body::Warning { message },
            Event::Secret(_) => return None,
        })
    }

    fn far<'a>(&mut self, progress: &Progress<'a>, now: Instant) -> Option<Far<'a>> {
        let (track, told_at) = self.0.get_mut(progress.path)?;
        track.update(now, progress);
        if told_at.is_some_and(|told| now.duration_since(told) < SPACING) {
            return None;
        }
        *told_at = Some(now);
        let &Progress { path, size, on_disk, hashed, received, copied, connections } = progress;
        Some(Far {
            path,
            size,
            on_disk,
            hashed,
            received,
            copied,
            connections,
            bytes_per_second: track.rate(now),
            seconds_left: track.time_left(now).map(|left| left.as_secs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fixture::{self, path};
    use super::super::{Findings, Totals};
    use super::*;
    use crate::plan::OlderFile;

    fn parsed(state: &mut JsonState, event: &Event<'_>, now: Instant) -> Option<Value> {
        let time = UNIX_EPOCH + Duration::from_millis(1_500);
        let line = state.line(event, now, time)?;
        assert!(line.ends_with('\n') && line.trim_end().lines().count() == 1, "{line:?}");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((value["schema"].as_u64(), value["time"].as_f64()), (Some(1), Some(1.5)));
        Some(value)
    }

    fn names(value: &Value) -> Vec<&str> {
        value.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    /// Every event in the order a run may send them, with every name in it.
    #[test]
    fn every_event_and_every_field_is_documented() {
        let manual = include_str!("../../docs/progress.md");
        let outcome = fixture::outcome(1);
        let plan = fixture::plan(1);
        let file = &outcome.files[0];
        let older = OlderFile { path: file.path.clone(), verified_at: 7 };
        let delta = Delta { bytes_to_copy: 3, missing: 5, from: vec![older] };
        let cause = std::io::Error::other("broken\nwire");
        let size = 1_000_000_000;
        let progress = Progress {
            path: &file.path,
            size,
            on_disk: 5,
            hashed: 4,
            received: 5,
            copied: 0,
            connections: 2,
        };
        let summary = Summary::new("fetch", None, Some(Findings::Fetched(&outcome)), Totals::default(), 1.0);
        let commit = outcome.commit.expect("commit");
        let events = [
            Event::Begin { command: "fetch", what: "o/n" },
            Event::Waiting { owner: "process 7", dir: Path::new("/models") },
            Event::Asking { what: "0.gguf", host: "huggingface.co" },
            Event::Resolved {
                repo: &outcome.repo,
                revision: &outcome.revision,
                commit: &commit,
                files: 1,
                bytes: size,
            },
            Event::Signed { signature: &file.path, signer: "key:ab", files: 1 },
            Event::Planned(&[&plan]),
            Event::Skipped { path: &file.path },
            Event::Started { path: &file.path, size, resumed: 0, hash_only: false },
            Event::Copying { path: &file.path, size, delta: &delta },
            Event::Progress(&progress),
            Event::Retrying { what: "0.gguf", cause: &cause, delay: Duration::from_millis(1200), attempt: 1 },
            Event::Recovered { what: "0.gguf", attempts: 1 },
            Event::Renewed { path: &file.path, host: "cdn.example" },
            Event::Restarted { path: &file.path, why: "the etag changed", dropped: 5, kept: 0 },
            Event::Published(file),
            Event::Warning("mind the gap"),
        ];
        let mut state = JsonState::default();
        let lines = events.iter().map(|event| parsed(&mut state, event, Instant::now()).expect("a line"));
        let last = serde_json::from_str(&line(Body::Finished { summary: &summary }, SystemTime::now()));
        for value in lines.chain([last.expect("JSON")]) {
            let name = value["event"].as_str().expect("a name");
            let row = manual.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("{name} is not documented"));
            for field in names(&value) {
                let is_common = matches!(field, "schema" | "time" | "event");
                assert!(
                    is_common || row.contains(&format!("`{field}`")),
                    "{name}: {field} is not documented"
                );
            }
        }
        for field in names(&serde_json::to_value(&summary).expect("JSON"))
            .into_iter()
            .chain(names(&serde_json::to_value(file).expect("JSON")))
            .chain(names(&serde_json::to_value(&plan).expect("JSON")))
            .chain(names(&serde_json::to_value(&plan).expect("JSON")["items"][0]))
        {
            assert!(manual.contains(&format!("`{field}`")), "{field} is not documented");
        }
    }

    #[test]
    fn progress_comes_once_per_second_with_rate_and_time_left() {
        let model = path("model.gguf");
        let start = Instant::now();
        let mut state = JsonState::default();
        let begin = Event::Started { path: &model, size: 10_000, resumed: 1_000, hash_only: false };
        parsed(&mut state, &begin, start).expect("a line");
        let lines: Vec<_> = (1..=20u32)
            .filter_map(|quarter| {
                let on_disk = 1_000 + u64::from(quarter) * 250;
                let progress = Progress {
                    path: &model,
                    size: 10_000,
                    on_disk,
                    hashed: on_disk,
                    received: on_disk - 1_000,
                    copied: 0,
                    connections: 3,
                };
                parsed(&mut state, &Event::Progress(&progress), start + Duration::from_millis(250) * quarter)
            })
            .collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[0]["bytes_per_second"], Value::Null, "too early to tell");
        let last = &lines[4];
        assert_eq!((&last["bytes_per_second"], &last["received"]), (&1_000.into(), &4_250.into()));
        assert_eq!(last["seconds_left"], 5);
    }
}
