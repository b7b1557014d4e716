//! A content in a file of this machine: another name of it.

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use tokio::sync::OnceCell;

use super::{Body, Opened, Provenance, Source, Trouble};
use crate::error::Error;
use crate::stop::blocking;

/// Bytes read at a time.
const CHUNK: u64 = 256 << 10;

/// A file that was opened before, and is read as it is: whether it holds what it should, the digest of
/// what is made of it will tell.
#[derive(Debug, Clone)]
pub struct LocalFile {
    file: Arc<File>,
    path: PathBuf,
    origin: Provenance,
    stall_timeout: Duration,
}

impl LocalFile {
    /// `path` is its name in messages. A disk that is silent for `stall_timeout` is asked again.
    pub fn new(file: Arc<File>, path: &Path, stall_timeout: Duration) -> Self {
        let origin = Provenance::new(&path.display().to_string());
        Self { file, path: path.into(), origin, stall_timeout }
    }

    async fn read(self, range: Range<u64>) -> Result<Bytes, Trouble> {
        let read = blocking(move || {
            let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
            let read = self.file.read_at(&mut bytes, range.start);
            let length = read.map_err(Error::io("read", &self.path)).map_err(Trouble::Final)?;
            if length == 0 {
                let (host, why) = (self.origin.to_string(), format!("it ends at byte {}", range.start));
                return Err(Trouble::Changed { host, why });
            }
            bytes.truncate(length);
            Ok(Bytes::from(bytes))
        });
        read.await.map_err(Trouble::Final)?
    }
}

impl Source for LocalFile {
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>> {
        let file = self.clone();
        let next = move |position: u64, end: u64| {
            let file = file.clone();
            async move {
                if position == end {
                    return Ok(None);
                }
                let bytes = file.read(position..end.min(position + CHUNK)).await?;
                let position = position + bytes.len() as u64;
                Ok(Some((bytes, (position, end))))
            }
        };
        let chunks =
            stream::try_unfold((range.start, range.end), move |(position, end)| next(position, end)).boxed();
        let body = Body::new(chunks, self.stall_timeout, self.origin.clone());
        Box::pin(std::future::ready(Ok(Opened { body, covers: range.clone(), origin: self.origin.clone() })))
    }

    fn is_metered(&self) -> bool {
        false
    }
}

/// A file that is opened when it is first asked for.
#[derive(Debug)]
pub struct LocalPath {
    path: PathBuf,
    stall_timeout: Duration,
    opened: OnceCell<LocalFile>,
}

impl LocalPath {
    /// A disk that is silent for `stall_timeout` is asked again.
    pub fn new(path: PathBuf, stall_timeout: Duration) -> Self {
        Self { path, stall_timeout, opened: OnceCell::new() }
    }

    async fn opened(&self) -> Result<&LocalFile, Error> {
        let open = || async {
            let path = self.path.clone();
            let file = blocking(move || open(&path)).await??;
            Ok(LocalFile::new(Arc::new(file), &self.path, self.stall_timeout))
        };
        self.opened.get_or_try_init(open).await
    }
}

impl Source for LocalPath {
    fn open<'a>(&'a self, range: &'a Range<u64>) -> BoxFuture<'a, Result<Opened, Trouble>> {
        Box::pin(async move { self.opened().await.map_err(Trouble::Final)?.open(range).await })
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn is_metered(&self) -> bool {
        false
    }
}

/// Opens a regular file that the user named, to read it. Waits for no FIFO.
pub fn open(path: &Path) -> Result<File, Error> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(Error::io("open", path))?;
    if file.metadata().map_err(Error::io("look at", path))?.is_file() {
        return Ok(file);
    }
    Err(Error::invalid("file", &path.to_string_lossy(), "it is no regular file"))
}
