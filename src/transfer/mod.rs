//! Step 4, transfer: byte ranges into a partial file.

use std::path::Path;

use crate::error::Error;
use crate::resolve::RemoteFile;

/// stub
#[derive(Debug)]
pub struct Journal;
/// stub
#[derive(Debug)]
pub struct Survey {
    /// stub
    pub usable: u64,
    /// stub
    pub allocated: u64,
}
impl Journal {
    /// stub
    pub fn survey(_partials: &Path, _file: &RemoteFile) -> Result<Survey, Error> {
        Ok(Survey { usable: 0, allocated: 0 })
    }
}
