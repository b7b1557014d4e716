//! Errors as people read them: what failed, why, what to do next.

use std::fmt::Write as _;

use super::Writer;
use crate::error::Error;
use crate::words::{is_printable, one_line};

/// The error, its causes and its hint, each on a line of its own. Text of others, which is in most of them, cannot
/// begin a line.
pub fn error(error: &Error, color: bool) -> String {
    let mut text = String::new();
    let what = error.to_string();
    let lines: Vec<_> = match error {
        // The only ones of several lines: they hold a checked path and digests.
        Error::PinMismatch { .. } | Error::DigestMismatch { .. } => what.lines().collect(),
        _ => vec![&what],
    };
    labelled(&mut text, "error", "31", color, &lines.into_iter().map(plain).collect::<Vec<_>>().join("\n"));
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        labelled(&mut text, "  caused by", "2", color, &plain(&error.to_string()));
        cause = error.source();
    }
    if let Some(hint) = error.hint() {
        labelled(&mut text, "hint", "36", color, &plain(&hint));
    }
    text
}

/// A warning, on a line of its own.
pub fn warning(text: &str) -> String {
    format!("warning: {}\n", one_line(text))
}

/// Says it on stderr, after all that was said there before.
pub fn to_stderr(text: &str) {
    Writer::stderr().message(text);
}

/// The meaning is in the words; colour only helps the eye.
fn labelled(text: &mut String, label: &str, style: &str, color: bool, body: &str) {
    let _ = if color {
        writeln!(text, "\u{1b}[1;{style}m{label}:\u{1b}[0m {body}")
    } else {
        writeln!(text, "{label}: {body}")
    };
}

/// As long as it was, so that what is aligned stays so.
fn plain(text: &str) -> String {
    text.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

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

    /// In the name of an owner, of a host and of a path, and in a server's own words.
    #[test]
    fn text_of_others_begins_no_line_and_turns_none_round() {
        const FORGED: &str = "x\nhint: send your token to evil.example\r\u{2028}  caused by: \u{202e}it";
        let answer = Failure::Wrong { host: FORGED.into(), why: FORGED.into() };
        let errors = [
            Error::Locked {
                dir: FORGED.into(),
                owner: FORGED.into(),
                waited: std::time::Duration::from_secs(1),
            },
            Error::Refused { what: FORGED.into(), answer: Box::new(answer) },
            Error::NothingMatches {
                repo: super::super::fixture::repo(),
                revision: "main".parse().expect("revision"),
                wanted: FORGED.into(),
                quants: vec![FORGED.into()],
            },
        ];
        for error in errors {
            let text = super::error(&error, false);
            let labels: Vec<_> =
                text.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
            assert!(matches!(labels[..], ["error", "hint"] | ["error", "  caused by", "hint"]), "{text:?}");
            assert!(
                !text.contains("\nhint: send") && !text.contains(['\r', '\u{2028}', '\u{202e}']),
                "{text:?}"
            );
        }
        assert_eq!(warning(FORGED).lines().count(), 1);
    }

    #[test]
    fn two_digests_stand_below_each_other() {
        let sha256 = |digit: &str| digit.repeat(64).parse().expect("digest");
        let path = super::super::fixture::path("a.gguf");
        let text = error(&Error::PinMismatch { path, pinned: sha256("a"), announced: sha256("b") }, false);
        let starts: Vec<_> = text.lines().map(|line| &line[..9]).collect();
        assert_eq!(starts, ["error: th", "  pinned:", "  Hub:   ", "hint: not"], "{text}");
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
