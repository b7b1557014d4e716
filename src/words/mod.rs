//! Text for people: sizes, times, counts, chains of causes, hosts. The lowest room: it knows nothing else.

mod from_text;
mod invalid;
mod units;

use std::borrow::Cow;
use std::fmt::Write;

use url::Url;

pub(crate) use from_text::FromText;
pub use invalid::Invalid;
pub use units::{Binary, Bytes, Day, Span, count};

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Whether a word has the form of a Hub's token, or would with more letters: an error about it does not show it.
pub fn is_token(word: &str) -> bool {
    let rest = ["hf_", "api_org_"].into_iter().find_map(|start| word.strip_prefix(start));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Host and port of a URL: what may be shown of it anywhere.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Free disk space, where it is known.
pub fn free_space(bytes: Option<u64>) -> String {
    bytes.map_or("free space unknown".into(), |bytes| format!("{} free", Bytes(bytes)))
}

/// A text whose orders to show what follows in another direction are written out, as JSON escapes them: names of
/// files may hold such characters, and must not look like other names.
pub fn escape_bidi(text: &str) -> Cow<'_, str> {
    if !text.contains(reorders) {
        return text.into();
    }
    let mut escaped = String::new();
    for c in text.chars() {
        if reorders(c) {
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped.into()
}

/// Only what [`is_printable`]: text from servers ends up in messages.
pub fn one_line(text: &str) -> String {
    let text = escape_bidi(text);
    let parts = text.split(|c: char| !is_printable(c)).map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

/// A text of a stranger as a part of a line: printable, short, and without what CI services take for an order
/// wherever in a line it stands (`##[…]`, `##vso[…]`). A line that begins with it may still be one to GitHub (`::`).
pub fn tame(text: &str) -> String {
    const LENGTH_MAX: usize = 120;
    let text = one_line(text).replace("##", "# #");
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Neither a control character, a line break, nor an order to show what follows in another direction.
pub fn is_printable(c: char) -> bool {
    !c.is_control() && !reorders(c) && !matches!(c, '\u{2028}' | '\u{2029}')
}

fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// For JSON: a value as its text.
pub(crate) fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
