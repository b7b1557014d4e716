//! `cluster check-server`: whether the server that the chart started answers. It is what `helm test` runs, from an image of
//! a few MB instead of the server's own of several GB.

use std::time::Duration;

use reqwest::Method;
use url::Url;

use crate::command::Context;
use crate::error::Error;
use crate::net;
use crate::report::Event;
use crate::retry::{Budget, Retry, Setback};
use crate::words::host;

/// A server that is at work answers `/health` at once, or not soon.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What `cluster check-server` is asked for.
#[derive(Debug, Clone)]
pub struct ServerRequest {
    /// What is asked, one after the other.
    pub urls: Vec<Url>,
    /// The time that each has to answer with success.
    pub give_up_after: Duration,
}

/// Asks each address until it answers with a status of success, and says so in a sentence. llama-server answers
/// `/health` with 503 while it loads the model (llama.cpp, `tools/server/README.md`), which is waited for like a server
/// that is not there yet; a 404 or 401 is final.
///
/// Fails with [`Error::ServerNotReady`].
pub async fn check_server(request: &ServerRequest, context: &Context) -> Result<String, Error> {
    for url in &request.urls {
        let budget = Budget::new(request.give_up_after, None);
        let doing = |what: &str, _: &str| what.to_owned();
        let retry = Retry { what: url.as_str(), doing, budget: &budget, reporter: &*context.reporter };
        context.reporter.report(&Event::Asking { what: url.path(), host: &host(url) });
        retry
            .run(|| ask(url, context))
            .await
            .map_err(|why| Error::ServerNotReady { url: url.to_string(), why: Box::new(why) })?;
    }
    let urls: Vec<_> = request.urls.iter().map(Url::as_str).collect();
    Ok(format!("the server answers at {}", urls.join(" and ")))
}

async fn ask(url: &Url, context: &Context) -> Result<(), Setback> {
    url.host_str().into_iter().for_each(|name| context.http.mean(name));
    let request = context.http.request(Method::GET, url).timeout(TIMEOUT);
    let response = context.http.send(request, url).await?;
    if response.status().is_success() { Ok(()) } else { Err(net::bad_status(url, response).await.into()) }
}
