//! Headers of files on the Hub, by ranges.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    Facts, Format, Header, InspectRequest, Inspected, Reading, Room, bounded, broken, facts, has_header,
    sets, weigh,
};
use crate::catalog::{self, Hub, Resolution, Snapshot};
use crate::command::{Context, sample};
use crate::error::Error;
use crate::plan::WantedFile;
use crate::request::{Request, Selection, Shard};

/// Of a file of JSON, in bytes.
const JSON_MAX: u64 = 64 << 20;

pub(super) async fn inspect(
    wanted: &Request,
    request: &InspectRequest,
    context: &Context,
) -> Result<Inspected, Error> {
    let hub = Arc::new(context.hub(&wanted.endpoints, &wanted.limits));
    let resolution = catalog::resolve(&hub, wanted, None).await?;
    let mut reader = Reader::new(&hub, &resolution, wanted, context);
    let files = resolution.files.iter().filter(|file| has_header(file.path.as_str()));
    let sets = sets(files, |file| file.path.as_str());
    if sets.is_empty() {
        let why = "it selects neither GGUF nor safetensors files";
        return Err(Error::invalid("selection", &wanted.selection.describe(), why));
    }
    let (sets, left_out) = bounded(sets, request, &wanted.repo.to_string())?;
    let mut models = Vec::new();
    for set in sets {
        let mut files = Vec::new();
        for file in &set.files {
            files.push((file.path.to_string(), file.size(), reader.header(file).await?));
        }
        models.push(Facts::new(set.name, files)?);
    }
    let named: BTreeSet<&str> = resolution.files.iter().map(|file| file.path.as_str()).collect();
    for file in &resolution.files {
        let name = file.path.as_str();
        if name.ends_with(".safetensors.index.json") && file.size() <= JSON_MAX {
            let bytes = reader.read(file, 0..file.size()).await?;
            facts::complete(&mut models, name, &bytes, |shard| named.contains(shard))?;
        }
        if name == "config.json" && file.size() <= JSON_MAX {
            let bytes = reader.read(file, 0..file.size()).await?;
            for model in models.iter_mut().filter(|model| model.format == Format::Safetensors) {
                model.config = facts::config(&bytes);
            }
        }
    }
    let bytes_fetched = reader.received;
    let mut found = weigh::judged(models, request);
    if found.verdict.as_ref().is_err_and(|error| matches!(error, Error::TooLarge { .. })) {
        let others = others(&hub, wanted, &resolution).await.unwrap_or_default();
        weigh::compare(&mut found, request, &others);
    }
    Ok(Inspected { left_out, bytes_fetched, ..found })
}

/// Other models of the repository, with the bytes of all their shards.
async fn others(hub: &Hub, wanted: &Request, resolution: &Resolution) -> Result<Vec<(String, u64)>, Error> {
    let selection = Selection::new(&["*.gguf".into()], &[], &[], None)?;
    let wanted = Request { selection, pins: crate::request::Pins::default(), ..wanted.clone() };
    let all = catalog::resolve(hub, &wanted, None).await?;
    let taken: BTreeSet<_> = resolution.files.iter().map(|file| &file.path).collect();
    let files = all.files.iter().filter(|file| !taken.contains(&file.path));
    let sets = sets(files, |file| file.path.as_str()).into_iter();
    Ok(sets.map(|set| (set.name, set.files.iter().map(|file| file.size()).sum())).collect())
}

struct Reader<'a> {
    snapshot: Snapshot,
    resolution: &'a Resolution,
    request: &'a Request,
    context: &'a Context,
    received: u64,
    room: Room,
}

impl<'a> Reader<'a> {
    fn new(hub: &Arc<Hub>, resolution: &'a Resolution, request: &'a Request, context: &'a Context) -> Self {
        let snapshot = Snapshot::new(Arc::clone(hub), resolution);
        Self { snapshot, resolution, request, context, received: 0, room: Room::new() }
    }

    async fn header(&mut self, file: &WantedFile) -> Result<Header, Error> {
        let path = file.path.as_str();
        let mut reading = Reading::new(path, file.size());
        let strange = |why| broken(path, why);
        while let Some(range) = reading.next().map_err(strange)? {
            let bytes = self.read(file, range).await?;
            reading.feed(&bytes).map_err(strange)?;
        }
        let shards = Shard::parse(path).map(|shard| shard.total.into());
        let header = reading.end(shards).map_err(strange)?;
        self.room.take(&header, path).map(|()| header)
    }

    async fn read(&mut self, file: &WantedFile, range: std::ops::Range<u64>) -> Result<Vec<u8>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let url = self.resolution.urls.get(&file.path).cloned();
        let source = self.snapshot.source(file, url);
        let limits = &self.request.limits;
        let (bytes, _) = sample::read(&*source, file, &range, limits, self.context).await?;
        self.received += bytes.len() as u64;
        Ok(bytes)
    }
}
