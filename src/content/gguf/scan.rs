//! Reads a header as its bytes come, and holds no more of it than what is kept.

use super::{Header, Tensor, Value};
use crate::words::tame;

const MAGIC: &[u8; 4] = b"GGUF";
/// Longer texts and arrays are no metadata but damage, in bytes (llama.cpp `GGUF_MAX_STRING_LENGTH`).
const VALUE_MAX: u64 = 1 << 30;
/// Longer texts are passed over. The longest chat template seen has 40 kB.
const TEXT_MAX: u64 = 1 << 20;
/// Of a metadata key, in bytes (GGUF specification).
const KEY_MAX: u64 = (1 << 16) - 1;
/// Of a tensor's name, in bytes: 64 by the specification, and twice as much in stable-diffusion.cpp.
const NAME_MAX: u64 = 1024;
/// Of tensors, and of metadata entries.
const COUNT_MAX: u64 = 1 << 20;
const DIMENSIONS_MAX: u32 = 8;
const NESTING_MAX: usize = 4;
/// Numbers of a list: enough for one of each layer.
const NUMBERS_KEPT: u64 = 1024;
/// Of longer lists, and of texts.
const ELEMENTS_KEPT: u64 = 8;
/// All that is kept, in bytes: real headers need a tenth.
const ROOM: usize = 8 << 20;

/// The state of reading a header whose bytes come piece by piece.
#[derive(Debug)]
pub struct Scan {
    header: Header,
    step: Step,
    /// The beginning of something whose end has not come.
    pending: Vec<u8>,
    /// Bytes to pass over.
    skip: u64,
    /// Bytes behind.
    position: u64,
    /// Bytes that may still be kept.
    room: usize,
}

#[derive(Debug)]
enum Step {
    Fixed,
    Entries {
        left: u64,
    },
    /// In a list, and in the lists that it is in.
    List {
        left: u64,
        lists: Vec<List>,
    },
    Tensors {
        left: u64,
    },
    Done,
}

#[derive(Debug)]
struct List {
    kind: u32,
    left: u64,
    keep: u64,
}

enum Trouble {
    Ended,
    Invalid(String),
}

type Taken<T> = Result<T, Trouble>;

impl Default for Scan {
    fn default() -> Self {
        Self {
            header: Header::default(),
            step: Step::Fixed,
            pending: Vec::new(),
            skip: 0,
            position: 0,
            room: ROOM,
        }
    }
}

