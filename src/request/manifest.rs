//! `models.toml`: the models that somebody wants, written by hand.

use std::collections::HashSet;

use super::table::{Document, Entry, Table};
use super::{Pins, RepoId, RepoKind, RepoPath, RepoRef, Revision, Selection};
use crate::words::Invalid;

/// What a model may say of itself.
const KEYS: [&str; 13] = [
    "name",
    "repo",
    "revision",
    "files",
    "include",
    "exclude",
    "quant",
    "dir",
    "sha256",
    "trust_key",
    "trust_cert",
    "signature",
    "allow_unsigned",
];

/// All models of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// In the order of the file; their names differ.
    pub models: Vec<Model>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What commands and errors call it: `owner/name` unless it says otherwise.
    pub name: String,
    /// What is wanted.
    pub wish: Wish,
    /// SHA-256 digests given by the user.
    pub pins: Pins,
    /// Whose signature it has to have, if any is demanded.
    pub signing: Option<SigningWish>,
}

/// Whose signature a model has to have, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningWish {
    /// Files and folders with public keys.
    pub trust_key: Vec<String>,
    /// Files and folders with certificates.
    pub trust_cert: Vec<String>,
    /// The signature, if it is not called as usual.
    pub signature: Option<String>,
    /// Globs of files that need not be signed.
    pub allow_unsigned: Vec<String>,
}

/// What is wanted of a repository. A lock file repeats it, and answers it as long as both are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The repository.
    pub repo: RepoId,
    /// Branch, tag, pull-request ref or commit.
    pub revision: Revision,
    /// Names and globs, as written.
    pub files: Vec<String>,
    /// Globs, as written.
    pub include: Vec<String>,
    /// Globs, as written.
    pub exclude: Vec<String>,
    /// A quantization, as written.
    pub quant: Option<String>,
    /// Folder below the target directory.
    pub dir: Option<RepoPath>,
}

impl Manifest {
    /// Reads `text`; `name` is what messages call it.
    pub fn parse(name: &str, text: &str) -> Result<Self, Invalid> {
        Document { what: "manifest", name, text }.read(|table| {
            table.check_keys(&["model"])?;
            let models: Vec<_> = table.tables("model")?.iter().map(Model::read).collect::<Result<_, _>>()?;
            if models.is_empty() {
                return Err(table.invalid("there is no model in it: each begins with a line [[model]]"));
            }
            let mut names = HashSet::new();
            for (model, table) in models.iter().zip(table.tables("model")?) {
                if !names.insert(&model.name) {
                    let why = format!("a second model is called `{}`; give one a `name`", model.name);
                    return Err(table.invalid(&why));
                }
            }
            Ok(Self { models })
        })
    }

    /// The model of a name.
    pub fn named(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }
}

impl Model {
    fn read(table: &Table<'_, '_>) -> Result<Self, Invalid> {
        table.check_keys(&KEYS)?;
        let wish = Wish::read(table)?;
        // A plain address may end with what its file must hash to.
        let pinned = RepoRef::parse(table.required("repo")?.value.trim(), RepoKind::Model);
        let pinned = pinned.ok().and_then(|reference| reference.sha256);
        let mut pins: Vec<String> = pinned.iter().map(ToString::to_string).collect();
        for Entry { key: file, text: digest } in table.texts_by_key("sha256")? {
            let pin = file.map_or(digest.value.clone(), |file| format!("{file}={}", digest.value));
            Pins::parse([pin.as_str()]).map_err(|why| table.wrong(digest.at, &why))?;
            pins.push(pin);
        }
        let pins =
            Pins::parse(pins.iter().map(String::as_str)).map_err(|why| table.invalid(&why.to_string()))?;
        let name = table.text("name")?.map_or_else(|| wish.repo.to_string(), |name| name.value);
        Ok(Self { name, wish, pins, signing: SigningWish::read(table)? })
    }
}

impl SigningWish {
    fn read(table: &Table<'_, '_>) -> Result<Option<Self>, Invalid> {
        let wish = Self {
            trust_key: table.one_or_more("trust_key")?,
            trust_cert: table.one_or_more("trust_cert")?,
            signature: table.parsed::<RepoPath>("signature")?.map(|path| path.value.as_str().to_owned()),
            allow_unsigned: table.one_or_more("allow_unsigned")?,
        };
        if !wish.trust_key.is_empty() || !wish.trust_cert.is_empty() {
            return Ok(Some(wish));
        }
        if wish.signature.is_some() || !wish.allow_unsigned.is_empty() {
            return Err(table.invalid("it says nobody who may sign: name a `trust_key` or `trust_cert`"));
        }
        Ok(None)
    }
}

