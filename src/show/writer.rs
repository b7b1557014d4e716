//! A thread of its own writes what is shown, so that no other thread ever waits for a reader.
//!
//! Whatever is said is said in order. A message waits in the queue for as long as it takes; progress is dropped
//! while more than a little waits there, for nobody is served by progress that is over.

use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::screen::{Row, Screen, Size, size_of};
use super::secrets;
use crate::report::Event;

/// With more than these bytes waiting, progress is dropped.
const PROGRESS_MAX: usize = 16 << 10;
/// Diagnostics come in bursts, and a gap in them misleads.
const DIAGNOSTICS_MAX: usize = 1 << 20;
/// Between two drawings of rows when nothing else is to be written.
const REDRAW_EVERY: Duration = Duration::from_millis(100);
/// How long something else that is printed waits for the rows to go away.
const ASIDE_MAX: Duration = Duration::from_secs(1);
/// Between two attempts at a stream that somebody has set not to block.
const FULL_PAUSE: Duration = Duration::from_millis(20);

/// Writes to one stream; cheap to clone.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    sink: Mutex<Sink>,
}

/// What is still to be written.
struct Queue {
    text: String,
    /// What stands below all text.
    rows: Vec<Row>,
    rows_changed: bool,
    /// Something else is being printed where the rows are.
    rows_hidden: bool,
    /// Since when the thread is writing.
    busy_since: Option<Instant>,
    drawn_at: Option<Instant>,
    has_thread: bool,
}

struct Sink {
    stream: Box<dyn Write + Send>,
    screen: Screen,
}

impl Writer {
    /// The one for stderr. A stream that fails is nobody's business: the run goes on.
    pub fn stderr() -> Self {
        static STDERR: OnceLock<Writer> = OnceLock::new();
        let new = || Self::new(std::io::stderr(), || size_of(std::io::stderr()));
        STDERR.get_or_init(new).clone()
    }

    pub(super) fn new(stream: impl Write + Send + 'static, size: fn() -> Size) -> Self {
        let sink = Sink { stream: Box::new(stream), screen: Screen::new(size) };
        let queue = Queue {
            text: String::new(),
            rows: Vec::new(),
            rows_changed: false,
            rows_hidden: false,
            busy_since: None,
            drawn_at: None,
            has_thread: true,
        };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new(), sink: Mutex::new(sink) });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("show".into());
        if thread.spawn(move || writer.work()).is_err() {
            // No more threads: then whoever says something waits.
            shared.queue().has_thread = false;
        }
        Self(shared)
    }

    /// The lines of an event.
    pub(super) fn tell(&self, event: &Event<'_>, lines: &str) {
        match event {
            Event::Progress(_) => self.progress(lines),
            _ => self.message(lines),
        }
    }

    /// Text that is never dropped, in whole lines.
    pub fn message(&self, text: &str) {
        self.0.change(|queue| queue.text.push_str(text));
    }

    /// Lines that are dropped when the reader is slow.
    fn progress(&self, text: &str) {
        self.0.change(|queue| queue.push(text, PROGRESS_MAX));
    }

    /// Lines that are dropped when the reader is very slow.
    pub fn diagnostics(&self, text: &str) {
        self.0.change(|queue| queue.push(text, DIAGNOSTICS_MAX));
    }

    /// What stands below all text from now on.
    pub(super) fn rows(&self, rows: Vec<Row>) {
        self.0.change(|queue| {
            queue.rows = rows;
            queue.rows_changed = true;
        });
    }

    /// Runs `print`, which may write to the terminal or file that this one writes to: after what was said before,
    /// and while no row is there. A reader that takes nothing is not waited for.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.hide_rows(true);
        let busy_since = self.0.queue().busy_since.unwrap_or_else(Instant::now);
        self.drain(Some(ASIDE_MAX.saturating_sub(busy_since.elapsed())));
        let result = print();
        self.hide_rows(false);
        result
    }

    fn hide_rows(&self, hidden: bool) {
        self.0.change(|queue| {
            queue.rows_hidden = hidden;
            queue.rows_changed = true;
        });
    }

    /// Waits until everything is written, for no longer than `patience`.
    pub fn drain(&self, patience: Option<Duration>) {
        let queue = self.0.queue();
        let _ = match patience {
            None => self.0.changed.wait_while(queue, |queue| queue.is_waiting()).is_ok(),
            Some(patience) => {
                self.0.changed.wait_timeout_while(queue, patience, |queue| queue.is_waiting()).is_ok()
            }
        };
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue();
        change(&mut queue);
        if queue.has_thread {
            drop(queue);
            self.changed.notify_all();
        } else {
            self.write(queue);
        }
    }

    fn work(&self) {
        loop {
            let mut queue = self.queue();
            while let Some(pause) = queue.pause() {
                let waited = self.changed.wait_timeout(queue, pause);
                queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            self.write(queue);
        }
    }

    /// Writes all there is, with the queue open for more.
    fn write(&self, mut queue: MutexGuard<'_, Queue>) {
        let text = std::mem::take(&mut queue.text);
        let rows = if queue.rows_hidden { Vec::new() } else { queue.rows.clone() };
        let now = Instant::now();
        (queue.rows_changed, queue.busy_since, queue.drawn_at) = (false, Some(now), Some(now));
        drop(queue);
        self.sink.lock().unwrap_or_else(PoisonError::into_inner).write(&text, &rows);
        self.queue().busy_since = None;
        self.changed.notify_all();
    }
}

