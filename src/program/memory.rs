//! The memory of this process holds tokens and signed addresses.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// No core is written after a crash, and other processes of the same user cannot read it.
pub(super) fn keep_private() {
    // Where the kernel knows no such thing there is nothing to be done about it.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
