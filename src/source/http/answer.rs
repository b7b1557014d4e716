//! Whether the answer to a ranged GET is what was asked for. Anything else is never data.

use std::ops::Range;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap};
use reqwest::{Response, StatusCode, Url};

use crate::error::Failure;
use crate::net;
use crate::net::{check_encoding, text_header};

/// A part that is shorter than what was asked for is taken from this length on, in bytes. A file in smaller ones would
/// be asked for without end.
const PART_MIN: u64 = 1 << 20;

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// 206 with bytes from the start of the range on, and which ones: all of them, more, or enough.
    Part(Response, Range<u64>),
    /// All bytes from the start: the server did not honour the range, or it is that of the whole file.
    Whole(Response),
    /// A partial answer that is of no use: whoever has sent it may have the whole file all the same.
    Odd(String),
    /// 401, 403, 404 or 410 from where the bytes are: the signed URL is no longer good.
    Expired(Failure),
    /// The file there is another one than before.
    Changed(String),
}

/// Judges the headers of an answer. `wanted` is half-open, `size` the whole file's, in bytes.
pub(super) async fn judge(
    url: &Url,
    response: Response,
    wanted: &Range<u64>,
    size: u64,
) -> Result<Answer, Failure> {
    let status = response.status();
    if matches!(status.as_u16(), 401 | 403 | 404 | 410) {
        return Ok(Answer::Expired(net::bad_status(url, response).await));
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        let range = text_header(response.headers(), CONTENT_RANGE.as_str()).unwrap_or_default();
        let why = format!("bytes {}-{} of {size} do not exist there ({range})", wanted.start, wanted.end - 1);
        let is_as_long = range.rsplit_once('/').is_some_and(|(_, total)| total.trim() == size.to_string());
        return Ok(if is_as_long { Answer::Odd(why) } else { Answer::Changed(why) });
    }
    if !status.is_success() {
        return Err(net::bad_status(url, response).await);
    }
    let headers = response.headers();
    check_encoding(url, headers)?;
    match status {
        StatusCode::PARTIAL_CONTENT => match part(headers, wanted, size) {
            Ok(covers) => Ok(Answer::Part(response, covers)),
            Err(_)
                if is_unmarked(headers) && *wanted == (0..size) && content_length(headers) == Some(size) =>
            {
                Ok(Answer::Whole(response))
            }
            Err(PartFault::Size(why)) => Ok(Answer::Changed(why)),
            Err(PartFault::Range(why)) => Ok(Answer::Odd(why)),
        },
        StatusCode::OK => match content_length(headers) {
            Some(length) if length == size => Ok(Answer::Whole(response)),
            // A part under another status. A page for people has another length.
            Some(length) if headers.contains_key(CONTENT_RANGE) || length == wanted.end - wanted.start => {
                Ok(Answer::Odd(format!("a 200 with {length} bytes of {size}")))
            }
            Some(length) => Err(net::wrong(url, format!("a body of {length} bytes for a file of {size}"))),
            None => Ok(Answer::Whole(response)),
        },
        other => Err(net::wrong(url, format!("status {other} to a ranged request"))),
    }
}

/// What the server calls this copy of the file, if anything.
pub(super) fn etag(response: &Response) -> Option<String> {
    text_header(response.headers(), ETAG.as_str())
}

enum PartFault {
    Size(String),
    Range(String),
}

/// Which bytes a 206 brings (RFC 9110, 15.3.7): those that were asked for, or others from the same first one on. A
/// server may cut a range short or round it up.
fn part(headers: &HeaderMap, wanted: &Range<u64>, size: u64) -> Result<Range<u64>, PartFault> {
    let odd = |why: String| Err(PartFault::Range(why));
    if let Some(kind) = text_header(headers, CONTENT_TYPE.as_str()).filter(|kind| is_multipart(kind)) {
        return odd(format!("a 206 of type {kind} to a single range"));
    }
    let Some(text) = text_header(headers, CONTENT_RANGE.as_str()) else {
        return odd("a 206 without Content-Range".into());
    };
    let Some((start, end, total)) = parse_content_range(&text) else {
        return odd(format!("Content-Range is {text:?}"));
    };
    if let Some(total) = total.filter(|total| *total != size) {
        return Err(PartFault::Size(format!("its size there is {total}, announced were {size} bytes")));
    }
    if end > size {
        return Err(PartFault::Size(format!("bytes {start}-{} are there of {size}", end - 1)));
    }
    if start != wanted.start || end < wanted.end && end - start < PART_MIN {
        let asked = format!("{}-{}", wanted.start, wanted.end - 1);
        return odd(format!("Content-Range is {text:?}, asked for were bytes {asked}"));
    }
    match content_length(headers) {
        Some(length) if length != end - start => {
            odd(format!("Content-Length is {length}, Content-Range {text:?}"))
        }
        _ => Ok(start..end),
    }
}

