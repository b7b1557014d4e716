//! The header of a GGUF file (llama.cpp `ggml/include/gguf.h`), read from untrusted bytes.
//!
//! Only what is asked for is kept; strings and arrays are skipped without being held in memory.

use std::io::{self, Read};

/// Facts of a header.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Header {
    /// Format version.
    pub version: u32,
    /// Number of tensors in this file.
    pub tensors: u64,
    /// Number of metadata entries.
    pub entries: u64,
    /// `general.architecture`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// `general.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `split.count`: the number of shards of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// Whether all metadata was read; false when the bytes ended before.
    pub complete: bool,
}

const MAGIC: &[u8; 4] = b"GGUF";
/// Longer names and values are no metadata but damage.
const STRING_MAX: u64 = 1 << 30;
const KEPT_STRING_MAX: u64 = 4096;
const ENTRIES_MAX: u64 = 1 << 20;
const NESTING_MAX: u8 = 4;

/// Reads the header at the start of `reader`. Bytes that end early are no error as long as the
/// fixed part is there; bytes that cannot be a GGUF header are.
pub fn parse(reader: impl Read) -> Result<Header, String> {
    let mut input = Input(reader);
    let mut magic = [0; 4];
    input.0.read_exact(&mut magic).map_err(|_| "it ends before the magic number".to_owned())?;
    if &magic != MAGIC {
        return Err(format!("it begins with {:?}, not GGUF", String::from_utf8_lossy(&magic)));
    }
    let fixed = |what| move |_| format!("it ends before the {what}");
    let version = input.u32().map_err(fixed("version"))?;
    if version == 0 || version > 0xffff {
        return Err(format!("its version is {version}; big-endian files are not read"));
    }
    let mut header = Header { version, ..Header::default() };
    if !(2..=3).contains(&version) {
        return Ok(header);
    }
    header.tensors = input.u64().map_err(fixed("number of tensors"))?;
    header.entries = input.u64().map_err(fixed("number of metadata entries"))?;
    if header.entries > ENTRIES_MAX || header.tensors > ENTRIES_MAX {
        return Err(format!("it claims {} tensors and {} metadata entries", header.tensors, header.entries));
    }
    for _ in 0..header.entries {
        match input.entry(&mut header) {
            Ok(()) => {}
            Err(Trouble::Ended) => return Ok(header),
            Err(Trouble::Invalid(why)) => return Err(why),
        }
    }
    header.complete = true;
    Ok(header)
}

/// Whether a file is what its name says: the magic number, and for a shard the number of shards. A
/// version this program does not know is not refused: the digest was right.
pub fn check(shards_named: Option<u64>, reader: impl Read) -> Result<(), String> {
    let header = parse(reader)?;
    match (shards_named, header.shards) {
        (Some(named), Some(shards)) if named != shards => {
            Err(format!("its name says {named} shards, its header {shards}"))
        }
        _ => Ok(()),
    }
}

/// Whether the name promises a GGUF file.
pub fn is_named(file_name: &str) -> bool {
    file_name.to_ascii_lowercase().ends_with(".gguf")
}

enum Trouble {
    Ended,
    Invalid(String),
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

struct Input<R>(R);

impl<R: Read> Input<R> {
    fn u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes).map(|()| u32::from_le_bytes(bytes))
    }

    fn u64(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn entry(&mut self, header: &mut Header) -> Result<(), Trouble> {
        let key = self.kept_string()?;
        let kind = self.u32()?;
        match (key.as_str(), kind) {
            ("general.architecture", 8) => header.architecture = Some(self.kept_string()?),
            ("general.name", 8) => header.name = Some(self.kept_string()?),
            ("split.count", 2) => {
                let mut bytes = [0; 2];
                self.0.read_exact(&mut bytes)?;
                header.shards = Some(u16::from_le_bytes(bytes).into()).filter(|shards| *shards > 0);
            }
            (_, kind) => self.skip_value(kind, 0)?,
        }
        Ok(())
    }

    fn kept_string(&mut self) -> Result<String, Trouble> {
        let length = self.u64()?;
        if length > KEPT_STRING_MAX {
            return Err(Trouble::Invalid(format!("a metadata name or value of {length} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.0.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip_value(&mut self, kind: u32, nesting: u8) -> Result<(), Trouble> {
        match kind {
            8 => {
                let length = self.u64()?;
                self.skip(length, 1)
            }
            9 if nesting < NESTING_MAX => {
                let kind = self.u32()?;
                let count = self.u64()?;
                if let Some(width) = scalar_width(kind) {
                    return self.skip(count, width);
                }
                (0..count).try_for_each(|_| self.skip_value(kind, nesting + 1))
            }
            kind => match scalar_width(kind) {
                Some(width) => self.skip(1, width),
                None => Err(Trouble::Invalid(format!("a metadata value of unknown type {kind}"))),
            },
        }
    }

    fn skip(&mut self, count: u64, width: u64) -> Result<(), Trouble> {
        let length = count.checked_mul(width).filter(|length| *length <= STRING_MAX);
        let length =
            length.ok_or_else(|| Trouble::Invalid(format!("a metadata value of {count} elements")))?;
        let skipped = io::copy(&mut self.0.by_ref().take(length), &mut io::sink())?;
        if skipped == length { Ok(()) } else { Err(Trouble::Ended) }
    }
}

/// Bytes of a value type of fixed size.
fn scalar_width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
    }

    fn header(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(1u64.to_le_bytes());
        bytes.extend((entries.len() as u64).to_le_bytes());
        bytes.extend(entries.concat());
        bytes
    }

    fn sample(shards: u16) -> Vec<u8> {
        let tokens = [9u32.to_le_bytes(), 8u32.to_le_bytes()].concat();
        let tokens = [tokens, 2u64.to_le_bytes().to_vec(), string("a"), string("b")].concat();
        header(&[
            [string("general.architecture"), 8u32.to_le_bytes().to_vec(), string("llama")].concat(),
            [string("tokenizer.ggml.tokens"), tokens].concat(),
            [string("split.count"), 2u32.to_le_bytes().to_vec(), shards.to_le_bytes().to_vec()].concat(),
        ])
    }

    #[test]
    fn a_header_is_read_past_arrays_and_may_end_early() {
        let bytes = sample(3);
        let read = parse(&bytes[..]).expect("a header");
        assert_eq!(
            (read.architecture.as_deref(), read.shards, read.complete),
            (Some("llama"), Some(3), true)
        );
        for length in 24..bytes.len() {
            assert!(!parse(&bytes[..length]).expect("the fixed part").complete);
        }
    }

    #[test]
    fn a_shard_must_be_of_the_set_its_name_says() {
        assert_eq!(check(Some(3), &sample(3)[..]), Ok(()));
        assert!(check(Some(3), &sample(2)[..]).is_err());
    }

    #[test]
    fn what_is_no_gguf_is_refused_without_taking_memory_or_time() {
        let mut lies = b"GGUF\x03\0\0\0".to_vec();
        lies.extend(u64::MAX.to_le_bytes().repeat(2));
        let long =
            header(&[[string("k"), 8u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat()]);
        for bytes in [&b""[..], b"GGU", b"<html>403</html>", b"GGUF\0\0\0\x03", &lies, &long] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
