//! Folders of this machine: which files they have, and what receipts there say of them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::chosen;
use crate::content::Content;
use crate::error::Error;
use crate::request::{Choice, Gap, Patterns, RepoPath, Request, file_at};
use crate::store::Store;
use crate::words::count;

/// Files of a folder that are looked at.
const NAMES_MAX: usize = 500_000;
/// What programs keep beside the files of a model; `huggingface_hub` uploads none of these either (its
/// `DEFAULT_IGNORE_PATTERNS`).
const STATES: [&str; 3] = [".modelfetch", ".cache/huggingface", ".git"];

/// The files of a folder that match the patterns. Blocks the thread.
pub(super) fn choose(
    request: &Request,
    folder: &Path,
    patterns: &Patterns,
) -> Result<(Vec<RepoPath>, Vec<Gap>), Error> {
    let found = names(folder)?;
    let names = found.iter().map(|found| found.name.as_str()).collect();
    let Choice { picked, gaps } = chosen(request, patterns, names)?;
    let paths = picked.into_iter().map(|at| {
        let Found { name, refusal } = &found[at];
        let path = match refusal {
            None => name.parse().map_err(|why: crate::words::Invalid| why.to_string()),
            Some(why) => Err((*why).to_owned()),
        };
        path.map_err(|why| Error::NameRefused { repo: request.repo.clone(), name: name.clone(), why })
    });
    Ok((paths.collect::<Result<_, _>>()?, gaps))
}

/// What the files must be: what their pins say, or what an earlier run that brought them there has verified. Blocks the
/// thread.
pub(super) fn contents(request: &Request, paths: &[RepoPath]) -> Result<Vec<Content>, Error> {
    let mut contents = Vec::with_capacity(paths.len());
    let mut unknown = Vec::new();
    for path in paths {
        let file = file_at(&request.repo.address_of(path)?).unwrap_or_default();
        let size = size(request, path, &file)?;
        let content = match request.pins.for_file(path, paths.len()) {
            Some(pin) => Some(Content::of_sha256(size, pin)),
            None => Store::content_of(&file, request.recheck)?,
        };
        match content {
            Some(content) => contents.push(content),
            None => unknown.push(path),
        }
    }
    let Some((first, others)) = unknown.split_first() else { return Ok(contents) };
    let those = match others.len() {
        0 => String::new(),
        others => format!(", nor those of {}", count(others as u64, "other file")),
    };
    let why = format!(
        "nobody there says what its bytes must be{those}: give --sha256 FILE=HEX, or fetch it to that folder with modelfetch, which hashes what is there"
    );
    Err(Error::invalid("file", &format!("{}{first}", request.repo), why))
}

fn size(request: &Request, path: &RepoPath, file: &Path) -> Result<u64, Error> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => Ok(metadata.len()),
        Ok(metadata) if metadata.is_dir() => {
            let why = format!("it is a folder: write {}{path}/ for all that is in it", request.repo);
            Err(Error::invalid("file", &file.to_string_lossy(), why))
        }
        Ok(_) => Err(Error::invalid("file", &file.to_string_lossy(), "it is no regular file")),
        Err(why) if why.kind() == ErrorKind::NotFound => {
            let (repo, revision) = (request.repo.clone(), request.revision.clone());
            Err(Error::FileNotFound { repo, revision, path: path.clone() })
        }
        Err(why) => Err(Error::io("look at", file)(why)),
    }
}

/// A name in a folder.
struct Found {
    name: String,
    /// Why it cannot be had, as far as the name tells; nothing is wrong as long as nobody wants it.
    refusal: Option<&'static str>,
}

/// All files below a folder, in order. Links to files are files; a link to a folder is not followed: it may lead back.
fn names(root: &Path) -> Result<Vec<Found>, Error> {
    let mut names = Vec::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, below)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let entry = entry.map_err(Error::io("list", &folder))?;
            let kind = entry.file_type().map_err(Error::io("look at", &entry.path()))?;
            let is_utf8 = entry.file_name().to_str().is_some();
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() {
                if !STATES.contains(&name.as_str()) {
                    folders.push((entry.path(), name + "/"));
                }
                continue;
            }
            let refusal = if !is_utf8 {
                Some("it is not UTF-8")
            } else if kind.is_symlink() && is_folder(&entry.path()) {
                Some("it is a link to a folder, which is not followed: name that folder itself")
            } else {
                None
            };
            names.push(Found { name, refusal });
            if names.len() > NAMES_MAX {
                let why = format!("it has more than {NAMES_MAX} files: name a folder in it");
                return Err(Error::invalid("folder", &root.to_string_lossy(), why));
            }
        }
    }
    names.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(names)
}

fn is_folder(link: &PathBuf) -> bool {
    fs::metadata(link).is_ok_and(|metadata| metadata.is_dir())
}
