//! Whether a model fits.

use serde::Serialize;

use super::{Facts, InspectRequest, Inspected, Kind};
use crate::content::gguf;
use crate::error::Error;
use crate::memory::{Memory, Model};
use crate::words::{Binary, tame};

/// Whether a model fits into the cards that were named.
#[derive(Debug, Clone, Serialize)]
pub struct Fit {
    /// Their sizes in bytes.
    pub cards: Vec<u64>,
    /// Whether each holds its share.
    pub fits: bool,
    /// The longest context with which each does.
    pub longest_context: Option<u64>,
    /// Other models of the repository.
    pub others: Vec<Other>,
}

/// Another model of the repository, such as another quantization.
#[derive(Debug, Clone, Serialize)]
pub struct Other {
    /// Its first file.
    pub name: String,
    /// Bytes of all its files.
    pub bytes: u64,
    /// Whether it would fit, with the same caches.
    pub fits: bool,
}

/// Weighs each model, and says whether all fit.
pub(super) fn judged(mut models: Vec<Facts>, request: &InspectRequest) -> Inspected {
    let mut verdict = Ok(());
    for model in &mut models {
        let judged = weigh(model, request).and_then(|()| know(model, request));
        verdict = verdict.and(judged);
    }
    Inspected { models, left_out: Vec::new(), bytes_fetched: 0, verdict }
}

fn weigh(facts: &mut Facts, request: &InspectRequest) -> Result<(), Error> {
    let setup = &request.setup;
    let headers: Vec<&gguf::Header> = facts.headers.iter().collect();
    let model = if facts.kind == Kind::Model { Model::new(&headers) } else { None };
    facts.memory = model.as_ref().map(|model| model.memory(setup));
    if setup.cards.is_empty() || facts.kind != Kind::Model {
        return Ok(());
    }
    let Some((model, memory)) = model.zip(facts.memory.clone()) else {
        let why = "its header does not say how many layers it has, so that it cannot be weighed";
        return Err(Error::invalid("--fits for", &tame(&facts.name), why));
    };
    let fits = memory.fits(&setup.cards);
    let longest_context = model.longest_context(setup);
    facts.fit = Some(Fit { cards: setup.cards.clone(), fits, longest_context, others: Vec::new() });
    if fits {
        return Ok(());
    }
    Err(Error::TooLarge {
        path: facts.name.clone(),
        shares: shares(&memory, &setup.cards),
        longest_context,
        others: Vec::new(),
    })
}

/// What each card that is too small would have to hold, in words.
fn shares(memory: &Memory, sizes: &[u64]) -> Vec<String> {
    let short =
        memory.cards.iter().zip(sizes).enumerate().filter(|(_, (share, size))| share.total() > **size);
    let bound = if memory.at_most { "at most " } else { "" };
    let line = |(at, (share, size)): (usize, (&crate::memory::Share, &u64))| {
        format!(
            "card {} of {} would have to hold up to {}: weights {}, caches {bound}{} for a context of {} in {} slots, buffers at most {}",
            at + 1,
            Binary(*size),
            Binary(share.total()),
            Binary(share.weights),
            Binary(share.cache.saturating_add(share.state)),
            memory.context,
            memory.slots,
            Binary(share.compute_at_most),
        )
    };
    short.map(line).collect()
}

/// Fails if a server would not know the architecture.
fn know(facts: &Facts, request: &InspectRequest) -> Result<(), Error> {
    if request.architectures.is_empty() || facts.kind != Kind::Model {
        return Ok(());
    }
    let name = facts.architecture.as_deref().unwrap_or("none");
    if request.architectures.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Error::UnknownArchitecture { path: facts.name.clone(), architecture: tame(name) })
}

/// Says which other models of the repository would fit, with the same caches and buffers.
pub(super) fn compare(found: &mut Inspected, request: &InspectRequest, others: &[(String, u64)]) {
    let cards = &request.setup.cards;
    let room: u64 = cards.iter().fold(0, |all, size| all.saturating_add(*size));
    for facts in &mut found.models {
        let Some((memory, fit)) = facts.memory.as_ref().zip(facts.fit.as_mut()) else { continue };
        let beside = |share: &crate::memory::Share| share.total() - share.weights;
        let caches: u64 = memory.cards.iter().map(beside).fold(0, u64::saturating_add);
        fit.others = others
            .iter()
            .filter(|(name, _)| !name.to_ascii_lowercase().contains("mmproj"))
            .map(|(name, bytes)| Other {
                name: name.clone(),
                bytes: *bytes,
                fits: bytes.saturating_add(caches) <= room,
            })
            .collect();
        let fitting: Vec<_> =
            fit.others.iter().filter(|other| other.fits).map(|other| other.name.clone()).collect();
        if let Err(Error::TooLarge { path, others, .. }) = &mut found.verdict
            && *path == facts.name
        {
            *others = fitting;
        }
    }
}