impl Scan {
    /// Takes the next bytes of a file. Fails if they cannot be those of a GGUF header.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.is_over() {
            return Ok(());
        }
        let joined;
        let mut rest = bytes;
        if !self.pending.is_empty() {
            joined = [&std::mem::take(&mut self.pending)[..], bytes].concat();
            rest = &joined;
        }
        while !self.is_over() {
            let passed = self.skip.min(rest.len() as u64);
            rest = &rest[usize::try_from(passed).unwrap_or(rest.len())..];
            (self.skip, self.position) = (self.skip - passed, self.position + passed);
            if self.skip > 0 {
                break;
            }
            let mut input = Input { bytes: rest, big_endian: self.header.big_endian };
            match self.item(&mut input) {
                Ok(()) => {
                    self.position += (rest.len() - input.bytes.len()) as u64;
                    rest = input.bytes;
                }
                Err(Trouble::Ended) => {
                    self.pending = rest.to_vec();
                    break;
                }
                Err(Trouble::Invalid(why)) => return Err(why),
            }
        }
        Ok(())
    }

    /// Whether the header is behind: nothing that comes changes it.
    pub fn is_over(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// How long the header is at least, in bytes.
    pub fn least(&self) -> u64 {
        let more = if self.is_over() { 0 } else { self.skip.max(1) };
        self.position.saturating_add(self.pending.len() as u64).saturating_add(more)
    }

    /// What is known of it, where nothing more comes; fails if not even the fixed part is there.
    pub fn into_header(self) -> Result<Header, String> {
        match self.step {
            Step::Fixed => {
                Err(format!("it ends after {} bytes, within the first numbers", self.pending.len()))
            }
            _ => Ok(self.header),
        }
    }

    /// Fails if what was read cannot be the header of a whole file of `size` bytes that is one of `shards_named`
    /// shards.
    pub fn check(&self, shards_named: Option<u64>, size: u64) -> Result<(), String> {
        if !self.is_over() {
            return Err(format!("it ends within its header, after {size} bytes"));
        }
        self.header.check(shards_named, size)
    }

    fn item(&mut self, input: &mut Input<'_>) -> Taken<()> {
        match &mut self.step {
            Step::Fixed => self.fixed(input),
            Step::Entries { left: 0 } => self.begin_tensors(),
            Step::Entries { left } => {
                let left = *left - 1;
                self.entry(input, left)
            }
            Step::List { .. } => self.element(input),
            Step::Tensors { left: 0 } => self.end(),
            Step::Tensors { left } => {
                let left = *left - 1;
                self.tensor(input)?;
                self.step = Step::Tensors { left };
                Ok(())
            }
            Step::Done => Ok(()),
        }
    }

    fn fixed(&mut self, input: &mut Input<'_>) -> Taken<()> {
        let magic = &input.bytes[..input.bytes.len().min(MAGIC.len())];
        if !MAGIC.starts_with(magic) {
            return Err(Trouble::Invalid(format!("it is {}", crate::content::kind::describe(input.bytes))));
        }
        input.take(MAGIC.len())?;
        let mut version = input.u32()?;
        // The version of a file in the other order of bytes would be a multiple of 65,536.
        if version.trailing_zeros() >= 16 {
            input.big_endian = true;
            version = version.swap_bytes();
        }
        if version == 0 || version.trailing_zeros() >= 16 {
            return Err(Trouble::Invalid(format!("its version is {version}")));
        }
        self.header.version = version;
        self.header.big_endian = input.big_endian;
        if !(2..=3).contains(&version) {
            self.step = Step::Done;
            return Ok(());
        }
        let (tensors, entries) = (input.u64()?, input.u64()?);
        if entries > COUNT_MAX || tensors > COUNT_MAX {
            let why = format!("it claims {tensors} tensors and {entries} metadata entries");
            return Err(Trouble::Invalid(why));
        }
        (self.header.tensor_count, self.header.entry_count) = (tensors, entries);
        self.step = Step::Entries { left: entries };
        Ok(())
    }

    fn entry(&mut self, input: &mut Input<'_>, left: u64) -> Taken<()> {
        let key = input.name(KEY_MAX, "a metadata key")?;
        let kind = input.u32()?;
        let mut lists = Vec::new();
        let (value, skip) = match kind {
            LIST => {
                let list = input.list()?;
                let value = Value::List { length: list.left, first: Vec::new() };
                lists.push(list);
                (value, 0)
            }
            kind => input.value(kind)?,
        };
        self.keep(key.len() + value.weight())?;
        self.header.metadata.push((key, value));
        self.skip = skip;
        self.step = if lists.is_empty() { Step::Entries { left } } else { Step::List { left, lists } };
        Ok(())
    }

    fn element(&mut self, input: &mut Input<'_>) -> Taken<()> {
        let Step::List { left, lists } = &mut self.step else { return Ok(()) };
        let is_outermost = lists.len() == 1;
        let depth = lists.len();
        let Some(list) = lists.last_mut() else {
            self.step = Step::Entries { left: *left };
            return Ok(());
        };
        if list.left == 0 {
            lists.pop();
            return Ok(());
        }
        let keep = is_outermost && list.keep > 0;
        if list.kind == LIST {
            if depth == NESTING_MAX {
                return Err(Trouble::Invalid(format!("lists in more than {NESTING_MAX} lists")));
            }
            let inner = input.list()?;
            list.left -= 1;
            lists.push(inner);
        } else if let Some(width) = width(list.kind).filter(|_| !keep) {
            // No product of these is too large: their length was looked at.
            self.skip = std::mem::take(&mut list.left) * width;
        } else {
            let (value, skip) = input.value(list.kind)?;
            list.left -= 1;
            list.keep = list.keep.saturating_sub(1);
            self.skip = skip;
            if keep {
                self.keep(value.weight())?;
                if let Some((_, Value::List { first, .. })) = self.header.metadata.last_mut() {
                    first.push(value);
                }
            }
        }
        Ok(())
    }

    fn begin_tensors(&mut self) -> Taken<()> {
        if let Some(key) = repeated(self.header.metadata.iter().map(|(key, _)| key.as_str())) {
            return Err(Trouble::Invalid(format!("it has the metadata key `{}` twice", tame(key))));
        }
        let alignment = self.header.alignment();
        if !alignment.is_some_and(u64::is_power_of_two) {
            return Err(Trouble::Invalid("its general.alignment is no power of two".into()));
        }
        self.step = Step::Tensors { left: self.header.tensor_count };
        Ok(())
    }

    fn tensor(&mut self, input: &mut Input<'_>) -> Taken<()> {
        let name = input.name(NAME_MAX, "the name of a tensor")?;
        let dimensions = input.u32()?;
        if dimensions > DIMENSIONS_MAX {
            return Err(Trouble::Invalid(format!("a tensor of {dimensions} dimensions")));
        }
        let shape = (0..dimensions).map(|_| input.u64()).collect::<Taken<Vec<_>>>()?;
        let kind = input.u32()?;
        let tensor = Tensor { name, shape, kind, offset: input.u64()? };
        if tensor.elements().is_none() {
            return Err(Trouble::Invalid(format!(
                "the tensor `{}` has more elements than can be",
                tame(&tensor.name)
            )));
        }
        self.keep(size_of::<Tensor>() + tensor.name.len() + 8 * tensor.shape.len())?;
        self.header.tensors.push(tensor);
        Ok(())
    }

    fn end(&mut self) -> Taken<()> {
        if let Some(name) = repeated(self.header.tensors.iter().map(|tensor| tensor.name.as_str())) {
            return Err(Trouble::Invalid(format!("it has the tensor `{}` twice", tame(name))));
        }
        let alignment = self.header.alignment().unwrap_or(1);
        self.header.data_start = self.position.checked_next_multiple_of(alignment);
        self.header.length = self.position;
        self.step = Step::Done;
        Ok(())
    }

    fn keep(&mut self, bytes: usize) -> Taken<()> {
        let left = self.room.checked_sub(bytes);
        self.header.held += bytes;
        let why = || Trouble::Invalid(format!("its names and values take more than {} MiB", ROOM >> 20));
        self.room = left.ok_or_else(why)?;
        Ok(())
    }
}

