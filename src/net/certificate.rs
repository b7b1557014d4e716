//! What a server's certificate tells of itself: who signed it, and how long it is good. Only the two fields are read
//! that a person looks for, of bytes that rustls has found to be a certificate; a reader of all of X.509 would be the
//! larger part of this program.

use std::time::SystemTime;

use super::der::{Reader, SEQUENCE};

const SECONDS_PER_DAY: i64 = 86400;
/// The version of a certificate (RFC 5280, 4.1).
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
        let mut fields = Reader::new(der).element()?.inner().element()?.inner();
        fields.optional(VERSION);
        // Its number, and how it is signed.
        fields.element().and(fields.element())?;
        let issuer = fields.element()?;
        let mut validity = fields.element()?.inner();
        let until = validity.element().and(validity.element())?.time()?;
        Some(Self { issuer: name(issuer.inner())?, last_day: until.div_euclid(SECONDS_PER_DAY) })
    }

    /// Whole days from now until it runs out.
    pub fn days_left(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        self.last_day - i64::try_from(now).unwrap_or(i64::MAX) / SECONDS_PER_DAY
    }
}

/// The first common name among the parts of a name, else the organization.
fn name(mut parts: Reader<'_>) -> Option<String> {
    let mut found = [None, None];
    while let Some(set) = parts.element() {
        let Some(pair) = set.inner().expect(SEQUENCE) else { continue };
        let mut pair = pair.inner();
        let (kind, value) = (pair.element()?, pair.element()?);
        if let Some(at) = NAMES.iter().position(|name| *name == kind.content) {
            found[at].get_or_insert_with(|| String::from_utf8_lossy(value.content).into_owned());
        }
    }
    found.into_iter().flatten().next()
}

#[cfg(test)]
mod tests {
    use super::*;

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
