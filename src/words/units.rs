//! Sizes and times as people read them.

use std::fmt;
use std::time::Duration;

/// Bytes in decimal units, as disks and links are sold: `12.1 GB`.
#[derive(Debug, Clone, Copy)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            return write!(f, "{} B", self.0);
        }
        let mut size = self.0 as f64;
        let mut unit = "";
        for next in ["kB", "MB", "GB", "TB", "PB", "EB"] {
            if size < 999.5 {
                break;
            }
            size /= 1000.0;
            unit = next;
        }
        let digits = if size < 9.995 { 2 } else { usize::from(size < 99.95) };
        write!(f, "{size:.digits$} {unit}")
    }
}

/// Bytes in binary units, as memory is sold: `24.0 GiB`.
#[derive(Debug, Clone, Copy)]
pub struct Binary(pub u64);

impl fmt::Display for Binary {
    #[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIB: u64 = 1 << 30;
        let (unit, name) = if self.0 >= GIB { (GIB, "GiB") } else { (1 << 20, "MiB") };
        write!(f, "{:.1} {name}", self.0 as f64 / unit as f64)
    }
}

/// The day of a time in seconds since the epoch, in UTC: `2026-11-02`.
#[derive(Debug, Clone, Copy)]
pub struct Day(pub u64);

impl fmt::Display for Day {
    /// Counts years from March, so that a leap day is the last one (Howard Hinnant, `civil_from_days`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0 / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = (year + 400 * era + month / 10, (month + 2) % 12 + 1);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// A duration: `840 ms`, `4.5 s`, `3 min 20 s`, `2 h 5 min`.
#[derive(Debug, Clone, Copy)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..60 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            60..3600 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            _ => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
        }
    }
}

/// `1 file`, `2 files`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_a_unit() {
        let shown = |bytes| Bytes(bytes).to_string();
        assert_eq!(
            [0, 999, 1000, 9_990, 123_456, 999_999, 12_109_565_632].map(shown),
            ["0 B", "999 B", "1.00 kB", "9.99 kB", "123 kB", "1.00 MB", "12.1 GB"]
        );
    }

    #[test]
    fn a_day_is_that_of_the_calendar() {
        let days = [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_793_577_600, "2026-11-02")];
        for (seconds, day) in days {
            assert_eq!(Day(seconds).to_string(), day);
            assert_eq!(Day(seconds + 86_399).to_string(), day);
        }
        assert_eq!(Day(4_107_542_400).to_string(), "2100-03-01");
    }
}
