//! `inspect`: what a model is and what it needs, before a byte of it is paid for.

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

#[test]
fn a_model_on_the_hub_costs_one_question_and_a_range() {
    let model = Payload::gguf(1, 512 * MIB);
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
