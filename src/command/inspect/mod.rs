//! `modelfetch inspect`: what a model is, and what it needs, from the headers of its files.

mod facts;
mod folder;
mod remote;
mod weigh;

use std::path::PathBuf;

use crate::content::gguf::Scan;
use crate::content::{kind, safetensors};
use crate::error::Error;
use crate::memory::Setup;
use crate::request::{Request, Shard};

use super::Context;
pub use facts::{Facts, File, Format, Header, Kind, Template, Types};
pub use weigh::{Fit, Other};

/// The first part of a file that is read, in bytes; each further one is as long as all before it.
const FIRST: u64 = 256 << 10;
/// No header is longer, in bytes.
const HEADER_MAX: u64 = 64 << 20;
/// Models of one run: the rest is named.
const MODELS_MAX: usize = 64;
/// What is held of all headers of a run, in bytes. Those of the largest models take a tenth.
const HELD_MAX: usize = 64 << 20;

/// What to look at, and how a server would be started.
#[derive(Debug, Clone)]
pub struct InspectRequest {
    /// What to look at.
    pub subject: Subject,
    /// How a server would be started; the cards that it should fit into are here.
    pub setup: Setup,
    /// The architectures that the server knows; empty where that is not asked.
    pub architectures: Vec<String>,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A file or folder on the disk.
    Disk(PathBuf),
    /// Files of a repository.
    Hub(Box<Request>),
}

/// What was found.
#[derive(Debug)]
pub struct Inspected {
    /// Each model, with all its shards.
    pub models: Vec<Facts>,
    /// The first files of those that were not looked at, because there are too many.
    pub left_out: Vec<String>,
    /// Bytes that were received for that.
    pub bytes_fetched: u64,
    /// Whether all fit, where that was asked.
    pub verdict: Result<(), Error>,
}

/// Looks at the headers alone.
pub async fn inspect(request: &InspectRequest, context: &Context) -> Result<Inspected, Error> {
    match &request.subject {
        Subject::Disk(path) => {
            let (path, request) = (path.clone(), request.clone());
            let look = move || {
                let (models, left_out) = folder::models(&path, &request)?;
                Ok(Inspected { left_out, ..weigh::judged(models, &request) })
            };
            context.stop.or_blocking("reading headers", look).await
        }
        Subject::Hub(wanted) => {
            let work = Box::pin(remote::inspect(wanted, request, context));
            context.stop.or("reading headers", work).await
        }
    }
}

/// The files of one model: a set of shards, or one alone.
struct Set<T> {
    name: String,
    files: Vec<T>,
}

/// Puts files together that are shards of one set, in their order.
fn sets<T>(files: impl IntoIterator<Item = T>, name: impl Fn(&T) -> &str) -> Vec<Set<T>> {
    let mut sets: Vec<(Option<String>, Set<T>)> = Vec::new();
    for file in files {
        let path = name(&file);
        let of = Shard::parse(path).map(|shard| Shard { index: 0, ..shard }.to_string());
        let known = of.as_ref().and_then(|of| sets.iter_mut().find(|(other, _)| other.as_ref() == Some(of)));
        if let Some((_, set)) = known {
            set.files.push(file);
            continue;
        }
        let name = path.to_owned();
        sets.push((of, Set { name, files: vec![file] }));
    }
    for (_, set) in &mut sets {
        set.files.sort_by(|a, b| name(a).cmp(name(b)));
        if let Some(first) = set.files.first() {
            set.name = name(first).to_owned();
        }
    }
    sets.into_iter().map(|(_, set)| set).collect()
}

/// The models that are looked at, and the names of those that are left out. Fails if all are to be judged, and there are
/// too many of them.
fn bounded<T>(
    mut sets: Vec<Set<T>>,
    request: &InspectRequest,
    where_from: &str,
) -> Result<(Vec<Set<T>>, Vec<String>), Error> {
    let rest = sets.split_off(sets.len().min(MODELS_MAX));
    let is_judged = !request.setup.cards.is_empty() || !request.architectures.is_empty();
    if is_judged && !rest.is_empty() {
        let why = format!(
            "{} models are there, and --fits and --architectures judge {MODELS_MAX} at most: name a file, a glob or --quant",
            MODELS_MAX + rest.len()
        );
        return Err(Error::invalid("models of", where_from, why));
    }
    Ok((sets, rest.into_iter().map(|set| set.name).collect()))
}

