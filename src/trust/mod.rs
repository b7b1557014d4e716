//! Who vouches for a content: what was announced, what the user pinned, and what somebody signed.

mod json;
pub mod signature;
mod signer;

use std::collections::HashMap;
use std::sync::Arc;

use crate::content::{Content, Sha256, XetHash};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{LockedFile, Pins, RepoPath, Signing};

pub use signature::{Signed, SignedFile, SignedFiles, Statement};
pub use signer::{Signer, Signers};

/// The content to verify against: what was announced for `path`, with the user's pin, which must agree
/// where the two can be compared.
pub fn vouch(path: &RepoPath, announced: Content, pin: Option<Sha256>) -> Result<Content, Error> {
    let Some(pin) = pin else { return Ok(announced) };
    announced.with_sha256(pin).map_err(|announced| Error::PinMismatch {
        path: path.clone(),
        pinned: pin,
        announced,
    })
}

/// All files of a request, each with its pin. A pin that none of them has is a mistake.
pub fn pinned<'a>(
    pins: &Pins,
    announced: impl ExactSizeIterator<Item = (&'a RepoPath, Content, Option<XetHash>)> + Clone,
) -> Result<Vec<WantedFile>, Error> {
    let number = announced.len();
    pins.check_used(announced.clone().map(|(path, ..)| path))?;
    // There may be 100,000: room that grows would be twice as much for a moment.
    let mut files = Vec::with_capacity(number);
    for (path, content, xet_hash) in announced {
        let pin = pins.for_file(path, number);
        let content = vouch(path, content, pin)?;
        let mut file = WantedFile::new(path.clone(), content).known_as(xet_hash);
        if pins.is_wanted_by_digest(path, number) {
            file.vouchers.add_pin();
        }
        files.push(file);
    }
    Ok(files)
}

/// Pins files to what a signature says of them; counts those that it names. Those that it does not name have to be
/// allowed, but for itself and for git's own, which no signature names.
pub fn pin_to_signature(
    files: &mut [WantedFile],
    signed: &Signed,
    signing: &Signing,
) -> Result<usize, Error> {
    let signer: Arc<str> = signed.signer().to_string().into();
    let folder = match signing.signature.folder() {
        "" => String::new(),
        folder => format!("{folder}/"),
    };
    let may_be_unsigned = |path: &RepoPath| {
        let below = path.as_str().strip_prefix(&folder);
        *path == signing.signature
            || below.is_some_and(signature::is_never_signed)
            || signing.allow_unsigned.is_match(path)
    };
    let wanted = files.iter().filter(|file| !may_be_unsigned(&file.path)).count();
    let mut count = 0;
    for file in files {
        let below = file.path.as_str().strip_prefix(&folder).and_then(|name| name.parse().ok());
        let is_alone = wanted == 1 && !may_be_unsigned(&file.path);
        let digest = match below.and_then(|name: RepoPath| signed.statement().file(&name, is_alone)) {
            Some(SignedFile::Whole(digest)) => *digest,
            Some(SignedFile::Parts(parts)) => match &parts[..] {
                [(size, digest)] if *size == file.size() => *digest,
                parts => {
                    let size = parts.last().map_or(0, |(end, _)| *end);
                    return Err(Error::SignedInParts { path: file.path.clone(), parts: parts.len(), size });
                }
            },
            None if may_be_unsigned(&file.path) => continue,
            None => {
                return Err(Error::Unsigned {
                    path: file.path.clone(),
                    signature: signing.signature.clone(),
                });
            }
        };
        file.content = file.content.with_sha256(digest).map_err(|announced| {
            Error::SignatureContradicted { path: file.path.clone(), signed: digest, announced }
        })?;
        file.vouchers.add_signer(Arc::clone(&signer));
        count += 1;
    }
    Ok(count)
}

/// Compares what a Hub says of a commit's files with a lock file, which lists them all.
pub fn check_lock(announced: &[WantedFile], locked: &[LockedFile]) -> Result<(), Error> {
    let contradicted = |path: &RepoPath, locked: Option<&Content>, announced: Option<&Content>| {
        let words = |content: Option<&Content>| {
            content.map_or("no such file".to_owned(), |content| format!("{content:?}"))
        };
        let (locked, announced) = (words(locked), words(announced));
        Err(Error::LockContradicted { path: path.clone(), locked, announced })
    };
    let mut unseen: HashMap<_, _> = locked.iter().map(|file| (&file.path, &file.content)).collect();
    for file in announced {
        match unseen.remove(&file.path) {
            Some(locked) if locked.may_be(&file.content) => {}
            locked => return contradicted(&file.path, locked, Some(&file.content)),
        }
    }
    match unseen.into_iter().min_by_key(|(path, _)| *path) {
        Some((path, locked)) => contradicted(path, Some(locked), None),
        None => Ok(()),
    }
}

/// Extends the pin of one name to the other names of that content, if the Hub names it by its git blob id. They
/// share a partial file, which only one may fill: with a pin and without one they must not be two contents.
pub fn share_pins(files: &mut [WantedFile]) -> Result<(), Error> {
    let mut pinned = HashMap::new();
    for WantedFile { path, content, .. } in &*files {
        if let Some((_, pin)) = content.git_sha1().zip(content.sha256()) {
            let first = pinned.entry((content.size(), content.key())).or_insert(*content);
            vouch(path, *first, Some(pin))?;
        }
    }
    for WantedFile { content, .. } in files {
        if let Some(known) = pinned.get(&(content.size(), content.key())) {
            *content = *known;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Digest;

    fn file(path: &str, etag: &str, pin: Option<&str>) -> WantedFile {
        let content = Content::new(5, Digest::from_etag(&etag.repeat(40)).expect("a digest"));
        let pin = pin.map(|digit| digit.repeat(64).parse().expect("a digest"));
        let path: RepoPath = path.parse().expect("a path");
        WantedFile::new(path.clone(), vouch(&path, content, pin).expect("agreed"))
    }

    #[test]
    fn a_pin_holds_for_all_names_of_its_content_and_no_other() {
        let mut files = [file("a", "1", None), file("b", "1", Some("f")), file("c", "2", None)];
        share_pins(&mut files).expect("agreed");
        assert_eq!(files[0].content, files[1].content);
        assert_eq!(files[2], file("c", "2", None));
    }

    #[test]
    fn two_pins_for_one_content_must_agree() {
        let mut files = [file("a", "1", Some("f")), file("b", "1", Some("e"))];
        assert!(matches!(share_pins(&mut files), Err(Error::PinMismatch { .. })));
    }
}
