//! Results on stdout.

use std::io::{ErrorKind, Write};

use modelfetch::error::Error;
use modelfetch::show::Writer;

/// Writes to stdout, where it may meet what goes to stderr. A reader that has gone away, such as `head`, is
/// no error.
pub(super) fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = std::io::stdout().lock();
    match Writer::stderr().aside(|| stdout.write_all(bytes).and_then(|()| stdout.flush())) {
        Err(why) if why.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::io("write", "stdout")),
    }
}
