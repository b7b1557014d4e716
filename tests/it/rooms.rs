//! The rooms of `src/` stand in layers: each imports only those below it, in the order of `lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The rooms, from the top to the bottom.
fn rooms() -> Vec<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).expect("lib.rs");
    let rooms = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    rooms.map(str::to_owned).collect()
}

/// Every file of a room, by its path below `src/`, with its code: comments tell, they do not import.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(source()).expect("below src").to_str().expect("UTF-8").to_owned();
            let text = fs::read_to_string(path).expect("text");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            files.push((name, code.collect::<Vec<_>>().join("\n")));
        }
    }
    files
}

fn room_of(file: &str) -> &str {
    file.split('/').next().expect("a first part").trim_end_matches(".rs")
}

/// What follows each `crate::`, up to the next part.
fn imports(code: &str) -> impl Iterator<Item = &str> {
    let words = code.split("crate::").skip(1);
    words.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

#[test]
fn every_room_imports_only_rooms_below_it() {
    let rooms = rooms();
    let rank = |room: &str| rooms.iter().position(|other| other == room);
    let mut climbing = Vec::new();
    for (file, code) in files() {
        let Some(own) = rank(room_of(&file)) else { continue };
        let up = imports(&code).filter(|import| rank(import).is_some_and(|rank| rank < own));
        climbing.extend(up.map(|import| format!("{file} imports {import}")));
        // Several rooms in braces would hide behind one `crate::`.
        assert!(!code.contains("use crate::{"), "{file} imports several rooms at once");
    }
    assert!(climbing.is_empty(), "{climbing:#?}");
}

#[test]
fn every_room_is_named_in_lib() {
    let rooms = rooms();
    // The program is built on the library and no part of it.
    for (file, _) in files().iter().filter(|(file, _)| !matches!(room_of(file), "lib" | "main" | "program")) {
        assert!(rooms.iter().any(|room| room == room_of(file)), "{file} is in no room of lib.rs");
    }
}

/// Files whose code names something, but for those that begin with one of `allowed`.
fn strangers(what: &str, allowed: &[&str]) -> Vec<String> {
    let files = files().into_iter();
    let naming = files.filter(|(file, code)| {
        let outside_tests = code.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        outside_tests.contains(what) && !allowed.iter().any(|place| file.starts_with(place))
    });
    naming.map(|(file, _)| file).collect()
}

#[test]
fn http_is_spoken_in_few_places() {
    let places = [
        "net/",
        "catalog/hub/",
        "catalog/address.rs",
        "catalog/oci/",
        "catalog/locate.rs",
        "source/http/",
        "command/cluster/api.rs",
        "command/cluster/server.rs",
    ];
    assert_eq!(strangers("reqwest", &places), Vec::<String>::new());
}

#[test]
fn a_digest_is_taken_apart_where_contents_are_made() {
    for kind in ["Digest::Sha256", "Digest::GitSha1"] {
        assert_eq!(strangers(kind, &["content/", "catalog/"]), Vec::<String>::new(), "{kind}");
    }
}
