//! Which GGUF files of a list llama.cpp takes for `-hf owner/name:TAG`. The rules are those of its release b11549
//! (`common/download.cpp`), which `tests/it/llama_cpp.txt` holds to its own answers.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::Shard;
use crate::words::Invalid;

/// Of a sharded or plain model the files, and its projector. Without a name it is the usual quantization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quant(Option<String>);

/// What llama.cpp looks for where it is told nothing.
const USUAL: [&str; 2] = ["Q4_K_M", "Q8_0"];
/// Names of files that are no model: projectors, importance matrices, and models that draft for another.
const NO_MODEL: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
const PROJECTOR: &str = "mmproj";
/// Where it lies at the top of a repository, it is all that llama.cpp takes: it names models of other ones.
const PRESET: &str = "preset.ini";

impl FromStr for Quant {
    type Err = Invalid;

    /// Reads a name such as `Q4_K_M`; nothing, or Ollama's `latest`, is the usual one.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if matches!(text, "" | "latest") {
            return Ok(Self(None));
        }
        if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return Err(Invalid::new("quantization", text, "expected a name such as Q4_K_M"));
        }
        Ok(Self(Some(text.to_owned())))
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "quantization {name}"),
            None => write!(f, "quantization {} or any other", USUAL.join(" or ")),
        }
    }
}

impl Quant {
    /// Whether files of this name take part in the choice: others need not be known.
    pub(super) fn may_take(name: &str) -> bool {
        is_gguf(name) || name == PRESET
    }

    /// The places of the chosen files in a list, in its order; none where no model fits.
    pub(super) fn choose(&self, names: &[&str]) -> Vec<usize> {
        if let Some(preset) = names.iter().position(|name| *name == PRESET) {
            return vec![preset];
        }
        let Some(model) = self.model(names) else { return Vec::new() };
        let mut chosen = shards(names, model);
        chosen.extend(projector(names, names[model]));
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// The first model with the tag, of a set its first shard.
    fn model(&self, names: &[&str]) -> Option<usize> {
        let models: Vec<_> = (0..names.len()).filter(|at| is_model(names[*at])).collect();
        let tagged = |tag: &str| models.iter().find(|at| has_tag(names[**at], tag)).copied();
        match &self.0 {
            Some(tag) => tagged(tag),
            None => USUAL.into_iter().find_map(tagged).or(models.first().copied()),
        }
    }
}

fn is_gguf(name: &str) -> bool {
    name.ends_with(".gguf")
}

fn is_model(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    is_gguf(path)
        && NO_MODEL.iter().all(|word| !name.contains(word))
        && Shard::parse(path).is_none_or(|shard| shard.total <= 1 || shard.index == 1)
}

/// Whether a path has the tag before a `.` or `-`, in whatever case and after whatever letter.
fn has_tag(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_lowercase(), tag.to_ascii_lowercase());
    path.match_indices(&tag).any(|(at, _)| path[at + tag.len()..].starts_with(['.', '-']))
}

/// The files of the model's set that are listed.
fn shards(names: &[&str], model: usize) -> Vec<usize> {
    match Shard::parse(names[model]).filter(|shard| shard.total > 1) {
        Some(first) => {
            let same = |name| Shard::parse(name).is_some_and(|shard| shard.is_of_set_of(&first));
            (0..names.len()).filter(|at| same(names[*at])).collect()
        }
        None => vec![model],
    }
}

/// The projector in the model's folder or in one above: the nearest, and of those the first whose quantization
/// has the number of bits that is closest to the model's.
fn projector(names: &[&str], model: &str) -> Option<usize> {
    let folder = |path: &str| path.rfind('/').map_or(0, |at| at + 1);
    let is_near = |name: &str| {
        is_gguf(name) && name.contains(PROJECTOR) && model[..folder(model)].starts_with(&name[..folder(name)])
    };
    let near = (0..names.len()).filter(|at| is_near(names[*at]));
    near.min_by_key(|at| (Reverse(folder(names[*at])), bits(names[*at]).abs_diff(bits(model))))
}

/// The first number in the last word of a GGUF file's name: 4 of `m-Q4_K_M.gguf`, 16 of `m-BF16-00001-of-00002.gguf`.
fn bits(path: &str) -> u32 {
    let stem =
        Shard::parse(path).map_or_else(|| path.strip_suffix(".gguf").unwrap_or(path), |shard| shard.prefix);
    let word = stem.rfind(['-', '.']).map_or("", |at| &stem[at + 1..]);
    if !word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return 0;
    }
    let number = word.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().unwrap_or(0)
}

/// The quantizations that the GGUF files of a list are called by, sorted.
pub fn quants<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<_> = names.into_iter().filter_map(quant_of).collect();
    found.sort();
    found.dedup();
    found
}

fn quant_of(path: &str) -> Option<String> {
    let stem = path.rsplit('/').next()?.strip_suffix(".gguf")?;
    stem.split(['-', '.']).rev().find(|word| is_quant(word)).map(str::to_owned)
}

fn is_quant(word: &str) -> bool {
    let word = word.to_ascii_uppercase();
    let numbered = |prefix: &str| {
        word.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    matches!(word.as_str(), "F16" | "F32" | "BF16" | "MXFP4" | "FP16" | "FP8")
        || ["Q", "IQ", "TQ", "MXFP", "NVFP"].into_iter().any(numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantizations_are_found_in_names() {
        let list = [
            "m-Q4_K_M.gguf",
            "m-Q4_K_M-00001-of-00002.gguf",
            "d/m.IQ4_XS.gguf",
            "m-BF16.gguf",
            "m.gguf",
            "Q8_0.md",
        ];
        assert_eq!(quants(list), ["BF16", "IQ4_XS", "Q4_K_M"]);
    }

    #[test]
    fn the_bits_of_a_name_are_the_first_number_of_its_last_word() {
        for (name, expected) in [
            ("m-Q4_K_M.gguf", 4),
            ("d-8/m.BF16.gguf", 16),
            ("m-IQ2_XXS-00001-of-00002.gguf", 2),
            ("m-7b-chat.gguf", 0),
            ("Q4_0.gguf", 0),
            ("d-8/m.gguf", 0),
            ("m-99999999999.gguf", 0),
        ] {
            assert_eq!(bits(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_of_a_quantization_is_refused() {
        assert!("Q4_K_M,Q8_0".parse::<Quant>().is_err() && "a/b".parse::<Quant>().is_err());
    }
}
