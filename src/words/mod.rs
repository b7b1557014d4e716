//! Text for people: sizes, times, counts, chains of causes, hosts. The lowest room: it knows nothing else.

mod from_text;
mod invalid;
mod units;

use url::Url;

pub(crate) use from_text::FromText;
pub use invalid::Invalid;
pub use units::{Bytes, Span, count};

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

/// Host and port of a URL: what may be shown of it anywhere.
pub fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("no host");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Free disk space, where it is known.
pub fn free_space(bytes: Option<u64>) -> String {
    bytes.map_or("free space unknown".into(), |bytes| format!("{} free", Bytes(bytes)))
}

/// Only what [`is_printable`]: text from servers ends up in messages.
pub fn one_line(text: &str) -> String {
    let parts = text.split(|c: char| !is_printable(c)).map(str::trim).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" ")
}

/// Neither a control character, a line break, nor an order to show what follows in another direction.
pub fn is_printable(c: char) -> bool {
    let reorders =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !reorders && !matches!(c, '\u{2028}' | '\u{2029}')
}

/// For JSON: a value as its text.
pub(crate) fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
