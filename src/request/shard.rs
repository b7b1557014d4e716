//! Files that are parts of one: `model-00002-of-00003.gguf`.

use std::fmt;

use crate::words::Invalid;

/// Of each of the two numbers.
const DIGITS: usize = 5;

/// A name of the form that llama.cpp (`llama_split_path`), safetensors and `datasets` give to the parts of a set.
/// The first two count from 1, the last from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard<'a> {
    /// What stands before the numbers, with the folder.
    pub prefix: &'a str,
    /// Which one it is.
    pub index: u32,
    /// How many there are.
    pub total: u32,
    /// What follows the numbers: nothing, or a dot and more.
    pub extension: &'a str,
}

impl<'a> Shard<'a> {
    /// Reads `PREFIX-00002-of-00003`, with any extension or none; `None` if the name has another form, or its set
    /// no such shard.
    pub fn parse(path: &'a str) -> Option<Self> {
        Self::read(path).filter(Self::is_possible)
    }

    fn read(path: &'a str) -> Option<Self> {
        let (stem, rest) = path.rsplit_once("-of-")?;
        let (prefix, index) = stem.rsplit_once('-')?;
        let (total, extension) = rest.split_at_checked(DIGITS)?;
        let (index, total) = (number(index)?, number(total)?);
        let is_extension = extension.is_empty() || extension.starts_with('.') && !extension.contains('/');
        is_extension.then_some(Self { prefix, index, total, extension })
    }

    /// Fails if a name has the form, but no set can have such a shard.
    pub(super) fn check(path: &'a str) -> Result<(), Invalid> {
        let impossible = Self::read(path).filter(|shard| !shard.is_possible());
        let why = |Self { index, total, .. }| format!("shard {index} of {total} cannot exist");
        impossible.map_or(Ok(()), |shard| Err(Invalid::new("shard", path, why(shard))))
    }

    fn is_possible(&self) -> bool {
        self.total > 0 && self.index <= self.total
    }

    /// Whether both are of one set.
    pub fn is_of_set_of(&self, other: &Self) -> bool {
        Self { index: other.index, ..*self } == *other
    }

    /// The names of its whole set. Whether that counts from 0 or 1 shows where it begins or ends; in between it
    /// is taken for 1.
    pub fn set(&self) -> impl Iterator<Item = Self> + use<'a> {
        let (shard, first) = (*self, u32::from(self.index > 0));
        (first..first + shard.total).map(move |index| Self { index, ..shard })
    }
}

impl fmt::Display for Shard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, index, total, extension } = self;
        write!(f, "{prefix}-{index:05}-of-{total:05}{extension}")
    }
}

fn number(digits: &str) -> Option<u32> {
    let is_number = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Vec<String> {
        Shard::parse(name).into_iter().flat_map(|shard| shard.set()).map(|shard| shard.to_string()).collect()
    }

    #[test]
    fn a_set_is_counted_from_one_or_from_zero() {
        let from_one = ["d/m-00001-of-00003.gguf", "d/m-00002-of-00003.gguf", "d/m-00003-of-00003.gguf"];
        assert_eq!(set("d/m-00003-of-00003.gguf"), from_one);
        assert_eq!(set("d/m-00002-of-00003.gguf"), from_one);
        let from_zero = ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"];
        assert_eq!(set("train-00000-of-00002.parquet"), from_zero);
        assert_eq!(set("x.tfrecord-00000-of-00001"), ["x.tfrecord-00000-of-00001"]);
        assert_eq!(set("x-00001-of-00001.jsonl.zst"), ["x-00001-of-00001.jsonl.zst"]);
    }

    #[test]
    fn what_only_looks_like_a_shard_is_a_file_alone() {
        for name in [
            "m-00004-of-00003.gguf",
            "m-00000-of-00000.gguf",
            "m-1-of-3.gguf",
            "m-000001-of-000003.gguf",
            "m-00001-of-00003/x.gguf",
            "a.b-00001-of-00003-0123abcd.parquet",
            "-of-00003",
            "m-00001-of-000ß3.gguf",
        ] {
            assert_eq!(Shard::parse(name), None, "{name}");
        }
    }
}
