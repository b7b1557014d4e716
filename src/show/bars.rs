//! Progress for a person at a terminal: a bar per file at work and a total, messages above them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::rate::Rate;
use super::sentence::sentence;
use super::track::{Phase, Track, percent, speed};
use super::{Show, Summary};
use crate::plan::Plan;
use crate::report::{Event, Progress, Reporter};
use crate::request::RepoPath;
use crate::words::{Bytes, count};

/// Redraws per second.
const REDRAW_RATE: u8 = 10;
/// Columns for a file's name.
const NAME_WIDTH: usize = 24;

/// Bars on a terminal.
pub struct Bars {
    screen: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    active: HashMap<RepoPath, (Track, ProgressBar)>,
    /// What is being waited for before the first bar.
    waiting: Option<ProgressBar>,
    total: Option<Total>,
}

struct Total {
    bar: ProgressBar,
    size: u64,
    /// Of files that need nothing any more.
    finished: u64,
    rate: Rate,
}

impl Bars {
    /// Draws on stderr.
    pub fn on_stderr() -> Self {
        Self::new(ProgressDrawTarget::stderr_with_hz(REDRAW_RATE))
    }

    fn new(target: ProgressDrawTarget) -> Self {
        Self { screen: MultiProgress::with_draw_target(target), state: Mutex::default() }
    }

    fn bar(&self, size: u64, name: &str) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}").expect("the template is valid");
        let style = style.progress_chars("━╸ ");
        self.screen.add(ProgressBar::new(size).with_style(style).with_prefix(fitted(name)))
    }

    /// A line below the bars until the answer is there.
    fn wait(&self, state: &mut State, line: String) {
        let style = ProgressStyle::with_template("{wide_msg}").expect("the template is valid");
        let bar = state
            .waiting
            .get_or_insert_with(|| self.screen.add(ProgressBar::new_spinner().with_style(style)));
        bar.set_message(line);
        bar.tick();
    }

    fn plan(&self, state: &mut State, plan: &Plan) {
        if plan.items.len() > 1 {
            let bar = self.bar(plan.bytes_total, &count(plan.items.len() as u64, "file"));
            state.total = Some(Total { bar, size: plan.bytes_total, finished: 0, rate: Rate::default() });
        }
    }

    fn start(&self, state: &mut State, path: &RepoPath, track: Track, now: Instant) {
        let bar = self.bar(track.size, path.as_str());
        bar.set_position(track.done());
        bar.set_message(far(&track, now));
        state.active.insert(path.clone(), (track, bar));
    }
}

impl Reporter for Bars {
    fn report(&self, event: &Event<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        let now = Instant::now();
        match event {
            Event::Asking { .. } | Event::Waiting { .. } => {
                // Bars show life enough.
                if state.active.is_empty() {
                    self.wait(state, sentence(event).unwrap_or_default());
                }
                return;
            }
            Event::Planned(plan) => self.plan(state, plan),
            Event::Started { path, size, resumed, hash_only } => {
                self.start(state, path, Track::new(now, *size, *resumed, *hash_only), now);
            }
            Event::Progress(progress) => return state.progress(progress, now),
            Event::Published(outcome) => state.finish(&outcome.path, outcome.size, now),
            Event::Begin { .. }
            | Event::Resolved { .. }
            | Event::Skipped { .. }
            | Event::Retrying { .. }
            | Event::Recovered { .. }
            | Event::Renewed { .. }
            | Event::Restarted { .. }
            | Event::Warning(_) => {}
        }
        if let Some(waiting) = state.waiting.take() {
            waiting.finish_and_clear();
        }
        if says(event)
            && let Some(line) = sentence(event)
        {
            let _ = self.screen.println(line);
        }
    }

    fn aside(&self, print: &mut dyn FnMut()) {
        self.screen.suspend(print);
    }
}

impl Show for Bars {
    fn finished(&self, _: &Summary<'_>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
        let _ = self.screen.clear();
    }
}

/// What deserves a line that stays on the screen.
fn says(event: &Event<'_>) -> bool {
    !matches!(event, Event::Begin { .. } | Event::Planned(_))
}

impl State {
    fn progress(&mut self, progress: &Progress<'_>, now: Instant) {
        let Some((track, bar)) = self.active.get_mut(progress.path) else { return };
        track.update(now, progress);
        bar.set_position(track.done());
        bar.set_message(far(track, now));
        self.show_total(now);
    }

    fn finish(&mut self, path: &RepoPath, size: u64, now: Instant) {
        if let Some((_, bar)) = self.active.remove(path) {
            bar.finish_and_clear();
        }
        if let Some(total) = &mut self.total {
            total.finished += size;
        }
        self.show_total(now);
    }

    fn show_total(&mut self, now: Instant) {
        let Some(total) = &mut self.total else { return };
        let active: u64 = self.active.values().map(|(track, _)| track.done()).sum();
        let done = total.finished + active;
        total.rate.record(now, done);
        let missing = total.size.saturating_sub(done);
        let speed = speed(total.rate.per_second(now), total.rate.time_left(now, missing));
        let far = format!("{:3} % of {}", percent(done, total.size), Bytes(total.size));
        total.bar.set_position(done);
        total.bar.set_message(if missing == 0 { far } else { format!("{far}, {speed}") });
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

/// The name in a column of fixed width. Its end tells the files of a repository apart.
fn fitted(name: &str) -> String {
    let length = name.chars().count();
    if length <= NAME_WIDTH {
        return format!("{name:NAME_WIDTH$}");
    }
    let end: String = name.chars().skip(length + 1 - NAME_WIDTH).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::super::fixture::{self, path};
    use super::super::{Summary, Totals};
    use super::*;

    /// Bars on a terminal of 25 lines and 100 columns.
    fn bars() -> (Bars, InMemoryTerm) {
        let terminal = InMemoryTerm::new(25, 100);
        (Bars::new(ProgressDrawTarget::term_like(Box::new(terminal.clone()))), terminal)
    }

    /// What a terminal shows after `events`.
    fn screen(events: &[Event<'_>]) -> String {
        let (bars, terminal) = bars();
        for event in events {
            bars.report(event);
        }
        terminal.contents()
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
            received: 450_000_000,
            connections: 4,
        };
        let shown = screen(&[
            Event::Planned(&plan),
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
        let shown = terminal.contents();
        assert!(shown.starts_with("0.gguf: verified") && shown.lines().count() == 1, "{shown}");
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
