//! The few bytes a pod leaves behind: Kubernetes shows them in the container's status.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Summary;
use crate::words::escape_bidi;

/// What Kubernetes keeps of a termination message.
pub const MESSAGE_MAX: usize = 4096;

const ELLIPSIS: &str = "…";

/// The summary as JSON of at most [`MESSAGE_MAX`] bytes. What is too long loses its findings
/// first, then the end of its texts: the result is always valid JSON.
pub fn message(summary: &Summary<'_>) -> String {
    if let Some(whole) = short_json(summary) {
        return whole;
    }
    let mut short = Summary { findings: None, ..summary.clone() };
    let mut text = to_json(&short);
    while text.len() > MESSAGE_MAX {
        let longest = if length(short.hint.as_ref()) > length(short.error.as_ref()) {
            &mut short.hint
        } else {
            &mut short.error
        };
        let Some(field) = longest.as_mut().filter(|field| field.len() > ELLIPSIS.len()) else { break };
        field.truncate(field.floor_char_boundary(field.len() * 3 / 4 - ELLIPSIS.len() / 2));
        field.push_str(ELLIPSIS);
        text = to_json(&short);
    }
    text
}

/// Writes the message over what is there; `create` decides whether it may be a new file. Who can write to the folder
/// can plant a link there, and this process may be allowed to write more than they are: nothing but a plain file with
/// one name is written to, and neither a pipe nor a device is waited for.
pub fn write(path: &Path, summary: &Summary<'_>, create: bool) -> io::Result<()> {
    let mut file = match open(path, false) {
        Err(why) if create && why.kind() == io::ErrorKind::NotFound => open(path, true)?,
        file => file?,
    };
    let there = file.metadata()?;
    if !there.is_file() || there.nlink() != 1 {
        return Err(io::Error::other("it is not a plain file with one name"));
    }
    file.set_len(0)?;
    file.write_all(message(summary).as_bytes())
}

fn open(path: &Path, new: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let file = OpenOptions::new().write(true).create_new(new).custom_flags(flags).open(path);
    file.map_err(|why| match Errno::from_io_error(&why) {
        Some(Errno::LOOP) => io::Error::other("it is a symbolic link"),
        // A pipe that nobody reads, or a device that is not there.
        Some(Errno::NXIO) => io::Error::other("it is not a plain file"),
        _ => why,
    })
}

fn length(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

/// `None` if it would be too long: a hundred thousand files are not put into words to find that out.
fn short_json(summary: &Summary<'_>) -> Option<String> {
    struct Short(Vec<u8>);
    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() + bytes.len() > MESSAGE_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut json = Short(Vec::new());
    serde_json::to_writer(&mut json, summary).ok()?;
    let json = String::from_utf8(json.0).ok()?;
    Some(escape_bidi(&json).into_owned()).filter(|json| json.len() <= MESSAGE_MAX)
}

fn to_json(summary: &Summary<'_>) -> String {
    let json = serde_json::to_string(summary).expect("every field has a JSON form");
    escape_bidi(&json).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::super::fixture;
    use super::super::{Findings, Totals};
    use super::*;
    use crate::error::Error;

    fn parsed(summary: &Summary<'_>) -> serde_json::Value {
        let text = message(summary);
        assert!(text.len() <= MESSAGE_MAX, "{} bytes", text.len());
        serde_json::from_str(&text).expect("valid JSON")
    }

    #[test]
    fn a_short_summary_keeps_its_files() {
        let outcome = fixture::outcome(2);
        let summary = Summary::new("fetch", None, Some(Findings::Fetched(&outcome)), Totals::default(), 1.5);
        let value = parsed(&summary);
        assert_eq!((value["outcome"].as_str(), value["exit"].as_u64()), (Some("ok"), Some(0)));
        assert_eq!(value["files"].as_array().expect("files").len(), 2);
    }

    #[test]
    fn many_files_are_dropped_before_anything_else() {
        let outcome = fixture::outcome(100);
        let totals = Totals { bytes_total: 7, ..Totals::default() };
        let summary = Summary::new("fetch", None, Some(Findings::Fetched(&outcome)), totals, 1.5);
        let value = parsed(&summary);
        assert_eq!((value["files"].as_array(), value["bytes_total"].as_u64()), (None, Some(7)));
    }

    #[test]
    fn a_long_error_is_cut_and_stays_valid_json_whatever_it_holds() {
        for filling in ["x", "\"", "\u{1}", "ü", "\u{1f980}"] {
            let error = Error::Internal(filling.repeat(5000));
            let value = parsed(&Summary::new("fetch", Some(&error), None, Totals::default(), 0.0));
            let text = value["error"].as_str().expect("error");
            assert!(text.starts_with("internal error: ") && text.ends_with('…'), "{text}");
            assert!(value["hint"].as_str().expect("hint").contains("report it"));
        }
    }

    #[test]
    fn the_default_file_is_written_only_where_it_exists() {
        let (_dir, path) = place();
        let summary = Summary::of_bad_usage("bad");
        assert_eq!(write(&path, &summary, false).expect_err("absent").kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "x".repeat(9000)).expect("file");
        write(&path, &summary, false).expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("file"), message(&summary));
    }

    #[test]
    fn a_named_file_is_made_and_written_again() {
        let (_dir, path) = place();
        for text in ["bad", "worse"] {
            let summary = Summary::of_bad_usage(text);
            write(&path, &summary, true).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("file"), message(&summary));
        }
    }

    #[test]
    fn no_planted_link_is_written_through() {
        let (dir, path) = place();
        let (victim, absent) = (dir.path().join("victim"), dir.path().join("absent"));
        std::fs::write(&victim, "precious").expect("file");
        let plants: [(&str, &dyn Fn() -> io::Result<()>); 3] = [
            ("it is a symbolic link", &|| std::os::unix::fs::symlink(&victim, &path)),
            ("it is a symbolic link", &|| std::os::unix::fs::symlink(&absent, &path)),
            ("it is not a plain file with one name", &|| std::fs::hard_link(&victim, &path)),
        ];
        for (why, plant) in plants {
            plant().expect("planted");
            for create in [true, false] {
                assert_eq!(refused(&path, create), why);
            }
            std::fs::remove_file(&path).expect("removed");
        }
        assert_eq!(std::fs::read_to_string(&victim).expect("file"), "precious");
        assert!(!absent.exists());
    }

    #[test]
    fn neither_a_pipe_nor_a_device_nor_a_folder_is_written_to_or_waited_for() {
        let (dir, path) = place();
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        assert_eq!(refused(&path, true), "it is not a plain file");
        let reading = OpenOptions::new().read(true).write(true).open(&path).expect("a reader");
        assert_eq!(refused(&path, true), "it is not a plain file with one name");
        drop(reading);
        assert_eq!(refused(Path::new("/dev/null"), true), "it is not a plain file with one name");
        assert!(write(dir.path(), &Summary::of_bad_usage("bad"), true).is_err());
    }

    fn place() -> (TempDir, PathBuf) {
        let dir = TempDir::new().expect("directory");
        let path = dir.path().join("last-words");
        (dir, path)
    }

    fn refused(path: &Path, create: bool) -> String {
        write(path, &Summary::of_bad_usage("bad"), create).expect_err("refused").to_string()
    }
}
