//! `quantlens-lab`: runs Rust notebooks headless, and is their Jupyter kernel.
//!
//! The files, each of which imports only files before it:
//!
//! * [`say`]; [`toolchain`], [`estimate`], which the launcher has, too; [`home`]: where sources are found and everything is kept.
//! * [`compiler`], [`features`], [`files`], [`units`], [`template`], [`slot`]: the notebooks' libraries, built once for each set of features,
//!   and a clone of them for each session.
//! * [`marks`], [`media`], [`output`], [`processes`], [`cell_thread`], [`standard_input`], [`child`], [`steering`], [`missing`], [`compiler_message`], [`cell_error`], [`prelude_lines`], [`magics`], [`front`], [`session`]: cells are evaluated
//!   by evcxr in a slot and run in a process of their own, whose output is taken apart.
//! * [`html`], [`notebook`], [`page`], [`warm`], [`run`]: a notebook file through a session, and a web page of it.
//! * [`spec`], [`kernel`]: the same session for Jupyter.

mod cell_error;
mod cell_thread;
mod child;
mod compiler;
mod compiler_message;
mod estimate;
mod features;
mod files;
mod front;
mod home;
mod html;
mod kernel;
mod magics;
mod marks;
mod media;
mod missing;
mod notebook;
mod output;
mod page;
mod prelude_lines;
mod processes;
mod run;
mod say;
mod session;
mod slot;
mod spec;
mod standard_input;
mod steering;
mod template;
mod toolchain;
mod units;
mod warm;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use features::Features;
use home::home;
use run::Destination;
use say::say;
use slot::{Slot, State};
use spec::{Named, Place};
use template::Template;

/// Runs Rust notebooks with quantlens, polars and plotters at hand.
#[derive(Parser)]
#[command(name = "quantlens-lab", bin_name = home().command(), version, about)]
#[command(after_help = "Without a command, in a clone of the repository, it runs the first notebook and shows what that prints.")]
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
        /// Writes one self-contained web page per notebook into this directory, too.
        #[arg(long, value_name = "DIR")]
        html: Option<PathBuf>,
        /// Compares the outputs with those in the file, and changes nothing.
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        features: FeatureArguments,
    },
    /// Installs, shows and removes the Jupyter kernel, which runs the same cells in JupyterLab.
    #[command(subcommand)]
    Kernel(KernelCommand),
}

#[derive(Subcommand)]
enum KernelCommand {
    /// Makes the kernel known to Jupyter, and builds the notebooks' libraries if they are not built.
    Install(SpecArguments),
    /// Makes Jupyter forget the kernel. The libraries stay: `clean` removes them.
    Uninstall(SpecArguments),
    /// Shows where the kernel is installed, which directories it keeps, how large they are, and which can be deleted.
    List,
    /// Builds the notebooks' libraries if they are not built, or are older than the sources.
    Warm(FeatureArguments),
    /// Deletes the directories that no running notebook needs.
    Clean {
        /// The built libraries of every kernel, too. The next start builds them again.
        #[arg(long)]
        all: bool,
    },
    /// Starts the kernel. Jupyter calls this.
    #[command(hide = true)]
    Start {
        connection_file: PathBuf,
        #[command(flatten)]
        features: FeatureArguments,
    },
}

#[derive(clap::Args)]
struct FeatureArguments {
    /// What polars can do beside its eager frames, with commas between: lazy, parquet, json, sql. Each set of them is built once.
    #[arg(long, value_name = "LIST")]
    features: Option<Features>,
}

impl FeatureArguments {
    fn set(&self) -> Features {
        self.features.clone().unwrap_or_default()
    }
}

#[derive(clap::Args)]
struct SpecArguments {
    /// Installs for the user who calls it. This is the default.
    #[arg(long, conflicts_with = "prefix")]
    user: bool,
    /// Installs below this directory, such as a virtual environment's.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// The name by which Jupyter knows the kernel. Without it, `quantlens`, followed by the features.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    features: FeatureArguments,
}

impl SpecArguments {
    fn place(&self) -> Place {
        self.prefix.clone().map_or(Place::User, Place::Prefix)
    }

    fn kernel(&self) -> Named {
        Named::new(self.name.clone(), self.features.set())
    }
}

