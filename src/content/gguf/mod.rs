//! The header of a GGUF file (llama.cpp `ggml/include/gguf.h`), read from untrusted bytes: versions 2 and 3, in both
//! orders of bytes.
//!
//! Names, numbers and texts are kept, of lists their beginning; what is kept has a bound, whatever a file claims.

mod scan;
mod types;

use std::io::{self, Read};

use serde::{Serialize, Serializer};

use crate::words::tame;

pub use scan::Scan;
pub use types::TensorType;

/// What a header says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// Format version.
    pub version: u32,
    /// Whether all numbers of the file are in the order of bytes of s390x.
    pub big_endian: bool,
    /// Number of tensors in this file.
    pub tensor_count: u64,
    /// Number of metadata entries.
    pub entry_count: u64,
    /// The metadata, in the order of the file.
    pub metadata: Vec<(String, Value)>,
    /// The tensors, in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Bytes of the header, once all of it was read.
    pub length: u64,
    /// Bytes that what is kept of it takes in memory.
    pub held: usize,
    /// Where the data of the tensors begins; unknown as long as the header is not complete.
    pub data_start: Option<u64>,
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number without a sign.
    Unsigned(u64),
    /// A number with one.
    Signed(i64),
    /// A fraction.
    Float(f64),
    /// A switch.
    Bool(bool),
    /// A text.
    Text {
        /// The text; empty where it is too long to be kept.
        text: String,
        /// Its length in bytes.
        length: u64,
    },
    /// A list.
    List {
        /// How many elements it has.
        length: u64,
        /// The first ones; of numbers, one of each layer, all. Lists in lists are left out.
        first: Vec<Value>,
    },
}

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Elements in each dimension, that of a row first.
    pub shape: Vec<u64>,
    /// The number of its type; see [`TensorType::of_number`].
    pub kind: u32,
    /// Where its data begins, from the start of the data of all.
    pub offset: u64,
}

impl Tensor {
    /// Number of elements; `None` if that is no number.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |elements, length| elements.checked_mul(*length))
    }

    /// Bytes of its data; `None` where its type is unknown, or its rows do not fill their blocks.
    pub fn size(&self) -> Option<u64> {
        let kind = TensorType::of_number(self.kind)?;
        let row = self.shape.first().copied().unwrap_or(1);
        kind.size(row)?;
        kind.size(self.elements()?)
    }
}

impl Value {
    /// Bytes that it takes in memory.
    fn weight(&self) -> usize {
        let text = if let Self::Text { text, .. } = self { text.len() } else { 0 };
        size_of::<(String, Self)>() + text
    }

    /// As a number that counts something.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            Self::Bool(is_on) => Some((*is_on).into()),
            _ => None,
        }
    }
}

impl Serialize for Value {
    /// Numbers, switches and texts as themselves; a list as its beginning, and what is left out as its length.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Bool(is_on) => serializer.serialize_bool(*is_on),
            Self::Text { text, length } if text.is_empty() && *length > 0 => {
                serializer.collect_str(&format_args!("({length} bytes)"))
            }
            Self::Text { text, .. } => serializer.serialize_str(text),
            Self::List { length, first } if *length == first.len() as u64 => first.serialize(serializer),
            Self::List { length, first } => {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("length", length)?;
                map.serialize_entry("first", first)?;
                map.end()
            }
        }
    }
}

impl Header {
    /// Whether all of it was read.
    pub fn is_complete(&self) -> bool {
        self.data_start.is_some()
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// A metadata value that is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        if let Value::Text { text, .. } = self.get(key)? { Some(text) } else { None }
    }

    /// A metadata value that is a number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.number()
    }

    /// `general.architecture`
    pub fn architecture(&self) -> Option<&str> {
        self.text("general.architecture")
    }

    /// `split.count`: the number of shards of the model.
    pub fn shards(&self) -> Option<u64> {
        self.number("split.count").filter(|shards| *shards > 0)
    }

    /// Where data of tensors may begin; `None` if what the header says of it is no number.
    fn alignment(&self) -> Option<u64> {
        const USUAL: u64 = 32;
        self.get("general.alignment").map_or(Some(USUAL), Value::number)
    }

    /// Fails if it cannot be the header of a file of `size` bytes that is one of `shards_named` shards: what is not
    /// known yet may be.
    pub fn check(&self, shards_named: Option<u64>, size: u64) -> Result<(), String> {
        if let (Some(named), Some(shards)) = (shards_named, self.shards())
            && named != shards
        {
            return Err(format!("its name says {named} shards, its header {shards}"));
        }
        let Some(start) = self.data_start else { return Ok(()) };
        for tensor in &self.tensors {
            let end =
                start.checked_add(tensor.offset).and_then(|at| at.checked_add(tensor.size().unwrap_or(0)));
            if end.is_none_or(|end| end > size) {
                return Err(format!(
                    "the data of its tensor `{}` would end after the file",
                    tame(&tensor.name)
                ));
            }
        }
        Ok(())
    }
}

