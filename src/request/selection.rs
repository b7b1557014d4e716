//! Which files of a repository are wanted: names, globs, a quantization.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::glob::Glob;
use super::{Quant, RepoPath, Shard, Signing};
use crate::words::Invalid;

/// Larger sets of shards are taken from the list: to ask for each name costs more than its pages.
const NAMED_MAX: u32 = 1000;

/// The files a request asks for.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Exact names: no listing of the repository is needed.
    Named(Names),
    /// Everything the patterns let through: needs the listing.
    Matching(Patterns),
}

/// Names of files, those of each set of shards guessed from one of them.
#[derive(Debug, Clone)]
pub struct Names {
    given: Vec<RepoPath>,
    paths: Vec<RepoPath>,
    by_list: Option<Patterns>,
    /// A file that is taken beside all that: one of `paths`.
    also: Option<RepoPath>,
}

/// Names, globs and a quantization, applied to a listing.
#[derive(Clone, Default)]
pub struct Patterns {
    files: Vec<Wish>,
    include: Vec<Wish>,
    exclude: Vec<Wish>,
    quant: Option<Quant>,
    /// A file that is taken beside all that.
    also: Option<RepoPath>,
}

/// A name or a glob: which of the two, only a list can tell, for `a[1].gguf` may be either.
#[derive(Clone)]
struct Wish {
    text: String,
    /// `None` where it can only be a name, an error where it is no glob.
    glob: Option<Result<Glob, String>>,
}

/// What the patterns pick from a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Places in the list, in its order.
    pub picked: Vec<usize>,
    /// Sets of shards that are not whole.
    pub gaps: Vec<Gap>,
}

/// A set of shards of which a list has a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// One of the shards that are not there.
    pub missing: String,
    /// How many are there.
    pub present: u32,
    /// How many there should be.
    pub total: u32,
    /// Whether the user named a shard, and so the set.
    pub is_named: bool,
}

/// A wish that a list cannot fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// No file has this name.
    Missing(RepoPath),
    /// No file has this name, and it is no glob either.
    Malformed(Invalid),
}

impl Selection {
    /// From `FILE…`, `--include`, `--exclude` and `--quant`. A FILE that is one shard of a set stands for the whole
    /// set; an `--include` does not.
    pub fn new(
        files: &[String],
        include: &[String],
        exclude: &[String],
        quant: Option<Quant>,
    ) -> Result<Self, Invalid> {
        let files: Vec<_> = files.iter().map(|text| Wish::new(text)).collect();
        let (include, exclude) = (globs(include)?, globs(exclude)?);
        // A name must be one that a file can have, whatever else is wanted.
        let names = files.iter().filter(|file| file.glob.is_none()).map(|file| file.text.parse());
        let given = names.collect::<Result<Vec<RepoPath>, _>>()?;
        given.iter().try_for_each(|path| Shard::check(path.as_str()))?;
        let needs_list =
            given.len() < files.len() || !include.is_empty() || !exclude.is_empty() || quant.is_some();
        let shards: Vec<_> = given.iter().filter_map(|path| Shard::parse(path.as_str())).collect();
        let is_large = shards.iter().any(|shard| shard.total > NAMED_MAX);
        let has_sets = shards.iter().any(|shard| shard.total > 1);
        let patterns = Patterns { files, include, exclude, quant, also: None };
        if given.is_empty() || needs_list || is_large {
            return Ok(Self::Matching(patterns));
        }
        let mut paths = Vec::new();
        let mut seen = HashSet::new();
        for path in &given {
            let set =
                Shard::parse(path.as_str()).map(|shard| shard.set().map(|shard| shard.to_string().parse()));
            let set =
                set.map_or_else(|| Ok(vec![path.clone()]), Iterator::collect::<Result<Vec<RepoPath>, _>>)?;
            paths.extend(set.into_iter().filter(|path| seen.insert(path.clone())));
        }
        Ok(Self::Named(Names { given, paths, by_list: has_sets.then_some(patterns), also: None }))
    }

