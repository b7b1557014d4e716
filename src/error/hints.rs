//! What to do next about each error: for the person who reads the log.

use std::io;

use super::exits::worst;
use super::{Error, Failure, Unfinished};
use crate::content::Computed;
use crate::request::{TokenSource, glob_of};

/// What is tried with a name that a file or folder is to get: [`Error::Io`] has a hint of its own for it.
pub const GIVE_NAME: &str = "give a file the name";

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let token_hint = |token: &Option<TokenSource>| match token {
            Some(source @ TokenSource::Exchange { .. }) => format!(
                "the token from {source} was used, which is for that repository alone, or for public and gated ones that this user may read"
            ),
            Some(source) => format!(
                "the token from {source} was used; check that it is valid and may read this repository"
            ),
            None => "no token was used; set HF_TOKEN if the repository is private".into(),
        };
        Some(match self {
            Self::Invalid(_) | Self::Interrupted { .. } => return None,
            Self::BadToken(_) => "write the token alone, on one line".into(),
            Self::TokenInTheClear(_) => {
                "use https, name the host in NO_PROXY if a proxy is in between, or pass --insecure-token if nobody can listen on the way; HF_HUB_DISABLE_IMPLICIT_TOKEN=1 sends none".into()
            }
            Self::Gated { page, token, .. } => {
                let token = token.as_ref().map_or("set HF_TOKEN to a token of that account".into(), |source| {
                    format!("the token from {source} was used: is it of that account?")
                });
                format!("accept the conditions at {page}; {token}")
            }
            Self::NoExchange { claims, is_over: true, .. } => format!("the id token says: {claims}; a variable needs a new one for each job, and a file (--id-token-file) is read again each time"),
            Self::NoExchange { resource, claims, answer, .. } => no_exchange_hint(resource, claims, answer),
            Self::RepoNotFound { repo, .. } if repo.is_oci() => "check the spelling; some registries say so of what a login is needed for".into(),
            Self::RepoNotFound { token, .. } => format!("check the spelling; {}", token_hint(token)),
            Self::RevisionNotFound { repo, .. } if repo.is_oci() => {
                format!("give a tag or digest that exists: `oras repo tags {}/{}` lists them", repo.owner, repo.name)
            }
            Self::RevisionNotFound { .. } => "give a branch, tag or full commit hash that exists; in an address, a `/` in its name is written %2F".into(),
            Self::FileNotFound { .. } => "file names are case-sensitive and include their folder; `--include '*'` with `plan` lists all files".into(),
            Self::NotAModel { instead, .. } => format!("nothing was fetched; {instead}"),
            Self::RegistryRefused { login, .. } => login.clone(),
            Self::LayerGone { .. } => "it was removed (garbage collection), or never pushed whole: push the model again, or take another tag or endpoint".into(),
            Self::NotARegistry { .. } => "check host and port of the address, and whether a proxy or login page answers instead".into(),
            Self::ManifestMismatch { .. } => "nothing was fetched; look for a proxy that changes content, or a broken registry".into(),
            Self::NameRefused { name, .. } | Self::LayerRefused { name, .. } => format!("nothing was fetched; leave it out with --exclude '{}'", glob_of(name)),
            Self::IncompleteSet { can_be_had: true, .. } => "nothing was fetched: servers load a part of a model without an error; take all of its shards, or leave the index out with --exclude".into(),
            Self::IncompleteSet { .. } => "nothing was fetched: the repository has not all of them, or was not asked; tell its owner, or leave the index out with --exclude".into(),
            Self::ShardNotFound { .. } => "nothing was fetched; `--include NAME` takes one shard alone, and a glob those that are there".into(),
            Self::NothingMatches { quants, .. } if quants.is_empty() => "`plan` without file names lists all files".into(),
            Self::NothingMatches { quants, .. } => format!("quantizations there: {}", quants.join(", ")),
            Self::PinMismatch { .. } => "nothing was fetched; if the new content is wanted, change the pin, else pin the old commit with --revision".into(),
            Self::BadSignature { .. } => "ask whoever signs the model which key or certificate is right, and name that with --trust-key or --trust-cert; nothing was fetched".into(),
            Self::Unsigned { path, .. } => format!("nothing of the model was fetched; leave the file out with --exclude '{0}', or take it all the same with --allow-unsigned '{0}'", glob_of(path.as_str())),
            Self::SignedInParts { .. } => "nothing of the model was fetched; have it signed by files (`use_file_serialization`), or fetch it without --trust-key and look at it with `verify --signature`".into(),
            Self::SignatureContradicted { .. } => "nothing of the model was fetched: the file was changed since it was signed, or the signature is of another revision; tell the repository's owner, or take a --revision that fits".into(),
            Self::LockContradicted { .. } => "nothing was fetched: a commit never changes, so this is another repository, a mirror that lies, or a lock file of another one; check --endpoint, then run `modelfetch lock --update`".into(),
            Self::LockOutdated { .. } => "`modelfetch lock --update` writes what is there now; look at the difference before it is deployed".into(),
            Self::ModelsFailed { failed, .. } => return worst(failed)?.hint(),
            Self::DigestMismatch { computed: Computed::Collision, .. } => "nothing was published; do not trust this file, and tell the repository's owner and the Hub".into(),
            Self::DigestMismatch { .. } => "nothing was published and the wrong bytes were dropped, after each part was asked for again; look for a proxy or mirror that changes content".into(),
            Self::NotGguf { .. } => "nothing was published and what has arrived is kept; the file is broken at its source: tell the repository's owner, or pin its digest with --sha256 if it is wanted as it is".into(),
            Self::WrongKind { .. } => "nothing was published; the repository or mirror holds it so: tell its owner, try another --endpoint, leave the file out with --exclude, or pin its digest with --sha256 if it is wanted as it is".into(),
            Self::BrokenHeader { .. } => "nothing but the header was looked at; the file is cut off, damaged, or of another kind: fetch it again, or tell its owner".into(),
            Self::TooLarge { longest_context, others, .. } => too_large_hint(*longest_context, others),
            Self::UnknownArchitecture { .. } => "nothing was fetched; a newer release of the server may know it: choose its image, or another model".into(),
            Self::VerifyFailed { .. } => "`verify --repair` fetches again what is wrong".into(),
            Self::NoSpace { unfinished, .. } => format!("nothing was fetched; free space, or enlarge the volume{}", Unfinished::hint(unfinished.as_ref())),
            Self::DiskFull { unfinished, .. } => format!("what has arrived is kept; free space and run again to continue{}", Unfinished::hint(unfinished.as_ref())),
            Self::SameName { path, .. } => format!("nothing was fetched; leave one out with --exclude '{}', move away what is there, or choose a volume that tells them apart", glob_of(path.as_str())),
            Self::Io { action, cause, .. } => return io_hint(action, cause),
            Self::Locked { .. } => "if that process is gone, remove .modelfetch/owner*.json there and run again".into(),
            Self::Meddled { .. } => "let nothing else write there meanwhile, and run again: the file is looked at anew".into(),
            Self::GaveUp { last, .. } if last.advice().is_some() => {
                format!("{}; what has arrived is kept", last.advice()?)
            }
            Self::GaveUp { .. } | Self::KeepsChanging { .. } | Self::Deadline { .. } => "what has arrived is kept; run again to continue".into(),
            Self::Refused { answer, .. } | Self::Unauthorised { answer, .. } if answer.advice().is_some() => {
                answer.advice()?.into()
            }
            Self::Unauthorised { token, .. } => token_hint(token),
            Self::Refused { answer, .. } if matches!(**answer, Failure::Misconfigured { .. }) => {
                "it is how that server, or a proxy before it, is set up; check --endpoint, HF_ENDPOINT and the proxy variables, or name another --endpoint".into()
            }
            Self::Refused { .. } => "the server's own words are above; run again later, or try another --endpoint".into(),
            Self::NotAHub { .. } => "check --endpoint and HF_ENDPOINT, and whether a proxy or login page answers instead".into(),
            Self::RateLimited { .. } => "set HF_TOKEN for a higher limit, or run again later; what has arrived is kept".into(),
            Self::ClusterForbidden { verb, .. } => format!("the Role of this Job's service account needs the verb `{verb}` on it; the chart's rbac.create makes it"),
            Self::ClusterRejected { .. } => "the API server's own words are above; correct the values the object is made of".into(),
            Self::ObjectNotFound { .. } => "check the release name and namespace, and whether the sync that creates it went through".into(),
            Self::ServerNotReady { .. } => "look at the server's pod: `kubectl get pods` says whether it runs, its log why not; the name of an address is the Service's".into(),
            Self::ClaimTerminating { name } => format!("it goes when no pod uses it any more: stop those pods, wait for `kubectl get pvc {name}` to find nothing, and sync again"),
            Self::Offline { .. } => "run once without --offline and HF_HUB_OFFLINE".into(),
            Self::Internal(_) => "this is a bug in modelfetch; please report it with the output of --verbose".into(),
        })
    }
}

