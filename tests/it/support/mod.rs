//! The real binary in a clean environment, against the fake Hub.

pub(crate) mod command;
pub(crate) mod dir;
pub(crate) mod gguf;
pub(crate) mod names;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod secret;
pub(crate) mod signing;
pub(crate) mod volume;

use fake_hub::{FakeHub, Payload, Repo, Server};

pub(crate) use dir::TestDir;

/// The repository of most tests.
pub(crate) const REPO: &str = "owner/name";
/// Its file.
pub(crate) const FILE: &str = "model.gguf";
pub(crate) const MIB: u64 = 1 << 20;

/// A model file: each test that compares contents has a seed of its own.
pub(crate) fn model(seed: u64, mib: u64) -> Payload {
    Payload::gguf(seed, mib * MIB)
}

/// A Hub with one file in one repository.
pub(crate) fn hub(model: &Payload) -> FakeHub {
    built(FakeHub::builder().repo(Repo::model(REPO).lfs(FILE, model.clone())))
}

pub(crate) fn built(builder: fake_hub::Builder) -> FakeHub {
    builder.build().expect("a Hub on free ports")
}

/// Methods and statuses of the requests a server got, in order.
pub(crate) fn exchanges(hub: &FakeHub, server: Server) -> Vec<(String, u16)> {
    hub.requests_to(server).into_iter().map(|record| (record.request.method, record.status)).collect()
}
