//! Errors as people read them: what failed, why, what to do next.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::error::Error;

/// The error, its causes and its hint, each on a line of its own.
pub fn error(error: &Error, color: bool) -> String {
    let mut text = String::new();
    labelled(&mut text, "error", "31", color, &error.to_string());
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        labelled(&mut text, "  caused by", "2", color, &error.to_string());
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        labelled(&mut text, "hint", "36", color, &hint);
    }
    text
}

/// Writes to stderr. One that is closed must not end the run.
pub fn to_stderr(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The meaning is in the words; colour only helps the eye.
fn labelled(text: &mut String, label: &str, style: &str, color: bool, body: &str) {
    let body: String = body.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    let _ = if color {
        writeln!(text, "\u{1b}[1;{style}m{label}:\u{1b}[0m {body}")
    } else {
        writeln!(text, "{label}: {body}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_space() -> Error {
        Error::Io {
            action: "write",
            path: "/models/a\u{1b}[2J".into(),
            cause: std::io::ErrorKind::PermissionDenied.into(),
        }
    }

    #[test]
    fn an_error_names_its_causes_and_what_to_do_next() {
        let text = error(&no_space(), false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "error: cannot write `/models/a [2J`");
        assert_eq!(lines[1], "  caused by: permission denied");
        assert!(lines[2].starts_with("hint: the process needs write permission"), "{text}");
    }

    #[test]
    fn colour_changes_no_word() {
        let strip = |text: &str| {
            text.replace("\u{1b}[0m", "")
                .replace("\u{1b}[1;31m", "")
                .replace("\u{1b}[1;2m", "")
                .replace("\u{1b}[1;36m", "")
        };
        assert_eq!(strip(&error(&no_space(), true)), error(&no_space(), false));
    }
}
