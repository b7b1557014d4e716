//! What names stand for: a `hosts` and a `resolv.conf` of the test's own, and a DNS server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::TestDir;
use super::command::Modelfetch;

/// How a DNS server answers a question of this type (1 is A, 28 is AAAA) for this name.
pub(crate) type Answering = fn(name: &str, kind: u16) -> Answer;

/// What it answers.
pub(crate) enum Answer {
    /// With one IPv4 address.
    Address(Ipv4Addr),
    /// That the name has none of this type.
    Empty,
    /// That there is no such name.
    NoName,
    /// Nothing at all.
    Silence,
}

/// Serves on port 53 of a loopback address of its own, until the test's process ends.
pub(crate) struct Dns {
    address: Ipv4Addr,
    questions: Arc<AtomicUsize>,
}

impl Dns {
    pub(crate) fn start(answering: Answering) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let number = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed)).expect("few tests");
        let process = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, process[2], process[3], number);
        let socket = UdpSocket::bind((address, 53)).expect("root may have port 53");
        let questions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&questions);
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                count.fetch_add(1, Ordering::Relaxed);
                answer(&socket, client, &packet[..length], answering);
            }
        });
        Self { address, questions }
    }

    /// A `resolv.conf` that names it.
    pub(crate) fn resolv_conf(&self) -> String {
        format!("nameserver {}\noptions timeout:5 attempts:2\n", self.address)
    }

    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

/// RFC 1035, 4.1: a header of 12 bytes, then the question, then what is answered.
fn answer(socket: &UdpSocket, client: SocketAddr, question: &[u8], answering: Answering) {
    let mut name = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        name.push(String::from_utf8_lossy(&question[at + 1..=at + length]).into_owned());
        at += length + 1;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let (code, address) = match answering(&name.join("."), kind) {
        Answer::Silence => return,
        Answer::NoName => (3, None),
        Answer::Empty => (0, None),
        Answer::Address(address) => (0, Some(address)),
    };
    let mut reply = question[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    reply.extend(&question[12..at + 5]);
    if let Some(address) = address {
        // The name of the question, type A, class IN, for a minute.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    socket.send_to(&reply, client).expect("a client on loopback");
}

/// Whether this test may have its own names: root may, where the kernel has namespaces.
pub(crate) fn can_be_set() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| {
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(["--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]);
        unshare.output().is_ok_and(|output| output.status.success())
    })
}

impl Modelfetch {
    /// With these files as `/etc/hosts` and `/etc/resolv.conf`.
    pub(crate) fn with_names(self, dir: &TestDir, hosts: &str, resolv_conf: &str) -> Self {
        let [own_hosts, own_resolv_conf] = ["hosts", "resolv.conf"].map(|name| dir.path().join(name));
        fs::write(&own_hosts, hosts).expect("a file");
        fs::write(&own_resolv_conf, resolv_conf).expect("a file");
        let script =
            r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@""#;
        let [own_hosts, own_resolv_conf] =
            [&own_hosts, &own_resolv_conf].map(|path| path.to_str().expect("UTF-8"));
        self.through("unshare", &["--mount", "--", "sh", "-c", script, "sh", own_hosts, own_resolv_conf])
    }
}
