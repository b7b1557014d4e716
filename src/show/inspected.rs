//! What a model is, as people read it. All text of a header is a stranger's.

use std::fmt::Write;

use crate::command::inspect::{Facts, Fit, Inspected, Kind};
use crate::memory::{Memory, RELEASE, Share};
use crate::words::{Binary, Bytes, count, tame};

/// All models, one after the other.
pub fn inspected(found: &Inspected, with_tensors: bool) -> String {
    let models = found.models.iter().map(|model| one(model, with_tensors));
    models.chain(left_out(&found.left_out)).collect::<Vec<_>>().join("\n")
}

/// What was not looked at.
fn left_out(names: &[String]) -> Option<String> {
    const SHOWN: usize = 20;
    let shown = names.iter().take(SHOWN).map(|name| format!("  {}\n", tame(name)));
    let rest = names.len().saturating_sub(SHOWN);
    let rest = if rest > 0 { format!("  and {rest} more\n") } else { String::new() };
    let models = count(names.len() as u64, "model");
    (!names.is_empty()).then(|| {
        format!(
            "{models} more, not looked at: name a file, a glob or --quant\n{}{rest}",
            shown.collect::<String>()
        )
    })
}

fn one(facts: &Facts, with_tensors: bool) -> String {
    let mut table = Table::default();
    let size = facts.files.iter().map(|file| file.size).fold(0, u64::saturating_add);
    let files = count(facts.files.len() as u64, "file");
    let _ = writeln!(table.0, "{}", tame(&facts.name));
    let kind = match facts.kind {
        Kind::Model => "model",
        Kind::Projector => "projector: goes with a model, as --mmproj",
        Kind::Adapter => "adapter: goes with a model, as --lora",
        Kind::Imatrix => "importance matrix: for quantizing, not for serving",
        Kind::Vocabulary => "vocabulary without weights",
    };
    table.row("kind", kind);
    let format = match facts.version {
        0 => "safetensors".to_owned(),
        version => format!("GGUF {version}{}", if facts.big_endian { ", big-endian" } else { "" }),
    };
    table.row("format", &format!("{format}, {}, {files}", Bytes(size)));
    table.text("architecture", facts.architecture.as_deref());
    table.text("name", facts.title.as_deref());
    if let Some(context) = facts.context_length {
        table.row("context", &format!("{context} tokens"));
    }
    table.row(
        "parameters",
        &format!(
            "{} in {}, {:.2} bits each",
            number(facts.parameters),
            count(facts.tensor_count, "tensor"),
            facts.bits_per_weight
        ),
    );
    for (kind, types) in &facts.types {
        let tensors = count(types.tensors, "tensor");
        let text = format!("{}, {} parameters, {tensors}", Bytes(types.bytes), number(types.parameters));
        table.row(&format!("  {}", tame(kind)), &text);
    }
    if let Some(tokens) = facts.tokens {
        let kind = facts.tokenizer.iter().map(|part| tame(part)).collect::<Vec<_>>().join(", ");
        table.row("tokenizer", format!("{kind}, {tokens} tokens").trim_start_matches(", "));
    }
    for template in &facts.chat_templates {
        let name =
            if template.name.is_empty() { String::new() } else { format!("{}: ", tame(&template.name)) };
        let digest = template.sha256.map(|digest| format!("sha256:{digest} ")).unwrap_or_default();
        table.row("chat template", &format!("{name}{digest}{}", tame(&template.first_line)));
    }
    if let Some([total, there]) = facts.shards {
        table.row("shards", &format!("{there} of {total}"));
    }
    for (key, value) in &facts.config {
        table.row(&format!("config {key}"), &tame(&value.to_string()));
    }
    if let Some(memory) = &facts.memory {
        weighed(&mut table, memory, facts.fit.as_ref());
    }
    for note in &facts.notes {
        table.row("note", &tame(note));
    }
    if with_tensors {
        for tensor in &facts.tensors {
            let _ = writeln!(table.0, "  {}", tame(&tensor.line()));
        }
    }
    table.0
}

fn weighed(table: &mut Table, memory: &Memory, fit: Option<&Fit>) {
    let bound = match (memory.at_most, memory.judged) {
        (true, _) => ", at most: how this architecture remembers is not known",
        (_, true) => "",
        _ => ", by its source alone: no model of this architecture was loaded to compare",
    };
    table.row(
        "memory",
        &format!(
            "for a context of {} in {}, as llama.cpp {RELEASE}{bound}",
            memory.context,
            count(memory.slots, "slot")
        ),
    );
    for (at, share) in memory.cards.iter().enumerate() {
        let size = fit.and_then(|fit| fit.cards.get(at)).map(|size| format!(" of {}", Binary(*size)));
        let verdict = fit.map(|fit| {
            if fit.cards.get(at).is_some_and(|size| share.total() <= *size) {
                "fits, "
            } else {
                "DOES NOT FIT, "
            }
        });
        let name = if memory.cards.len() > 1 { format!("  card {}", at + 1) } else { "  on the card".into() };
        table.row(
            &(name + &size.unwrap_or_default()),
            &(verdict.unwrap_or_default().to_owned() + &shares(share)),
        );
    }
    table.row("  main memory", &shares(&memory.main));
    if let Some(fit) = fit {
        let longest = fit.longest_context.map_or("none".into(), |tokens| format!("{tokens} tokens"));
        table.row("  longest context that fits", &longest);
        for other in &fit.others {
            let fits = if other.fits { "would fit" } else { "would not fit" };
            table.row(&format!("  {}", tame(&other.name)), &format!("{}, {fits}", Bytes(other.bytes)));
        }
    }
}

fn shares(share: &Share) -> String {
    let Share { weights, cache, state, compute_at_most } = *share;
    format!(
        "{}: weights {}, keys and values {}, states {}, buffers at most {}",
        Binary(share.total()),
        Binary(weights),
        Binary(cache),
        Binary(state),
        Binary(compute_at_most)
    )
}

/// A count in thousands, millions or billions.
fn number(count: u64) -> String {
    let (unit, divisor) = match count {
        0..1_000_000 => return count.to_string(),
        1_000_000..1_000_000_000 => (" million", 1e6),
        _ => (" billion", 1e9),
    };
    #[expect(clippy::cast_precision_loss, reason = "two digits behind the point are shown")]
    let number = count as f64 / divisor;
    format!("{number:.2}{unit}")
}

#[derive(Default)]
struct Table(String);

impl Table {
    fn row(&mut self, name: &str, text: &str) {
        let _ = writeln!(self.0, "  {name:<16} {text}");
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.row(name, &tame(text));
        }
    }
}