/// What may still be held of the headers of a run, in bytes.
struct Room(usize);

impl Room {
    fn new() -> Self {
        Self(HELD_MAX)
    }

    fn take(&mut self, header: &Header, path: &str) -> Result<(), Error> {
        let held = match header {
            Header::Gguf(header) => header.held,
            Header::Safetensors(header) => {
                header.names.iter().map(|name| size_of::<String>() + name.len()).sum()
            }
        };
        let why = || {
            let why = format!(
                "names and values of all headers take more than {} MiB: name fewer files",
                HELD_MAX >> 20
            );
            Error::invalid("header of", path, why)
        };
        self.0 = self.0.checked_sub(held).ok_or_else(why)?;
        Ok(())
    }
}

/// Whether a file has a header that is read here.
fn has_header(name: &str) -> bool {
    Format::of(name).is_some()
}

/// A header that is read part by part.
struct Reading {
    path: String,
    size: u64,
    read: u64,
    state: State,
}

enum State {
    Gguf(Box<Scan>),
    Safetensors(Vec<u8>),
}

impl Reading {
    fn new(path: &str, size: u64) -> Self {
        let state = match Format::of(path) {
            Some(Format::Safetensors) => State::Safetensors(Vec::new()),
            _ => State::Gguf(Box::default()),
        };
        Self { path: path.to_owned(), size, read: 0, state }
    }

    /// The next range that is to be read; `None` once the header is there, or cannot be there as a whole.
    fn next(&self) -> Result<Option<std::ops::Range<u64>>, String> {
        let (least, wanted) = match &self.state {
            State::Gguf(scan) if scan.is_over() => return Ok(None),
            State::Gguf(scan) => (scan.least(), u64::MAX),
            State::Safetensors(bytes) => match bytes.first_chunk() {
                Some(prefix) => {
                    let length = safetensors::json_length(*prefix)? + safetensors::PREFIX as u64;
                    (length, length)
                }
                None => (safetensors::PREFIX as u64, u64::MAX),
            },
        };
        if self.read >= wanted || least > self.size {
            return Ok(None);
        }
        if least > HEADER_MAX {
            return Err(format!("its header has more than {} MiB", HEADER_MAX >> 20));
        }
        let wanted = wanted.min(self.size);
        let end = self.read.saturating_add(self.read.max(FIRST)).min(wanted).min(HEADER_MAX);
        Ok(Some(self.read..end))
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.read += bytes.len() as u64;
        match &mut self.state {
            State::Gguf(scan) => scan.feed(bytes),
            State::Safetensors(all) => {
                if all.is_empty() {
                    kind::check(&self.path, bytes)?;
                }
                all.extend(bytes);
                Ok(())
            }
        }
    }

    fn end(self, number: Option<u64>) -> Result<Header, String> {
        match self.state {
            State::Gguf(scan) => {
                scan.check(number, self.size)?;
                Ok(Header::Gguf(scan.into_header()?))
            }
            State::Safetensors(bytes) => {
                let end = match bytes.first_chunk() {
                    Some(prefix) => safetensors::json_length(*prefix)? + safetensors::PREFIX as u64,
                    None => return Err(format!("it ends after {} bytes", bytes.len())),
                };
                let json = bytes.get(safetensors::PREFIX..usize::try_from(end).unwrap_or(usize::MAX));
                let json =
                    json.ok_or_else(|| format!("it ends within its header, after {} bytes", self.size))?;
                safetensors::parse(json, self.size).map(Header::Safetensors)
            }
        }
    }
}

/// The error for a header that cannot be one.
fn broken(path: &str, why: String) -> Error {
    Error::BrokenHeader { path: path.to_owned(), why }
}
