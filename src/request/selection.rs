//! Which files of a repository are wanted: names, globs, a quantization, shards.

use std::collections::HashSet;
use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::RepoPath;
use crate::words::Invalid;

/// The files a request asks for.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Exact names: no listing of the repository is needed.
    Named(Vec<RepoPath>),
    /// Everything the patterns let through: needs the listing.
    Matching(Patterns),
}

/// Globs and a quantization, applied to a listing.
#[derive(Clone, Default)]
pub struct Patterns {
    /// As they were written, for messages and for names that look like patterns.
    include: Vec<String>,
    exclude: Vec<String>,
    quant: Option<String>,
    included: GlobSet,
    excluded: GlobSet,
}

impl Selection {
    /// From `FILE…`, `--include`, `--exclude` and `--quant`. A name that is one shard of a set
    /// stands for the whole set.
    pub fn new(
        files: &[String],
        include: &[String],
        exclude: &[String],
        quant: Option<String>,
    ) -> Result<Self, Invalid> {
        let is_glob = |name: &String| name.contains(['*', '?', '[', '{']);
        if let Some(quant) = &quant
            && !quant.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        {
            return Err(Invalid::new("quantization", quant, "expected a name such as Q4_K_M"));
        }
        if !files.is_empty()
            && include.is_empty()
            && exclude.is_empty()
            && quant.is_none()
            && !files.iter().any(is_glob)
        {
            let mut named = Vec::new();
            let mut seen = HashSet::new();
            for file in files {
                let path: RepoPath = file.parse()?;
                let paths = shard_set(&path)?.unwrap_or_else(|| vec![path]);
                named.extend(paths.into_iter().filter(|path| seen.insert(path.clone())));
            }
            return Ok(Self::Named(named));
        }
        Patterns::new([files, include].concat(), exclude.to_vec(), quant).map(Self::Matching)
    }

    /// One file alone, even if it is a shard of a set.
    pub fn single(path: RepoPath) -> Self {
        Self::Named(vec![path])
    }

    /// What it asks for, in a few words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Named(paths) => paths.iter().map(RepoPath::as_str).collect::<Vec<_>>().join(", "),
            Self::Matching(patterns) => patterns.describe(),
        }
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Patterns {
    fn new(include: Vec<String>, exclude: Vec<String>, quant: Option<String>) -> Result<Self, Invalid> {
        let (included, excluded) = (glob_set(&include)?, glob_set(&exclude)?);
        Ok(Self { include, exclude, quant, included, excluded })
    }

    /// Whether they pick this file of a listing.
    pub fn pick(&self, path: &RepoPath) -> bool {
        (self.include.is_empty() || self.included.is_match(path.as_str()) || self.names(path))
            && !self.excluded.is_match(path.as_str())
            && self.quant.as_ref().is_none_or(|quant| has_quant(path, quant))
    }

    /// Whether a file is called exactly as a pattern is written: `a[1].gguf` is a name too.
    fn names(&self, path: &RepoPath) -> bool {
        self.include.iter().any(|pattern| pattern == path.as_str())
    }

    fn describe(&self) -> String {
        let mut words = self.include.clone();
        words.extend(self.exclude.iter().map(|glob| format!("not {glob}")));
        words.extend(self.quant.iter().map(|quant| format!("quantization {quant}")));
        if words.is_empty() { "all files".into() } else { words.join(", ") }
    }
}

fn glob_set(globs: &[String]) -> Result<GlobSet, Invalid> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        let invalid = |why: globset::Error| Invalid::new("glob", glob, why.kind().to_string());
        // `huggingface_hub` matches with fnmatch, where `*` crosses folders; a folder means its files.
        let pattern = if glob.ends_with('/') { format!("{glob}*") } else { glob.clone() };
        set.add(GlobBuilder::new(&pattern).literal_separator(false).build().map_err(invalid)?);
    }
    set.build().map_err(|why| Invalid::new("glob", &globs.join(" "), why.to_string()))
}

