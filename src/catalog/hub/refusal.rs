//! What the Hub means when it says no (`huggingface_hub` `hf_raise_for_status`, in its order).

use url::Url;

use crate::error::{Error, Failure, WANTS_LOGIN};
use crate::request::{RepoId, RepoPath, Revision, Token};
use crate::words::host;

/// What was asked about.
pub(super) struct Subject<'a> {
    pub(super) repo: &'a RepoId,
    pub(super) revision: &'a str,
    pub(super) path: Option<&'a RepoPath>,
}

/// The error for a final answer to a request with this token; the failure itself if it is none the Hub would give.
pub(super) fn explain(
    subject: &Subject<'_>,
    url: &Url,
    token: Option<&Token>,
    failure: Failure,
) -> Result<Error, Failure> {
    let Failure::Status { status, message, code, .. } = &failure else { return Err(failure) };
    let repo = subject.repo.clone();
    let host = host(url);
    let token = token.map(|token| token.source().clone());
    let bad_credentials = message.as_deref().is_some_and(|text| text.contains("Invalid credentials"));
    Ok(match (code.as_deref(), *status) {
        (Some("RevisionNotFound"), _) => not_found(subject, None),
        (Some("EntryNotFound"), _) | (None, 404) => not_found(subject, subject.path),
        (Some("GatedRepo"), _) => {
            let page = format!("{}/{}", url.origin().ascii_serialization(), repo.url_path());
            Error::Gated { repo, page, token, answer: Box::new(failure) }
        }
        (Some(WANTS_LOGIN), 401) => Error::Unauthorised { host, repo, token, answer: Box::new(failure) },
        (_, 401) if bad_credentials => Error::Unauthorised { host, repo, token, answer: Box::new(failure) },
        (Some("RepoNotFound"), _) | (_, 401) => Error::RepoNotFound { host, repo, token },
        (_, 403) => Error::Unauthorised { host, repo, token, answer: Box::new(failure) },
        _ => return Err(failure),
    })
}

fn not_found(subject: &Subject<'_>, path: Option<&RepoPath>) -> Error {
    let repo = subject.repo.clone();
    let revision: Revision = subject.revision.parse().unwrap_or_default();
    match path {
        Some(path) => Error::FileNotFound { repo, revision, path: path.clone() },
        None => Error::RevisionNotFound { repo, revision },
    }
}
