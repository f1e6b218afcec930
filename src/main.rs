//! `quantlens`, the command line: `cargo lab` runs the notebooks.

mod lab;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use lab::run::Destination;
use lab::{run, session, slot};

/// See what quantization does to your numbers. Without a command: runs the first notebook and shows what it prints.
#[derive(Parser)]
#[command(name = "cargo lab", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs notebooks and writes their outputs back into them.
    Run {
        /// Jupyter notebooks in Rust.
        #[arg(required = true)]
        notebooks: Vec<PathBuf>,
        /// Writes one self-contained web page per notebook into this directory.
        #[arg(long, value_name = "DIR")]
        html: Option<PathBuf>,
        /// Compares the outputs with those in the file and changes nothing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    // evcxr starts this program again to run the cells; that one never returns from here.
    evcxr::runtime_hook();
    let arguments = Arguments::parse();
    let result = session::prepare_process(&slot::lab_directory().join("kernel")).and_then(|()| dispatch(arguments.command));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Option<Command>) -> Result<()> {
    match command {
        None => tour(),
        Some(Command::Run { notebooks, html, check }) => {
            let destination = if check { Destination::Check } else { Destination::InPlace };
            let start = std::env::current_dir()?;
            let html = html.map(|directory| start.join(directory));
            // Each is checked before the first is run, and every one is run even if one fails.
            let mut pages = BTreeSet::new();
            for notebook in &notebooks {
                let page = run::Notebook::read(&start.join(notebook))?.named("html");
                if html.is_some() && !pages.insert(page.clone()) {
                    bail!("two of the notebooks would write the page {page}: run them with a --html directory each");
                }
            }
            let mut failed = Vec::new();
            for notebook in &notebooks {
                match run::run(&start.join(notebook), &destination, html.as_deref()) {
                    Ok(()) => println!("{}: {}", notebook.display(), if check { "as committed" } else { "ran, outputs written" }),
                    Err(error) => failed.push(format!("{error:#}")),
                }
            }
            if failed.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", failed.join("\n\n"))) }
        }
    }
}

/// What a newcomer sees.
fn tour() -> Result<()> {
    let notebook = slot::workspace().join("notebooks").join("01_quantize_dequantize.ipynb");
    let directory = slot::lab_directory().join("01_quantize_dequantize");
    run::run(&notebook, &Destination::Directory(directory.clone()), None)?;
    let shown = |name: &str| shorten(&directory.join(name));
    println!();
    println!("written:");
    println!("  {}   the page: open it in a browser", shown("01_quantize_dequantize.html"));
    println!("  {}  the notebook, executed", shown("01_quantize_dequantize.ipynb"));
    println!("  {}   its pictures, SVG and PNG", shown("figures"));
    println!("next: change a cell of notebooks/01_quantize_dequantize.ipynb, then");
    println!("  cargo lab run notebooks/01_quantize_dequantize.ipynb");
    Ok(())
}

/// Relative to the workspace, as a reader of the README thinks of it.
fn shorten(path: &Path) -> String {
    path.strip_prefix(slot::workspace()).unwrap_or(path).display().to_string()
}
