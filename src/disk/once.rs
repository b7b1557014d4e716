//! Reading what nobody is going to read again soon.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// `RWF_DONTCACHE` (since Linux 6.14): what was not in the page cache before does not stay there.
const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// As [`FileExt::read_at`], but for what it leaves in the page cache: nothing, where the kernel and the file system can do
/// that. What others have there stays.
pub fn read_once(file: &File, memory: &mut [u8], offset: u64) -> io::Result<usize> {
    static IS_REFUSED: AtomicBool = AtomicBool::new(false);
    if !IS_REFUSED.load(Ordering::Relaxed) {
        match preadv2(file, &mut [IoSliceMut::new(memory)], offset, DONTCACHE) {
            // Older kernels, other file systems, and what filters system calls.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                IS_REFUSED.store(true, Ordering::Relaxed);
            }
            read => return Ok(read?),
        }
    }
    file.read_at(memory, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_once_is_what_is_there() {
        // tmpfs, which is the second, refuses: its files are nowhere else.
        let files = [tempfile::NamedTempFile::new(), tempfile::NamedTempFile::new_in("/dev/shm")];
        for file in files.map(|file| file.expect("a file")) {
            std::fs::write(file.path(), b"0123456789").expect("written");
            let file = File::open(file.path()).expect("opened");
            let mut memory = [0; 8];
            for (offset, expected) in [(0, &b"01234567"[..]), (7, b"789"), (10, b"")] {
                let read = read_once(&file, &mut memory, offset).expect("read");
                assert_eq!(&memory[..read], expected);
            }
        }
    }
}
