//! Results on stdout.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use modelfetch::error::Error;
use modelfetch::show::Writer;
use modelfetch::words::escape_bidi;

/// Writes to stdout, where it may meet what goes to stderr. A reader that has gone away, such as `head`, is
/// no error.
pub(super) fn print(write: impl FnOnce(&mut BufWriter<Escaped>) -> io::Result<()>) -> Result<(), Error> {
    let mut stdout = BufWriter::new(Escaped(io::stdout().lock()));
    match Writer::stderr().aside(|| write(&mut stdout).and_then(|()| stdout.flush())) {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", "stdout")),
    }
}

/// Writes out what would show text in another direction; JSON means the same then.
pub(super) struct Escaped(StdoutLock<'static>);

impl Write for Escaped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // What is cut in the middle of a character is written up to there.
        let whole = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(why) if why.valid_up_to() > 0 => {
                std::str::from_utf8(&bytes[..why.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return self.0.write(bytes),
        };
        self.0.write_all(escape_bidi(whole).as_bytes())?;
        Ok(whole.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