    /// One file alone, even if it is a shard of a set.
    pub fn single(path: RepoPath) -> Self {
        Self::Named(Names { given: vec![path.clone()], paths: vec![path], by_list: None, also: None })
    }

    /// The same, and the signature, which has to be there if one is demanded.
    #[must_use]
    pub fn with_signature(mut self, signing: Option<&Arc<Signing>>) -> Self {
        let Some(Signing { signature: path, .. }) = signing.map(Arc::as_ref) else { return self };
        let patterns = match &mut self {
            Self::Named(names) => {
                if !names.paths.contains(path) {
                    names.paths.push(path.clone());
                }
                names.also = Some(path.clone());
                names.by_list.as_mut()
            }
            Self::Matching(patterns) => Some(patterns),
        };
        if let Some(patterns) = patterns {
            patterns.also = Some(path.clone());
        }
        self
    }

    /// What it asks for, in a few words, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Named(names) => names.given.iter().map(RepoPath::as_str).collect::<Vec<_>>().join(", "),
            Self::Matching(patterns) => patterns.describe(),
        }
    }
}

impl Names {
    /// Of all files, with the other shards of each set as they are called if their count begins where it seems to.
    pub fn paths(&self) -> &[RepoPath] {
        &self.paths
    }

    /// Where sets are among them: the same as a question to the list, which knows what there is.
    pub fn by_list(&self) -> Option<&Patterns> {
        self.by_list.as_ref()
    }

    /// The same as a question to a list that is there anyway.
    pub fn in_list(&self) -> Patterns {
        self.by_list.clone().unwrap_or_else(|| {
            let wishes = |of_set| {
                let paths = self.given.iter().filter(move |path| self.has_set_of(path) == of_set);
                paths.map(|path| Wish::new(path.as_str())).collect()
            };
            // One shard alone is what an `--include` takes.
            Patterns {
                files: wishes(false),
                include: wishes(true),
                exclude: Vec::new(),
                quant: None,
                also: self.also.clone(),
            }
        })
    }

