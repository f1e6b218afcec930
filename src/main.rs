//! The program `quantlens`: reports of model files from a terminal.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