/// A name that is there more than once.
fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

/// Bytes of a value type of fixed size.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Bytes that are there, in an order of bytes.
struct Input<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Taken<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Trouble::Ended)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A number of up to eight bytes.
    fn number(&mut self, width: usize) -> Taken<u64> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        if self.big_endian {
            bytes[..width].reverse();
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn u32(&mut self) -> Taken<u32> {
        self.number(4).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn u64(&mut self) -> Taken<u64> {
        self.number(8)
    }

    fn name(&mut self, max: u64, what: &str) -> Taken<String> {
        let length = self.u64()?;
        if length == 0 || length > max {
            return Err(Trouble::Invalid(format!("{what} of {length} bytes")));
        }
        self.text(length)
    }

    fn text(&mut self, length: u64) -> Taken<String> {
        let bytes = self.take(usize::try_from(length).map_err(|_| Trouble::Ended)?)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A list's kind and length.
    fn list(&mut self) -> Taken<List> {
        let (kind, left) = (self.u32()?, self.u64()?);
        if width(kind).is_none() && kind != TEXT && kind != LIST {
            return Err(Trouble::Invalid(format!("a list of values of unknown type {kind}")));
        }
        let is_possible = left.checked_mul(width(kind).unwrap_or(8)).is_some_and(|bytes| bytes <= VALUE_MAX);
        if !is_possible {
            return Err(Trouble::Invalid(format!("a metadata value of {left} elements")));
        }
        let is_numbers = width(kind).is_some() && left <= NUMBERS_KEPT;
        Ok(List { kind, left, keep: if is_numbers { left } else { ELEMENTS_KEPT } })
    }

    /// A value that is no list, and how many bytes of it are to be passed over.
    fn value(&mut self, kind: u32) -> Taken<(Value, u64)> {
        let value = match kind {
            0 => Value::Unsigned(self.number(1)?),
            2 => Value::Unsigned(self.number(2)?),
            4 => Value::Unsigned(self.number(4)?),
            10 => Value::Unsigned(self.u64()?),
            1 => Value::Signed(self.signed(1)?),
            3 => Value::Signed(self.signed(2)?),
            5 => Value::Signed(self.signed(4)?),
            11 => Value::Signed(self.signed(8)?),
            6 => Value::Float(f32::from_bits(self.u32()?).into()),
            12 => Value::Float(f64::from_bits(self.u64()?)),
            7 => Value::Bool(self.number(1)? != 0),
            TEXT => {
                let length = self.u64()?;
                if length > VALUE_MAX {
                    return Err(Trouble::Invalid(format!("a metadata value of {length} bytes")));
                }
                if length > TEXT_MAX {
                    return Ok((Value::Text { text: String::new(), length }, length));
                }
                Value::Text { text: self.text(length)?, length }
            }
            kind => return Err(Trouble::Invalid(format!("a metadata value of unknown type {kind}"))),
        };
        Ok((value, 0))
    }

    fn signed(&mut self, width: usize) -> Taken<i64> {
        let unused = 64 - 8 * u32::try_from(width).unwrap_or(8);
        Ok((self.number(width)? << unused).cast_signed() >> unused)
    }
}
