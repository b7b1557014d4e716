//! Values of single options: durations, rates, connections.

use std::time::Duration;

use url::Url;

use crate::content::gguf::TensorType;
use crate::request::{Connections, Revision};
use crate::words::Invalid;

/// Reads `90`, `90s`, `10m`, `1h30m`, `1d`, `500ms`: whole numbers with units, seconds without.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a time such as 90, 90s, 10m or 1h30m";
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(EXPECTED.into());
    }
    while !rest.is_empty() {
        let (number, tail) = split_at_non_digit(rest);
        let number: u64 = number.parse().map_err(|_| EXPECTED)?;
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "" | "s" => Some(Duration::from_secs(number)),
            "m" | "min" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "d" => number.checked_mul(86400).map(Duration::from_secs),
            _ => return Err(EXPECTED.into()),
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or("that is too long")?;
        rest = tail;
    }
    if total.is_zero() {
        return Err("it must be longer than zero".into());
    }
    // Clocks overflow far beyond any use.
    if total.as_secs() > 100 * 365 * 86400 { Err("that is too long".into()) } else { Ok(total) }
}

fn split_at_non_digit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Reads an address of a server, which is shown as it is: one with a login or a query may hold a secret.
pub(super) fn plain_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|why| why.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("expected http://… or https://…".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("it must have neither a login nor a query".into());
    }
    Ok(url)
}

/// Reads a rate in bytes per second: `25M`, `25MB` and `25MB/s` are 25 000 000, `25MiB` is
/// 25 × 2²⁰.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected bytes per second such as 500k, 25M, 25MiB or 1.5G";
    let text = text.trim().trim_end_matches("/s");
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (unit, base) = unit.strip_suffix('i').map_or((unit, 1000.0), |unit| (unit, 1024.0));
    let power = match (unit, base) {
        ("", 1000.0) => 0,
        ("k", _) => 1,
        ("m", _) => 2,
        ("g", _) => 3,
        ("t", _) => 4,
        _ => return Err(EXPECTED.into()),
    };
    let bytes = number * f64::powi(base, power);
    if !(1.0..=1e18).contains(&bytes) {
        return Err("expected a rate from 1 to 10^18 bytes per second".into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(bytes as u64)
}

/// Reads a size in bytes: `24GiB`, `24G`, and `24Gi` as Kubernetes writes it.
pub(super) fn size(text: &str) -> Result<u64, String> {
    rate(text).map_err(|_| "expected a size such as 24GiB, 24Gi or 80GB".into())
}

/// Reads a type that llama.cpp's server has for its caches.
pub(super) fn cache_type(text: &str) -> Result<TensorType, String> {
    const TYPES: [&str; 9] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"];
    let known = TYPES.into_iter().find(|name| name.eq_ignore_ascii_case(text.trim()));
    known.and_then(TensorType::of_name).ok_or_else(|| format!("expected one of {}", TYPES.join(", ")))
}

/// Reads `auto` or a number.
pub(super) fn connections(text: &str) -> Result<Connections, String> {
    text.trim().parse().map_err(why)
}

/// Reads a branch, tag or commit.
pub(super) fn revision(text: &str) -> Result<Revision, String> {
    text.trim().parse().map_err(why)
}

/// The reason alone: clap says itself which option and value it is about.
fn why(error: Invalid) -> String {
    error.why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_seconds_need_none() {
        let seconds = |text| duration(text).expect(text).as_secs_f64();
        assert_eq!(
            ["90", "90s", "10m", "6h", "1h30m", "1d", "500ms", " 5 "].map(seconds),
            [90.0, 90.0, 600.0, 21600.0, 5400.0, 86400.0, 0.5, 5.0]
        );
        for text in ["", "0", "0s", "-1", "5x", "h", "1.5h", "1 h", "99999999999999999999", "9999999999999d"]
        {
            assert!(duration(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn rates_are_decimal_unless_the_unit_says_binary() {
        let bytes = |text| rate(text).expect(text);
        assert_eq!(
            ["1000", "25M", "25MB", "25MiB", "1G", "1.5k", "25 MB/s", "7b"].map(bytes),
            [1000, 25_000_000, 25_000_000, 26_214_400, 1_000_000_000, 1500, 25_000_000, 7]
        );
        for text in ["", "0", "-1", "M", "25X", "25i", "1e9", "inf", "nan", "0.1"] {
            assert!(rate(text).is_err(), "{text:?} was accepted");
        }
    }
}
