//! Files at plain addresses: `url:https://host/folder/file` on any server that speaks HTTP, which knows neither commits
//! nor digests, and `file:///folder/file` or `file:///folder/` on this machine. An address that begins with `https://` itself is one of a
//! Hub (`https://host/owner/name`).

use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::{Login, RepoId, RepoKind, RepoPath};
use crate::content::Sha256;
use crate::words::Invalid;

/// How a reference to a server begins.
const SCHEME: &str = "url:";
/// How one to this machine begins.
const FILE: &str = "file:";
/// What stands in the place of the server then.
const HERE: &str = "file://";
/// What is wrong with a reference to this machine.
const WHOLE_PATH: &str = "expected file:///FOLDER/FILE, with the whole path";
/// Everything in a path but what RFC 3986 calls unreserved.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// What such a reference says.
pub(super) struct Address {
    /// The folder.
    pub(super) folder: RepoId,
    /// The file in it; none where the text ends with a slash.
    pub(super) file: Option<RepoPath>,
    /// What the file must hash to: `#sha256=HEX`, as pip writes it.
    pub(super) sha256: Option<Sha256>,
}

/// Reads a reference; `None` if it is none of these.
pub(super) fn parse(text: &str) -> Option<Result<Address, Invalid>> {
    let is_file = text.starts_with(FILE);
    text.strip_prefix(SCHEME).or(Some(text).filter(|_| is_file)).map(read)
}

fn read(text: &str) -> Result<Address, Invalid> {
    let (text, fragment) = text.split_once('#').map_or((text, None), |(text, rest)| (text, Some(rest)));
    let invalid = |why: &str| Invalid::new("address", text, why);
    // The parser of URLs would take the folder that somebody is in for the root.
    if text.strip_prefix(FILE).is_some_and(|path| !path.starts_with('/')) {
        return Err(invalid(WHOLE_PATH));
    }
    let url = plain(text)?;
    let (folder, name) = url.path().rsplit_once('/').ok_or_else(|| invalid("expected a path"))?;
    let name = percent_decode_str(name).decode_utf8().map_err(|_| invalid("its name is not UTF-8"))?;
    if name.contains('/') {
        return Err(invalid("its name holds a `/`"));
    }
    let file = Some(&*name).filter(|name| !name.is_empty()).map(str::parse).transpose()?;
    let sha256 = match fragment.map(|fragment| fragment.strip_prefix("sha256=")) {
        None => None,
        Some(Some(digest)) if file.is_some() => Some(digest.parse()?),
        Some(_) => return Err(invalid("behind the # of a file only sha256=HEX has a meaning")),
    };
    let is_here = url.scheme() == "file";
    let owner = if is_here { HERE.to_owned() } else { url.origin().ascii_serialization() };
    let name = folder.trim_matches('/').to_owned();
    Ok(Address { folder: RepoId { kind: RepoKind::Url, owner, name }, file, sha256 })
}

/// The folder of `https://host/folder` or `file:///folder`, as receipts have it.
pub(super) fn folder(text: &str) -> Result<RepoId, Invalid> {
    Ok(read(&format!("{}/", text.trim_end_matches('/')))?.folder)
}

/// The reference to a folder.
pub(super) fn reference(folder: &RepoId) -> String {
    let scheme = if folder.owner == HERE { "" } else { SCHEME };
    let slash = if folder.name.is_empty() { "" } else { "/" };
    format!("{scheme}{}/{}{slash}", folder.owner, folder.name)
}

