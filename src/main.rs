//! `quantlens`, the command line: `cargo lab` runs the notebooks, and is their Jupyter kernel.

mod lab;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use lab::run::Destination;
use lab::slot::{Slot, State};
use lab::spec::{self, Place};
use lab::template::{self, Template};
use lab::{child, kernel, notebook, run, session, slot, warm};

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
    /// The Jupyter kernel, which runs the same cells in JupyterLab.
    #[command(subcommand)]
    Kernel(KernelCommand),
}

#[derive(Subcommand)]
enum KernelCommand {
    /// Makes the kernel known to Jupyter and builds its libraries.
    Install(SpecArguments),
    /// Makes Jupyter forget the kernel. Its libraries stay, for `cargo lab`.
    Uninstall(SpecArguments),
    /// Shows where the kernel is installed, and its directories with their sizes.
    List,
    /// Builds the libraries that are not built or are older than the sources.
    Warm,
    /// What Jupyter calls.
    #[command(hide = true)]
    Start { connection_file: PathBuf },
}

#[derive(clap::Args)]
struct SpecArguments {
    /// For this user; so it is without this, too.
    #[arg(long, conflicts_with = "prefix")]
    user: bool,
    /// Below this directory, such as a virtual environment's.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// The name that Jupyter knows the kernel by.
    #[arg(long, default_value = spec::DEFAULT_NAME)]
    name: String,
}

impl SpecArguments {
    fn place(&self) -> Place {
        self.prefix.clone().map_or(Place::User, Place::Prefix)
    }
}

fn main() -> ExitCode {
    // evcxr starts this program again to run the cells; that one never returns from here.
    child::run_if_child();
    // It also does so around rustc, for a notebook that says `:cache`.
    if std::env::var_os("EVCXR_RUSTC_WRAPPER").is_some() {
        evcxr::runtime_hook();
    }
    match dispatch(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Option<Command>) -> Result<()> {
    match command {
        None => tour(&slot_of_this_process()?),
        Some(Command::Run { notebooks, html, check }) => {
            let destination = if check { Destination::Check } else { Destination::InPlace };
            let start = std::env::current_dir()?;
            let html = html.map(|directory| start.join(directory));
            // Each is checked before the first is run, and every one is run even if one fails.
            let mut pages = BTreeSet::new();
            for path in &notebooks {
                let page = notebook::Notebook::read(&start.join(path))?.named("html");
                if html.is_some() && !pages.insert(page.clone()) {
                    bail!("two of the notebooks would write the page {page}: run them with a --html directory each");
                }
            }
            let slot = slot_of_this_process()?;
            slot.fill(warm::shower()?)?;
            let mut failed = Vec::new();
            for path in &notebooks {
                match run::run(&start.join(path), &destination, html.as_deref(), &slot) {
                    Ok(()) => println!("{}: {}", path.display(), if check { "as committed" } else { "ran, outputs written" }),
                    Err(error) => failed.push(format!("{error:#}")),
                }
            }
            slot.give_back();
            if failed.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", failed.join("\n\n"))) }
        }
        Some(Command::Kernel(command)) => run_kernel_command(command),
    }
}

/// A slot, with what evcxr must know of it set for this process. Called before there are threads.
fn slot_of_this_process() -> Result<Slot> {
    let slot = Slot::take()?;
    session::prepare_process(slot.directory())?;
    Ok(slot)
}

fn run_kernel_command(command: KernelCommand) -> Result<()> {
    match command {
        KernelCommand::Install(arguments) => {
            // First the libraries: a kernel that Jupyter finds can run.
            Template::prepare(warm::shower()?)?;
            let directory = spec::install(&arguments.place(), &arguments.name)?;
            println!("installed: {}", directory.display());
            println!("next: open a notebook in JupyterLab and choose the kernel `Rust ({})`", arguments.name);
            Ok(())
        }
        KernelCommand::Uninstall(arguments) => {
            println!("removed: {}", spec::uninstall(&arguments.place(), &arguments.name)?.display());
            Ok(())
        }
        KernelCommand::Warm => {
            let template = Template::prepare(warm::shower()?)?;
            println!("ready: {}", shorten(&template.directory));
            Ok(())
        }
        KernelCommand::List => list(),
        KernelCommand::Start { connection_file } => kernel::serve(&connection_file, slot_of_this_process()?),
    }
}

fn list() -> Result<()> {
    let specs = spec::installed()?;
    for directory in &specs {
        println!("installed  {}", directory.display());
    }
    if specs.is_empty() {
        println!("not installed for this user: `cargo lab kernel install`");
    }
    let megabytes = |bytes: u64| format!("{:>5} MB", bytes / 1_000_000);
    match slot::built_template() {
        Some((directory, bytes)) => println!("{}  template  {}", megabytes(bytes), shorten(&directory)),
        None => println!("the libraries are not built: `cargo lab kernel warm`"),
    }
    for slot in slot::list()? {
        let state = match slot.state {
            State::Taken => "in use",
            State::Free => "free",
            State::Stale => "stale",
        };
        println!("{}  {state:<8}  {}", megabytes(slot.bytes), shorten(&slot.directory));
    }
    println!("the slots share most of their files with the template");
    Ok(())
}

/// What a newcomer sees.
fn tour(slot: &Slot) -> Result<()> {
    slot.fill(warm::shower()?)?;
    let notebook = template::workspace().join("notebooks").join("01_quantize_dequantize.ipynb");
    let directory = template::lab_directory().join("01_quantize_dequantize");
    run::run(&notebook, &Destination::Directory(directory.clone()), None, slot)?;
    slot.give_back();
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
    path.strip_prefix(template::workspace()).unwrap_or(path).display().to_string()
}
