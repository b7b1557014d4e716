//! The program: reads the command line, lets the library work, says how it went.

mod program;

use std::process::ExitCode;

use modelfetch::cli::{self, Environment, Invocation, Stderr, TerminationMessage, Unusable};
use modelfetch::show::{Summary, Writer, message};

fn main() -> ExitCode {
    program::keep_private();
    let arguments: Vec<_> = std::env::args_os().collect();
    let environment = Environment::of_process();
    let termination = TerminationMessage::of_raw(&arguments, &environment);
    program::report_panics(termination.clone());
    let number = match cli::parse(&arguments, &environment, Stderr::of_process()) {
        Ok(Invocation::Page(page)) => program::show(page),
        Ok(Invocation::Work(work)) => program::run(*work),
        Err(Unusable::Syntax(answer)) => {
            if answer.use_stderr() {
                program::leave(&termination, &Summary::of_bad_usage(&answer.to_string()));
            }
            let _ = answer.print();
            u8::try_from(answer.exit_code()).unwrap_or(2)
        }
        Err(Unusable::Meaning(error)) => {
            message::to_stderr(&message::error(&error, false));
            program::leave(&termination, &Summary::of_error(&error));
            error.exit_number()
        }
    };
    // A run has waited for its reader already, and let a signal end that.
    Writer::stderr().drain(None);
    ExitCode::from(number)
}