fn plain(text: &str) -> Result<Url, Invalid> {
    let invalid = |why: &str| Invalid::new("address", text, why);
    let url = Url::parse(text).map_err(|why| invalid(&why.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.host().is_some() => {}
        "file" if url.host().is_none() => {}
        "file" => return Err(invalid(WHOLE_PATH)),
        _ => return Err(invalid("expected url:https://HOST/FILE")),
    }
    if Login::of(&url).is_some() {
        return Err(invalid("a user name and password have no place in it"));
    }
    if url.query().is_some() {
        let why =
            "a query has no place in it: it is kept in receipts and lock files, and signed ones run out";
        return Err(invalid(why));
    }
    // Each server has its own idea of what these are.
    if url.path().contains("//") {
        return Err(invalid("a part of its path is empty"));
    }
    Ok(url)
}

impl RepoId {
    /// Whether it is a folder of a plain server, or of this machine, which is no Hub and has no commits.
    pub fn is_address(&self) -> bool {
        self.kind == RepoKind::Url
    }

    /// Whether it is a folder of this machine: no network is needed.
    pub fn is_here(&self) -> bool {
        self.is_address() && self.owner == HERE
    }

    /// Where such a folder of this machine is.
    pub fn folder_here(&self) -> Option<PathBuf> {
        let folder = Some(self).filter(|repo| repo.is_here())?;
        file_at(&plain(&format!("{}/{}", folder.owner, folder.name)).ok()?)
    }

    /// Where a file of such a folder is.
    pub fn address_of(&self, path: &RepoPath) -> Result<Url, Invalid> {
        let (folder, path) = (self.name.as_str(), utf8_percent_encode(path.as_str(), PATH));
        let slash = if folder.is_empty() { "" } else { "/" };
        plain(&format!("{}/{folder}{slash}{path}", self.owner))
    }
}

/// The file of this machine that an address is, if it is one.
pub fn file_at(address: &Url) -> Option<PathBuf> {
    (address.scheme() == "file").then(|| address.to_file_path().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Address, Invalid> {
        parse(text).expect("an address")
    }

    #[test]
    fn an_address_is_a_folder_and_a_file() {
        for (text, folder, file, url) in [
            ("file:///a/b/m.gguf", "file:///a/b/", "m.gguf", "file:///a/b/m.gguf"),
            ("file:///a b/%6d", "file:///a%20b/", "m", "file:///a%20b/m"),
            ("file:///m", "file:///", "m", "file:///m"),
            ("url:https://h/a/b/m.gguf", "url:https://h/a/b/", "m.gguf", "https://h/a/b/m.gguf"),
            ("url:https://H:443/m.gguf", "url:https://h/", "m.gguf", "https://h/m.gguf"),
            (
                "url:http://h:81/a%20b/m%20n.gguf",
                "url:http://h:81/a%20b/",
                "m n.gguf",
                "http://h:81/a%20b/m%20n.gguf",
            ),
            ("url:https://h/a/../b/m", "url:https://h/b/", "m", "https://h/b/m"),
            ("url:https://[::1]:8/x/\u{fc}", "url:https://[::1]:8/x/", "\u{fc}", "https://[::1]:8/x/%C3%BC"),
        ] {
            let address = parsed(text).expect(text);
            let path = address.file.expect("a file");
            assert_eq!((address.folder.to_string().as_str(), path.as_str()), (folder, file));
            assert_eq!(address.folder.address_of(&path).expect("an address").as_str(), url);
            let json = serde_json::to_string(&address.folder).expect("JSON");
            assert_eq!(serde_json::from_str::<RepoId>(&json).expect("the same"), address.folder);
            let file = file_at(&address.folder.address_of(&path).expect("an address"));
            assert_eq!(address.folder.folder_here(), file.and_then(|file| file.parent().map(Into::into)));
        }
        assert!(parsed("url:https://h/a/").expect("a folder").file.is_none());
        assert!(parse("https://h/a").is_none() && parse("o/n").is_none());
    }

    #[test]
    fn what_is_no_plain_address_is_refused_without_its_secrets() {
        for text in [
            "file://elsewhere/m",
            "file:///",
            "file://./m",
            "file:m",
            "file:~/m",
            "file:../m",
            "https://user:SECRET@h/m",
            "https://h/m?sig=SECRET",
            "ftp://h/m",
            "https://",
            "h/m",
            "https://h//m",
            "https://h/m#SECRET",
            "https://h/m#sha256=zz",
            "https://h/#sha256=SECRET",
            "https://h/%2e%2e%2fm%00",
            "https://h/a%2Fb",
            "https://h/%ff",
        ] {
            let refused = read(text).and_then(|address| address.file.ok_or(Invalid::hidden("a", "no file")));
            let refused = refused.expect_err(text).to_string();
            assert!(!refused.contains("SECRET"), "{refused}");
        }
    }
}