    /// Whether a name is one of a set: it was guessed, or others of its set were.
    pub fn has_set_of(&self, path: &RepoPath) -> bool {
        Shard::parse(path.as_str()).is_some_and(|shard| shard.total > 1)
    }
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Patterns {
    /// Whether a file of this name may be picked: others can be forgotten while a list is read.
    pub fn may_pick(&self, name: &str) -> bool {
        let is_wished = |wish: &Wish| wish.text == name || wish.is_match(name) || wish.is_of_set_of(name);
        if self.is_also(name) {
            return true;
        }
        (self.takes_all() || self.files.iter().chain(&self.include).any(is_wished))
            && (self.quant.is_none() || Quant::may_take(name))
    }

    /// Picks from the names of a list.
    pub fn choose(&self, names: &[&str]) -> Result<Choice, Unmet> {
        if let Some(also) = self.also.as_ref().filter(|also| !names.contains(&also.as_str())) {
            return Err(Unmet::Missing(also.clone()));
        }
        if self.takes_all() && self.exclude.is_empty() && self.quant.is_none() {
            return Ok(Choice { picked: (0..names.len()).collect(), gaps: Vec::new() });
        }
        let listed: HashSet<&str> = names.iter().copied().collect();
        let is_listed = |wish: &&Wish| listed.contains(wish.text.as_str());
        for wish in self.files.iter().filter(|wish| !is_listed(wish)) {
            wish.check_glob().map_err(Unmet::Malformed)?;
            if wish.glob.is_none() {
                return Err(wish.text.parse().map_or_else(Unmet::Malformed, Unmet::Missing));
            }
        }
        let files = Met::new(self.files.iter(), &listed);
        let include = Met::new(self.include.iter(), &listed);
        let exclude = Met::new(self.exclude.iter(), &listed);
        let is_wanted = |name: &str| {
            (self.takes_all() || files.takes(name) || files.takes_set_of(name) || include.takes(name))
                && !exclude.takes(name)
        };
        let mut picked: Vec<_> = (0..names.len()).filter(|at| is_wanted(names[*at])).collect();
        if let Some(quant) = &self.quant {
            let left: Vec<_> = picked.iter().map(|at| names[*at]).collect();
            picked = quant.choose(&left).into_iter().map(|at| picked[at]).collect();
        }
        // Alone it is not what was asked for.
        let also = names.iter().position(|name| self.is_also(name)).filter(|_| !picked.is_empty());
        picked.extend(also.filter(|also| !picked.contains(also)));
        let gaps = self.gaps(&picked.iter().map(|at| names[*at]).collect::<Vec<_>>(), &listed);
        Ok(Choice { picked, gaps })
    }

    /// The sets that were asked for as such, and are not whole.
    fn gaps(&self, picked: &[&str], listed: &HashSet<&str>) -> Vec<Gap> {
        let mut seen = HashSet::new();
        let named = self.files.iter().filter_map(|file| Shard::parse(&file.text));
        let named = named.filter(|shard| seen.insert(Shard { index: 0, ..*shard }));
        let mut sets: Vec<_> = named.map(|shard| (shard, true)).collect();
        let of_model = self.quant.as_ref().and_then(|_| picked.iter().find_map(|name| Shard::parse(name)));
        sets.extend(of_model.map(|shard| (shard, false)));
        sets.into_iter().filter_map(|(shard, is_named)| Gap::of(shard, is_named, listed)).collect()
    }

    fn is_also(&self, name: &str) -> bool {
        self.also.as_ref().is_some_and(|also| also.as_str() == name)
    }

    fn takes_all(&self) -> bool {
        self.files.is_empty() && self.include.is_empty()
    }

    fn describe(&self) -> String {
        let wished = self.files.iter().chain(&self.include).map(|wish| wish.text.clone());
        let mut words: Vec<_> = wished.collect();
        words.extend(self.exclude.iter().map(|wish| format!("not {}", wish.text)));
        words.extend(self.quant.iter().map(ToString::to_string));
        if words.is_empty() { "all files".into() } else { words.join(", ") }
    }
}

impl Wish {
    fn new(text: &str) -> Self {
        let is_glob = text.contains(['*', '?', '[', '{']);
        Self { text: text.into(), glob: is_glob.then(|| Glob::new(text)) }
    }

    fn is_match(&self, name: &str) -> bool {
        matches!(&self.glob, Some(Ok(glob)) if glob.is_match(name))
    }

    /// Whether both are shards of one set.
    fn is_of_set_of(&self, name: &str) -> bool {
        Shard::parse(&self.text).zip(Shard::parse(name)).is_some_and(|(own, other)| own.is_of_set_of(&other))
    }

    /// Fails if it can only be a name.
    fn check_glob(&self) -> Result<(), Invalid> {
        let Some(Err(why)) = &self.glob else { return Ok(()) };
        let why = format!("as a glob it is wrong ({why}): there `[[]` and `[{{]` stand for the brackets");
        Err(Invalid::new("glob", &self.text, why))
    }
}

/// What wishes mean to a list: of each it is known whether it is a name there or a glob.
struct Met<'a> {
    names: HashSet<&'a str>,
    globs: Vec<&'a Glob>,
    /// Each set that is named by one of its shards: the shard 0, whether there is such a file or not.
    sets: HashSet<Shard<'a>>,
}

