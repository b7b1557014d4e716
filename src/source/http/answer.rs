//! Whether the answer to a ranged GET is what was asked for. Anything else is never data.

use std::ops::Range;

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};
use reqwest::{Response, StatusCode, Url};

use crate::error::Failure;
use crate::net;
use crate::net::{check_encoding, text_header};

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// 206 with exactly the range.
    Part(Response),
    /// 200 with all bytes from the start: the server did not honour the range.
    Whole(Response),
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
        return Ok(Answer::Changed(format!(
            "bytes {}-{} of {size} do not exist there ({range})",
            wanted.start,
            wanted.end - 1
        )));
    }
    if !status.is_success() {
        return Err(net::bad_status(url, response).await);
    }
    let headers = response.headers();
    check_encoding(url, headers)?;
    match status {
        StatusCode::PARTIAL_CONTENT => match check_part(headers, wanted, size) {
            Ok(()) => Ok(Answer::Part(response)),
            Err(PartFault::Size(why)) => Ok(Answer::Changed(why)),
            Err(PartFault::Range(why)) => Err(net::wrong(url, why)),
        },
        StatusCode::OK => match content_length(headers) {
            Some(length) if length == size => Ok(Answer::Whole(response)),
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

fn check_part(headers: &HeaderMap, wanted: &Range<u64>, size: u64) -> Result<(), PartFault> {
    let text = text_header(headers, CONTENT_RANGE.as_str())
        .ok_or_else(|| PartFault::Range("a 206 without Content-Range".into()))?;
    let (start, end, total) =
        parse_content_range(&text).ok_or_else(|| PartFault::Range(format!("Content-Range is {text:?}")))?;
    if let Some(total) = total.filter(|total| *total != size) {
        return Err(PartFault::Size(format!("its size there is {total}, announced were {size} bytes")));
    }
    if start != wanted.start || end != wanted.end {
        let asked = format!("{}-{}", wanted.start, wanted.end - 1);
        return Err(PartFault::Range(format!("Content-Range is {text:?}, asked for were bytes {asked}")));
    }
    match content_length(headers) {
        Some(length) if length != end - start => {
            Err(PartFault::Range(format!("Content-Length is {length}, Content-Range {text:?}")))
        }
        _ => Ok(()),
    }
}

/// `bytes FIRST-LAST/TOTAL` (RFC 9110, 14.4) as a half-open range; TOTAL may be `*`.
pub fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
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
    fn content_range_is_read_strictly() {
        assert_eq!(parse_content_range("bytes 0-9/100"), Some((0, 10, Some(100))));
        assert_eq!(parse_content_range("bytes 5-5/*"), Some((5, 6, None)));
        for text in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 9-0/10",
            "bytes 0-9/5",
            "bytes -1-5/9",
            "bytes +0-5/9",
            "items 0-1/2",
            "bytes */100",
            "bytes 0-18446744073709551615/*",
            "bytes 0-9/1x",
        ] {
            assert_eq!(parse_content_range(text), None, "{text:?}");
        }
    }
}