impl Queue {
    fn push(&mut self, text: &str, max: usize) {
        if self.text.len() + text.len() <= max {
            self.text.push_str(text);
        }
    }

    fn is_waiting(&self) -> bool {
        !self.text.is_empty() || self.rows_changed || self.busy_since.is_some()
    }

    /// How long the thread may rest; `None` if there is work.
    fn pause(&self) -> Option<Duration> {
        if !self.text.is_empty() {
            return None;
        }
        if !self.rows_changed {
            return Some(Duration::MAX);
        }
        let can_wait = !self.rows_hidden && !self.rows.is_empty();
        let next = self.drawn_at.filter(|_| can_wait)? + REDRAW_EVERY;
        Some(next.saturating_duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }
}

impl Sink {
    fn write(&mut self, text: &str, rows: &[Row]) {
        let frame = self.screen.frame(&secrets::fit(text), rows);
        let frame = secrets::fit(&frame);
        let mut bytes = frame.as_bytes();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written @ 1..) => bytes = &bytes[written..],
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) if why.kind() == ErrorKind::WouldBlock => std::thread::sleep(FULL_PAUSE),
                Ok(0) | Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A stream whose reader takes one write at a time, when asked to.
    struct Blocked(SyncSender<Vec<u8>>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn blocked() -> (Writer, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (Writer::new(Blocked(sender), || (24, 80)), receiver)
    }

    /// Everything the reader gets once it reads again.
    fn read_all(writer: &Writer, reader: Receiver<Vec<u8>>) -> String {
        let reader = std::thread::spawn(move || reader.into_iter().flatten().collect::<Vec<u8>>());
        writer.drain(None);
        // The sender goes with the sink.
        writer.0.sink.lock().expect("sink").stream = Box::new(io::sink());
        String::from_utf8(reader.join().expect("the reader ends")).expect("UTF-8")
    }

    #[test]
    fn a_reader_that_does_not_read_costs_progress_but_no_message_and_no_time() {
        let (writer, reader) = blocked();
        let begun = Instant::now();
        let line = "p".repeat(99) + "\n";
        for number in 0..1_000 {
            writer.message(&format!("message {number}\n"));
            writer.progress(&line);
            assert!(writer.0.queue().text.len() <= PROGRESS_MAX + 1_000 * "message 999\n".len());
        }
        writer.drain(Some(Duration::from_millis(10)));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let text = read_all(&writer, reader);
        let messages: Vec<_> = text.lines().filter(|line| line.starts_with('m')).map(str::to_owned).collect();
        assert_eq!(messages, (0..1_000).map(|number| format!("message {number}")).collect::<Vec<_>>());
        let progress = text.lines().filter(|line| line.starts_with('p')).count();
        assert!((1..=2 * PROGRESS_MAX / 100).contains(&progress), "{progress}");
    }

    #[test]
    fn a_terminal_that_stands_still_keeps_one_drawing_only_and_nothing_waits_for_it() {
        let (writer, reader) = blocked();
        let begun = Instant::now();
        for number in 0..1_000 {
            writer.rows(vec![Row::Line(format!("row {number}"))]);
        }
        std::thread::sleep(ASIDE_MAX);
        let mut printed = 0;
        for _ in 0..100 {
            writer.aside(|| printed += 1);
        }
        assert_eq!(printed, 100);
        assert!(begun.elapsed() < ASIDE_MAX * 5, "{:?}", begun.elapsed());
        let text = read_all(&writer, reader);
        assert!(text.len() < 500 && text.contains("row 999"), "{text:?}");
    }

    #[test]
    fn a_stream_that_would_block_gets_it_all() {
        struct Fussy(Arc<Mutex<Vec<u8>>>, bool);
        impl Write for Fussy {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.0.lock().expect("bytes").push(bytes[0]);
                Ok(1)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = Arc::new(Mutex::default());
        let writer = Writer::new(Fussy(Arc::clone(&bytes), false), || (24, 80));
        writer.message("all\n");
        writer.drain(None);
        assert_eq!(*bytes.lock().expect("bytes"), b"all\n");
    }
}
