//! One cell of the matrix: a trouble at one place, met once or always.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use fake_hub::{Builder, Certificate, FakeHub, Fault, Handshake, Payload, Record, Repo, Rule, Server};

use crate::support::command::{Modelfetch, Run};
use crate::support::proxy::Proxy;
use crate::support::secret::{TOKEN, secret_in};
use crate::support::{FILE, MIB, REPO, TestDir, built};

/// No cell may need more memory, whatever the server sends. Most is taken by the longest list of files
/// that is read.
pub(super) const MEMORY_MAX_KIB: u64 = 96 << 10;
/// What waits for a limit of minutes takes longer. Reading a list of 134 MB takes half of it on a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// Ranges of 1 MiB on four connections: a first, some late, and a last one.
const SIZE: u64 = 6 * MIB;
/// A file that is not in LFS, the first one of the list.
const SMALL: &str = "a.txt";
/// The digest of nothing that is there.
const OTHER_SHA256: &str = "abababababababababababababababababababababababababababababababab";

/// Where the trouble is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `HEAD /…/resolve/…`
    Metadata,
    /// The last page of the list of files.
    TreePage,
    /// The range with the file's first byte.
    FirstRange,
    /// A range in the middle.
    LateRange,
    /// The range with the file's last byte.
    LastRange,
    /// A small file of the list, where a Hub has it by its commit.
    SmallFile,
}

pub(super) const PLACES: [Place; 6] = [
    Place::Metadata,
    Place::TreePage,
    Place::FirstRange,
    Place::LateRange,
    Place::LastRange,
    Place::SmallFile,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Often {
    Once,
    Always,
}

/// What a trouble can refer to.
pub(super) struct Scene<'a> {
    pub(super) place: Place,
    pub(super) often: Often,
    /// Another Hub with its CDN, which has files of the same names and sizes, and other content.
    pub(super) elsewhere: &'a FakeHub,
    /// A third one with the right content.
    pub(super) twin: &'a FakeHub,
}

impl Scene<'_> {
    /// After as many bytes of an answer to `place` something can happen in the middle of it.
    pub(super) fn middle(&self) -> u64 {
        if self.place.is_range() { 100_000 } else { 20 }
    }

    /// The same for what happens once. What always happens does so before the first byte: otherwise
    /// each attempt would bring some.
    pub(super) fn middle_or_start(&self) -> u64 {
        if self.often == Often::Once { self.middle() } else { 0 }
    }

    /// The status a sound answer has here.
    pub(super) fn status(&self) -> u16 {
        match self.place {
            Place::Metadata => 302,
            Place::TreePage => 200,
            _ => 206,
        }
    }

    /// The address of the file at another CDN, or another Hub.
    pub(super) fn address_at(&self, hub: &FakeHub) -> String {
        if self.place == Place::SmallFile {
            let commit = hub.commit(REPO, "main").expect("a branch");
            return format!("{}/api/resolve-cache/models/{REPO}/{commit}/{SMALL}", hub.endpoint());
        }
        let content = if std::ptr::eq(hub, self.elsewhere) { other() } else { model() };
        hub.signed_url(content)
    }

    /// The list of files with another size or digest of the file.
    fn listing(size: u64, sha256: &str) -> Fault {
        let (oid, sha256) = ("cd".repeat(20), sha256.to_owned());
        Fault::hook(move |_, reply| {
            let json = format!(
                r#"[{{"type":"file","path":"{FILE}","oid":"{oid}","size":{size},"lfs":{{"oid":"{sha256}","size":{size}}}}}]"#
            );
            *reply = reply.clone().body(json.into_bytes());
        })
    }
}

/// Another digest of the file in the metadata; another validator of a range.
pub(super) fn other_etag(scene: &Scene<'_>) -> Fault {
    match scene.place {
        Place::TreePage => Scene::listing(SIZE, OTHER_SHA256),
        _ => Fault::Etag(OTHER_SHA256.into()),
    }
}

/// Another size of the file.
pub(super) fn other_size(scene: &Scene<'_>) -> Fault {
    match scene.place {
        Place::TreePage => Scene::listing(SIZE + 1, model().sha256()),
        _ => Fault::TotalSize(SIZE + 1),
    }
}

