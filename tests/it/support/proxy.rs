//! A forward proxy for plain http and, by CONNECT, for anything.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Serves until the test's process ends.
pub(crate) struct Proxy {
    address: String,
    lines: Arc<Mutex<Vec<String>>>,
}

/// Hosts that only the proxy can reach, with their ports where they have one, and where they are.
pub(crate) type Names = Vec<(&'static str, String)>;

impl Proxy {
    pub(crate) fn start() -> Self {
        Self::with_names(Names::new())
    }

    pub(crate) fn with_names(names: Names) -> Self {
        Self::serving(move |client, log| serve(client, log, &names))
    }

    /// One that answers every request like this, and passes on none.
    pub(crate) fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::serving(move |mut client, log| {
            read_head(&mut BufReader::new(client.try_clone()?), log)?;
            client.write_all(answer.as_bytes())
        })
    }

    /// One that opens no way to this place: it is in no list.
    pub(crate) fn keeping_from(place: String) -> Self {
        Self::serving(move |client, log| {
            let mut reader = BufReader::new(client.try_clone()?);
            let head = read_head(&mut reader, log)?;
            match head.first().and_then(|line| line.split(' ').nth(1)) {
                Some(target) if target != place => {
                    let server = TcpStream::connect(target)?;
                    (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                    tunnel(reader, client, &server)
                }
                _ => {
                    (&*client).write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 12\r\n\r\nnot allowed\n")
                }
            }
        })
    }

    /// A mirror: what is below this path there is at the root of this server.
    pub(crate) fn below(path: &'static str, server: &str) -> Self {
        let server = server.replace("http://", "");
        Self::serving(move |mut client, log| {
            let mut reader = BufReader::new(client.try_clone()?);
            let head = read_head(&mut reader, log)?;
            let Some((method, target)) = head.first().and_then(|line| line.split_once(' ')) else {
                return Ok(());
            };
            let Some(target) = target.strip_prefix(path) else {
                return client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            };
            let to_server = TcpStream::connect(&server)?;
            let headers: String = head[1..].iter().map(String::as_str).collect();
            write!(&to_server, "{method} {target}{headers}Connection: close\r\n\r\n")?;
            tunnel(reader, client, &to_server)
        })
    }

    fn serving(
        serve: impl Fn(&TcpStream, &Mutex<Vec<String>>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let serve = Arc::new(serve);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&lines);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (log, serve) = (Arc::clone(&log), Arc::clone(&serve));
                // A peer that leaves ends its own connection only.
                thread::spawn(move || drop(serve(&client, &log)));
            }
        });
        Self { address, lines }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The request lines that came through.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics").clone()
    }
}

/// One connection; one request, unless it is a tunnel.
fn serve(client: &TcpStream, log: &Mutex<Vec<String>>, names: &Names) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let head = read_head(&mut reader, log)?;
    let Some(line) = head.first() else { return Ok(()) };
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method == "CONNECT" {
        let server = TcpStream::connect(
            names.iter().find(|(name, _)| *name == target).map_or(target, |(_, place)| place),
        )?;
        (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        return tunnel(reader, client, &server);
    }
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = names.iter().find(|(name, _)| *name == host).map_or(host, |(_, address)| address);
    let server = TcpStream::connect(host)?;
    let headers = head[1..].iter().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let headers: String = headers.map(String::as_str).collect();
    write!(&server, "{method} /{path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")?;
    tunnel(reader, client, &server)
}

/// The lines of a request up to its body.
fn read_head(reader: &mut impl BufRead, log: &Mutex<Vec<String>>) -> io::Result<Vec<String>> {
    let mut head: Vec<String> = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line);
    }
    log.lock().expect("nobody panics").extend(head.first().map(|line| line.trim().to_owned()));
    Ok(head)
}

fn tunnel(
    mut from_client: impl Read + Send + 'static,
    client: &TcpStream,
    server: &TcpStream,
) -> io::Result<()> {
    let mut to_server = server.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    io::copy(&mut &*server, &mut &*client)?;
    client.shutdown(Shutdown::Both)
}
