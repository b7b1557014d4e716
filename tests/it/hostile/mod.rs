//! Hostile and broken servers: every trouble at every place ends in the right file or in none, with
//! the right number, soon, in little memory, and without a secret in anything that is written.

mod cell;
mod storage;

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use fake_hub::{Certificate, Ending, Fault, Payload};

use Trouble::{Answer, Burst, Handshake, Remote};
use cell::{EITHER, Row, Trouble, other_etag, other_size};

/// The table, and a test for each of its rows.
macro_rules! matrix {
    ($($test:ident: $name:literal, $once:tt, $always:tt, $trouble:expr $(, $argument:literal)*;)*) => {
        /// Exit numbers by place (metadata, page of the list of files, first, late and last range, small file), for
        /// a trouble that is met once and for one that is always met.
        const ROWS: &[Row] = &[$(Row {
            name: $name,
            trouble: $trouble,
            exits: [$once, $always],
            arguments: &[$($argument),*],
        }),*];

        $(#[test]
        fn $test() {
            ROWS.iter().find(|row| row.name == $name).expect("a row").play();
        })*
    };
}

matrix! {
    // test: trouble, met once [metadata, tree page, first, late, last range, small file], always met [...], how
    cut: "cut", [0, 0, 0, 0, 0, 0], [30, 30, 0, 0, 0, 30],
        Answer(|scene| Fault::cut(scene.middle()));
    reset: "reset", [0, 0, 0, 0, 0, 0], [30, 30, 0, 0, 0, 30],
        Answer(|scene| Fault::reset(scene.middle()));
    no_answer: "closed without an answer", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::NoAnswer(Ending::Close));
    stall: "stall", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|scene| Fault::stall(scene.middle_or_start())), "--stall-timeout", "2s";
    silence: "silence before the answer", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::Delay(Duration::from_mins(5))), "--stall-timeout", "2s";
    trickle: "1 byte per second", [0, 0, 0, 0, 0, 0], [30, 30, 0, 30, 30, 30],
        Answer(|scene| Fault::Trickle(scene.middle_or_start())), "--stall-timeout", "2s";
    slow_head: "headers at 1 byte per second", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::SlowHead(Duration::from_secs(1))), "--stall-timeout", "2s";
    garbage: "garbage instead of HTTP", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::garbage());
    http09: "HTTP/0.9", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::Http09);
    whole_file: "200 for 206", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Answer(|_| Fault::IgnoreRange), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    wrong_content_range: "wrong Content-Range", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 30],
        Answer(|_| Fault::content_range("bytes 7-77/6291456")), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    shifted_range: "another range than asked for", [0, 30, 0, 0, 0, 0], [0, 30, 30, 0, 30, 30],
        Answer(|_| Fault::ShiftRange(4096)), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    no_content_range: "missing Content-Range", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Answer(|_| Fault::without_content_range()), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    several_parts: "multipart/byteranges", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Answer(|_| Fault::header("Content-Type", "multipart/byteranges; boundary=b")), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    spelling: "Content-Range in another spelling", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Answer(|_| other_spelling());
    longer_body: "longer body", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Answer(|_| Fault::BodyDelta(-1000)), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    more_than_announced: "more bytes than announced", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Answer(|_| Fault::ExtraBytes(5000));
    shorter_body: "shorter body", [0, 30, 0, 0, 0, 0], [0, 30, 30, 0, 30, 30],
        Answer(|_| Fault::BodyDelta(100)), "--connections", "1", "--stall-timeout", "1s", "--give-up-after", "10s";
    short_of_announced: "fewer bytes than announced", [0, 0, 0, 0, 0, 0], [0, 30, 0, 30, 30, 30],
        Answer(|_| Fault::short_by(100));
    changed_etag: "changed etag", [30, 30, 0, 0, 0, 0], [20, 30, 0, 0, 0, 0],
        Answer(other_etag);
    changed_size: "changed size", [30, 30, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(other_size);
    gzip: "gzip though refused", [0, 0, 0, 0, 0, 0], [0, 30, 30, 30, 30, 30],
        Answer(|_| Fault::Gzip);
    redirect_loop: "redirect loop", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::RedirectLoop);
    redirect_to_twin: "redirect to another origin with the right bytes", [0, 0, 0, 0, 0, 0], [0, 30, 0, 0, 0, 0],
        Answer(|scene| Fault::redirect(scene.address_at(scene.twin)));
    redirect_to_other: "redirect to another origin with other bytes", [0, 0, 0, 0, 0, 0], [20, 30, 20, 20, 20, 30],
        Answer(|scene| Fault::redirect(scene.address_at(scene.elsewhere)));
    redirect_to_file: "redirect to file://", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::redirect("file:///etc/passwd"));
    redirect_to_loopback: "redirect to a private name", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Remote(|_| Fault::redirect("http://localhost/"));
    redirect_to_link: "redirect to the cloud's metadata address", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Remote(|_| Fault::redirect("http://169.254.169.254/latest/meta-data/"));
    expired: "403: expired", [0, 10, 0, 0, 0, 0], [10, 10, 30, 30, 30, 10],
        Answer(|_| Fault::Reply(expired_reply()));
    page: "403 page with 200", [0, 30, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::html(200));
    not_found: "404", [0, 0, 0, 0, 0, 0], [11, 0, 30, 30, 30, 11],
        Answer(|_| Fault::status(404));
    teapot: "418", [0, 30, 30, 30, 30, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::status(418));
    too_many_seconds: "429, Retry-After in seconds", [0, 0, 0, 0, 0, 0], [31, 31, 31, 31, 31, 31],
        Answer(|_| Fault::retry_after(429, "1")), "--deadline", "10s";
    too_many_date: "429, Retry-After as a date", [0, 0, 0, 0, 0, 0], [31, 31, 31, 31, 31, 31],
        Answer(|_| dated_429()), "--deadline", "10s";
    too_many_day: "429, Retry-After: 86400", [31, 31, 31, 31, 31, 31], [31, 31, 31, 31, 31, 31],
        Answer(|_| Fault::retry_after(429, "86400"));
    too_many_absurd: "429, Retry-After: 99999999999999999999", [31, 31, 31, 31, 31, 31], [31, 31, 31, 31, 31, 31],
        Answer(|_| Fault::retry_after(429, "99999999999999999999"));
    too_many_nonsense: "429, Retry-After: soon", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::retry_after(429, "soon"));
    burst_500: "500, three in a row", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Burst(3, |_| Fault::status(500));
    burst_503: "503, three in a row", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Burst(3, |_| Fault::status(503));
    slow_tls: "TLS handshake after 0.3 s", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0],
        Handshake(Certificate::Sound, 300);
    stuck_tls: "TLS handshake that stalls", [0, 0, 0, 0, 0, 0], [30, 30, 30, EITHER, EITHER, 30],
        Handshake(Certificate::Sound, 300_000), "--stall-timeout", "2s";
    expired_certificate: "expired certificate", [30, 30, 30, EITHER, EITHER, 0], [30, 30, 30, EITHER, EITHER, 30],
        Handshake(Certificate::Expired, 0);
    wrong_certificate: "certificate of another host", [30, 30, 30, EITHER, EITHER, 0], [30, 30, 30, EITHER, EITHER, 30],
        Handshake(Certificate::WrongName, 0);
    unknown_certificate: "certificate of an unknown authority", [30, 30, 30, EITHER, EITHER, 0], [30, 30, 30, EITHER, EITHER, 30],
        Handshake(Certificate::UnknownAuthority, 0);
    many_headers: "500 headers", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::HeaderBomb(500, 500));
    long_header: "header of 1 MB", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::HeaderBomb(1, 1_000_000));
    endless_header: "header without end", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|scene| Fault::endless_header(scene.status()));
    endless_headers: "headers without end", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|scene| Fault::endless_headers(scene.status()));
    endless_continue: "100 Continue without end", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::endless_continue()), "--stall-timeout", "2s";
    endless_chunks: "chunked body without end", [0, 0, 0, 0, 0, 0], [0, 30, 20, 20, 20, 20],
        Answer(|_| Fault::EndlessChunks);
    // Without Content-Range: three late ones before the first good answer, and all is asked for at once.
    endless_chunk_size: "chunk size without end", [0, 0, 0, 0, 0, 0], [30, 30, 30, EITHER, EITHER, 30],
        Answer(|scene| Fault::endless_chunk_size(scene.status()));
    endless_error: "500 with a body without end", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::All(vec![Fault::status(500), Fault::EndlessChunks]));
    slow_error: "500 with a body at 1 byte per second", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| Fault::All(vec![Fault::status(500), Fault::Trickle(0)])), "--stall-timeout", "2s";
    endless_list: "list of files without end", [0, 0, 0, 0, 0, 0], [0, 30, 0, 0, 0, 0],
        Answer(|_| long_page_and_link());
    flipped: "flipped byte", [0, 30, 0, 0, 0, 0], [0, 30, 20, 20, 20, 20],
        Answer(|_| flip_first_byte());
    echo: "500 that repeats the request", [0, 0, 0, 0, 0, 0], [30, 30, 30, 30, 30, 30],
        Answer(|_| repeat_request());
}