impl Place {
    fn is_range(self) -> bool {
        matches!(self, Self::FirstRange | Self::LateRange | Self::LastRange)
    }

    fn rule(self, often: Often, page: u64) -> Rule {
        let rule = match self {
            Self::Metadata => Rule::resolve(),
            Self::TreePage => Rule::tree().nth(page),
            Self::FirstRange => Rule::cdn().first_range(),
            Self::LateRange => Rule::cdn().late_range(),
            Self::LastRange => Rule::cdn().last_range(),
            Self::SmallFile => Rule::hub().path_contains("/api/resolve-cache/"),
        };
        if often == Often::Always { rule.always() } else { rule }
    }

    /// A list of files is only read where a pattern is given.
    fn selection(self) -> &'static str {
        match self {
            Self::TreePage => "*.gguf",
            Self::SmallFile => "*.txt",
            _ => FILE,
        }
    }

    /// The file that is wanted, and what it should be.
    fn wanted(self) -> (&'static str, Payload) {
        if self == Self::SmallFile { (SMALL, small(1)) } else { (FILE, model().clone()) }
    }

    /// The connection that meets a trouble of the handshake: its server, and its number there.
    fn connection(self) -> (Server, u64) {
        match self {
            Self::Metadata => (Server::Hub, 1),
            Self::TreePage => (Server::Hub, 2),
            Self::FirstRange => (Server::Cdn, 1),
            Self::LateRange => (Server::Cdn, 2),
            Self::LastRange => (Server::Cdn, 3),
            // After the commit and two pages.
            Self::SmallFile => (Server::Hub, 4),
        }
    }
}

/// For an exit number: 0 or 30, as chance has it. A connection with a bad handshake may be one that
/// others make superfluous, and a good one may be closed and replaced by a bad one.
pub(super) const EITHER: i32 = -1;

