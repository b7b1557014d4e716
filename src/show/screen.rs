//! Rows that stay below the text on a terminal, and are drawn again when they change.

use std::fmt::Write;
use std::os::fd::AsFd;

use unicode_width::UnicodeWidthChar;

use crate::words::is_printable;

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

/// Of a terminal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Default for Size {
    /// What terminals have had for fifty years.
    fn default() -> Self {
        Self { columns: 80, lines: 24 }
    }
}

impl Size {
    /// As the terminal says, if it does.
    pub(super) fn of(terminal: impl AsFd) -> Self {
        let size = rustix::termios::tcgetwinsize(terminal).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or_else(Self::default, |size| Self {
            columns: size.ws_col.into(),
            lines: size.ws_row.into(),
        })
    }
}

/// What stands on the terminal.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The cursor is at the end of the last of this many rows.
    rows: usize,
}

impl Screen {
    /// The bytes that put `text` above `rows`.
    pub(super) fn frame(&mut self, text: &str, rows: &[Row], size: impl Fn() -> Size) -> String {
        let mut frame = String::new();
        if self.rows > 0 {
            frame.push('\r');
            if self.rows > 1 {
                let _ = write!(frame, "\u{1b}[{}A", self.rows - 1);
            }
            frame.push_str("\u{1b}[J");
        }
        frame.push_str(text);
        self.rows = 0;
        if !rows.is_empty() {
            let Size { columns, lines } = size();
            self.rows = rows.len().min(lines.saturating_sub(1).max(1));
            // A row that fills its line would leave the cursor where terminals disagree.
            let rows: Vec<_> =
                rows[..self.rows].iter().map(|row| row.in_columns(columns.saturating_sub(1))).collect();
            frame.push_str(&rows.join("\n"));
        }
        frame
    }
}

impl Row {
    fn in_columns(&self, columns: usize) -> String {
        match self {
            Self::Line(text) => cut(text, columns),
            Self::Bar { name, done, size, text } => {
                let (name, text) = (in_name_column(name), cut(text, columns));
                let room = columns.saturating_sub(NAME_WIDTH + 2 + width(&text));
                cut(&format!("{name} {} {text}", bar(*done, *size, room)), columns)
            }
        }
    }
}

/// As in `━━━╸   `.
fn bar(done: u64, size: u64, columns: usize) -> String {
    let full = u128::from(done.min(size)) * columns as u128 / u128::from(size.max(1));
    let full = if size == 0 { columns } else { usize::try_from(full).unwrap_or(columns) };
    let head = if done > 0 && full < columns { "╸" } else { "" };
    let rest = columns - full - usize::from(!head.is_empty());
    format!("{}{head}{}", "━".repeat(full), " ".repeat(rest))
}

/// The name in a column of fixed width. Its end tells the files of a repository apart.
fn in_name_column(name: &str) -> String {
    let name = cut(name, usize::MAX);
    let mut used = width(&name);
    if used <= NAME_WIDTH {
        return name + &" ".repeat(NAME_WIDTH - used);
    }
    let mut rest = name.chars();
    while used >= NAME_WIDTH {
        used -= rest.next().map_or(used, columns_of);
    }
    format!("…{}{}", rest.as_str(), " ".repeat(NAME_WIDTH - 1 - used))
}

/// As much of the text as fits, without what would move the cursor.
fn cut(text: &str, columns: usize) -> String {
    let mut left = columns;
    let fits = |c: &char| {
        let fits = columns_of(*c) <= left;
        left = left.saturating_sub(columns_of(*c));
        fits
    };
    text.chars().filter(|c| is_printable(*c)).take_while(fits).collect()
}

fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

fn columns_of(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, done: u64, text: &str) -> Row {
        Row::Bar { name: name.into(), done, size: 100, text: text.into() }
    }

    #[test]
    fn a_bar_fills_the_room_between_name_and_words_and_no_row_is_too_long() {
        let name = "model.gguf              ";
        assert_eq!(row("model.gguf", 50, "50 %").in_columns(40), format!("{name} ━━━━━╸     50 %"));
        assert_eq!(row("model.gguf", 0, "0 %").in_columns(40), format!("{name}             0 %"));
        assert_eq!(row("model.gguf", 100, "100 %").in_columns(40), format!("{name} ━━━━━━━━━ 100 %"));
        for columns in 0..120 {
            for name in [
                "a",
                "ein/sehr/langer/Name/mit/Ordnern.gguf",
                "模型模型模型模型模型模型模型模型",
                "a\u{1b}[2Jb\n",
            ] {
                for text in ["", "45 % of 1.00 GB, 48.1 MB/s, 2 min 18 s left, 4 conn."] {
                    let row = row(name, 45, text).in_columns(columns);
                    assert!(width(&row) <= columns, "{columns}: {row:?}");
                    assert!(!row.contains(['\u{1b}', '\n']), "{row:?}");
                }
            }
        }
    }

    #[test]
    fn more_rows_than_the_terminal_has_lines_are_cut() {
        let rows: Vec<_> = (0..100).map(|number| Row::Line(number.to_string())).collect();
        let mut screen = Screen::default();
        let size = || Size { columns: 80, lines: 5 };
        assert_eq!(screen.frame("text\n", &rows, size), "text\n0\n1\n2\n3");
        assert_eq!(screen.frame("more\n", &[], size), "\r\u{1b}[3A\u{1b}[Jmore\n");
        assert_eq!(screen.frame("last\n", &[], size), "last\n");
    }
}
