//! The process's environment, taken once, and what `huggingface_hub` reads from it.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::request::Proxies;

/// Environment variables. Charts render unset values as empty strings, so an empty variable
/// counts as absent everywhere.
#[derive(Clone, Default)]
pub struct Environment {
    values: HashMap<String, OsString>,
    blank: HashSet<OsString>,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    /// From names and values.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in pairs {
            let (name, value): (OsString, OsString) = (name.into(), value.into());
            if value.to_str().is_some_and(|text| text.trim().is_empty()) {
                environment.blank.insert(name);
            } else if let Ok(name) = name.into_string() {
                environment.values.insert(name, value);
            }
        }
        environment
    }

    /// Whether the variable is set, but to nothing.
    pub fn is_blank(&self, name: &OsStr) -> bool {
        self.blank.contains(name)
    }

    /// The variable's text. One that is no UTF-8 holds no text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.to_str()
    }

    /// The texts of all variables of this program's own.
    pub fn own(&self) -> impl Iterator<Item = &str> {
        let own = self.values.iter().filter(|(name, _)| name.starts_with("MODELFETCH_"));
        own.filter_map(|(_, value)| value.to_str())
    }

    /// The variable as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.values.get(name).map(PathBuf::from)
    }

    /// The paths of a list with `:` in between, as OpenSSL reads one.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        let list = self.values.get(name).map(std::env::split_paths).into_iter().flatten();
        list.filter(|path| !path.as_os_str().is_empty()).collect()
    }

    /// The proxies it names.
    pub fn proxies(&self) -> Result<Proxies, Error> {
        Ok(Proxies::read(|name| self.values.get(name).map(OsString::as_os_str))?)
    }

    /// Whether a variable of `huggingface_hub` is switched on (`constants.py`, `_is_true`).
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| {
            ["1", "ON", "YES", "TRUE"].into_iter().any(|on| on.eq_ignore_ascii_case(text.trim()))
        })
    }

    /// A time that `huggingface_hub` reads as whole seconds (`constants.py`, `_as_int`), where 0 is its default.
    pub fn seconds(&self, name: &'static str) -> Result<Option<Duration>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let seconds: u32 = text
            .trim()
            .parse()
            .map_err(|_| Error::invalid(name, text, "expected a time in whole seconds"))?;
        Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
    }

    /// Where `huggingface_hub` keeps its cache (`constants.py`): `HF_HUB_CACHE`, else
    /// `HUGGINGFACE_HUB_CACHE`, else `hub` in `HF_HOME` or its default.
    pub fn hub_cache(&self) -> Result<PathBuf, Error> {
        let named = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(|name| self.text(name));
        match named {
            Some(path) => Ok(self.expand(path)),
            None => self.hf_home().map(|home| home.join("hub")).ok_or_else(|| {
                Error::invalid(
                    "--cache",
                    "",
                    "there is no home directory to put it in; write --cache=DIR, or set HF_HUB_CACHE, HF_HOME or HOME",
                )
            }),
        }
    }

    /// The token file of `huggingface_hub` (`constants.py`): `HF_TOKEN_PATH`, else `token` in
    /// `HF_HOME` or its default.
    pub fn token_path(&self) -> Option<PathBuf> {
        match self.text("HF_TOKEN_PATH") {
            Some(path) => Some(self.expand(path)),
            None => self.hf_home().map(|home| home.join("token")),
        }
    }

    /// `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME`, else in `~/.cache`. `None` without HOME.
    fn hf_home(&self) -> Option<PathBuf> {
        if let Some(home) = self.text("HF_HOME") {
            return Some(self.expand(home));
        }
        match self.text("XDG_CACHE_HOME") {
            Some(cache) => Some(self.expand(cache).join("huggingface")),
            None => Some(self.path("HOME")?.join(".cache/huggingface")),
        }
    }

    /// `path` with a leading `~` replaced, for `--dir=~/x`, which no shell expands.
    pub fn expand_home(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.path("HOME")) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    /// A leading `~`, and `$NAME` and `${NAME}`, replaced as by Python's `expanduser` and
    /// `expandvars`: unknown names stay as they are.
    fn expand(&self, text: &str) -> PathBuf {
        let mut expanded = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            let (name, tail) = variable_name(after);
            if let Some(value) = name.and_then(|name| self.text(name)) {
                expanded.push_str(value);
            } else {
                expanded.push('$');
                expanded.push_str(&after[..after.len() - tail.len()]);
            }
            rest = tail;
        }
        expanded.push_str(rest);
        self.expand_home(Path::new(&expanded))
    }
}

/// Splits `NAME…` or `{NAME}…` behind a dollar sign into the name, if there is one, and the rest.
fn variable_name(text: &str) -> (Option<&str>, &str) {
    if let Some((name, rest)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        return (Some(name), rest);
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (Some(&text[..end]).filter(|name| !name.is_empty()), &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(pairs: &[(&str, &str)]) -> PathBuf {
        Environment::from_pairs(pairs.iter().copied()).hub_cache().expect("cache")
    }

    #[test]
    fn the_cache_lies_where_huggingface_hub_looks_for_it() {
        let home = ("HOME", "/home/u");
        assert_eq!(cache(&[home]), Path::new("/home/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(
            cache(&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")]),
            Path::new("/home/u/hf/hub")
        );
        assert_eq!(cache(&[home, ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/old"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]), Path::new("/new"));
    }

    #[test]
    fn variables_in_a_path_are_expanded_and_unknown_ones_kept() {
        let pairs = [("HOME", "/h"), ("DISK", "/d"), ("HF_HUB_CACHE", "$DISK/a/${DISK}b/$NO/${NO}/$")];
        assert_eq!(cache(&pairs), Path::new("/d/a//db/$NO/${NO}/$"));
    }

    #[test]
    fn a_cache_without_any_home_is_a_usage_error() {
        let error = Environment::default().hub_cache().expect_err("no home");
        assert_eq!(error.exit_number(), 2);
        assert!(error.to_string().contains("--cache=DIR"), "{error}");
    }

    #[test]
    fn an_empty_variable_counts_as_absent() {
        let environment = Environment::from_pairs([("HF_HUB_CACHE", ""), ("HF_HOME", " "), ("HOME", "/h")]);
        assert_eq!(environment.hub_cache().expect("cache"), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(environment.text("HF_HOME"), None);
    }

    #[test]
    fn switches_are_read_as_huggingface_hub_reads_them() {
        let on = |value: &str| Environment::from_pairs([("V", value)]).is_on("V");
        assert!(["1", "on", "YES", "True"].into_iter().all(on));
        assert!(!["0", "", "false", "2", "y"].into_iter().any(on));
    }
}
