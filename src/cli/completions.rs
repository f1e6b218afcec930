//! `quantlens completions`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Status, Stop, print};

const EXAMPLES: &str = "\
Examples:
  quantlens completions bash > ~/.local/share/bash-completion/completions/quantlens
  quantlens completions zsh > ~/.zfunc/_quantlens
  quantlens completions fish > ~/.config/fish/completions/quantlens.fish";

/// Prints what a shell needs to complete arguments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The shell.
    shell: Shell,
}

pub fn run(args: &Args) -> Result<Status, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "quantlens", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Status::Done)
}
