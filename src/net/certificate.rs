//! What a server's certificate tells of itself: who signed it, and how long it is good. Only the two fields are read
//! that a person looks for, of bytes that rustls has found to be a certificate; a reader of all of X.509 would be the
//! larger part of this program.

use std::time::SystemTime;

const SECONDS_PER_DAY: u64 = 86400;
/// Tags of DER (X.690, 8.1.2).
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
/// 2.5.4.3, a common name, and 2.5.4.10, an organization (X.520, 6.2.2 and 6.4.1).
const NAMES: [&[u8]; 2] = [&[0x55, 4, 3], &[0x55, 4, 10]];

/// A certificate that was shown by a server, and trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The name of the authority that signed it.
    pub issuer: String,
    /// The last day on which it is good, counted from the beginning of 1970.
    last_day: i64,
}

impl Certificate {
    /// Reads it; `None` if it is otherwise than RFC 5280, 4.1 has it.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der)?;
        let (_, mut rest, _) = element(certificate)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest)?.2;
        }
        // Its number, and how it is signed.
        let (_, _, rest) = element(element(rest)?.2)?;
        let (_, issuer, rest) = element(rest)?;
        let (_, validity, _) = element(rest)?;
        let (tag, until, _) = element(element(validity)?.2)?;
        Some(Self { issuer: name(issuer)?, last_day: day(tag, until)? })
    }

    /// Whole days from now until it runs out.
    pub fn days_left(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.last_day - i64::try_from(now / SECONDS_PER_DAY).unwrap_or(i64::MAX)
    }
}

/// Tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        short => (usize::from(short), rest),
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// The first common name among the parts of a name, else the organization.
fn name(mut parts: &[u8]) -> Option<String> {
    let mut found = [None, None];
    while let Some((_, set, rest)) = element(parts) {
        parts = rest;
        let Some((SEQUENCE, pair, _)) = element(set) else { continue };
        let (_, kind, value) = element(pair)?;
        if let Some(at) = NAMES.iter().position(|name| *name == kind) {
            let (_, text, _) = element(value)?;
            found[at].get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        }
    }
    found.into_iter().flatten().next()
}

/// The day of a time, which is written as `[YY]YYMMDD…` (RFC 5280, 4.1.2.5).
fn day(tag: u8, time: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(time).ok()?;
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            (number(year).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, rest)
        }
        GENERALIZED_TIME => text.split_at_checked(4).and_then(|(year, rest)| Some((number(year)?, rest)))?,
        _ => return None,
    };
    let (month, day) = (number(rest.get(..2)?)?, number(rest.get(2..4)?)?);
    Some(days_since_1970(year, month, day))
}

/// Of the calendar of today, in which a year begins here with March, so that the odd day is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + days_before_month + day
        - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_has_them() {
        for ((year, month, day), days) in [
            ((1970, 1, 1), 0),
            ((1969, 12, 31), -1),
            ((2000, 2, 29), 11016),
            ((2000, 3, 1), 11017),
            ((2026, 11, 25), 20782),
            ((2100, 3, 1), 47541),
        ] {
            assert_eq!(days_since_1970(year, month, day), days, "{year}-{month}-{day}");
        }
        assert_eq!(super::day(UTC_TIME, b"491231235959Z"), Some(days_since_1970(2049, 12, 31)));
        assert_eq!(super::day(UTC_TIME, b"500101000000Z"), Some(days_since_1970(1950, 1, 1)));
        assert_eq!(super::day(GENERALIZED_TIME, b"20500101000000Z"), Some(days_since_1970(2050, 1, 1)));
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        for der in [
            &b""[..],
            b"\x30",
            b"\x30\x05\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x80\x00\x00",
            &[0x30; 64],
        ] {
            assert_eq!(Certificate::parse(der), None, "{der:?}");
        }
    }
}