/// What goes wrong.
#[derive(Clone, Copy)]
pub(super) enum Trouble {
    /// With an answer.
    Answer(fn(&Scene<'_>) -> Fault),
    /// With as many answers in a row, where it is not always.
    Burst(u64, fn(&Scene<'_>) -> Fault),
    /// With an answer of a Hub that is not on this machine.
    Remote(fn(&Scene<'_>) -> Fault),
    /// With the handshake of a connection: the certificate, and milliseconds of silence before.
    Handshake(Certificate, u64),
}

/// A row of the matrix.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) trouble: Trouble,
    /// Exit numbers by place, for a trouble that is met once and always.
    pub(super) exits: [[i32; 6]; 2],
    pub(super) arguments: &'static [&'static str],
}

impl Row {
    /// Plays all cells, and fails with all that are not as they should be.
    #[track_caller]
    pub(super) fn play(&self) {
        let cells = [Often::Once, Often::Always].into_iter().zip(self.exits).flat_map(|(often, exits)| {
            PLACES.into_iter().zip(exits).map(move |(place, exit)| Cell { row: self, place, often, exit })
        });
        let complaints: Vec<String> = std::thread::scope(|scope| {
            let players: Vec<_> = cells.map(|cell| scope.spawn(move || cell.play())).collect();
            players
                .into_iter()
                .filter_map(|player| player.join().expect("no panic in a cell").err())
                .collect()
        });
        assert!(
            complaints.is_empty(),
            "{} of {} cells of {:?}:\n\n{}",
            complaints.len(),
            2 * PLACES.len(),
            self.name,
            complaints.join("\n\n")
        );
    }
}

struct Cell<'a> {
    row: &'a Row,
    place: Place,
    often: Often,
    exit: i32,
}

fn model() -> &'static Payload {
    static MODEL: OnceLock<Payload> = OnceLock::new();
    MODEL.get_or_init(|| Payload::gguf(1, SIZE))
}

fn other() -> &'static Payload {
    static OTHER: OnceLock<Payload> = OnceLock::new();
    OTHER.get_or_init(|| Payload::gguf(2, SIZE))
}

fn small(seed: u64) -> Payload {
    Payload::random(seed, 4096)
}

fn described(content: &Payload, small: Payload) -> Builder {
    let repo = Repo::model(REPO).lfs(FILE, content.clone()).small(SMALL, small);
    FakeHub::builder().repo(repo).token(TOKEN)
}

impl Cell<'_> {
    fn play(&self) -> Result<(), String> {
        let dir = TestDir::new();
        let (elsewhere, twin) = (built(described(other(), small(2))), built(described(model(), small(1))));
        let hub = self.hub(&dir);
        // Etags would give away that bytes come from somebody else.
        elsewhere.fault(Rule::cdn().always().then(Fault::without_header("ETag")));
        let scene = Scene { place: self.place, often: self.often, elsewhere: &elsewhere, twin: &twin };
        let rule = self.place.rule(self.often, self.pages());
        let hits = match self.row.trouble {
            Trouble::Answer(fault) | Trouble::Remote(fault) => Some(hub.fault(rule.then(fault(&scene)))),
            Trouble::Burst(times, fault) => {
                let rule = if self.often == Often::Once { rule.times(times) } else { rule };
                Some(hub.fault(rule.then(fault(&scene))))
            }
            Trouble::Handshake(..) => {
                // The list of files would come over the connection that brought the commit, and a small file over that
                // of the list.
                let before = if self.place == Place::SmallFile { "/api/models/" } else { "/revision/" };
                hub.fault(
                    Rule::hub().path_contains(before).always().then(Fault::header("Connection", "close")),
                );
                None
            }
        };
        let (run, written) = self.run(&dir, &hub);

        let mut wrong = Vec::new();
        let mut check = |is_right: bool, what: String| {
            if !is_right {
                wrong.push(what);
            }
        };
        let is_open = self.exit == EITHER || self.goes_round(&hub);
        let expected = if is_open { &[0, 30][..] } else { &[self.exit] };
        let is_expected = run.status.is_some_and(|number| expected.contains(&number));
        check(is_expected, format!("exit {:?}, expected {expected:?}", run.status));
        check(hits.is_none_or(|hits| hits.count() > 0), "the trouble was never met".into());
        check(
            is_right_or_absent(&dir, self.place, run.status),
            "a wrong file, or one that should not be there".into(),
        );
        check(run.time < SOON, format!("it took {:?}", run.time));
        check(run.peak_kib < MEMORY_MAX_KIB, format!("{} KiB resident", run.peak_kib));
        check(run.status == Some(0) || run.stderr.contains("hint: "), "an error without a hint".into());
        if let Some(secret) = secret_in(&[&run.stdout, &run.stderr, &written].map(String::as_str).concat()) {
            check(false, secret);
        }
        let strangers = elsewhere.requests().into_iter().chain(twin.requests());
        let strangers = strangers.chain(hub.requests_to(Server::Cdn));
        if let Some(told) = strangers.into_iter().find(tells_secret) {
            check(false, format!("a stranger was told a secret: {:?}", told.request));
        }
        if run.status != Some(0) {
            // What is kept of a bad run must not spoil the next one.
            hub.clear_faults();
            if !matches!(self.row.trouble, Trouble::Handshake(..)) {
                let (again, _proxy) = self.command(&dir, &hub, &[]);
                let again = again.run();
                check(again.status == Some(0), format!("the next run: {}", again.stderr));
                check(
                    is_right_or_absent(&dir, self.place, again.status),
                    "a wrong file after the next run".into(),
                );
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let Run { stderr, .. } = run;
        Err(format!("{:?}, {:?}: {}\n{stderr}", self.place, self.often, wrong.join("; ")))
    }

    /// Whether all bytes came in answers with the first or the last one: then those in between are in the way of nobody.
    /// Which ranges are asked for depends on how fast the connections are.
    fn goes_round(&self, hub: &FakeHub) -> bool {
        if self.place != Place::LateRange {
            return false;
        }
        let ranges = hub.requests_to(Server::Cdn).into_iter().filter_map(|record| record.request.range());
        let ranges: Vec<_> =
            ranges.map(|(first, last)| first..last.map_or(SIZE, |last| SIZE.min(last + 1))).collect();
        let begun = ranges.iter().filter(|range| range.start == 0).map(|range| range.end).max();
        let ended = ranges.iter().filter(|range| range.end == SIZE).map(|range| range.start).min();
        begun.zip(ended).is_some_and(|(begun, ended)| begun >= ended)
    }

    /// Of the list of files. A link to the next page would lead past the proxy.
    fn pages(&self) -> u64 {
        if matches!(self.row.trouble, Trouble::Remote(_)) { 1 } else { 2 }
    }

    fn hub(&self, dir: &TestDir) -> FakeHub {
        let hub = described(model(), small(1))
            .page_size(2 / usize::try_from(self.pages()).expect("a small number"));
        built(match self.row.trouble {
            Trouble::Answer(_) | Trouble::Burst(..) => hub,
            Trouble::Remote(_) => hub.cdn_base("http://cdn.example"),
            Trouble::Handshake(certificate, milliseconds) => {
                let (server, first) = self.place.connection();
                let last = if self.often == Often::Once { first } else { u64::MAX };
                let delay = std::time::Duration::from_millis(milliseconds);
                // One good connection takes its time, so that the others are met as well.
                hub.rate_per_connection(1_000_000).tls(dir.path().join("tls")).handshakes(
                    server,
                    first..=last,
                    Handshake { certificate, delay },
                )
            }
        })
    }

    /// Runs it; gives also what it wrote anywhere, and what others could see of it meanwhile.
    fn run(&self, dir: &TestDir, hub: &FakeHub) -> (Run, String) {
        let has = |name| self.row.arguments.contains(&name);
        // What fails fails at once, unless it has to be waited for.
        let patience = match self.often {
            Often::Once => "20s",
            Often::Always if has("--stall-timeout") => "3s",
            Often::Always => "1s",
        };
        let mut arguments = Vec::new();
        if !has("--give-up-after") {
            arguments.extend(["--give-up-after", patience]);
        }
        if !has("--connections") {
            arguments.extend(["--connections", "4"]);
        }
        arguments.extend(self.row.arguments);
        let (command, _proxy) = self.command(dir, hub, &arguments);
        let [message, metrics] = ["termination-log", "metrics.prom"].map(|name| dir.path().join(name));
        let running = command
            .args(["--json", "--verbose", "--progress", "json", "--termination-message"])
            .arg(&message)
            .arg("--metrics-file")
            .arg(&metrics)
            .start();
        let seen = fs::read_to_string(format!("/proc/{}/cmdline", running.pid())).unwrap_or_default();
        let run = running.finish();
        let [message, metrics] = [message, metrics].map(|path| fs::read_to_string(path).unwrap_or_default());
        (run, [seen, message, metrics, dir.all_text()].concat())
    }

    fn command(&self, dir: &TestDir, hub: &FakeHub, arguments: &[&str]) -> (Modelfetch, Option<Proxy>) {
        let command = dir.fetch(hub, [REPO, self.place.selection()]).args(arguments).env("HF_TOKEN", TOKEN);
        match self.row.trouble {
            Trouble::Answer(_) | Trouble::Burst(..) => (command, None),
            Trouble::Handshake(..) => {
                (command.env("SSL_CERT_FILE", hub.ca_file().expect("a Hub with TLS")), None)
            }
            Trouble::Remote(_) => {
                let address = |url: String| url.trim_start_matches("http://").to_owned();
                let proxy = Proxy::with_names(vec![
                    ("hub.example", address(hub.endpoint())),
                    ("cdn.example", address(hub.cdn_url())),
                ]);
                let command = command
                    .args(["--endpoint", "http://hub.example", "--insecure-token"])
                    .env("HTTP_PROXY", proxy.url());
                (command, Some(proxy))
            }
        }
    }
}

/// After a good run the right file is there, after a bad one none.
fn is_right_or_absent(dir: &TestDir, place: Place, status: Option<i32>) -> bool {
    let (name, wanted) = place.wanted();
    let content = fs::read(dir.file(name));
    if status == Some(0) { content.is_ok_and(|content| content == wanted.to_vec()) } else { content.is_err() }
}

/// Whether a request tells what only the Hub may know.
pub(super) fn tells_secret(record: &Record) -> bool {
    record.request.headers.iter().any(|(name, value)| {
        matches!(name.as_str(), "authorization" | "cookie" | "referer") || value.contains("CANARY")
    })
}
