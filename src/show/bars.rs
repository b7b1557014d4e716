//! Progress for a person at a terminal: a bar per file at work and a total, messages above them.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::rate::Rate;
use super::screen::Row;
use super::sentence::sentence;
use super::track::{Phase, Track, percent, speed};
use super::{Show, Summary, Writer};
use crate::report::{Event, Progress, Reporter};
use crate::request::RepoPath;
use crate::words::{Bytes, count};

/// Bars on a terminal.
pub struct Bars {
    writer: Writer,
    state: Mutex<BarState>,
}

#[derive(Default)]
struct BarState {
    total: Option<Total>,
    /// In the order they began.
    active: Vec<(RepoPath, Track)>,
    /// What is being waited for before the first bar.
    waiting: Option<String>,
}

struct Total {
    files: usize,
    size: u64,
    /// Of files that need nothing any more.
    finished: u64,
    rate: Rate,
}

impl Bars {
    /// Draws on the terminal behind `writer`.
    pub fn new(writer: Writer) -> Self {
        Self { writer, state: Mutex::default() }
    }
}

impl Reporter for Bars {
    fn report(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.update(event, now);
        // While it is locked: lines come in the order of their events.
        if says(event)
            && let Some(line) = sentence(event)
        {
            self.writer.message(&(line + "\n"));
        }
        self.writer.rows(state.rows(now));
    }
}

impl Show for Bars {
    fn finished(&self, _: &Summary<'_>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = BarState::default();
        self.writer.rows(Vec::new());
    }
}

/// What deserves a line that stays on the screen.
fn says(event: &Event<'_>) -> bool {
    !matches!(event, Event::Begin { .. } | Event::Asking { .. } | Event::Waiting { .. } | Event::Planned(_))
}

impl BarState {
    fn update(&mut self, event: &Event<'_>, now: Instant) {
        match event {
            Event::Asking { .. } | Event::Waiting { .. } => {
                // Bars show life enough.
                self.waiting = sentence(event).filter(|_| self.active.is_empty());
                return;
            }
            Event::Progress(progress) => return self.progress(progress, now),
            Event::Planned(plans) if plans.iter().map(|plan| plan.items.len()).sum::<usize>() > 1 => {
                let files = plans.iter().map(|plan| plan.items.len()).sum();
                let size = plans.iter().map(|plan| plan.bytes_total).sum();
                self.total = Some(Total { files, size, finished: 0, rate: Rate::default() });
            }
            Event::Started { path, size, resumed, hash_only } => {
                let track = Track::new(now, *size, *resumed, *hash_only);
                // Again, if what was there turned out to be wrong.
                self.active.retain(|(active, _)| active != *path);
                self.active.push(((*path).clone(), track));
            }
            Event::Published(outcome) => {
                self.active.retain(|(path, _)| *path != outcome.path);
                if let Some(total) = &mut self.total {
                    total.finished += outcome.size;
                }
                self.add_up(now);
            }
            _ => {}
        }
        self.waiting = None;
    }

    fn progress(&mut self, progress: &Progress<'_>, now: Instant) {
        let track = self.active.iter_mut().find(|(path, _)| path == progress.path);
        if let Some((_, track)) = track {
            track.update(now, progress);
            self.add_up(now);
        }
    }

    fn add_up(&mut self, now: Instant) {
        let active = self.done();
        if let Some(total) = &mut self.total {
            total.rate.record(now, total.finished + active);
        }
    }

    /// Of the files at work.
    fn done(&self) -> u64 {
        self.active.iter().map(|(_, track)| track.done()).sum()
    }

    fn rows(&self, now: Instant) -> Vec<Row> {
        let total = self.total.as_ref().map(|total| total.row(total.finished + self.done(), now));
        let active = self.active.iter().map(|(path, track)| Row::Bar {
            name: path.as_str().into(),
            done: track.done(),
            size: track.size,
            text: far(track, now),
        });
        total.into_iter().chain(active).chain(self.waiting.clone().map(Row::Line)).collect()
    }
}

impl Total {
    fn row(&self, done: u64, now: Instant) -> Row {
        let missing = self.size.saturating_sub(done);
        let speed = speed(self.rate.per_second(now), self.rate.time_left(now, missing));
        let far = format!("{:3} % of {}", percent(done, self.size), Bytes(self.size));
        Row::Bar {
            name: count(self.files as u64, "file"),
            done,
            size: self.size,
            text: if missing == 0 { far } else { format!("{far}, {speed}") },
        }
    }
}

