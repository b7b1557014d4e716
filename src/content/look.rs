//! Whether a file is what its name promises, found out as its bytes come.

use super::gguf::{self, Scan};
use super::kind::{self, START};

/// What a file is, against its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strange {
    /// Its name promises GGUF.
    pub is_gguf: bool,
    /// What it is instead, in words that begin with "it" or "its".
    pub why: String,
}

/// Looks at the bytes of a file in their order.
#[derive(Debug)]
pub struct Look {
    name: String,
    size: u64,
    shards: Option<u64>,
    /// The first bytes, until there are enough of them.
    start: Option<Vec<u8>>,
    scan: Option<Scan>,
}

impl Look {
    /// At a file of `size` bytes that is one of `shards` by its name.
    pub fn new(file_name: &str, size: u64, shards: Option<u64>) -> Self {
        let scan = gguf::is_named(file_name).then(Scan::default);
        Self { name: file_name.to_owned(), size, shards, start: Some(Vec::new()), scan }
    }

    /// Takes the next bytes. Fails if the file cannot be what its name says, whatever follows.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Strange> {
        let Some(start) = &mut self.start else { return self.scan(bytes) };
        start.extend(bytes);
        let is_enough = start.len() >= START || start.len() as u64 >= self.size;
        if !is_enough {
            return Ok(());
        }
        let start = self.start.take().unwrap_or_default();
        if self.scan.is_none() {
            return kind::check(&self.name, &start).map_err(|why| self.strange(why));
        }
        self.scan(&start)
    }

    /// Whether nothing that comes can make the file a strange one.
    pub fn is_over(&self) -> bool {
        self.start.is_none() && self.scan.as_ref().is_none_or(Scan::is_over)
    }

    /// Whether the first bytes were looked at.
    pub fn has_begun(&self) -> bool {
        self.start.is_none()
    }

    /// Fails if a file of which all bytes were taken is not what its name says.
    pub fn end(&self) -> Result<(), Strange> {
        let Some(scan) = &self.scan else { return Ok(()) };
        scan.check(self.shards, self.size).map_err(|why| self.strange(why))
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), Strange> {
        let Some(scan) = self.scan.as_mut().filter(|scan| !scan.is_over()) else { return Ok(()) };
        let is_decided = |scan: &Scan| scan.is_over() || scan.least() > self.size;
        let checked = scan
            .feed(bytes)
            .and_then(|()| if is_decided(scan) { scan.check(self.shards, self.size) } else { Ok(()) });
        checked.map_err(|why| self.strange(why))
    }

    fn strange(&self, why: String) -> Strange {
        Strange { is_gguf: self.scan.is_some(), why }
    }
}
