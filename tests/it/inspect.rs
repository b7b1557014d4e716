//! `inspect`: what a model is and what it needs, before a byte of it is paid for.

use std::fs::File;

use fake_hub::{FakeHub, Gguf, Payload, Repo, Server};
use serde_json::Value;

use crate::support::gguf::{F32, Header};
use crate::support::{FILE, MIB, REPO, TestDir, built, hub};

fn inspected(dir: &TestDir, arguments: &[&str]) -> Value {
    let run = dir.command([&["inspect", "--json"], arguments].concat()).run().succeeds();
    run.json()["models"][0].clone()
}

#[test]
fn a_file_on_the_disk_is_told_by_its_header() {
    let dir = TestDir::new();
    let file = Header::llama(2, 4)
        .text("general.name", "Little One")
        .text("tokenizer.ggml.model", "gpt2")
        .texts("tokenizer.ggml.tokens", &["a", "b", "c"])
        .text("tokenizer.chat_template", "\n{{ first }}\n{{ second }}");
    let path = dir.put("m.gguf", &file.file());
    let path = path.to_str().expect("UTF-8");
    let model = inspected(&dir, &[path]);
    assert_eq!((&model["architecture"], &model["title"]), (&"llama".into(), &"Little One".into()));
    assert_eq!((&model["kind"], &model["format"]), (&"model".into(), &"gguf".into()));
    assert_eq!(model["tensor_count"], 4);
    assert_eq!(model["parameters"], 2 * 1024 * 100 + 2 * 1024 * 1024);
    assert_eq!(model["bits_per_weight"], 16.0);
    assert_eq!(model["tokens"], 3);
    assert_eq!(model["chat_templates"][0]["first_line"], "{{ first }}");
    assert_eq!(model["chat_templates"][0]["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(model["metadata"]["llama.block_count"], 2);
    assert_eq!(model["tensors"][0]["type"], "f16");
    let run = dir.command(["inspect", path, "--tensors"]).run().succeeds();
    run.prints("architecture     llama").prints("Little One").prints("blk.1.attn_q.weight  f16  1024×1024");
}

#[test]
fn both_orders_of_bytes_are_read_and_fetched() {
    let of_order = |header: Header| header.number("llama.block_count", 1).tensor("t", &[4], F32);
    let big = of_order(Header::big_endian("llama"));
    let dir = TestDir::new();
    let path = dir.put("m-be.gguf", &big.file());
    let model = inspected(&dir, &[path.to_str().expect("UTF-8")]);
    assert_eq!((&model["big_endian"], &model["metadata"]["llama.block_count"]), (&true.into(), &1.into()));
    let payload = Payload::bytes(big.file());
    let hub = hub(&payload);
    dir.fetch(&hub, [REPO, FILE]).run().succeeds();
    dir.assert_done(FILE, &payload);
}

/// Two requests more than `plan`, and at most 1 MiB of 4 GiB.
#[test]
fn a_model_on_the_hub_costs_one_question_and_a_range() {
    let model = Payload::gguf(1, 4096 * MIB).with_made_up_digest();
    let hub = hub(&model);
    let dir = TestDir::new();
    dir.job("plan", &hub, [REPO, FILE]).run().succeeds();
    let planned = hub.requests().len();
    hub.clear();
    let run = dir.command(["inspect", REPO, FILE, "--endpoint", &hub.endpoint(), "--json"]).run().succeeds();
    assert_eq!(run.json()["models"][0]["architecture"], "llama");
    assert!(hub.requests().len() <= planned + 2, "{} after {planned}", hub.requests().len());
    let moved = hub.bytes_sent(Server::Hub) + hub.bytes_sent(Server::Cdn);
    assert!(moved <= MIB, "{moved} bytes");
    assert!(dir.all_files().is_empty(), "nothing is written");
}

#[test]
fn all_shards_of_a_set_are_one_model() {
    let shard = |number, count| Payload::gguf_with(&Gguf::default().shard(number, count), 1, MIB);
    let dir = TestDir::new();
    for (name, payload) in [("m-00001-of-00002.gguf", shard(0, 2)), ("m-00002-of-00002.gguf", shard(1, 2))] {
        dir.put(name, &payload.to_vec());
    }
    let first = dir.file("m-00001-of-00002.gguf");
    let model = inspected(&dir, &[first.to_str().expect("UTF-8")]);
    assert_eq!(model["shards"], serde_json::json!([2, 2]));
    assert_eq!(model["files"].as_array().map(Vec::len), Some(2));
    dir.put("m-00002-of-00002.gguf", &shard(1, 5).to_vec());
    let run = dir.command(["inspect", first.to_str().expect("UTF-8")]).run().exits(20);
    run.says("its name says 2 shards, its header 5");
}

#[test]
fn safetensors_are_summed_by_type_and_compared_with_their_index() {
    let tensor = |dtype: &str, start: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":[4],"data_offsets":[{start},{}]}}"#, start + 8)
    };
    let json = format!(r#"{{"a":{},"b":{}}}"#, tensor("F16", 0), tensor("BF16", 8));
    let file = [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &[7; 16]].concat();
    let dir = TestDir::new();
    dir.put("model-00001-of-00002.safetensors", &file);
    dir.put("config.json", br#"{"model_type":"qwen3","hidden_size":64,"secret":1}"#);
    let index = r#"{"weight_map":{"a":"model-00001-of-00002.safetensors","c":"model-00001-of-00002.safetensors","d":"model-00002-of-00002.safetensors"}}"#;
    dir.put("model.safetensors.index.json", index.as_bytes());
    let folder = dir.models().to_str().expect("UTF-8").to_owned();
    let model = inspected(&dir, &[&folder]);
    assert_eq!(model["types"]["F16"], serde_json::json!({"tensors": 1, "parameters": 4, "bytes": 8}));
    assert_eq!((&model["config"]["model_type"], &model["config"]["secret"]), (&"qwen3".into(), &Value::Null));
    let notes = model["notes"].to_string();
    assert!(notes.contains("model-00002-of-00002.safetensors"), "{notes}");
    assert!(notes.contains("has 1 tensor that it has not"), "{notes}");
    dir.put("model-00001-of-00002.safetensors", &file[..file.len() - 1]);
    dir.command(["inspect", &folder]).run().exits(20).says("its tensors would end at");
}

#[test]
fn projectors_adapters_and_importance_matrices_are_no_models() {
    let dir = TestDir::new();
    for (header, kind) in [
        (Header::new("clip"), "projector"),
        (Header::new("llama").text("general.type", "adapter"), "adapter"),
        (Header::new("none").text("general.type", "imatrix"), "imatrix"),
    ] {
        let path = dir.put("x.gguf", &header.tensor("t", &[1], F32).file());
        assert_eq!(inspected(&dir, &[path.to_str().expect("UTF-8")])["kind"], kind);
    }
}

/// Keys and values of 2 layers, 4 heads and 128 elements in 16 bits are 4 KiB for each token.
#[test]
fn a_model_that_does_not_fit_ends_with_24_and_says_what_would() {
    let large = Payload::bytes(Header::llama(2, 4).number("pad", 1).file());
    let small = Payload::bytes(Header::llama(1, 4).file());
    let repo = Repo::model(REPO).lfs("m-Q8_0.gguf", large).lfs("m-Q4_0.gguf", small);
    let hub = built(FakeHub::builder().repo(repo));
    let dir = TestDir::new();
    let inspect = |more: &[&str]| {
        let endpoint = hub.endpoint();
        let arguments = [&["inspect", REPO, "m-Q8_0.gguf", "--endpoint", &endpoint][..], more];
        dir.command(arguments.concat()).run()
    };
    let run = inspect(&["--json", "--ctx", "8192"]).succeeds();
    let memory = &run.json()["models"][0]["memory"];
    assert_eq!(memory["cards"][0]["cache"], 8192 * 4096);
    assert_eq!(memory["cards"][0]["weights"], 2 * 2 * MIB + 2 * 1024 * 100);
    assert_eq!(memory["main"]["weights"], 2 * 1024 * 100);
    assert_eq!(memory["at_most"], false);
    inspect(&["--fits", "10GiB", "--ctx", "8192"]).succeeds().prints("fits, ");
    let card =
        ["weights", "cache", "compute_at_most"].map(|part| memory["cards"][0][part].as_u64().expect("bytes"));
    let size = (card.iter().sum::<u64>() - 1).to_string();
    let run =
        inspect(&["--fits", &size, "--ctx", "8192"]).exits(24).prints("DOES NOT FIT").says("m-Q4_0.gguf");
    let longest = run_hint(&run.says("would have to hold up to").stderr);
    assert!(longest < 8192 && longest.is_multiple_of(256), "{longest}");
    inspect(&["--fits", &size, "--ctx", &longest.to_string()]).succeeds();
    inspect(&["--fits", &size, "--ctx", &(longest + 256).to_string()]).exits(24);
    inspect(&["--fits", "1MiB"]).exits(24).says("no context fits");
    dir.assert_absent("m-Q8_0.gguf");
}

fn run_hint(stderr: &str) -> u64 {
    let rest = stderr.split("a context of up to ").nth(1).expect("a context");
    rest.split(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn slots_types_and_cards_change_what_is_needed() {
    let dir = TestDir::new();
    let path = dir.put("m.gguf", &Header::llama(4, 8).file());
    let memory = |more: &[&str]| {
        let path = path.to_str().expect("UTF-8");
        inspected(&dir, &[&[path, "--ctx", "4096"], more].concat())["memory"].clone()
    };
    let cache = |memory: &Value| -> Vec<u64> {
        let cards = memory["cards"].as_array().expect("cards");
        cards.iter().map(|card| card["cache"].as_u64().expect("bytes")).collect()
    };
    let of_layer = 4096 * 8 * 128 * 2 * 2;
    assert_eq!(cache(&memory(&[])), [4 * of_layer]);
    assert_eq!(
        cache(&memory(&["--cache-type-k", "q8_0", "--cache-type-v", "q8_0"])),
        [4 * of_layer / 32 * 17]
    );
    // Each slot has whole steps of 256 cells.
    assert_eq!(cache(&memory(&["--parallel", "3"])), [4 * of_layer / 4096 * 3 * 1536]);
    assert_eq!(cache(&memory(&["--tensor-split", "3,2"])), [3 * of_layer, of_layer]);
    assert_eq!(cache(&memory(&["--fits", "20GiB", "--fits", "10GiB"])).len(), 2);
    assert_eq!(cache(&memory(&["--n-gpu-layers", "2"])), [of_layer], "the output is one of the two");
    let server = ["-m", "m.gguf", "-np", "3", "--no-kv-unified", "-ctk", "q8_0", "-fa", "on", "-ctv", "q8_0"];
    let of_server = memory(&[&["--server-args"], &server[..]].concat());
    assert_eq!(cache(&of_server), [4 * of_layer / 32 * 17 / 4096 * 3 * 1536]);
}

#[test]
fn an_architecture_of_which_no_model_was_loaded_to_compare_says_so() {
    let dir = TestDir::new();
    let inspect = |architecture: &str| {
        let file = Header::new(architecture)
            .number(&format!("{architecture}.block_count"), 1)
            .number(&format!("{architecture}.embedding_length"), 128)
            .number(&format!("{architecture}.attention.head_count"), 1)
            .tensor("t", &[1], F32);
        let path = dir.put("m.gguf", &file.file());
        let path = path.to_str().expect("UTF-8");
        (inspected(&dir, &[path])["memory"].clone(), dir.command(["inspect", path]).run().succeeds().stdout)
    };
    for (architecture, judged) in [("llama", true), ("gemma4", false)] {
        let (memory, printed) = inspect(architecture);
        assert_eq!(
            (&memory["at_most"], &memory["judged"]),
            (&false.into(), &judged.into()),
            "{architecture}"
        );
        assert_eq!(printed.contains("by its source alone"), !judged, "{printed}");
    }
}

#[test]
fn an_architecture_that_nobody_knows_is_bounded_and_refused_by_name() {
    let dir = TestDir::new();
    let file = Header::new("of-tomorrow")
        .number("of-tomorrow.block_count", 1)
        .number("of-tomorrow.embedding_length", 128)
        .number("of-tomorrow.attention.head_count", 1)
        .tensor("t", &[1], F32);
    let path = dir.put("m.gguf", &file.file());
    let path = path.to_str().expect("UTF-8");
    assert_eq!(inspected(&dir, &[path])["memory"]["at_most"], true);
    dir.command(["inspect", path]).run().succeeds().prints("at most");
    let run = dir.command(["inspect", path, "--architectures", "llama,qwen3"]).run().exits(25);
    run.says("of the architecture `of-tomorrow`, which the server does not know");
    dir.command(["inspect", path, "--architectures", "llama,of-tomorrow"]).run().succeeds();
}

/// A header is a stranger's text: it must neither move the cursor, nor look like lines of this program, nor give orders
/// to a CI service.
#[test]
fn nothing_of_a_header_is_printed_raw() {
    let orders = "x\u{1b}[31m\r\nok  all: fine\n::error::no\n##vso[task.complete]\u{202e}";
    let file = Header::new(orders)
        .text("general.name", orders)
        .text("tokenizer.chat_template", orders)
        .text(&format!("key{orders}"), orders)
        .tensor(orders, &[1], F32);
    let dir = TestDir::new();
    let bytes = file.file();
    let path = dir.put("m.gguf", &bytes);
    let hub = hub(&Payload::bytes(bytes));
    let path = path.to_str().expect("UTF-8");
    for run in [
        dir.command(["inspect", path, "--tensors"]).run().succeeds(),
        dir.command(["inspect", path, "--json"]).run().succeeds(),
        dir.command(["inspect", path, "--architectures", "llama"]).run().exits(25),
        dir.job("smoke", &hub, [REPO, FILE]).run().succeeds(),
        dir.job("smoke", &hub, [REPO, FILE, "--json"]).run().succeeds(),
    ] {
        for text in [&run.stdout, &run.stderr] {
            assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
            assert!(!text.contains("##vso["), "{text:?}");
            let forged = |line: &str| line.starts_with("ok  all") || line.trim_start().starts_with("::");
            assert!(!text.lines().any(forged), "{text:?}");
        }
    }
}

#[test]
fn what_is_no_header_is_said_with_what_it_looks_like() {
    let dir = TestDir::new();
    let good = Header::llama(1, 1).file();
    for (name, bytes, says) in [
        ("page.gguf", b"<!DOCTYPE html><p>Sign in".repeat(100), "a page of HTML"),
        ("pointer.gguf", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "a Git LFS pointer"),
        ("zip.gguf", b"PK\x03\x04 and more".repeat(99), "a ZIP archive"),
        ("empty.gguf", Vec::new(), "it ends within its header, after 0 bytes"),
        ("cut.gguf", good[..good.len() - 1].to_vec(), "would end after the file"),
        ("short.gguf", good[..200].to_vec(), "it ends within its header, after 200 bytes"),
    ] {
        let path = dir.put(name, &bytes);
        dir.command(["inspect", path.to_str().expect("UTF-8")]).run().exits(20).says(says);
    }
    dir.command(["inspect", "./nothing.gguf"]).run().exits(22);
}

/// A name alone costs no memory: no list of a hundred thousand other names is made of it.
#[test]
fn a_set_that_claims_to_be_huge_costs_no_memory() {
    const NAME: &str = "m-00001-of-99999.gguf";
    let payload = Payload::gguf_with(&Gguf::default().shard(0, 9999), 1, MIB);
    let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs(NAME, payload.clone())));
    let dir = TestDir::new();
    let on_disk = dir.put(NAME, &payload.to_vec());
    let endpoint = hub.endpoint();
    for arguments in [
        &["fetch", REPO, NAME, "--endpoint", &endpoint][..],
        &["inspect", REPO, NAME, "--endpoint", &endpoint],
        &["inspect", on_disk.to_str().expect("UTF-8")],
    ] {
        let run = dir.command(arguments.iter().copied()).run();
        assert_ne!(run.status, Some(0), "{}", run.stderr);
        assert!(run.peak_kib < 64 << 10, "{} KiB", run.peak_kib);
    }
}

/// One of safetensors with tensors of 8 bytes that begin at `starts`.
fn safetensors(starts: &[u64]) -> Vec<u8> {
    let tensor = |(at, start): (usize, &u64)| {
        format!(r#""{at}":{{"dtype":"F16","shape":[4],"data_offsets":[{start},{}]}}"#, start + 8)
    };
    let json = format!("{{{}}}", starts.iter().enumerate().map(tensor).collect::<Vec<_>>().join(","));
    let end = starts.iter().max().map_or(0, |start| start + 8);
    let data = vec![7; usize::try_from(end).expect("a small file")];
    [&(json.len() as u64).to_le_bytes()[..], json.as_bytes(), &data].concat()
}

#[test]
fn a_file_that_was_cut_anywhere_is_told() {
    let dir = TestDir::new();
    let tensor = |header: Header| header.tensor("t", &[1], F32).file();
    for (name, bytes) in [
        ("m.gguf", tensor(Header::new("a"))),
        ("m.gguf", tensor(Header::big_endian("a"))),
        ("m.safetensors", safetensors(&[0])),
    ] {
        let path = dir.put(name, &bytes);
        let path = path.to_str().expect("UTF-8");
        dir.command(["inspect", path]).run().succeeds();
        // The last bytes of a GGUF file fill it up: a tensor of 4 has 32.
        let needed = if name == "m.gguf" { bytes.len() - 28 } else { bytes.len() };
        for length in 0..needed {
            dir.put(name, &bytes[..length]);
            let run = dir.command(["inspect", path]).run();
            assert_eq!(run.status, Some(20), "{length} of {} bytes: {}", bytes.len(), run.stderr);
        }
    }
}

/// What a header claims is not believed: neither is room made for it, nor is it read to its end.
#[test]
fn a_header_that_lies_costs_neither_memory_nor_bytes() {
    const GIB: u64 = 1 << 30;
    let counts = |tensors: u64, entries: u64| {
        [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes()].concat()
    };
    let with = |header: Header| header.tensor("t", &[4], F32).header();
    let list = |kind: u32, length: u64| [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat();
    let key = |length: u64| [counts(1, 1), length.to_le_bytes().to_vec()].concat();
    let offset = |offset: u64| {
        let header = Header::new("a").tensor("t", &[4], F32).header();
        // Behind the first numbers, the entry, and what else is said of the tensor.
        let at = 24 + (8 + 20 + 4 + 8 + 1) + (8 + 1 + 4 + 8 + 4);
        [&header[..at], &offset.to_le_bytes(), &header[at + 8..]].concat()
    };
    let lies: [(Vec<u8>, &str); 17] = [
        (counts(u64::MAX, 1), "it claims 18446744073709551615 tensors"),
        (counts(1, u64::MAX), "18446744073709551615 metadata entries"),
        (key(GIB), "a metadata key of 1073741824 bytes"),
        (with(Header::new("a").entry("k", 8, (8 * GIB).to_le_bytes().into())), "a metadata value of"),
        (with(Header::new("a").entry("k", 8, GIB.to_le_bytes().into())), "its header has more than 64 MiB"),
        (with(Header::new("a").entry("k", 9, list(10, GIB / 8))), "its header has more than 64 MiB"),
        (with(Header::new("a").entry("k", 9, list(10, GIB))), "a metadata value of"),
        (with(Header::new("a").entry("k", 9, list(8, u64::MAX))), "a metadata value of"),
        (with(Header::new("a").entry("k", 9, list(9, 1).repeat(9))), "lists in more than 4 lists"),
        (with(Header::new("a").entry("k", 9, list(99, 1))), "a list of values of unknown type 99"),
        (with(Header::new("a").number("k", 1).number("k", 2)), "it has the metadata key `k` twice"),
        (with(Header::new("a").tensor("t", &[4], F32)), "it has the tensor `t` twice"),
        (
            Header::new("a").tensor(&"t".repeat(2000), &[4], F32).header(),
            "the name of a tensor of 2000 bytes",
        ),
        (Header::new("a").tensor("t", &[1; 9], F32).header(), "a tensor of 9 dimensions"),
        (with(Header::new("a").number("general.alignment", 3)), "its general.alignment is no power of two"),
        (offset(1 << 40), "the data of its tensor `t` would end after the file"),
        (offset(u64::MAX - 8), "the data of its tensor `t` would end after the file"),
    ];
    let dir = TestDir::new();
    for (lie, says) in lies {
        let path = dir.put("m.gguf", &lie);
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(4 * GIB))
            .expect("a sparse file");
        let payload = Payload::joined([Payload::bytes(lie), Payload::random(1, 4 * GIB)]);
        let hub = hub(&payload.with_made_up_digest());
        let endpoint = hub.endpoint();
        for arguments in [
            &["inspect", path.to_str().expect("UTF-8")][..],
            &["inspect", REPO, FILE, "--endpoint", &endpoint],
        ] {
            let run = dir.command(arguments.iter().copied()).run().exits(20).says(says);
            assert!(run.peak_kib < 48 << 10, "{says}: {} KiB", run.peak_kib);
        }
        let moved = hub.bytes_sent(Server::Hub) + hub.bytes_sent(Server::Cdn);
        assert!(moved <= MIB, "{says}: {moved} bytes");
    }
}

#[test]
fn a_safetensors_header_that_lies_costs_neither_memory_nor_bytes() {
    const SIZE: u64 = 300_000_000;
    let length = |length: u64| [&length.to_le_bytes()[..], b"{"].concat();
    let dir = TestDir::new();
    let whole = |bytes: &[u8], says: &str| {
        let path = dir.put("m.safetensors", bytes);
        dir.command(["inspect", path.to_str().expect("UTF-8")]).run().exits(20).says(says);
    };
    whole(&safetensors(&[0, 4]), "the tensor at 4 overlaps with another");
    whole(&safetensors(&[0, 16]), "the tensor at 16 leaves a gap before it");
    whole(&safetensors(&[0, 8])[1..], "a header of");
    whole(&length(1000), "it ends within its header, after 9 bytes");
    for (lie, says) in [
        (length(100_000_000), "its header has more than 64 MiB"),
        (length(100_000_001), "a header of 100000001 bytes"),
        (length(u64::MAX), "a header of 18446744073709551615 bytes"),
        (length(1), "a header of 1 bytes"),
    ] {
        let path = dir.put("m.safetensors", &lie);
        File::options().write(true).open(&path).and_then(|file| file.set_len(SIZE)).expect("a sparse file");
        let payload = Payload::joined([Payload::bytes(lie), Payload::random(1, SIZE)]).with_made_up_digest();
        let hub = built(FakeHub::builder().repo(Repo::model(REPO).lfs("m.safetensors", payload)));
        let endpoint = hub.endpoint();
        for arguments in [
            &["inspect", path.to_str().expect("UTF-8")][..],
            &["inspect", REPO, "m.safetensors", "--endpoint", &endpoint],
        ] {
            let run = dir.command(arguments.iter().copied()).run().exits(20).says(says);
            assert!(run.peak_kib < 48 << 10, "{says}: {} KiB", run.peak_kib);
        }
        let moved = hub.bytes_sent(Server::Hub) + hub.bytes_sent(Server::Cdn);
        assert!(moved <= MIB, "{says}: {moved} bytes");
    }
}

#[test]
fn shards_that_disagree_are_told() {
    let shard = |architecture: &str, number: u32| {
        Header::new(architecture).number("split.count", 2).number("split.no", number).tensor("a", &[4], F32)
    };
    let first = || shard("llama", 0).number("split.tensors.count", 2);
    let other = |number: u32| Header::new("llama").number("split.count", 2).number("split.no", number);
    let second = || other(1).number("split.tensors.count", 2).tensor("b", &[4], F32);
    let big = Header::big_endian("llama").number("split.count", 2).number("split.no", 1);
    let dir = TestDir::new();
    let path = dir.put("m-00001-of-00002.gguf", &first().file());
    let inspect = |second: &Header| {
        dir.put("m-00002-of-00002.gguf", &second.file());
        dir.command(["inspect", path.to_str().expect("UTF-8")]).run()
    };
    inspect(&second()).succeeds();
    for (header, says) in [
        (
            other(0).number("split.tensors.count", 2).tensor("b", &[4], F32),
            "its name says shard 2, its header 1",
        ),
        (other(1).number("split.tensors.count", 3).tensor("b", &[4], F32), "it is not of the same set as"),
        (shard("qwen3", 1).number("split.tensors.count", 2), "it is of another architecture than"),
        (big.number("split.tensors.count", 2).tensor("b", &[4], F32), "it is not of the same set as"),
        (second().tensor("c", &[4], F32), "its shards hold 3 tensors, should hold 2"),
        (
            Header::new("llama").number("split.count", 3).number("split.no", 1).tensor("b", &[4], F32),
            "its name says 2 shards, its header 3",
        ),
    ] {
        inspect(&header).exits(20).says(says);
    }
}

/// The first ones are shown and the rest is named; whoever wants all judged hears that they are too many.
#[test]
fn of_many_models_it_is_said_which_were_left_out() {
    let dir = TestDir::new();
    let file = Header::llama(1, 1).file();
    let name = |at: u32| format!("m-{at:03}.gguf");
    let repo = (0..70).fold(Repo::model(REPO), |repo, at| {
        dir.put(&name(at), &file);
        repo.lfs(&name(at), Payload::bytes(file.clone()))
    });
    let hub = built(FakeHub::builder().repo(repo));
    let endpoint = hub.endpoint();
    let folder = dir.models().to_str().expect("UTF-8").to_owned();
    let left_out: Vec<_> = (64..70).map(name).collect();
    for subject in [&["inspect", &folder][..], &["inspect", REPO, "--endpoint", &endpoint]] {
        let inspect = |more: &[&str]| dir.command(subject.iter().chain(more).copied()).run();
        let run = inspect(&["--json"]).succeeds();
        assert_eq!(run.json()["models"].as_array().map(Vec::len), Some(64));
        assert_eq!(run.json()["left_out"], serde_json::json!(left_out));
        inspect(&[]).succeeds().prints("6 models more, not looked at").prints("m-069.gguf");
        hub.clear();
        inspect(&["--fits", "1TiB"]).exits(2).says("70 models are there");
        inspect(&["--architectures", "llama"]).exits(2);
        assert_eq!(hub.bytes_sent(Server::Cdn), 0, "nothing is read for an answer that cannot be given");
    }
    let run = dir.command(["inspect", REPO, "m-06*", "--endpoint", &endpoint, "--json"]).run().succeeds();
    assert_eq!(run.json()["models"].as_array().map(Vec::len), Some(10));
    assert_eq!(run.json()["left_out"], serde_json::json!([]));
}

/// Each header is allowed its 8 MiB, and all together eight times as much.
#[test]
fn many_headers_that_are_all_they_may_be_have_a_bound_together() {
    let entry = |at| [&4u64.to_le_bytes()[..], format!("{at:04x}").as_bytes(), &[0; 4], &[1]].concat();
    let count: u16 = 60_000;
    let entries: Vec<u8> = (0..count).flat_map(entry).collect();
    let file =
        [&b"GGUF\x03\0\0\0"[..], &0u64.to_le_bytes(), &u64::from(count).to_le_bytes(), &entries, &[0; 64]]
            .concat();
    let dir = TestDir::new();
    for at in 0..30 {
        dir.put(&format!("m-{at}.gguf"), &file);
    }
    let folder = dir.models().to_str().expect("UTF-8").to_owned();
    let run =
        dir.command(["inspect", &folder]).run().exits(2).says("take more than 64 MiB: name fewer files");
    assert!(run.peak_kib < 256 << 10, "{} KiB", run.peak_kib);
}
