//! The README's tables are what the program says of itself. `MODELFETCH_BLESS=1 cargo test readme`
//! writes them anew.

use std::path::Path;

use modelfetch::cli::reference;

use crate::snapshot::is_blessing;

/// What comes before, in and after `<!-- generated: NAME -->` … `<!-- end -->`.
fn split<'a>(readme: &'a str, name: &str) -> [&'a str; 3] {
    let begin = format!("<!-- generated: {name} -->\n");
    let start = readme.find(&begin).expect("the section begins") + begin.len();
    let length = readme[start..].find("<!-- end -->").expect("the section ends");
    [&readme[..start], &readme[start..start + length], &readme[start + length..]]
}

#[test]
fn the_tables_of_the_readme_are_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut readme = std::fs::read_to_string(&path).expect("README.md");
    for (name, table) in [
        ("flags", reference::flags()),
        ("variables", reference::variables()),
        ("exit numbers", reference::exits()),
    ] {
        let [before, written, after] = split(&readme, name);
        let is_right = written == table;
        assert!(is_right || is_blessing(), "the {name} differ; see tests/it/readme.rs:\n{table}");
        readme = [before, &table, after].concat();
    }
    if is_blessing() {
        std::fs::write(&path, readme).expect("README.md can be written");
    }
}
