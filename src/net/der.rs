//! ASN.1 in its distinguished encoding, DER (X.690), as far as certificates and public keys need it.

/// Tags (X.690, 8.1.2).
pub const BOOLEAN: u8 = 0x01;
/// A number.
pub const INTEGER: u8 = 0x02;
/// Bits, after a byte that counts the unused ones.
pub const BIT_STRING: u8 = 0x03;
/// Bytes.
pub const OCTET_STRING: u8 = 0x04;
/// An object identifier.
pub const OBJECT_ID: u8 = 0x06;
/// A list.
pub const SEQUENCE: u8 = 0x30;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SECONDS_PER_DAY: i64 = 86400;

/// Elements that have not been read yet.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// What it is.
    pub tag: u8,
    /// Its content.
    pub content: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Of what follows in these bytes.
    pub fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// Whether nothing follows.
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element; `None` if there is none, or if its length is not written in the shortest form.
    pub fn element(&mut self) -> Option<Element<'a>> {
        let (&[tag, length], rest) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match length {
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                let value = digits.iter().fold(0, |value, digit| value << 8 | usize::from(*digit));
                let is_shortest = digits[0] > 0 && value > 0x7f;
                (Some(value).filter(|_| is_shortest)?, rest)
            }
            short => (Some(usize::from(short)).filter(|short| *short < 0x80)?, rest),
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, which has to have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.element().filter(|element| element.tag == tag)
    }

    /// The next element, if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let found = ahead.expect(tag)?;
        *self = ahead;
        Some(found)
    }
}

impl<'a> Element<'a> {
    /// What is in it.
    pub fn inner(&self) -> Reader<'a> {
        Reader(self.content)
    }

    /// The bits of a bit string that is made of whole bytes.
    pub fn bits(&self) -> Option<&'a [u8]> {
        self.content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
    }

    /// A time in seconds since the beginning of 1970, which is written as `[YY]YYMMDDhhmmssZ` (RFC 5280, 4.1.2.5).
    pub fn time(&self) -> Option<i64> {
        let text = std::str::from_utf8(self.content).ok()?;
        let number =
            |text: &str| text.parse::<i64>().ok().filter(|_| text.bytes().all(|c| c.is_ascii_digit()));
        let (year, rest) = match self.tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                (number(year).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, rest)
            }
            GENERALIZED_TIME => {
                text.split_at_checked(4).and_then(|(year, rest)| Some((number(year)?, rest)))?
            }
            _ => return None,
        };
        let parts = rest.strip_suffix('Z').filter(|digits| digits.len() == 10)?;
        let part = |at: usize| parts.get(2 * at..2 * at + 2).and_then(number);
        let days = days_since_1970(year, part(0)?, part(1)?);
        Some(days * SECONDS_PER_DAY + part(2)? * 3600 + part(3)? * 60 + part(4)?)
    }
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

    fn time(tag: u8, text: &[u8]) -> Option<i64> {
        Element { tag, content: text, whole: text }.time()
    }

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
        let last_second = |year| (days_since_1970(year, 12, 31) + 1) * SECONDS_PER_DAY - 1;
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(last_second(2049)));
        assert_eq!(time(UTC_TIME, b"500101000000Z"), Some(days_since_1970(1950, 1, 1) * SECONDS_PER_DAY));
        assert_eq!(
            time(GENERALIZED_TIME, b"20500101000001Z"),
            Some(days_since_1970(2050, 1, 1) * SECONDS_PER_DAY + 1)
        );
        for text in
            [&b"20500101000000"[..], b"2050-101000000Z", b"205001010000Z", b"20500101000000+0100", b""]
        {
            assert_eq!(time(GENERALIZED_TIME, text), None, "{text:?}");
        }
    }

    #[test]
    fn a_length_has_one_form() {
        let element = |der: &'static [u8]| Reader::new(der).element().map(|element| element.content);
        assert_eq!(element(&[4, 1, 7, 9]), Some(&[7][..]));
        assert_eq!(element(&[4, 0x81, 1, 7]), None);
        assert_eq!(element(&[4, 0x82, 0, 0x80]), None);
        assert_eq!(element(&[4, 0x80, 0, 0]), None);
        assert_eq!(element(&[4, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(element(&[4, 2, 7]), None);
        assert_eq!(element(&[4]), None);
    }
}
