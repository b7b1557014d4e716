//! The header of a safetensors file (its README, "Format"): eight bytes of length, then JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};

use crate::words::tame;

/// The JSON is at most as long, in bytes (safetensors `MAX_HEADER_SIZE`).
pub const HEADER_MAX: u64 = 100_000_000;
/// Bytes before the JSON.
pub const PREFIX: usize = 8;

/// What a header says.
#[derive(Debug, Default, PartialEq)]
pub struct Header {
    /// Names of all tensors, sorted.
    pub names: Vec<String>,
    /// By type: number of tensors, elements, bytes.
    pub types: BTreeMap<String, [u64; 3]>,
    /// Bytes of the header, with its length.
    pub length: u64,
}

/// The length of the JSON, of the first eight bytes.
pub fn json_length(prefix: [u8; PREFIX]) -> Result<u64, String> {
    let length = u64::from_le_bytes(prefix);
    if (2..=HEADER_MAX).contains(&length) { Ok(length) } else { Err(format!("a header of {length} bytes")) }
}

/// Reads the JSON of a file of `size` bytes. Fails if it cannot be its header: tensors overlap, leave gaps, are of
/// another length than their shape says, or do not end with the file.
pub fn parse(json: &[u8], size: u64) -> Result<Header, String> {
    let Found { mut names, types, mut ranges } = serde_json::from_slice(json)
        .map_err(|why| format!("its header is no valid JSON: {}", tame(&why.to_string())))?;
    names.sort_unstable();
    if let Some([name, ..]) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("it has the tensor `{}` twice", tame(name)));
    }
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut end = 0;
    for range in &ranges {
        if range.start != end {
            let what = if range.start < end { "overlaps with another" } else { "leaves a gap before it" };
            return Err(format!("the tensor at {} {what}", range.start));
        }
        end = range.end;
    }
    let length = (PREFIX + json.len()) as u64;
    if length.checked_add(end) != Some(size) {
        return Err(format!(
            "its tensors would end at {}, the file has {size} bytes",
            length.saturating_add(end)
        ));
    }
    Ok(Header { names, types, length })
}

/// Bits of an element; `None` if the type is not known.
fn bits(kind: &str) -> Option<u64> {
    Some(match kind {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "BOOL" | "I8" | "U8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
        "F6_E2M3" | "F6_E3M2" => 6,
        "F4" => 4,
        _ => return None,
    })
}

#[derive(Default)]
struct Found {
    names: Vec<String>,
    types: BTreeMap<String, [u64; 3]>,
    ranges: Vec<Range<u64>>,
}

#[derive(Deserialize)]
struct Tensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        /// More is no list of types but damage.
        const TYPES_MAX: usize = 64;
        let mut found = Found::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
            let Tensor { dtype, shape, data_offsets: [start, end] } = map.next_value()?;
            let elements = shape.iter().try_fold(1u64, |all, length| all.checked_mul(*length));
            let bytes = end.checked_sub(start);
            let is_right = match (elements, bytes, bits(&dtype)) {
                (Some(elements), Some(bytes), Some(bits)) => {
                    elements.checked_mul(bits).map(|bits| bits.div_ceil(8)) == Some(bytes)
                }
                (elements, bytes, None) => elements.is_some() && bytes.is_some(),
                _ => false,
            };
            let (Some(elements), Some(bytes), true) = (elements, bytes, is_right) else {
                return Err(A::Error::custom(format!(
                    "the place of `{}` is not as long as its shape",
                    tame(&name)
                )));
            };
            if found.types.len() == TYPES_MAX && !found.types.contains_key(&dtype) {
                return Err(A::Error::custom("too many types of tensors"));
            }
            let sums = found.types.entry(dtype).or_default();
            for (sum, more) in sums.iter_mut().zip([1, elements, bytes]) {
                *sum = sum.saturating_add(more);
            }
            found.names.push(name);
            if bytes > 0 {
                found.ranges.push(start..end);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, data: u64) -> Result<Header, String> {
        parse(json.as_bytes(), PREFIX as u64 + json.len() as u64 + data)
    }

    #[test]
    fn tensors_are_counted_by_type() {
        let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,3],"data_offsets":[8,20]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let header = check(json, 20).expect("a header");
        assert_eq!((header.names, header.types["F16"]), (vec!["a".into(), "b".into()], [1, 6, 12]));
    }

    #[test]
    fn what_cannot_be_a_header_is_refused() {
        let tensor = |offsets: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}"#);
        let both = |a: &str, b: &str| format!(r#"{{"a":{},"b":{}}}"#, tensor(a), tensor(b));
        assert!(check(&both("[0,4]", "[4,8]"), 8).is_ok());
        for (json, data) in [
            (both("[0,4]", "[2,6]"), 6),
            (both("[0,4]", "[6,10]"), 10),
            (both("[0,4]", "[4,9]"), 9),
            (both("[4,0]", "[4,8]"), 8),
            (both("[0,4]", "[4,8]"), 7),
            (both("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8),
            ("[]".into(), 0),
            ("{".into(), 0),
            (r#"{"a":{"dtype":"U8","shape":[18446744073709551615,2],"data_offsets":[0,0]}}"#.into(), 0),
        ] {
            assert!(check(&json, data).is_err(), "{json}");
        }
        assert!(json_length(u64::MAX.to_le_bytes()).is_err() && json_length([0; 8]).is_err());
    }
}