/// Reads the header at the start of `reader`. Bytes that end early are no error as long as the
/// fixed part is there; bytes that cannot be a GGUF header are.
pub fn parse(mut reader: impl Read) -> Result<Header, String> {
    let mut scan = Scan::default();
    let mut buffer = vec![0; 64 << 10];
    while !scan.is_over() {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => scan.feed(&buffer[..length])?,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    scan.into_header()
}

/// Whether the name promises a GGUF file.
pub fn is_named(file_name: &str) -> bool {
    file_name.to_ascii_lowercase().ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one tensor of three values, in an order of bytes.
    struct Writer(bool);

    impl Writer {
        fn number<const N: usize>(&self, mut bytes: [u8; N]) -> Vec<u8> {
            if self.0 {
                bytes.reverse();
            }
            bytes.to_vec()
        }

        fn u16(&self, number: u16) -> Vec<u8> {
            self.number(number.to_le_bytes())
        }

        fn u32(&self, number: u32) -> Vec<u8> {
            self.number(number.to_le_bytes())
        }

        fn u64(&self, number: u64) -> Vec<u8> {
            self.number(number.to_le_bytes())
        }

        fn string(&self, text: &str) -> Vec<u8> {
            [self.u64(text.len() as u64), text.as_bytes().to_vec()].concat()
        }

        fn header(&self, entries: &[Vec<u8>]) -> Vec<u8> {
            let start = [b"GGUF".to_vec(), self.u32(3), self.u64(1), self.u64(entries.len() as u64)];
            let tensor = [self.string("t"), self.u32(1), self.u64(3), self.u32(0), self.u64(0)];
            [start.concat(), entries.concat(), tensor.concat()].concat()
        }
    }

    fn string(text: &str) -> Vec<u8> {
        Writer(false).string(text)
    }

    fn header(entries: &[Vec<u8>]) -> Vec<u8> {
        Writer(false).header(entries)
    }

    fn sample(shards: u16) -> Vec<u8> {
        sample_in(shards, false)
    }

    fn sample_in(shards: u16, big_endian: bool) -> Vec<u8> {
        let w = Writer(big_endian);
        let tokens = [w.u32(9), w.u32(8), w.u64(2), w.string("a"), w.string("b")].concat();
        w.header(&[
            [w.string("general.architecture"), w.u32(8), w.string("llama")].concat(),
            [w.string("tokenizer.ggml.tokens"), tokens].concat(),
            [w.string("signed"), w.u32(3), w.u16(0xfffe)].concat(),
            [w.string("split.count"), w.u32(2), w.u16(shards)].concat(),
        ])
    }

    #[test]
    fn a_header_is_read_past_arrays_and_may_end_early() {
        let bytes = sample(3);
        let read = parse(&bytes[..]).expect("a header");
        assert_eq!((read.architecture(), read.shards(), read.is_complete()), (Some("llama"), Some(3), true));
        for length in 0..bytes.len() {
            let cut = parse(&bytes[..length]);
            assert_eq!(cut.is_ok_and(|header| !header.is_complete()), length >= 24, "{length} bytes");
        }
    }

    #[test]
    fn a_shard_must_be_of_the_set_its_name_says() {
        let check = |shards| parse(&sample(shards)[..]).expect("a header").check(Some(3), 1 << 20);
        assert_eq!(check(3), Ok(()));
        assert!(check(2).is_err());
    }

    #[test]
    fn what_is_no_gguf_is_refused_without_taking_memory_or_time() {
        let mut lies = b"GGUF\x03\0\0\0".to_vec();
        lies.extend(u64::MAX.to_le_bytes().repeat(2));
        let list = |kind: u32, length: u64| {
            let value = [9u32.to_le_bytes(), kind.to_le_bytes()].concat();
            header(&[[string("k"), value, length.to_le_bytes().to_vec()].concat()])
        };
        let (numbers, texts, strange) = (list(10, u64::MAX / 8 + 2), list(8, u64::MAX), list(99, 1));
        let nested = list(9, 1).into_iter().chain([9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0].repeat(9)).collect();
        let twice = [string("k"), 7u32.to_le_bytes().to_vec(), vec![1]].concat();
        let twice = header(&[twice.clone(), twice]);
        let long =
            header(&[[string("k"), 8u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat()]);
        let damage: [&Vec<u8>; 7] = [&lies, &long, &numbers, &texts, &strange, &nested, &twice];
        for bytes in damage.into_iter().map(Vec::as_slice).chain([&b""[..], b"GGU", b"<html>403</html>"]) {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn both_orders_of_bytes_say_the_same() {
        let little = sample(3);
        let big = sample_in(3, true);
        let (little, big) = (parse(&little[..]).expect("little"), parse(&big[..]).expect("big-endian"));
        assert!(big.big_endian && !little.big_endian);
        assert_eq!(Header { big_endian: false, ..big }, little);
    }

    #[test]
    fn a_header_that_comes_byte_by_byte_is_the_same() {
        let bytes = sample(3);
        let mut scan = Scan::default();
        for byte in &bytes {
            scan.feed(&[*byte]).expect("a header");
        }
        assert_eq!(scan.into_header(), parse(&bytes[..]));
    }

    #[test]
    fn data_after_the_end_of_the_file_is_told() {
        let read = parse(&sample(3)[..]).expect("a header");
        let start = read.data_start.expect("complete");
        // Three values of 4 bytes.
        assert_eq!(read.check(None, start + 12), Ok(()));
        assert!(read.check(None, start + 11).is_err());
    }
}
