//! How long a file is that is on no Hub.

use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE};
use reqwest::{Response, StatusCode};
use url::Url;

use super::head::is_page;
use super::{Hub, refusal};
use crate::error::Error;
use crate::net::{self, text_header};
use crate::report::Event;
use crate::request::{RepoId, RepoPath};
use crate::retry::{Budget, Retry};
use crate::source::http::parse_content_range;
use crate::words::host;

impl Hub {
    /// Takes the host of an address as named by the user.
    pub(in crate::catalog) fn mean(&self, url: &Url) {
        url.host_str().into_iter().for_each(|name| self.http.mean(name));
    }

    /// Length in bytes of what is at an address, by a range of one byte.
    pub(in crate::catalog) async fn measure(
        &self,
        repo: &RepoId,
        path: &RepoPath,
        url: &Url,
    ) -> Result<u64, Error> {
        self.mean(url);
        let budget = Budget::new(self.give_up_after, self.deadline);
        let retry = Retry::question(path.as_str(), &budget, &*self.reporter);
        let subject = &refusal::Subject { repo, revision: "main", path: Some(path) };
        let ask = || async move {
            self.reporter.report(&Event::Asking { what: path.as_str(), host: &host(url) });
            let response = self.get(url, Some((0, 0))).await?;
            let at = response.url().clone();
            let is_empty = response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
            if !response.status().is_success() && !is_empty {
                return Err(self.judge(&at, response, subject).await);
            }
            if is_page(&response, path.as_str()) {
                return Err(net::misconfigured(&at, "a page for people instead of the file").into());
            }
            length(&response).ok_or_else(|| net::misconfigured(&at, "no word about how long it is").into())
        };
        retry.run(ask).await
    }
}

/// What an answer to a range of one byte says of the whole.
fn length(response: &Response) -> Option<u64> {
    let headers = response.headers();
    let range = text_header(headers, CONTENT_RANGE.as_str());
    match response.status() {
        StatusCode::PARTIAL_CONTENT => parse_content_range(&range?)?.2,
        // Of nothing there is no first byte.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            range?.rsplit_once("*/")?.1.trim().parse().ok().filter(|size| *size == 0)
        }
        _ => text_header(headers, CONTENT_LENGTH.as_str())?.parse().ok(),
    }
}