fn too_large_hint(longest_context: Option<u64>, others: &[String]) -> String {
    let context = match longest_context {
        Some(tokens) => format!("a context of up to {tokens} tokens fits"),
        None => "no context fits".into(),
    };
    let others = match others {
        [] => "a smaller quantization, smaller types for the caches, fewer slots or experts in main memory (--n-cpu-moe) may".into(),
        others => format!("of the repository with the same caches {} would", others.join(", ")),
    };
    format!("nothing was fetched; {context}; {others}")
}

fn no_exchange_hint(resource: &str, claims: &str, answer: &Failure) -> String {
    let said = format!("the id token says: {claims}");
    let where_to = if resource.contains('/') {
        "in the settings of that repository"
    } else {
        "in that user's settings, under Authentication"
    };
    match answer {
        Failure::Status { status: 400 | 401 | 403, .. } => format!(
            "{said}; a trusted publisher with just that has to be set up {where_to}, and the audience has to be the Hub's address"
        ),
        _ => format!("check --endpoint and HF_ENDPOINT: it is asked at /oauth/token there; {said}"),
    }
}

fn io_hint(action: &str, cause: &io::Error) -> Option<String> {
    let is = |number: rustix::io::Errno| cause.raw_os_error() == Some(number.raw_os_error());
    if is(rustix::io::Errno::LOOP) {
        return Some("a link is there, and below the target directory none is followed: remove it, or name what it leads to as the directory".into());
    }
    let hint = match cause.kind() {
        io::ErrorKind::PermissionDenied if is(rustix::io::Errno::PERM) && action.starts_with("publish") => {
            "the volume does not allow a file to be renamed, so that none could appear as a whole, or only not in that folder: choose another one"
        }
        io::ErrorKind::PermissionDenied if action == "replace" => {
            "only its owner and that of the folder may replace it there, and nobody while it is immutable: have it removed, or choose another directory"
        }
        _ if action == GIVE_NAME => {
            "nothing was fetched; this volume takes no such name: leave the file out with --exclude, or choose another volume"
        }
        io::ErrorKind::CrossesDevices => {
            "it is on another volume than `.modelfetch`, and a file cannot be renamed from one to the other: name the folder that is mounted as the directory"
        }
        io::ErrorKind::Unsupported => {
            "the volume lacks what is needed for that: mount it in another way, or choose another one"
        }
        io::ErrorKind::PermissionDenied => {
            "the process needs write permission there: check the owner, group and fsGroup of the volume"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only: mount a writable volume there"
        }
        io::ErrorKind::NotADirectory => "a part of the path is a file, not a directory",
        _ => return None,
    };
    Some(hint.into())
}
