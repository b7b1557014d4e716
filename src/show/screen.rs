//! Rows that stay below the text on a terminal. indicatif draws them, and the writer writes the drawing.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::words::one_line;

/// Columns for a name.
const NAME_WIDTH: usize = 24;

/// One row.
#[derive(Debug, Clone)]
pub(super) enum Row {
    Line(String),
    /// A name, a bar as wide as there is room, and how far it is in words.
    Bar {
        name: String,
        done: u64,
        size: u64,
        text: String,
    },
}

/// Lines and columns of a terminal.
pub(super) type Size = (u16, u16);

/// As the terminal says, or what terminals have had for fifty years.
pub(super) fn size_of(terminal: impl AsFd) -> Size {
    match rustix::termios::tcgetwinsize(terminal) {
        // In no room for the widest character indicatif would panic.
        Ok(size) if size.ws_row > 0 && size.ws_col > 3 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

/// What stands on the terminal.
pub(super) struct Screen {
    canvas: Canvas,
    rows: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Screen {
    pub(super) fn new(size: fn() -> Size) -> Self {
        let canvas = Canvas { size, drawn: Arc::default() };
        // As seldom as can be: a bar that changes draws them all, and a frame needs that once.
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(canvas.clone()), 1);
        Self { canvas, rows: MultiProgress::with_draw_target(target), bars: Vec::new() }
    }

    /// The bytes that put `text` above `rows`.
    pub(super) fn frame(&mut self, text: &str, rows: &[Row]) -> String {
        if !text.is_empty() || rows.is_empty() {
            let _ = self.rows.clear();
            // Not by `MultiProgress::println`, which fills each line with blanks.
            self.canvas.drawn().push_str(text);
        }
        for bar in self.bars.drain(rows.len().min(self.bars.len())..) {
            self.rows.remove(&bar);
        }
        self.bars.resize_with(rows.len(), || self.rows.add(ProgressBar::hidden()));
        for (bar, row) in self.bars.iter().zip(rows) {
            row.show(bar);
        }
        if let Some(last) = self.bars.last() {
            last.force_draw();
        }
        std::mem::take(&mut *self.canvas.drawn())
    }
}

impl Row {
    fn show(&self, bar: &ProgressBar) {
        let style = |template| ProgressStyle::with_template(template).expect("the template is valid");
        match self {
            Self::Line(text) => {
                bar.set_style(style("{wide_msg}"));
                bar.set_message(text.clone());
            }
            Self::Bar { name, done, size, text } => {
                let template = format!("{{prefix:{NAME_WIDTH}}} {{wide_bar}} {{msg}}");
                bar.set_style(style(&template).progress_chars("━╸ "));
                bar.set_prefix(fitted(&one_line(name)));
                bar.set_length(*size);
                bar.set_position(*done);
                bar.set_message(text.clone());
            }
        }
    }
}

/// The end of a name that is too long: it tells the files of a repository apart.
fn fitted(name: &str) -> String {
    match name.chars().count().checked_sub(NAME_WIDTH) {
        None | Some(0) => name.to_owned(),
        Some(excess) => "…".chars().chain(name.chars().skip(excess + 1)).collect(),
    }
}

/// Takes down what indicatif draws. Its own terminal would lose, or write twice, what a full one does not take.
#[derive(Debug, Clone)]
struct Canvas {
    size: fn() -> Size,
    drawn: Arc<Mutex<String>>,
}

impl Canvas {
    fn drawn(&self) -> MutexGuard<'_, String> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_cursor(&self, n: usize, direction: char) -> io::Result<()> {
        // A terminal takes 0 for 1.
        if n == 0 { Ok(()) } else { self.write_str(&format!("\u{1b}[{n}{direction}")) }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        (self.size)().1
    }

    fn height(&self) -> u16 {
        (self.size)().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.drawn().push_str(text);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.write_str("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    /// What a terminal of 5 lines and 60 columns shows after these frames.
    fn shown(frames: &[(&str, &[Row])]) -> String {
        let terminal = InMemoryTerm::new(5, 60);
        let mut screen = Screen::new(|| (5, 60));
        for (text, rows) in frames {
            // As a terminal's driver does.
            let frame = screen.frame(text, rows).replace('\n', "\r\n");
            terminal.write_str(&frame).expect("shown");
        }
        terminal.contents()
    }

    #[test]
    fn rows_that_go_leave_nothing_even_if_they_were_more_than_the_terminal_has_lines() {
        let rows: Vec<_> = (0..100).map(|number| Row::Line(format!("row {number}"))).collect();
        let frames: [(&str, &[Row]); 4] =
            [("", &rows[..3]), ("", &rows), ("text\n", &rows[..2]), ("end\n", &[])];
        assert_eq!(shown(&frames[..1]), "row 0\nrow 1\nrow 2");
        assert_eq!(shown(&frames[..2]), "row 0\nrow 1\nrow 2\nrow 3\nrow 4");
        assert_eq!(shown(&frames[..3]), "text\nrow 0\nrow 1");
        assert_eq!(shown(&frames), "text\nend");
    }
}