fn main() -> ExitCode {
    // evcxr starts this program again to run the cells; that one never returns from here.
    child::run_if_child();
    // It also does so around rustc, for a notebook that says `:cache`; and we do, for every library.
    if std::env::var_os("EVCXR_RUSTC_WRAPPER").is_some() {
        evcxr::runtime_hook();
    }
    compiler::run_if_wrapper();
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
        None => tour(),
        Some(Command::Run { notebooks, html, check, features }) => {
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
            let slot = slot_of_this_process(&features.set())?;
            slot.fill(warm::shower()?)?;
            let mut failed = Vec::new();
            for path in &notebooks {
                match run::run(&start.join(path), &destination, html.as_deref(), &slot) {
                    Ok(()) => say!("{}: {}", path.display(), if check { "as committed" } else { "ran, outputs written" }),
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
fn slot_of_this_process(features: &Features) -> Result<Slot> {
    let slot = Slot::take(features)?;
    session::prepare_process(slot.directory())?;
    Ok(slot)
}

/// The built libraries. Called before there are threads.
fn prepare_template(features: &Features) -> Result<Template> {
    // SAFETY: the callers are the start of `main`.
    unsafe { compiler::wrap_all()? };
    Template::prepare(features, warm::shower()?)
}

fn run_kernel_command(command: KernelCommand) -> Result<()> {
    match command {
        KernelCommand::Install(arguments) => {
            // First the libraries: a kernel that Jupyter finds can run.
            prepare_template(&arguments.features.set())?;
            let kernel = arguments.kernel();
            let directory = spec::install(&arguments.place(), &kernel)?;
            say!("installed: {}", directory.display());
            say!("next: open a notebook in JupyterLab and choose the kernel `{}`", kernel.display_name);
            Ok(())
        }
        KernelCommand::Uninstall(arguments) => {
            say!("removed: {}", spec::uninstall(&arguments.place(), &arguments.kernel())?.display());
            Ok(())
        }
        KernelCommand::Warm(features) => {
            let template = prepare_template(&features.set())?;
            say!("ready: {}", home().shorten(&template.directory));
            Ok(())
        }
        KernelCommand::List => list(),
        KernelCommand::Clean { all } => clean(all),
        KernelCommand::Start { connection_file, features } => {
            kernel::serve(&connection_file, slot_of_this_process(&features.set())?)
        }
    }
}

fn list() -> Result<()> {
    let specs = spec::installed()?;
    for (directory, features) in &specs {
        say!("installed  {}{}", directory.display(), in_brackets(features));
    }
    let command = home().command();
    if specs.is_empty() {
        say!("not installed for this user: `{command} kernel install`");
    }
    let line = |bytes: u64, state: &str, directory: &std::path::Path| {
        say!("{:>5} MB  {state:<8}  {}", bytes / 1_000_000, home().shorten(directory));
    };
    let mut is_built = false;
    for features in Features::all_sets() {
        if let Some((directory, bytes)) = slot::built_template(&features) {
            is_built = true;
            let of = in_brackets(&features.to_string());
            say!("{:>5} MB  template  {}{of}", bytes / 1_000_000, home().shorten(&directory));
        }
    }
    if !is_built {
        say!("the libraries are not built: `{command} kernel warm`");
    }
    let slots = slot::list()?;
    for slot in &slots {
        let state = match slot.state {
            State::Taken => "in use",
            State::Free => "free",
            State::Stale => "stale",
        };
        line(slot.bytes, state, &slot.directory);
    }
    let extras = template::extras();
    if extras.is_dir() {
        line(files::size(&extras), "crates", &extras);
    }
    let others = home().other_sources();
    for directory in &others {
        line(files::size(directory), "outdated", directory);
    }
    if slots.iter().any(|slot| slot.state != State::Taken) || !others.is_empty() || extras.is_dir() {
        say!("what is free, stale or outdated can be deleted: `{command} kernel clean`; with `--all` the templates, too");
    }
    say!("the slots share most of their files with the templates");
    Ok(())
}

/// What follows a kernel or a template that has features.
fn in_brackets(features: &str) -> String {
    if features.is_empty() { String::new() } else { format!("  (features {features})") }
}

fn clean(all: bool) -> Result<()> {
    let mut removed = slot::remove_free()?;
    for directory in home().other_sources() {
        files::remove_directory(&directory).with_context(|| format!("could not remove {}", directory.display()))?;
        removed.push(directory);
    }
    // A notebook that runs may need what it has added.
    let extras = template::extras();
    if extras.is_dir() && slot::list()?.iter().all(|slot| slot.state != State::Taken) {
        files::remove_directory(&extras).with_context(|| format!("could not remove {}", extras.display()))?;
        removed.push(extras);
    }
    if all {
        for features in Features::all_sets() {
            removed.extend(template::remove(&features)?);
        }
    }
    for directory in &removed {
        say!("deleted  {}", home().shorten(directory));
    }
    if removed.is_empty() {
        say!("nothing to delete");
    }
    Ok(())
}

/// What a newcomer sees.
fn tour() -> Result<()> {
    let Some(clone) = home().clone_directory() else {
        bail!("name what to do: `quantlens-lab run NOTEBOOK`, `quantlens-lab kernel install`, or see `quantlens-lab --help`");
    };
    let slot = slot_of_this_process(&Features::default())?;
    slot.fill(warm::shower()?)?;
    let notebook = clone.join("notebooks").join("01_quantize_dequantize.ipynb");
    let directory = home().data().join("01_quantize_dequantize");
    run::run(&notebook, &Destination::Directory(directory.clone()), None, &slot)?;
    slot.give_back();
    let shown = |name: &str| home().shorten(&directory.join(name));
    say!("");
    say!("written:");
    say!("  {}   the page: open it in a browser", shown("01_quantize_dequantize.html"));
    say!("  {}  the notebook, executed", shown("01_quantize_dequantize.ipynb"));
    say!("  {}   its pictures, SVG and PNG", shown("figures"));
    say!("next: change a cell of notebooks/01_quantize_dequantize.ipynb, then");
    say!("  cargo lab run notebooks/01_quantize_dequantize.ipynb");
    Ok(())
}
