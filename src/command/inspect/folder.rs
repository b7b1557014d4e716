//! Headers of files on the disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Facts, Header, InspectRequest, Reading, Room, bounded, broken, facts, has_header, sets};
use crate::error::Error;
use crate::request::Shard;

/// Names of a folder that are looked at.
const NAMES_MAX: usize = 100_000;
/// Of a file of JSON, in bytes.
const JSON_MAX: u64 = 64 << 20;

/// The models of a folder, or that of one file: of a shard its whole set. And the names of those that are left out.
pub(super) fn models(path: &Path, request: &InspectRequest) -> Result<(Vec<Facts>, Vec<String>), Error> {
    let is_folder = fs::metadata(path).map_err(Error::io("look at", path))?.is_dir();
    let folder = if is_folder { path } else { path.parent().unwrap_or(Path::new("")) };
    let names = if is_folder {
        let names = names(folder)?;
        if !names.iter().any(|name| has_header(name)) {
            let why = "it holds neither GGUF nor safetensors files";
            return Err(Error::invalid("folder", &path.to_string_lossy(), why));
        }
        names
    } else {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let set = Shard::parse(&name).filter(|shard| shard.total > 1);
        let in_set = |other: &String| {
            set.is_some_and(|set| Shard::parse(other).is_some_and(|other| set.is_of_set_of(&other)))
        };
        let of_set =
            if set.is_some() { names(folder)?.into_iter().filter(in_set).collect() } else { Vec::new() };
        if of_set.is_empty() { vec![name] } else { of_set }
    };
    let sets = sets(names.iter().filter(|name| !is_folder || has_header(name)), |name| name);
    let (sets, left_out) = bounded(sets, request, &path.to_string_lossy())?;
    let (mut models, mut room) = (Vec::new(), Room::new());
    for set in sets {
        let files = set.files.iter().map(|name| {
            let read = header(&folder.join(name), name)?;
            room.take(&read.2, name).map(|()| read)
        });
        let mut model = Facts::new(set.name.clone(), files.collect::<Result<_, _>>()?)?;
        if model.format == super::Format::Safetensors {
            let read = |name: &str| json(&folder.join(name));
            let config = read("config.json").unwrap_or_default();
            model.config = config.as_deref().map(facts::config).unwrap_or_default();
        }
        models.push(model);
    }
    let there: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for name in names.iter().filter(|name| name.ends_with(".safetensors.index.json")) {
        if let Some(bytes) = json(&folder.join(name))? {
            facts::complete(&mut models, name, &bytes, |shard| there.contains(shard))?;
        }
    }
    Ok((models, left_out))
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(shown).map_err(Error::io("list", shown))?;
    let names = entries.take(NAMES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Opens a regular file. Whoever names it may have put anything there: a FIFO would be waited for.
fn open(path: &Path) -> Result<(File, u64), Error> {
    let metadata = fs::metadata(path).map_err(Error::io("look at", path))?;
    if !metadata.is_file() {
        return Err(Error::invalid("file", &path.to_string_lossy(), "it is no regular file"));
    }
    Ok((File::open(path).map_err(Error::io("open", path))?, metadata.len()))
}

fn header(path: &PathBuf, name: &str) -> Result<(String, u64, Header), Error> {
    let (mut file, size) = open(path)?;
    let mut reading = Reading::new(name, size);
    let mut buffer = Vec::new();
    let shown = path.to_string_lossy();
    let strange = |why| broken(&shown, why);
    while let Some(range) = reading.next().map_err(strange)? {
        buffer.clear();
        file.seek(SeekFrom::Start(range.start)).map_err(Error::io("read", path))?;
        let part = file.by_ref().take(range.end - range.start).read_to_end(&mut buffer);
        if part.map_err(Error::io("read", path))? == 0 {
            break;
        }
        reading.feed(&buffer).map_err(strange)?;
    }
    let shards = Shard::parse(name).map(|shard| shard.total.into());
    Ok((name.to_owned(), size, reading.end(shards).map_err(strange)?))
}

/// A file of JSON; `None` if there is none, or none that may be one.
fn json(path: &PathBuf) -> Result<Option<Vec<u8>>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let (file, size) = open(path)?;
    if size > JSON_MAX {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Some(bytes))
}
