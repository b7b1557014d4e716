//! Small and read-only file systems, for those who may mount them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A tmpfs, mounted until it is dropped.
pub(crate) struct Volume(tempfile::TempDir);

impl Volume {
    /// A file system of `mib` MiB. `None`, loudly, where mounting is not allowed.
    pub(crate) fn of_mib(mib: u64) -> Option<Self> {
        let point = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={mib}m");
        let output = mount(&["-t", "tmpfs", "-o", &size, "modelfetch-test"], point.path());
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            skipped(&format!("no tmpfs can be mounted here: {}", why.trim()));
            return None;
        }
        Some(Self(point))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Shows it in another place too, until what comes back is dropped.
    pub(crate) fn bound_to(&self, point: &Path) -> Bound {
        let path = self.path().to_string_lossy();
        let output = mount(&["--bind", &path], point);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Bound(point.to_owned())
    }

    /// Makes it read-only, or writable again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        let mode = if read_only { "remount,ro" } else { "remount,rw" };
        let output = mount(&["-o", mode], self.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        unmount(self.path());
    }
}

/// A second place of a volume.
pub(crate) struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Lazily: a process that still has a file open there must not keep the mount.
fn unmount(point: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(point).status();
}

fn mount(arguments: &[&str], point: &Path) -> Output {
    Command::new("mount").args(arguments).arg(point).output().expect("the mount command")
}

/// Says loudly that a test could not do its work: past the test harness, which hides the output of
/// tests that pass.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
