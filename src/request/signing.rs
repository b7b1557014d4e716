//! Whose signature a model has to have.

use std::fmt;
use std::sync::Arc;

use super::RepoPath;
use super::glob::Glob;
use crate::words::Invalid;

/// What the signature of a model is called unless somebody says otherwise: `model-signing`'s own default.
pub const SIGNATURE: &str = "model.sig";

/// A demand for a signature, and who may have made it.
#[derive(Debug, Clone)]
pub struct Signing {
    /// Public keys that are trusted.
    pub keys: Vec<PemFile>,
    /// Certificates that are trusted: of authorities, or of signers themselves.
    pub certificates: Vec<PemFile>,
    /// The signature: a file of the repository. Names in it are relative to its folder.
    pub signature: RepoPath,
    /// Files that need not be signed.
    pub allow_unsigned: Globs,
}

/// A file that somebody named, with what is in it.
#[derive(Clone)]
pub struct PemFile {
    /// What messages call it.
    pub name: String,
    /// Its bytes.
    pub text: Arc<[u8]>,
}

impl fmt::Debug for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Globs for names of files.
#[derive(Debug, Clone, Default)]
pub struct Globs(Vec<Glob>);

impl Globs {
    /// Reads them.
    pub fn new(texts: &[String]) -> Result<Self, Invalid> {
        let read = |text: &String| Glob::new(text).map_err(|why| Invalid::new("glob", text, why));
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them matches the whole name.
    pub fn is_match(&self, path: &RepoPath) -> bool {
        self.0.iter().any(|glob| glob.is_match(path.as_str()))
    }
}
