//! A registry that does what a real one does not: for faults alone. What registries do right is tried with a real one, in
//! `tests/registry`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::TestDir;
use super::command::Modelfetch;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    /// A header, by its name in small letters.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Status, headers and body of an answer.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// Serves until the test's process ends.
pub(crate) struct FakeRegistry {
    pub(crate) host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeRegistry {
    /// Answers as it is told; the second argument is its own host and port. The question for its version is answered.
    pub(crate) fn start(answer: impl Fn(&Asked, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, own, answer) = (Arc::clone(&asked), host.clone(), Arc::new(answer));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (log, own, answer) = (Arc::clone(&log), own.clone(), Arc::clone(&answer));
                // A peer that leaves ends its own connection only.
                thread::spawn(move || drop(serve(&client, &log, &|asked| answer(asked, &own))));
            }
        });
        Self { host, asked }
    }

    /// One whose tag `v1` is this manifest, and which has these blobs.
    pub(crate) fn with(manifest: &Value, blobs: &[&[u8]]) -> Self {
        let (manifest, blobs) =
            (manifest.to_string(), blobs.iter().map(|blob| blob.to_vec()).collect::<Vec<_>>());
        Self::start(move |asked, _| good(asked, manifest.as_bytes(), &blobs))
    }

    /// Everything that was asked, but for its version.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("nobody panics").clone()
    }

    /// `modelfetch fetch oci://HOST/m:v1 …` into the models of a directory.
    pub(crate) fn fetch<'a>(
        &self,
        dir: &TestDir,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Modelfetch {
        let address = format!("oci://{}/m:v1", self.host);
        dir.command(["fetch", &address]).args(arguments).arg("--dir").arg(dir.models())
    }
}

/// What a registry in order answers.
pub(crate) fn good(asked: &Asked, manifest: &[u8], blobs: &[Vec<u8>]) -> Answer {
    let json = vec![("Content-Type", "application/vnd.oci.image.manifest.v1+json".to_owned())];
    if asked.target.starts_with("/v2/m/manifests/") {
        let digest = digest(manifest);
        return (200, [json, vec![("Docker-Content-Digest", digest)]].concat(), manifest.to_vec());
    }
    let Some(blob) = blobs.iter().find(|blob| asked.target.ends_with(&digest(blob))) else {
        return (404, vec![], br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#.to_vec());
    };
    let range = asked.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range.filter(|_| asked.method == "GET") else {
        return (200, vec![], blob.clone());
    };
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    let range = ("Content-Range", format!("bytes {first}-{last}/{}", blob.len()));
    (206, vec![range], blob[first..=last].to_vec())
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().fold("sha256:".to_owned(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// A manifest with these layers.
pub(crate) fn artifact(layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": {"mediaType": "application/vnd.cncf.model.config.v1+json"},
        "layers": layers,
    })
}

/// The layer of a file.
pub(crate) fn layer(name: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": "application/vnd.cncf.model.weight.v1.raw",
        "digest": digest(content),
        "size": content.len(),
        "annotations": {"org.cncf.model.filepath": name},
    })
}

fn serve(client: &TcpStream, log: &Mutex<Vec<Asked>>, answer: &dyn Fn(&Asked) -> Answer) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        let mut first = lines[0].split(' ').map(str::to_owned);
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let headers = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(key, value)| (key.to_ascii_lowercase(), value.to_owned())).collect();
        let asked = Asked { method, target, headers };
        let (status, headers, body) = if asked.target == "/v2/" {
            (200, vec![], vec![])
        } else {
            log.lock().expect("nobody panics").push(asked.clone());
            answer(&asked)
        };
        let mut writer = client;
        write!(writer, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len())?;
        for (key, value) in headers {
            write!(writer, "{key}: {value}\r\n")?;
        }
        writer.write_all(b"\r\n")?;
        if asked.method != "HEAD" {
            writer.write_all(&body)?;
        }
    }
}
