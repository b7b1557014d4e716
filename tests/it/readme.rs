//! Tables of the documentation are what the program says of itself.
//! `MODELFETCH_BLESS=1 cargo test --test it generated` writes them anew.

use std::path::Path;

use modelfetch::cli::reference;

use crate::snapshot::is_blessing;

/// What comes before, in and after `<!-- generated: NAME -->` … `<!-- end -->`.
fn split<'a>(document: &'a str, name: &str) -> [&'a str; 3] {
    let begin = format!("<!-- generated: {name} -->\n");
    let start = document.find(&begin).expect("the section begins") + begin.len();
    let length = document[start..].find("<!-- end -->").expect("the section ends");
    [&document[..start], &document[start..start + length], &document[start + length..]]
}

/// The sections of a document are these; or it is written anew.
#[track_caller]
pub(crate) fn assert_generated(document: &str, tables: &[(&str, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let mut text = std::fs::read_to_string(&path).expect("a document");
    for (name, table) in tables {
        let [before, written, after] = split(&text, name);
        let is_right = written == table;
        assert!(is_right || is_blessing(), "{name} in {document} differs; see tests/it/readme.rs:\n{table}");
        text = [before, table, after].concat();
    }
    if is_blessing() {
        std::fs::write(&path, text).expect("a document that can be written");
    }
}

#[test]
fn the_tables_of_the_readme_are_generated() {
    let tables = [
        ("flags", reference::flags()),
        ("variables", reference::variables()),
        ("exit numbers", reference::exits()),
    ];
    assert_generated("README.md", &tables);
}
