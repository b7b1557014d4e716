//! Results on stdout.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use modelfetch::error::Error;
use modelfetch::show::Writer;

/// Writes to stdout, where it may meet what goes to stderr. A reader that has gone away, such as `head`, is
/// no error.
pub(super) fn print(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> Result<(), Error> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match Writer::stderr().aside(|| write(&mut stdout).and_then(|()| stdout.flush())) {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", "stdout")),
    }
}
