//! Tables of TOML as people write them: each mistake is told with its place.

use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::words::Invalid;

/// More alike than this, and one was probably meant for the other. clap has the same measure for flags.
const ALIKE: f64 = 0.7;

/// A text with its name, for messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    /// What kind of document.
    pub(super) what: &'static str,
    /// What it is called.
    pub(super) name: &'a str,
    /// What is in it.
    pub(super) text: &'a str,
}

/// A table in it.
pub(super) struct Table<'a, 't> {
    document: Document<'a>,
    entries: &'t DeTable<'a>,
    at: Range<usize>,
}

/// A text of a table of texts.
pub(super) struct Entry {
    /// None where there is one text alone instead of a table.
    pub(super) key: Option<String>,
    pub(super) text: Located<String>,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

impl<'a> Document<'a> {
    /// Reads the document; `use_table` gets its outermost table.
    pub(super) fn read<T>(
        self,
        use_table: impl FnOnce(&Table<'a, '_>) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        let parsed = DeTable::parse(self.text).map_err(|why| {
            let at = why.span().map_or(0, |span| span.start);
            self.invalid(at, why.message())
        })?;
        let table = Table { document: self, entries: parsed.get_ref(), at: parsed.span() };
        use_table(&table)
    }

    /// What is wrong at a place.
    pub(super) fn invalid(&self, at: usize, why: &str) -> Invalid {
        let before = &self.text[..self.text.floor_char_boundary(at)];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Invalid::new(self.what, self.name, format!("line {line}, column {column}: {why}"))
    }
}

impl<'a> Table<'a, '_> {
    /// The document it is in.
    pub(super) fn document(&self) -> Document<'a> {
        self.document
    }

    /// What is wrong with the table as a whole.
    pub(super) fn invalid(&self, why: &str) -> Invalid {
        self.document.invalid(self.at.start, why)
    }

    /// Fails if it has a key that is none of these, with the one that was probably meant.
    pub(super) fn check_keys(&self, known: &[&str]) -> Result<(), Invalid> {
        let Some((key, _)) = self.entries.iter().find(|(key, _)| !known.contains(&&**key.get_ref())) else {
            return Ok(());
        };
        let written = &**key.get_ref();
        let nearest = known.iter().map(|known| (strsim::jaro(known, written), known));
        let nearest = nearest.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(alike, _)| *alike > ALIKE);
        let help = match nearest {
            Some((_, nearest)) => format!("`{nearest}` is probably meant"),
            None => format!("expected one of {}", known.join(", ")),
        };
        Err(self.document.invalid(key.span().start, &format!("unknown key `{written}`: {help}")))
    }

    /// A text.
    pub(super) fn text(&self, key: &str) -> Result<Option<Located<String>>, Invalid> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        self.as_text(key, value).map(Some)
    }

    /// A text that has to be there.
    pub(super) fn required(&self, key: &str) -> Result<Located<String>, Invalid> {
        self.text(key)?.ok_or_else(|| self.invalid(&format!("`{key}` is missing")))
    }

    /// A text that means something.
    pub(super) fn parsed<T: FromStr<Err = Invalid>>(&self, key: &str) -> Result<Option<Located<T>>, Invalid> {
        self.text(key)?.map(|text| self.parse(&text)).transpose()
    }

    /// What a text means.
    pub(super) fn parse<T: FromStr<Err = Invalid>>(
        &self,
        text: &Located<String>,
    ) -> Result<Located<T>, Invalid> {
        let value = text.value.parse().map_err(|why: Invalid| self.wrong(text.at, &why))?;
        Ok(Located { value, at: text.at })
    }

    /// What is wrong with a value, and where it is.
    pub(super) fn wrong(&self, at: usize, why: &Invalid) -> Invalid {
        self.document.invalid(at, &why.to_string())
    }

    /// A list of texts; empty where there is none.
    pub(super) fn list(&self, key: &str) -> Result<Vec<String>, Invalid> {
        let Some(value) = self.entries.get(key) else { return Ok(Vec::new()) };
        let DeValue::Array(values) = value.get_ref() else {
            return Err(self.unexpected(key, value, "a list of texts"));
        };
        values.iter().map(|value| Ok(self.as_text(key, value)?.value)).collect()
    }

    /// The same, where one text may stand alone.
    pub(super) fn one_or_more(&self, key: &str) -> Result<Vec<String>, Invalid> {
        match self.entries.get(key).map(Spanned::get_ref) {
            Some(DeValue::String(text)) => Ok(vec![text.clone().into_owned()]),
            _ => self.list(key),
        }
    }

    /// A number that counts something.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Invalid> {
        let Some(value) = self.entries.get(key) else { return Ok(None) };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.unexpected(key, value, "a number"))
    }

    /// The tables of a list; none where there is no list.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<Table<'a, '_>>, Invalid> {
        let Some(value) = self.entries.get(key) else { return Ok(Vec::new()) };
        let expected = format!("tables, each below a line [[{key}]]");
        let DeValue::Array(values) = value.get_ref() else {
            return Err(self.unexpected(key, value, &expected));
        };
        let table = |value| self.as_table(value).ok_or_else(|| self.unexpected(key, value, &expected));
        values.iter().map(table).collect()
    }

    /// The texts of a table by their keys, or one text under no key.
    pub(super) fn texts_by_key(&self, key: &str) -> Result<Vec<Entry>, Invalid> {
        let Some(value) = self.entries.get(key) else { return Ok(Vec::new()) };
        let Some(table) = self.as_table(value) else {
            return Ok(vec![Entry { key: None, text: self.as_text(key, value)? }]);
        };
        let texts = table.entries.iter().map(|(key, value)| {
            let key = key.get_ref().as_ref();
            Ok(Entry { key: Some(key.to_owned()), text: table.as_text(key, value)? })
        });
        texts.collect()
    }

    fn as_table<'s>(&'s self, value: &'s Spanned<DeValue<'a>>) -> Option<Table<'a, 's>> {
        let DeValue::Table(entries) = value.get_ref() else { return None };
        Some(Table { document: self.document, entries, at: value.span() })
    }

    fn as_text(&self, key: &str, value: &Spanned<DeValue<'a>>) -> Result<Located<String>, Invalid> {
        match value.get_ref() {
            DeValue::String(text) => Ok(Located { value: text.clone().into_owned(), at: value.span().start }),
            _ => Err(self.unexpected(key, value, "a text in quotes")),
        }
    }

    fn unexpected(&self, key: &str, value: &Spanned<DeValue<'a>>, expected: &str) -> Invalid {
        self.document.invalid(value.span().start, &format!("`{key}` should be {expected}"))
    }
}