impl Wish {
    /// From the keys that a manifest and a lock file share.
    pub(super) fn read(table: &Table<'_, '_>) -> Result<Self, Invalid> {
        let repo = table.required("repo")?;
        let reference =
            RepoRef::parse(repo.value.trim(), RepoKind::Model).map_err(|why| table.wrong(repo.at, &why))?;
        let twice = |what: &str, key: &str| {
            table
                .document()
                .invalid(repo.at, &format!("{what} stands in `repo` and in `{key}`; give one of them"))
        };
        if reference.endpoint.is_some() || reference.login.is_some() {
            let why = "another Hub is named with --endpoint, for all models; write owner/name here";
            return Err(table.document().invalid(repo.at, why));
        }
        let revision = table.parsed::<Revision>("revision")?.map(|revision| revision.value);
        if revision.is_some() && reference.revision.is_some() {
            return Err(twice("a revision", "revision"));
        }
        if revision.is_some() && reference.repo.is_address() {
            return Err(table.document().invalid(repo.at, "a plain address has no revision"));
        }
        let mut files = table.list("files")?;
        if let Some(file) = reference.files() {
            if !files.is_empty() {
                return Err(twice("a file", "files"));
            }
            files.push(file);
        }
        let quant = table.text("quant")?;
        if quant.is_some() && reference.quant.is_some() {
            return Err(twice("a quantization", "quant"));
        }
        let dir = table.parsed::<RepoPath>("dir")?.map(|dir| dir.value);
        let wish = Self {
            revision: revision.or(reference.revision).unwrap_or_else(|| reference.repo.usual_revision()),
            repo: reference.repo,
            files,
            include: table.list("include")?,
            exclude: table.list("exclude")?,
            quant: quant.map(|quant| quant.value).or(reference.quant),
            dir,
        };
        wish.selection().map_err(|why| table.invalid(&why.to_string()))?;
        Ok(wish)
    }

    /// Which files it means.
    pub fn selection(&self) -> Result<Selection, Invalid> {
        let quant = self.quant.as_ref().map(|quant| quant.parse()).transpose()?;
        Selection::new(&self.files, &self.include, &self.exclude, quant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest, Invalid> {
        Manifest::parse("models.toml", text)
    }

    #[test]
    fn a_manifest_says_of_each_model_what_the_command_line_would() {
        let digest = "ab".repeat(32);
        let text = format!(
            r#"
            [[model]]
            name = "chat"
            repo = "o/n:Q4_K_M"
            dir = "chat"
            sha256 = {{ "a.gguf" = "{digest}" }}

            [[model]]
            repo = "hf://datasets/o/d@refs/pr/1/x/y.parquet"
            "#
        );
        let manifest = parse(&text).expect("a manifest");
        let [chat, data] = &manifest.models[..] else { panic!("two models") };
        assert_eq!((chat.name.as_str(), chat.wish.quant.as_deref()), ("chat", Some("Q4_K_M")));
        assert_eq!(chat.wish.dir.as_ref().map(RepoPath::as_str), Some("chat"));
        let path = "a.gguf".parse().expect("a path");
        assert_eq!(chat.pins.for_file(&path, 2).map(|digest| digest.to_string()), Some(digest));
        assert_eq!(data.name, "datasets/o/d");
        assert_eq!(data.wish.revision.as_str(), "refs/pr/1");
        assert_eq!(data.wish.files, ["x/y.parquet"]);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_column() {
        for (text, place, why) in [
            (
                "[[model]]\nrepo = \"o/n\"\nrevison = \"main\"",
                "line 3, column 1",
                "`revision` is probably meant",
            ),
            ("[[model]]\nrepo = \"o/n\"\nxyz = 1", "line 3, column 1", "expected one of name, repo"),
            ("[[models]]\nrepo = \"o/n\"", "line 1, column 3", "`model` is probably meant"),
            ("[[model]]\nrepo = 3", "line 2, column 8", "a text in quotes"),
            ("[[model]]\nrepo = \"n\"", "line 2, column 8", "expected `owner/name`"),
            ("[[model]]\nname = \"x\"", "line 1, column 1", "`repo` is missing"),
            ("[[model]]\nrepo = \"o/n\"\nfiles = \"a\"", "line 3, column 9", "a list of texts"),
            ("[[model]]\nrepo = \"o/n\"\nrevision = \"a b\"", "line 3, column 12", "revision"),
            ("[[model]]\nrepo = \"o/n@v1\"\nrevision = \"v2\"", "line 2, column 8", "give one of them"),
            ("[[model]]\nrepo = \"o/n:Q8_0\"\nquant = \"Q4_0\"", "line 2, column 8", "give one of them"),
            ("[[model]]\nrepo = \"o/n\"\ndir = \"../x\"", "line 3, column 7", "not allowed"),
            ("[[model]]\nrepo = \"o/n\"\nsha256 = \"ab\"", "line 3, column 10", "64 hex digits"),
            ("[[model]]\nrepo = \"o/n\"\n[[model]]\nrepo = \"o/n\"", "line 3, column 1", "give one a `name`"),
            ("[[model]]\nrepo = \"https://mirror.example/o/n\"", "line 2, column 8", "--endpoint"),
            (
                "[[model]]\nrepo = \"https://user:SECRET@huggingface.co/o/n\"",
                "line 2, column 8",
                "--endpoint",
            ),
            ("[[model]]\nrepo = \"o/n", "line 2, column", ""),
            ("[[model]]\nrepo = \"o/n\"\nrepo = \"o/m\"", "line 3, column 1", "duplicate"),
            ("model = 3", "line 1, column 9", "[[model]]"),
            ("", "line 1, column 1", "no model"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(place) && error.contains(why), "{text}: {error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