impl<'a> Met<'a> {
    fn new(wishes: impl Iterator<Item = &'a Wish>, listed: &HashSet<&str>) -> Self {
        let mut met = Self { names: HashSet::new(), globs: Vec::new(), sets: HashSet::new() };
        for wish in wishes {
            if listed.contains(wish.text.as_str()) {
                met.names.insert(&wish.text);
                met.sets.extend(first_of_set(&wish.text));
            } else if let Some(Ok(glob)) = &wish.glob {
                met.globs.push(glob);
            }
        }
        met
    }

    fn takes(&self, name: &str) -> bool {
        self.names.contains(name) || self.globs.iter().any(|glob| glob.is_match(name))
    }

    fn takes_set_of(&self, name: &str) -> bool {
        !self.sets.is_empty() && first_of_set(name).is_some_and(|first| self.sets.contains(&first))
    }
}

fn first_of_set(name: &str) -> Option<Shard<'_>> {
    Shard::parse(name).map(|shard| Shard { index: 0, ..shard })
}

impl Gap {
    fn of(shard: Shard<'_>, is_named: bool, listed: &HashSet<&str>) -> Option<Self> {
        let is_listed = |shard: &Shard<'_>| listed.contains(shard.to_string().as_str());
        let begin = (0..=1).map(|index| Shard { index, ..shard }).find(is_listed).unwrap_or(shard);
        let missing = begin.set().find(|shard| !is_listed(shard))?.to_string();
        let present = u32::try_from(begin.set().filter(is_listed).count()).unwrap_or(shard.total);
        Some(Self { missing, present, total: shard.total, is_named })
    }
}

/// A glob that matches a name, of few characters that a shell and a terminal take as they are.
pub fn glob_of(name: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let is_plain = |c: char| c.is_alphanumeric() || " /.-_+=,@%:~".contains(c);
    let mut glob = String::new();
    for (position, c) in name.chars().enumerate() {
        match c {
            _ if position == SHOWN_MAX => break,
            c if is_plain(c) => glob.push(c),
            _ if !glob.ends_with('*') => glob.push('*'),
            _ => {}
        }
    }
    if name.chars().count() > SHOWN_MAX && !glob.ends_with('*') {
        glob.push('*');
    }
    glob
}

