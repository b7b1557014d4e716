//! What is said when nothing can be said any more: the termination message, and panics.

use std::time::Duration;

use modelfetch::cli::TerminationMessage;
use modelfetch::error::Error;
use modelfetch::show::{Summary, Writer, message, termination};

/// How long a process that must end waits for somebody who reads, or for a disk that takes a few bytes.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Writes the last words, where somebody asked for them. A file that cannot be written is worth a
/// warning only where the user named it.
pub(super) fn leave(to: &TerminationMessage, summary: &Summary<'_>) {
    let is_named = matches!(to, TerminationMessage::Named(_));
    if let Err(why) = termination::write(to.path(), summary, is_named)
        && is_named
    {
        let path = to.path().display();
        message::to_stderr(&message::warning(&format!(
            "cannot write the termination message `{path}`: {why}"
        )));
    }
}

/// A panic is a bug: say so, with a number that makes a Job try again.
pub(super) fn report_panics(termination: TerminationMessage) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let error = Error::Internal(format!("{} at {place}", panic.payload_as_str().unwrap_or("panic")));
        message::to_stderr(&message::error(&error, false));
        leave(&termination, &Summary::of_error(&error));
        Writer::stderr().drain(Some(PATIENCE));
        std::process::exit(error.exit_number().into());
    }));
}