fn far(track: &Track, now: Instant) -> String {
    let far = format!("{:3} % of {}", track.percent(), Bytes(track.size));
    match track.phase() {
        Phase::Fetching => format!("{far}, {}, {} conn.", track.speed(now), track.connections()),
        Phase::Verifying if track.percent() == 100 => format!("{far}, checked"),
        Phase::Verifying => format!("{far}, {}, checking", track.speed(now)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use indicatif::{InMemoryTerm, TermLike};

    use super::super::Totals;
    use super::super::fixture::{self, path};
    use super::*;

    #[derive(Clone)]
    struct Terminal(InMemoryTerm);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // What a terminal's driver does.
            let text = String::from_utf8_lossy(bytes).replace('\n', "\r\n");
            self.0.write_str(&text).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Bars on a terminal in memory.
    fn bars() -> (Bars, Terminal) {
        let terminal = Terminal(InMemoryTerm::new(25, 100));
        (Bars::new(Writer::new(terminal.clone(), || (25, 100))), terminal)
    }

    fn shown(bars: &Bars, terminal: &Terminal) -> String {
        bars.writer.drain(None);
        terminal.0.contents()
    }

    /// What a terminal shows after `events`.
    fn screen(events: &[Event<'_>]) -> String {
        let (bars, terminal) = bars();
        for event in events {
            bars.report(event);
        }
        shown(&bars, &terminal)
    }

    #[test]
    fn each_file_has_a_bar_and_several_have_a_total() {
        let plan = fixture::plan(2);
        let (first, second) = (path("a/very/long/folder/name/0.gguf"), path("1.gguf"));
        let started = |path| Event::Started { path, size: 1_000_000_000, resumed: 0, hash_only: false };
        let progress = Progress {
            path: &first,
            size: 1_000_000_000,
            on_disk: 450_000_000,
            hashed: 400_000_000,
            copied: 0,
            received: 450_000_000,
            connections: 4,
        };
        let shown = screen(&[
            Event::Planned(&[&plan]),
            started(&first),
            started(&second),
            Event::Warning("mind the gap"),
            Event::Progress(&progress),
        ]);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "warning: mind the gap");
        assert!(lines[1].starts_with("2 files") && lines[1].contains(" 22 % of 2.00 GB"), "{shown}");
        assert!(
            lines[2].starts_with("…long/folder/name/0.gguf") && lines[2].contains(" 45 % of 1.00 GB"),
            "{shown}"
        );
        assert!(lines[2].contains("4 conn."), "{shown}");
        assert!(lines[3].starts_with("1.gguf"), "{shown}");
    }

    #[test]
    fn a_file_that_was_hashed_in_vain_has_one_bar() {
        let path = path("0.gguf");
        let started = |hash_only| Event::Started { path: &path, size: 1_000, resumed: 0, hash_only };
        let shown = screen(&[started(true), started(false)]);
        assert_eq!(shown.lines().count(), 1, "{shown}");
    }

    #[test]
    fn nothing_but_the_messages_is_left_at_the_end() {
        let outcome = fixture::outcome(1);
        let file = &outcome.files[0];
        let summary = Summary::new("fetch", None, None, Totals::default(), 1.0);
        let (bars, terminal) = bars();
        for event in [
            Event::Asking { what: "0.gguf", host: "huggingface.co" },
            Event::Started { path: &file.path, size: file.size, resumed: 0, hash_only: false },
            Event::Published(file),
        ] {
            bars.report(&event);
        }
        bars.finished(&summary);
        let shown = shown(&bars, &terminal);
        assert!(shown.starts_with("0.gguf: verified") && shown.lines().count() == 1, "{shown}");
    }

    #[test]
    fn what_is_printed_aside_stands_above_the_bars() {
        let model = path("model.gguf");
        let (bars, terminal) = bars();
        bars.report(&Event::Started { path: &model, size: 1_000, resumed: 0, hash_only: false });
        assert!(shown(&bars, &terminal).starts_with("model.gguf "));
        bars.writer.aside(|| terminal.clone().write_all(b"ok  disk: fast\n").expect("printed"));
        let shown = shown(&bars, &terminal);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!((lines[0], lines.len()), ("ok  disk: fast", 2), "{shown}");
        assert!(lines[1].starts_with("model.gguf "), "{shown}");
    }

    #[test]
    fn a_question_is_shown_until_it_is_answered() {
        let question = || Event::Asking { what: "model.gguf", host: "huggingface.co" };
        assert_eq!(screen(&[question()]), "asking huggingface.co for model.gguf");
        let outcome = fixture::outcome(1);
        let path = &outcome.files[0].path;
        let started = || Event::Started { path, size: 1_000, resumed: 0, hash_only: false };
        for events in [[question(), started()], [started(), question()]] {
            let shown = screen(&events);
            assert!(shown.starts_with("0.gguf ") && !shown.contains("asking"), "{shown}");
        }
    }
}
