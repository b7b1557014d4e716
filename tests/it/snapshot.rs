//! Text that is compared with a committed file. `MODELFETCH_BLESS=1 cargo test` rewrites the file
//! where the new text is what is wanted.

use std::path::Path;

/// Whether files are to be rewritten instead of compared.
pub(crate) fn is_blessing() -> bool {
    std::env::var_os("MODELFETCH_BLESS").is_some_and(|value| !value.is_empty())
}

/// Compares `text` with `tests/it/snapshots/<name>`.
pub(crate) fn assert_unchanged(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots").join(name);
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    let text = lines.join("\n") + "\n";
    if is_blessing() {
        std::fs::write(&path, text).expect("the snapshot can be written");
        return;
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == known, "{} differs; see tests/it/snapshot.rs. New text:\n{text}", path.display());
}
