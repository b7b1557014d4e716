//! Reads a few bytes of a file where a fetch would get them.

use std::ops::Range;

use super::Context;
use crate::error::{Error, Failure};
use crate::plan::WantedFile;
use crate::request::Limits;
use crate::retry::{Budget, Retry, Setback};
use crate::source::{self, Provenance, Source, Trouble};

/// Bytes of a range, and who sent them.
pub(super) async fn read(
    source: &dyn Source,
    file: &WantedFile,
    range: &Range<u64>,
    limits: &Limits,
    context: &Context,
) -> Result<(Vec<u8>, Provenance), Error> {
    let budget = Budget::new(limits.give_up_after, context.stop.deadline());
    let doing = |path: &str, host: &str| format!("reading {path} from {host}");
    let retry = Retry { what: file.path.as_str(), doing, budget: &budget, reporter: &*context.reporter };
    let read = || async {
        let expired = match source::read(source, range, file.size()).await {
            Err(Trouble::Expired(expired)) => expired,
            read => return read.map_err(|trouble| setback(file, trouble)),
        };
        // Where it was thought to be it is not, perhaps.
        source.renew(expired).await.map_err(Setback::Final)?;
        source::read(source, range, file.size()).await.map_err(|trouble| setback(file, trouble))
    };
    retry.run(read).await
}

/// What trouble means for a file that is new, with an address that is fresh.
fn setback(file: &WantedFile, trouble: Trouble) -> Setback {
    let error = match trouble {
        Trouble::Failed(failure) => return failure.into(),
        Trouble::NoRanges(origin) => {
            let why = "the whole file instead of a range".into();
            return Failure::Wrong { host: origin.to_string(), why }.into();
        }
        Trouble::Expired(expired) => {
            let what = format!("reading {} from {}", file.path, expired.origin);
            Error::Refused { what, answer: Box::new(expired.answer) }
        }
        Trouble::Changed { host, why } => Error::KeepsChanging { path: file.path.clone(), host, why },
        Trouble::Final(error) => error,
    };
    Setback::Final(error)
}