/// All names of the set a shard belongs to: `x-00002-of-00003.gguf` stands for three files
/// (llama.cpp `llama_split_path`, hf `safetensors` shards). `None` if the name is no shard.
pub fn shard_set(path: &RepoPath) -> Result<Option<Vec<RepoPath>>, Invalid> {
    let text = path.as_str();
    let Some((stem, extension)) = text.rsplit_once('.') else { return Ok(None) };
    let Some((stem, total)) = stem.rsplit_once("-of-") else { return Ok(None) };
    let Some((prefix, index)) = stem.rsplit_once('-') else { return Ok(None) };
    let number = |digits: &str| {
        (digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit()))
            .then(|| digits.parse::<u32>().ok())
            .flatten()
    };
    let (Some(index), Some(total)) = (number(index), number(total)) else { return Ok(None) };
    if index == 0 || index > total {
        return Err(Invalid::new("shard", text, format!("shard {index} of {total} cannot exist")));
    }
    let names = (1..=total).map(|n| format!("{prefix}-{n:05}-of-{total:05}.{extension}").parse());
    names.collect::<Result<_, _>>().map(Some)
}

/// Whether a GGUF file name carries this quantization, as llama.cpp's `-hf owner/name:TAG`
/// looks for `TAG` followed by `.` or `-` (llama.cpp `common/download.cpp`).
fn has_quant(path: &RepoPath, quant: &str) -> bool {
    let text = path.as_str().to_ascii_lowercase();
    let quant = quant.to_ascii_lowercase();
    let is_gguf = text.ends_with(".gguf");
    is_gguf
        && text.match_indices(&quant).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + quant.len()..].chars().next();
            before.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
                && matches!(after, Some('.' | '-' | '/'))
        })
}

/// The quantizations named by a listing's GGUF files, sorted.
pub fn quants<'a>(listing: impl IntoIterator<Item = &'a RepoPath>) -> Vec<String> {
    let mut found: Vec<_> = listing.into_iter().filter_map(|path| quant_of(path.file_name())).collect();
    found.sort();
    found.dedup();
    found
}

fn quant_of(file_name: &str) -> Option<String> {
    let stem = file_name.strip_suffix(".gguf")?;
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

    fn paths(names: &[&str]) -> Vec<RepoPath> {
        names.iter().map(|name| name.parse().expect("path")).collect()
    }

    fn patterns(include: &[&str], exclude: &[&str], quant: Option<&str>) -> Patterns {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Patterns::new(texts(include), texts(exclude), quant.map(str::to_owned)).expect("patterns")
    }

    fn pick(patterns: &Patterns, listing: &[RepoPath]) -> Vec<RepoPath> {
        listing.iter().filter(|path| patterns.pick(path)).cloned().collect()
    }

    #[test]
    fn one_shard_stands_for_the_whole_set() {
        let Selection::Named(named) =
            Selection::new(&["d/m-00002-of-00003.gguf".into()], &[], &[], None).expect("selection")
        else {
            panic!("names need no listing")
        };
        assert_eq!(
            named,
            paths(&["d/m-00001-of-00003.gguf", "d/m-00002-of-00003.gguf", "d/m-00003-of-00003.gguf"])
        );
        assert!(Selection::new(&["m-00004-of-00003.gguf".into()], &[], &[], None).is_err());
    }

    #[test]
    fn a_quantization_picks_its_files_and_lists_the_others_when_unknown() {
        let listing = paths(&[
            "m-Q4_K_M.gguf",
            "m-Q4_K_M-00001-of-00002.gguf",
            "m-IQ4_K_M.gguf",
            "Q8_0/m-Q8_0.gguf",
            "README.md",
        ]);
        let found = |quant: &str| pick(&patterns(&[], &[], Some(quant)), &listing);
        assert_eq!(found("q4_k_m"), paths(&["m-Q4_K_M.gguf", "m-Q4_K_M-00001-of-00002.gguf"]));
        assert_eq!(found("Q2_K"), []);
        assert_eq!(quants(&listing), ["IQ4_K_M", "Q4_K_M", "Q8_0"]);
    }

    #[test]
    fn a_file_whose_name_looks_like_a_glob_can_be_named() {
        let listing = paths(&["a[1].gguf", "a1.gguf"]);
        assert_eq!(pick(&patterns(&["a[1].gguf"], &[], None), &listing), listing);
    }

    #[test]
    fn globs_cross_folders_and_excludes_win() {
        let listing = paths(&["a.gguf", "d/b.gguf", "d/c.bin"]);
        assert_eq!(pick(&patterns(&["*.gguf"], &["d/"], None), &listing), paths(&["a.gguf"]));
    }
}
