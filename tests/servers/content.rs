//! One model file: in a directory for a real server, announced by a fake Hub that redirects there.

use std::path::{Path, PathBuf};

use fake_hub::{FakeHub, Payload, Repo};

pub(crate) const REPO: &str = "owner/name";
pub(crate) const FILE: &str = "model.gguf";
pub(crate) const SIZE: u64 = 256 << 20;

pub(crate) struct Content {
    payload: Payload,
    /// What the server serves: the file under its SHA-256, as on the CDN.
    pub(crate) blobs: PathBuf,
}

impl Content {
    pub(crate) fn new(dir: &Path) -> Self {
        let payload = Payload::gguf(7, SIZE);
        let blobs = dir.join("blobs");
        std::fs::create_dir(&blobs).expect("an empty directory");
        payload.write_to(&blobs.join(payload.sha256())).expect("room for the file");
        Self { payload, blobs }
    }

    /// A Hub that sends its clients to `port`.
    pub(crate) fn hub(&self, port: u16) -> FakeHub {
        FakeHub::builder()
            .repo(Repo::model(REPO).lfs(FILE, self.payload.clone()))
            .cdn_base(&format!("http://127.0.0.1:{port}"))
            .build()
            .expect("a Hub on free ports")
    }

    pub(crate) fn blob(&self) -> PathBuf {
        self.blobs.join(self.payload.sha256())
    }

    /// Compares what was published with what the Hub announced.
    pub(crate) fn assert_is(&self, published: &Path) {
        let content = std::fs::read(published).expect("a published file");
        assert_eq!(Payload::bytes(content).sha256(), self.payload.sha256());
    }
}
