//! Whether a file can be what its name says. Its digest may be right all the same: repositories hold pointers
//! whose content was never uploaded, and mirrors pages that tell of an error.

use crate::words::tame;

/// As many bytes of a file's start are enough for [`check`].
pub const START: usize = 512;

/// Files that hold numbers, not text: weights, data, archives.
const BINARY: [&str; 40] = [
    "7z",
    "arrow",
    "bin",
    "bz2",
    "ckpt",
    "data",
    "dduf",
    "engine",
    "feather",
    "ggml",
    "gguf",
    "gz",
    "h5",
    "hdf5",
    "keras",
    "llamafile",
    "mlmodel",
    "model",
    "msgpack",
    "nemo",
    "npy",
    "npz",
    "onnx",
    "onnx_data",
    "ot",
    "parquet",
    "pb",
    "pickle",
    "pkl",
    "plan",
    "pt",
    "pt2",
    "pte",
    "pth",
    "safetensors",
    "tar",
    "tflite",
    "tgz",
    "xz",
    "zip",
];
/// The first words of a pointer to content in Git LFS, and of those that its forerunners wrote (git-lfs
/// `docs/spec.md`).
const POINTERS: [&[u8]; 3] = [
    b"version https://git-lfs.github.com/spec/",
    b"version https://hawser.github.com/spec/",
    b"version http://git-media.io/v/",
];
/// A pointer is shorter, in bytes (git-lfs `docs/spec.md`).
const POINTER_MAX: u64 = 1024;
/// How pages and error messages of web servers and object stores begin, in small letters.
const PAGES: [&str; 6] = ["<!doctype", "<html", "<head", "<body", "<?xml", "<error"];
const JSON_ERROR: &str = "{\"error\"";

/// Fails if a file that should be binary begins like a pointer or a page. JSON is looked at too: it begins like
/// neither.
pub fn check(file_name: &str, start: &[u8]) -> Result<(), String> {
    let is_json = extension(file_name).eq_ignore_ascii_case("json");
    if !is_json && !is_binary(file_name) {
        return Ok(());
    }
    if POINTERS.iter().any(|pointer| start.starts_with(pointer)) {
        return Err("it is a Git LFS pointer, not the content that the pointer stands for".into());
    }
    let text = start[..start.len().min(START)].utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let text = text.to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if PAGES.iter().any(|page| text.starts_with(page)) {
        return Err("it is a page of HTML or XML".into());
    }
    if !is_json && text.starts_with(JSON_ERROR) {
        return Err("it is an error message in JSON".into());
    }
    Ok(())
}

/// How files of other formats begin, and what they are.
const FORMATS: [(&[u8], &str); 16] = [
    (b"PK\x03\x04", "a ZIP archive, as PyTorch's files are"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"BZh", "compressed with bzip2"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"lmgg", "a model of GGML, the format before GGUF"),
    (b"fmgg", "a model of GGML, the format before GGUF"),
    (b"tjgg", "a model of GGJT, a format before GGUF"),
    (b"algg", "an adapter of GGLA, a format before GGUF"),
    (b"\x7fELF", "a program"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"PAR1", "a Parquet file"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x93NUMPY", "an array of NumPy"),
];

/// What bytes that should be something else look like, in words that follow "it is".
pub fn describe(start: &[u8]) -> String {
    if let Err(why) = check("x.bin", start) {
        return why.trim_start_matches("it is ").into();
    }
    let start = &start[..start.len().min(START)];
    if let Some((_, what)) = FORMATS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return (*what).into();
    }
    if start.is_empty() {
        return "empty".into();
    }
    if start.iter().all(|byte| *byte == 0) {
        return "nothing but zeros at its start".into();
    }
    if start.get(8) == Some(&b'{') && start.get(5..8) == Some(&[0; 3]) {
        return "a safetensors file".into();
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if start.iter().all(is_text) {
        let text = String::from_utf8_lossy(&start[..start.len().min(40)]);
        return format!("text that begins with `{}`", tame(&text));
    }
    let hex: Vec<_> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("of no known format, its first bytes are {}", hex.join(" "))
}

/// Whether [`check`] is worth a look into a file of this name and length, though its digest is known to be right:
/// it is that of a pointer, perhaps. Few weights are as short.
pub fn may_be_pointer(file_name: &str, size: u64) -> bool {
    size < POINTER_MAX && is_binary(file_name)
}

fn is_binary(file_name: &str) -> bool {
    BINARY.iter().any(|binary| extension(file_name).eq_ignore_ascii_case(binary))
}

/// What follows the last dot, but for the numbers of a file in pieces: `bin` of `model.bin.01`.
fn extension(file_name: &str) -> &str {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    file_name.split('.').skip(1).filter(|part| !is_number(part)).last().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n";

    #[test]
    fn pointers_and_pages_are_no_weights() {
        let pages: [&[u8]; 6] = [
            POINTER,
            b"<!DOCTYPE html>",
            b"\n <HTML lang=en>",
            b"\xef\xbb\xbf<html>",
            b"<?xml version='1.0'?><Error>",
            b"version https://hawser.github.com/spec/v1\n",
        ];
        for name in
            ["m.safetensors", "m.bin", "m.onnx", "m.onnx_data", "M.GGUF", "t.parquet", "m.bin.01", "t.json"]
        {
            for page in pages {
                assert!(check(name, page).is_err(), "{name}: {}", String::from_utf8_lossy(page));
            }
        }
        assert!(check("m.pt", br#"{"error":"Invalid"}"#).is_err());
    }

    #[test]
    fn text_may_be_what_it_likes_and_weights_any_bytes() {
        for name in ["pointer.txt", "index.html", "README.md", ".gitattributes", "bin"] {
            assert_eq!(check(name, POINTER), Ok(()), "{name}");
        }
        for start in [&b""[..], b"\x93NUMPY", b"<", b"{\"a\":1}", &[0xff; START]] {
            assert_eq!(check("m.bin", start), Ok(()));
        }
        assert_eq!(check("t.json", br#"{"error":0}"#), Ok(()));
    }
}
