//! Globs as `huggingface_hub` reads them, with Python's fnmatch: `*` crosses folders. Beside `*`, `?`, `[a-z]` and
//! `[!a-z]` there are `{a,b}`, `**/` for any folders or none, and `\` before a character that is meant as it is.
//!
//! globset reads the same, by a regular-expression engine that would be a twentieth of this program: the tests compare
//! with it.

use std::fmt::Write;

/// More alternatives than anybody writes.
const ALTERNATIVES_MAX: usize = 1000;
/// Braces in braces.
const DEPTH_MAX: usize = 10;

/// A glob that has been read.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// One without braces for each choice of alternatives.
    alternatives: Vec<Vec<Token>>,
}

#[derive(Debug, Clone)]
enum Token {
    One(char),
    Any,
    Many,
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a glob, or says what is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let alternatives = Parser { rest: text, before: None }.sequence(0)?;
        Ok(Self { alternatives })
    }

    /// Whether it is the whole of `name` that it matches.
    pub(super) fn is_match(&self, name: &str) -> bool {
        self.alternatives.iter().any(|tokens| is_match(tokens, name))
    }
}

/// A glob that matches exactly this text.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "*?[]{}\\".contains(c) {
            let _ = write!(escaped, "[{c}]");
        } else {
            escaped.push(c);
        }
    }
    escaped
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::One(one) => *one == c,
            Self::Any | Self::Many => true,
            Self::Class { is_negated, ranges } => {
                ranges.iter().any(|(first, last)| (first..=last).contains(&&c)) != *is_negated
            }
        }
    }
}

/// Takes as little as possible for each `*`, and more of the text for the last one only: what the others took is as
/// good as any other choice.
fn is_match(tokens: &[Token], text: &str) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut last_star = None;
    loop {
        let c = text[at..].chars().next();
        match (tokens.get(token), c) {
            (None, None) => return true,
            (Some(Token::Many), _) => {
                token += 1;
                last_star = Some((token, at));
            }
            (Some(one), Some(c)) if one.takes(c) => {
                token += 1;
                at += c.len_utf8();
            }
            _ => {
                let Some((after, from)) = last_star else { return false };
                let Some(skipped) = text[from..].chars().next() else { return false };
                (token, at) = (after, from + skipped.len_utf8());
                last_star = Some((token, at));
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    /// The character before the rest.
    before: Option<char>,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.before = Some(c);
        Some(c)
    }

    fn is_next(&mut self, expected: char) -> bool {
        let is_next = self.rest.starts_with(expected);
        if is_next {
            self.next();
        }
        is_next
    }

    /// Up to the end of the text, or, in braces, up to the comma or brace that ends an alternative.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Vec<Token>>, String> {
        let mut branches = vec![Vec::new()];
        while let Some(c) = self.rest.chars().next().filter(|c| depth == 0 || !matches!(c, ',' | '}')) {
            let is_start = self.before.is_none_or(|before| before == '/');
            self.next();
            let more = match c {
                '*' if is_start && self.rest.starts_with("*/") => {
                    self.next();
                    self.next();
                    vec![Vec::new(), vec![Token::Many, Token::One('/')]]
                }
                '*' => vec![vec![Token::Many]],
                '?' => vec![vec![Token::Any]],
                '[' => vec![vec![self.class()?]],
                '\\' => vec![vec![Token::One(self.next().ok_or("a `\\` at the end")?)]],
                '{' => self.alternatives(depth + 1)?,
                '}' => return Err("a `}` without a `{`".into()),
                c => vec![vec![Token::One(c)]],
            };
            branches = each_with_each(&branches, &more)?;
        }
        Ok(branches)
    }

    /// What follows a `{`, with its `}`.
    fn alternatives(&mut self, depth: usize) -> Result<Vec<Vec<Token>>, String> {
        if depth > DEPTH_MAX {
            return Err("too many braces in braces".into());
        }
        let before = self.before;
        let mut alternatives = Vec::new();
        loop {
            self.before = before;
            alternatives.extend(self.sequence(depth)?);
            match self.next() {
                Some(',') => {}
                Some(_) => return Ok(alternatives),
                None => return Err("a `{` without a `}`".into()),
            }
        }
    }

    /// What follows a `[`, with its `]`.
    fn class(&mut self) -> Result<Token, String> {
        const UNCLOSED: &str = "a `[` without a `]`";
        let is_negated = self.is_next('!') || self.is_next('^');
        let mut ranges = Vec::new();
        loop {
            let first = self.next().ok_or(UNCLOSED)?;
            if first == ']' && !ranges.is_empty() {
                return Ok(Token::Class { is_negated, ranges });
            }
            let is_range = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            let last = if is_range {
                self.next();
                self.next().ok_or(UNCLOSED)?
            } else {
                first
            };
            if last < first {
                return Err(format!("a range from `{first}` back to `{last}`"));
            }
            ranges.push((first, last));
        }
    }
}

