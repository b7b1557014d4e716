//! The list of files of a commit, which comes in pages.

use std::collections::HashSet;
use std::sync::Arc;

use percent_encoding::utf8_percent_encode;
use reqwest::header::{HeaderMap, LINK};
use url::Url;

use super::complete::if_told;
use super::{COMPONENT, Excess, HUB_ORIGINS, Hub, Question, api_path, not_a_hub, parse_url, refusal};
use crate::catalog::tree::{Listed, Pages};
use crate::error::{Error, Failure};
use crate::report::Event;
use crate::request::{Endpoint, Patterns};
use crate::retry::Setback;
use crate::stop::blocking;
use crate::words::host;

/// Pages of one list. The Hub puts 1,000 files into each.
const PAGES_MAX: usize = 10_000;

impl Hub {
    /// The files of a commit, in pages; from who has none of them, as Nexus, as what belongs to the revision
    /// (`huggingface_hub` `hf_api.py` `model_info(files_metadata=True)`).
    pub(super) async fn files_at(
        &self,
        endpoint: &Endpoint,
        subject: &refusal::Subject<'_>,
        patterns: &Arc<Patterns>,
    ) -> Result<(Listed, bool), Setback> {
        let api = api_path(subject.repo);
        let revision = utf8_percent_encode(subject.revision, COMPONENT);
        let pages = format!("{api}/tree/{revision}?recursive=true");
        let refused = match self.tree_at(endpoint, &pages, subject, patterns).await {
            Err(refused) if is_unknown_there(&refused) => refused,
            listed => return listed,
        };
        let siblings = format!("{api}/revision/{revision}?blobs=true");
        // Seldom needed, and large.
        let listed = Box::pin(self.tree_at(endpoint, &siblings, subject, patterns)).await;
        if_told(listed)?.ok_or(refused)
    }

    pub(super) async fn tree_at(
        &self,
        endpoint: &Endpoint,
        place: &str,
        subject: &refusal::Subject<'_>,
        patterns: &Arc<Patterns>,
    ) -> Result<(Listed, bool), Setback> {
        let wrong = |why: String| not_a_hub(endpoint, why);
        let mut pages = Pages::new(Arc::clone(patterns));
        let mut seen = HashSet::new();
        let mut next = Some(parse_url(&endpoint.join(place))?);
        while let Some(url) = next {
            if seen.len() == PAGES_MAX {
                return Err(wrong(format!("the list of files has more than {PAGES_MAX} pages")));
            }
            let (body, headers, place) =
                self.page(&url, Question::Get(None), subject, Excess::Refuse).await?;
            pages = off_the_runtime(move || {
                pages.add(&body)?;
                Ok(pages)
            })
            .await?
            .map_err(wrong)?;
            next = next_page(&headers, &place, endpoint).map_err(wrong)?;
            seen.insert(url);
            if next.as_ref().is_some_and(|next| seen.contains(next)) {
                return Err(wrong("the list of files leads back to a page of its own".into()));
            }
        }
        let is_whole = pages.is_whole();
        if !is_whole {
            let text = "the list of files is very long: only what is asked for is kept of it, so that a later run has to ask for it again";
            self.reporter.report(&Event::Warning(text));
        }
        let listed = off_the_runtime(move || Ok(pages.finish())).await?.map_err(wrong)?;
        Ok((listed, is_whole))
    }
}

/// Whether somebody seems to have no list at all, rather than one that is out of order.
fn is_unknown_there(refused: &Setback) -> bool {
    matches!(
        refused,
        Setback::Failed(Failure::Status { status: 400 | 405 | 501, code: None, .. })
            | Setback::Useless(Error::RevisionNotFound { .. })
    )
}

/// Megabytes of JSON: nothing else would be done on the thread meanwhile, not even stopping.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<Result<T, String>, Setback> {
    blocking(work).await.map_err(Setback::Final)
}

/// The next page of a list, from `Link: <…>; rel="next"`. A mirror may pass on the Hub's own
/// URL: it is read from the mirror all the same, so that the token stays with its origin.
pub fn next_page(headers: &HeaderMap, url: &Url, endpoint: &Endpoint) -> Result<Option<Url>, String> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let next = links.flat_map(|value| value.split(',')).find_map(|link| {
        let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next")).then_some(target)
    });
    let Some(next) = next else { return Ok(None) };
    let next = url.join(next).map_err(|why| format!("the link to the next page is no URL ({why})"))?;
    if endpoint.has_origin_of(&next) || next.origin() == url.origin() {
        return Ok(Some(next));
    }
    if !HUB_ORIGINS.contains(&next.origin().ascii_serialization().as_str()) {
        return Err(format!("the next page is on another host, {}", host(&next)));
    }
    let mut place = next.path().trim_start_matches('/').to_owned();
    if let Some(query) = next.query() {
        place = place + "?" + query;
    }
    Url::parse(&endpoint.join(&place)).map(Some).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_read_from_the_same_endpoint() {
        let endpoint = Endpoint::parse("http://mirror.example/hub").expect("endpoint");
        let url = Url::parse("http://mirror.example/hub/api/models/o/n/tree/x").expect("URL");
        let next = |link: &str| {
            next_page(&HeaderMap::from_iter([(LINK, link.parse().expect("header"))]), &url, &endpoint)
                .map(|url| url.map(String::from))
        };
        let page = "https://huggingface.co/api/models/o/n/tree/x?cursor=1";
        assert_eq!(
            next(&format!("<{page}>; rel=\"next\"")).expect("a page").as_deref(),
            Some("http://mirror.example/hub/api/models/o/n/tree/x?cursor=1")
        );
        assert_eq!(next(&format!("<{page}>; rel=\"prev\"")), Ok(None));
        assert!(next("<https://elsewhere.example/x>; rel=\"next\"").is_err());
    }
}