fn is_multipart(kind: &str) -> bool {
    kind.to_ascii_lowercase().starts_with("multipart/")
}

/// Whether nothing but its status makes an answer a partial one.
fn is_unmarked(headers: &HeaderMap) -> bool {
    let kind = text_header(headers, CONTENT_TYPE.as_str());
    !headers.contains_key(CONTENT_RANGE) && !kind.is_some_and(|kind| is_multipart(&kind))
}

/// `bytes FIRST-LAST/TOTAL` (RFC 9110, 14.4) as a half-open range; TOTAL may be `*`. The unit is written in any case
/// (14.1), and by some servers with `:` or `=` after it, or not at all, which curl reads too (`http.c`).
pub fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let unit = text[..digits].trim().trim_end_matches([':', '=']).trim_end();
    if !unit.is_empty() && !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, total) = text[digits..].trim_end().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == "*" { None } else { Some(number(total)?) };
    let end = last.checked_add(1)?;
    (first < end && total.is_none_or(|total| end <= total)).then_some((first, end, total))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_in_the_forms_that_servers_write() {
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5, 6, None)));
        for text in [
            "bytes 0-9/100",
            "Bytes 0-9/100",
            "BYTES 0-9/100",
            "bytes=0-9/100",
            "bytes: 0-9/100",
            "bytes:0-9/100",
            "bytes = 0-9/100",
            "bytes  0-9/100",
            " bytes 0-9/100 ",
            "0-9/100",
        ] {
            assert_eq!(parse_content_range(text), Some((0, 10, Some(100))), "{text:?}");
        }
        for text in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 9-0/10",
            "bytes 0-9/5",
            "bytes -1-5/9",
            "bytes +0-5/9",
            "bytes 0 - 5/9",
            "items 0-1/2",
            "kilobytes 0-1/2",
            "bytes */100",
            "bytes 0-18446744073709551615/*",
            "bytes 0-9/1x",
            "bytes 0-9/100, 10-19/100",
            "bytes 0-1,5-6/100",
        ] {
            assert_eq!(parse_content_range(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_part_begins_as_asked_and_brings_all_or_enough() {
        const MIB: u64 = 1 << 20;
        let (wanted, size) = (2 * MIB..6 * MIB, 9 * MIB);
        let covers = |pairs: &[(&str, &str)]| {
            let header = |text: &str| text.parse().expect("a header");
            let headers =
                pairs.iter().map(|(name, value)| (name.parse().expect("a name"), header(value))).collect();
            match part(&headers, &wanted, size) {
                Ok(covers) => Ok(covers.end / MIB),
                Err(PartFault::Range(why)) => Err(("odd", why)),
                Err(PartFault::Size(why)) => Err(("size", why)),
            }
        };
        let range = |text: &str| covers(&[("content-range", text)]);
        for (text, end) in [
            ("bytes 2097152-6291455/9437184", 6),
            ("bytes 2097152-6291455/*", 6),
            ("bytes 2097152-3145727/9437184", 3),
            ("bytes 2097152-9437183/9437184", 9),
        ] {
            assert_eq!(range(text).expect(text), end);
        }
        for (text, kind) in [
            ("bytes 2097152-3145726/9437184", "odd"),
            ("bytes 2097152-2097152/9437184", "odd"),
            ("bytes 2097151-6291455/9437184", "odd"),
            ("bytes 0-9437183/9437184", "odd"),
            ("bytes 2097153-6291455/9437184", "odd"),
            ("bytes */9437184", "odd"),
            ("bytes 2097152-6291455/9437185", "size"),
            ("bytes 2097152-9437184/*", "size"),
        ] {
            assert_eq!(range(text).expect_err(text).0, kind, "{text}");
        }
        let right = ("content-range", "bytes 2097152-6291455/9437184");
        assert!(covers(&[right, ("content-length", "4194304")]).is_ok());
        assert!(covers(&[right, ("content-length", "4194303")]).is_err());
        assert!(covers(&[right, ("content-type", "Multipart/ByteRanges; boundary=x")]).is_err());
        assert!(covers(&[]).is_err());
        // Fewer are all, at the end.
        let last = part(
            &HeaderMap::from_iter([(CONTENT_RANGE, "bytes 98-99/100".parse().expect("a header"))]),
            &(98..100),
            100,
        );
        assert!(last.is_ok());
    }
}