fn each_with_each(branches: &[Vec<Token>], more: &[Vec<Token>]) -> Result<Vec<Vec<Token>>, String> {
    if branches.len() * more.len() > ALTERNATIVES_MAX {
        return Err(format!("more than {ALTERNATIVES_MAX} alternatives"));
    }
    let joined = branches.iter().flat_map(|branch| more.iter().map(|more| [&branch[..], more].concat()));
    Ok(joined.collect())
}

#[cfg(test)]
mod tests {
    use globset::GlobBuilder;
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> Glob {
        Glob::new(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_glob_matches_what_huggingface_hub_and_a_shell_take_it_for() {
        for (text, matched, others) in [
            ("*.gguf", &["a.gguf", "d/a.gguf", ".gguf"][..], &["a.ggu", "gguf"][..]),
            ("d/*", &["d/a", "d/e/a"], &["d", "e/d/a"]),
            ("?.bin", &["a.bin", "ü.bin", "/.bin"], &["ab.bin", ".bin"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x"]),
            ("[!a-c]x", &["dx", "ßx"], &["ax"]),
            ("[]x]", &["]", "x"], &["[]x]"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("*.{json,txt}", &["a.json", "b.txt"], &["a.{json,txt}", "json"]),
            ("a{,b{c,d}}", &["a", "abc", "abd"], &["ab"]),
            ("**/x", &["x", "a/x", "a/b/x"], &["ax"]),
            ("a/**/x", &["a/x", "a/b/x"], &["ax", "b/a/x"]),
            ("a**b", &["ab", "axb", "a/b"], &["a"]),
            ("\\*\\{", &["*{"], &["\\*\\{", "x{"]),
            ("*a*b*c", &["abc", "xaxbxc", "abcabc"], &["acb", "abcd"]),
            ("", &[""], &["a"]),
        ] {
            let glob = glob(text);
            assert!(matched.iter().all(|name| glob.is_match(name)), "{text} {matched:?}");
            assert!(!others.iter().any(|name| glob.is_match(name)), "{text} {others:?}");
        }
    }

    #[test]
    fn what_is_no_glob_is_refused_with_a_reason() {
        for text in ["a[b", "[", "[!]", "*.{a,b", "a}b", "x\\", "[z-a]", "{{{{{{{{{{{a}}}}}}}}}}}"] {
            assert!(Glob::new(text).is_err(), "{text}");
        }
        assert!(Glob::new(&"{a,b}".repeat(20)).expect_err("too many").contains("alternatives"));
    }

    /// A name that is made to cost a matcher that goes back all its time costs this one none.
    #[test]
    fn no_name_makes_a_glob_slow() {
        let glob = glob(&"*a".repeat(200));
        assert!(!glob.is_match(&("a".repeat(199) + &"b".repeat(3000))));
        assert!(!glob.is_match(&("b".repeat(3000) + &"a".repeat(199))));
    }

    proptest! {
        #[test]
        fn an_escaped_name_matches_itself_alone(name in "[a-c*?{}\\[\\]!^,/-]{1,12}", other in "[a-c*?]{1,12}") {
            prop_assert!(glob(&escape(&name)).is_match(&name));
            prop_assert_eq!(glob(&escape(&name)).is_match(&other), name == other);
        }

        #[test]
        fn globset_says_the_same(
            text in "(a|b|/|\\.|\\*|\\*\\*/|\\?|\\[ab\\]|\\[!a-b\\]|\\{a,b/\\}|\\{a\\*,\\{b,\\.\\}\\}|\\\\\\*){0,7}[ab*]",
            names in proptest::collection::vec("[ab/.*]{1,8}", 20),
        ) {
            let theirs = GlobBuilder::new(&text).literal_separator(false).backslash_escape(true).build();
            let theirs = theirs.expect("both read it").compile_matcher();
            let ours = glob(&text);
            for name in names {
                prop_assert_eq!(ours.is_match(&name), theirs.is_match(&name), "{} {}", text, name);
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,30}", name in "\\PC{0,30}") {
            if let Ok(glob) = Glob::new(&text) {
                glob.is_match(&name);
            }
        }
    }
}
