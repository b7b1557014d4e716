//! The binary: all of it is in `program`.

mod program;

fn main() -> std::process::ExitCode {
    program::main()
}