/// What `--include` and `--exclude` say: a mistake in one is found before anybody is asked.
fn globs(texts: &[String]) -> Result<Vec<Wish>, Invalid> {
    let wishes = texts.iter().map(|text| {
        // `huggingface_hub` takes a folder for its files.
        let folder = text
            .ends_with('/')
            .then(|| Wish { text: text.clone(), glob: Some(Glob::new(&format!("{text}*"))) });
        let wish = folder.unwrap_or_else(|| Wish::new(text));
        wish.check_glob().map(|()| wish)
    });
    wishes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn selection(files: &[&str], include: &[&str], exclude: &[&str]) -> Selection {
        Selection::new(&texts(files), &texts(include), &texts(exclude), None).expect("a selection")
    }

    fn choose(selection: &Selection, list: &[&str]) -> Result<(Vec<String>, Vec<Gap>), Unmet> {
        let patterns = match selection {
            Selection::Named(names) => names.by_list().expect("sets"),
            Selection::Matching(patterns) => patterns,
        };
        let Choice { picked, gaps } = patterns.choose(list)?;
        let picked: Vec<_> = picked.into_iter().map(|at| list[at].to_owned()).collect();
        assert!(picked.iter().all(|name| patterns.may_pick(name)), "{picked:?}");
        Ok((picked, gaps))
    }

    #[track_caller]
    fn picks(selection: &Selection, list: &[&str], expected: &[&str]) {
        assert_eq!(choose(selection, list), Ok((texts(expected), Vec::new())));
    }

    #[test]
    fn one_shard_stands_for_the_whole_set() {
        let shards = selection(&["d/m-00002-of-00003.gguf"], &[], &[]);
        let Selection::Named(names) = &shards else { panic!("names need no listing") };
        let paths: Vec<_> = names.paths().iter().map(RepoPath::as_str).collect();
        assert_eq!(paths, ["d/m-00001-of-00003.gguf", "d/m-00002-of-00003.gguf", "d/m-00003-of-00003.gguf"]);
        let from_zero = ["d/m-00000-of-00003.gguf", "d/m-00001-of-00003.gguf", "d/m-00002-of-00003.gguf"];
        picks(&shards, &from_zero, &from_zero);
        picks(&selection(&["d/m-00002-of-00003.gguf", "*.md"], &[], &[]), &from_zero, &from_zero);
        picks(&selection(&[], &["d/m-00002-of-00003.gguf"], &[]), &from_zero, &from_zero[2..]);
    }

    #[test]
    fn a_set_with_gaps_is_told_only_where_it_was_meant() {
        let list = ["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"];
        let gap = |is_named| Gap { missing: "m-00002-of-00003.gguf".into(), present: 2, total: 3, is_named };
        assert_eq!(choose(&selection(&[list[0]], &[], &[]), &list), Ok((texts(&list), vec![gap(true)])));
        picks(&selection(&["m-*"], &[], &[]), &list, &list);
        picks(&selection(&[], &[list[1]], &[]), &list, &list[1..]);
        let by_quant = Selection::new(&[], &[], &[], Some("".parse().expect("a quantization")));
        assert_eq!(choose(&by_quant.expect("a selection"), &list), Ok((texts(&list), vec![gap(false)])));
    }

    #[test]
    fn a_name_comes_before_a_glob_that_is_written_like_it() {
        for name in ["a[1].gguf", "a{b.gguf", "a[b.gguf", "a?.gguf", "{a,b}"] {
            let list = [name, "a1.gguf", "a", "b"];
            picks(&selection(&[name], &[], &[]), &list, &[name]);
            if Wish::new(name).check_glob().is_ok() {
                picks(&selection(&[], &[name], &[]), &list, &[name]);
                picks(&selection(&[], &[], &[name]), &list, &list[1..]);
            }
        }
        picks(&selection(&["a[1].gguf"], &[], &[]), &["a1.gguf", "b"], &["a1.gguf"]);
        picks(&selection(&[], &[], &["{a,b}"]), &["a", "b", "c"], &["c"]);
        let broken = selection(&["a{b"], &[], &[]);
        assert!(matches!(choose(&broken, &["x"]), Err(Unmet::Malformed(_))));
        for (include, exclude) in [(&["a[b", "x"][..], &[][..]), (&[], &["*.{a,b"])] {
            assert!(Selection::new(&[], &texts(include), &texts(exclude), None).is_err());
        }
    }

    #[test]
    fn a_file_that_is_named_beside_a_glob_must_be_there() {
        let missing = choose(&selection(&["a.gguf", "*.json"], &[], &[]), &["b.gguf", "x.json"]);
        assert_eq!(missing, Err(Unmet::Missing("a.gguf".parse().expect("a path"))));
    }

    #[test]
    fn every_name_can_be_left_out() {
        for name in ["a\\b", "a\tb\n", "C:/x", "a'b", "a[1]{2}*?", "\u{202e}x", "ü\u{85}", &"é".repeat(200)]
        {
            let glob = glob_of(name);
            assert!(!glob.contains(|c: char| c.is_control() || "'\\".contains(c)), "{glob:?}");
            picks(&selection(&[], &[], &[&glob]), &[name, "other.bin"], &["other.bin"]);
            picks(&selection(&[], &[], &[name]), &[name, "other.bin"], &["other.bin"]);
        }
    }

    #[test]
    fn globs_cross_folders_and_excludes_win() {
        let list = ["a.gguf", "d/b.gguf", "d/c.bin"];
        picks(&selection(&[], &["*.gguf"], &["d/"]), &list, &list[..1]);
        picks(&selection(&[], &["d/"], &[]), &list, &list[1..]);
        assert!(Selection::new(&texts(&["d/"]), &[], &[], None).is_err());
    }
}