/// As servers write it that are not read by a grammar.
fn other_spelling() -> Fault {
    Fault::hook(|_, reply| {
        let text = reply.value("Content-Range").map(|text| text.replace("bytes ", "Bytes: "));
        reply.set("Content-Range", text);
    })
}

/// What a CDN says to a signed URL that is too old.
fn expired_reply() -> fake_hub::Reply {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code>\
                <Message>Request has expired</Message></Error>";
    fake_hub::Reply::new(403).header("Content-Type", "application/xml").body(body)
}

/// Dates have no fractions of a second: 3 to 4 seconds are left when it is sent.
fn dated_429() -> Fault {
    Fault::hook(|_, reply| {
        // A date that has passed before a busy machine reads it asks for no pause.
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));
        *reply = fake_hub::Reply::new(429).header("Retry-After", date);
    })
}

/// One wrong bit in the first byte of an answer's body.
fn flip_first_byte() -> Fault {
    Fault::hook(|_, reply| {
        let mut content = reply.content();
        if let Some(byte) = content.first_mut() {
            *byte ^= 1;
        }
        *reply = reply.clone().body(content);
    })
}

/// A page of the list of files as long as any that is read, with a link to the next one.
fn long_page_and_link() -> Fault {
    Fault::hook(|request, reply| {
        // Made once: it is the client that has much to do.
        static PAGE: LazyLock<Payload> = LazyLock::new(|| {
            let entry = |index: u32| {
                let name = format!("{index:05}{}", "n".repeat(195));
                format!(r#"{{"type":"file","path":"{name}","oid":"{}","size":1}}"#, "cd".repeat(20))
            };
            Payload::bytes(format!("[{}]", (0..20_000).map(entry).collect::<Vec<_>>().join(",")))
        });
        if request.path().contains("/tree/") {
            *reply = reply.clone().header("Link", format!("<{}&more>; rel=\"next\"", request.target));
            *reply = reply.clone().body(PAGE.clone());
        }
    })
}

/// As a debugging proxy, and S3 for a wrong signature, do: what was sent is in the error.
fn repeat_request() -> Fault {
    Fault::hook(|request, reply| {
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let text = format!("cannot {} {}: {}", request.method, request.target, headers.join(", "));
        *reply = fake_hub::Reply::new(500).header("X-Error-Message", &text).body(text.into_bytes());
    })
}

/// The table of the documentation.
fn table() -> String {
    let mut text =
        "| trouble | metadata | list of files | first range | late range | last range | small file |\n\
                    |---|---|---|---|---|---|---|\n"
            .to_owned();
    for Row { name, exits: [once, always], .. } in ROWS {
        let show = |exit: i32| if exit == EITHER { "0 or 30".to_owned() } else { exit.to_string() };
        let cells = once.iter().zip(always);
        let cells: Vec<_> =
            cells.map(|(once, always)| format!(" {} / {} |", show(*once), show(*always))).collect();
        text.extend(["| ", name, " |"].into_iter().map(str::to_owned).chain(cells).chain(["\n".to_owned()]));
    }
    text
}

#[test]
fn the_table_of_the_documentation_is_generated() {
    crate::readme::assert_generated("docs/hostile-servers.md", &[("matrix", table())]);
}
