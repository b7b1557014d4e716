//! Whom the user trusts to sign models: files with keys and certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Environment;
use super::args::TrustArgs;
use super::given::Given;
use crate::error::Error;
use crate::request::{Globs, Model, PemFile, RepoPath, SIGNATURE, Signing};
use crate::trust::Signers;

/// A larger file holds something else.
const BYTES_MAX: u64 = 1 << 20;

/// What the flags demand of every model; `None` if nobody is trusted.
pub(super) fn signing(
    args: &TrustArgs,
    given: &Given<'_>,
    environment: &Environment,
) -> Result<Option<Arc<Signing>>, Error> {
    let keys = given.paths("trust_key", &args.trust_key);
    let certificates = given.paths("trust_cert", &args.trust_cert);
    let allow_unsigned = given.lines("allow_unsigned", args.allow_unsigned.clone());
    let signature = args.signature.as_deref().filter(|name| !name.is_empty());
    if keys.is_empty() && certificates.is_empty() {
        let lonely =
            signature.map(|_| "--signature").or((!allow_unsigned.is_empty()).then_some("--allow-unsigned"));
        return match lonely {
            Some(flag) => {
                let why =
                    "say who may have signed: name a key with --trust-key or a certificate with --trust-cert";
                Err(Error::invalid("combination", flag, why))
            }
            None => Ok(None),
        };
    }
    let place = |path: &PathBuf| environment.expand_home(path);
    let keys: Vec<_> = keys.iter().map(place).collect();
    let certificates: Vec<_> = certificates.iter().map(place).collect();
    read(&keys, &certificates, signature.unwrap_or(SIGNATURE), &allow_unsigned).map(Some)
}

/// What a manifest demands of a model; files are named from its folder.
pub(super) fn of_model(model: &Model, manifest: &Path) -> Result<Option<Arc<Signing>>, Error> {
    let Some(wish) = &model.signing else { return Ok(None) };
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let beside = |paths: &[String]| paths.iter().map(|path| folder.join(path)).collect::<Vec<_>>();
    let (keys, certificates) = (beside(&wish.trust_key), beside(&wish.trust_cert));
    read(&keys, &certificates, wish.signature.as_deref().unwrap_or(SIGNATURE), &wish.allow_unsigned).map(Some)
}

fn read(
    keys: &[PathBuf],
    certificates: &[PathBuf],
    signature: &str,
    allow_unsigned: &[String],
) -> Result<Arc<Signing>, Error> {
    let all = |paths: &[PathBuf]| -> Result<Vec<PemFile>, Error> {
        let mut files = Vec::new();
        for path in paths {
            add(path, &mut files)?;
        }
        Ok(files)
    };
    let signing = Signing {
        keys: all(keys)?,
        certificates: all(certificates)?,
        signature: signature.parse::<RepoPath>()?,
        allow_unsigned: Globs::new(allow_unsigned)?,
    };
    // What is no key is told before anybody is asked.
    Signers::read(&signing)?;
    Ok(Arc::new(signing))
}

/// A file, or every file of a folder, but for hidden ones: Kubernetes keeps the versions of a mounted Secret in those.
fn add(path: &Path, files: &mut Vec<PemFile>) -> Result<(), Error> {
    let name = path.to_string_lossy();
    let invalid = |why: String| Error::invalid("trusted key or certificate", &name, why);
    let metadata = std::fs::metadata(path).map_err(|why| invalid(why.to_string()))?;
    if metadata.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|why| invalid(why.to_string()))?;
        let mut paths = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| invalid(why.to_string()))?;
        paths.retain(|path| {
            !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) && path.is_file()
        });
        paths.sort();
        if paths.is_empty() {
            return Err(invalid("no file is in this folder".into()));
        }
        return paths.iter().try_for_each(|path| add(path, files));
    }
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(invalid("it is no file of at most 1 MiB".into()));
    }
    let text = std::fs::read(path).map_err(|why| invalid(why.to_string()))?;
    files.push(PemFile { name: name.into_owned(), text: text.into() });
    Ok(())
}
