//! GGUF files of any kind, byte by byte.

/// A header that is being written.
pub(crate) struct Header {
    big_endian: bool,
    entries: Vec<Vec<u8>>,
    tensors: Vec<(String, Vec<u64>, u32)>,
}

/// Numbers of types of tensors.
pub(crate) const F32: u32 = 0;
pub(crate) const F16: u32 = 1;

impl Header {
    /// Of an architecture.
    pub(crate) fn new(architecture: &str) -> Self {
        Self::of_order(false).text("general.architecture", architecture)
    }

    /// The same as s390x writes it.
    pub(crate) fn big_endian(architecture: &str) -> Self {
        Self::of_order(true).text("general.architecture", architecture)
    }

    fn of_order(big_endian: bool) -> Self {
        Self { big_endian, entries: Vec::new(), tensors: Vec::new() }
    }

    fn bytes<const N: usize>(&self, mut bytes: [u8; N]) -> Vec<u8> {
        if self.big_endian {
            bytes.reverse();
        }
        bytes.to_vec()
    }

    fn u32(&self, number: u32) -> Vec<u8> {
        self.bytes(number.to_le_bytes())
    }

    fn u64(&self, number: u64) -> Vec<u8> {
        self.bytes(number.to_le_bytes())
    }

    fn string(&self, text: &str) -> Vec<u8> {
        [self.u64(text.len() as u64), text.as_bytes().to_vec()].concat()
    }

    /// An entry of a type, byte by byte: what it claims may be a lie.
    pub(crate) fn entry(mut self, key: &str, kind: u32, value: Vec<u8>) -> Self {
        self.entries.push([self.string(key), self.u32(kind), value].concat());
        self
    }

    pub(crate) fn text(self, key: &str, text: &str) -> Self {
        let value = self.string(text);
        self.entry(key, 8, value)
    }

    pub(crate) fn number(self, key: &str, number: u32) -> Self {
        let value = self.u32(number);
        self.entry(key, 4, value)
    }

    pub(crate) fn texts(self, key: &str, texts: &[&str]) -> Self {
        let elements: Vec<_> = texts.iter().map(|text| self.string(text)).collect();
        let value = [self.u32(8), self.u64(texts.len() as u64), elements.concat()].concat();
        self.entry(key, 9, value)
    }

    pub(crate) fn tensor(mut self, name: &str, shape: &[u64], kind: u32) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec(), kind));
        self
    }

    /// A plain model of one layer, with heads for keys of 128 elements each.
    pub(crate) fn llama(layers: u32, heads: u32) -> Self {
        let model = Self::new("llama")
            .number("llama.block_count", layers)
            .number("llama.context_length", 8192)
            .number("llama.embedding_length", 1024)
            .number("llama.feed_forward_length", 4096)
            .number("llama.attention.head_count", 8)
            .number("llama.attention.head_count_kv", heads)
            .tensor("token_embd.weight", &[1024, 100], F16)
            .tensor("output.weight", &[1024, 100], F16);
        (0..layers)
            .fold(model, |model, at| model.tensor(&format!("blk.{at}.attn_q.weight"), &[1024, 1024], F16))
    }

    /// The header, padded.
    pub(crate) fn header(&self) -> Vec<u8> {
        let (tensors, entries) = (self.u64(self.tensors.len() as u64), self.u64(self.entries.len() as u64));
        let mut bytes = [b"GGUF".to_vec(), self.u32(3), tensors, entries, self.entries.concat()].concat();
        let mut offset = 0;
        for (name, shape, kind) in &self.tensors {
            let dimensions: Vec<_> = shape.iter().map(|length| self.u64(*length)).collect();
            let dimension_count = self.u32(u32::try_from(shape.len()).expect("a few dimensions"));
            bytes.extend(
                [self.string(name), dimension_count, dimensions.concat(), self.u32(*kind), self.u64(offset)]
                    .concat(),
            );
            offset += Self::size(shape, *kind);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes
    }

    fn size(shape: &[u64], kind: u32) -> u64 {
        let width = if kind == F32 { 4 } else { 2 };
        (shape.iter().product::<u64>() * width).next_multiple_of(32)
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let data: u64 = self.tensors.iter().map(|(_, shape, kind)| Self::size(shape, *kind)).sum();
        let mut bytes = self.header();
        bytes.resize(bytes.len() + usize::try_from(data).expect("a small file"), 7);
        bytes
    }
}
