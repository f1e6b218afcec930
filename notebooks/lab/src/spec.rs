//! Kernelspecs: the files by which Jupyter finds the kernel.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use jupyter_protocol::JupyterKernelspec;
use jupyter_zmq_client::{system_data_dirs, user_data_dir};

use super::features::Features;
use super::home::{home, program};

/// The name Jupyter knows a kernel by that has no features, unless another is asked for.
const DEFAULT_NAME: &str = "quantlens";
/// What stands before the features in the arguments that start a kernel.
pub const FEATURES_OPTION: &str = "--features";

/// The kernel that Jupyter is told of.
pub struct Named {
    /// By which Jupyter knows it.
    pub name: String,
    /// What a user sees.
    pub display_name: String,
    features: Features,
}

impl Named {
    /// With this name, or else with one that says the features.
    pub fn new(name: Option<String>, features: Features) -> Self {
        let shown =
            std::iter::once(name.as_deref().unwrap_or(DEFAULT_NAME)).chain(features.names()).collect::<Vec<_>>().join(", ");
        let display_name = format!("Rust ({shown})");
        Self { name: name.unwrap_or_else(|| features.suffixed(DEFAULT_NAME)), display_name, features }
    }
}

/// Where a kernelspec goes.
pub enum Place {
    /// The user's own directory of Jupyter.
    User,
    /// Below this prefix, such as a virtual environment's.
    Prefix(PathBuf),
}

impl Place {
    fn kernels(&self) -> Result<PathBuf> {
        let data = match self {
            Self::Prefix(prefix) => prefix.join("share").join("jupyter"),
            Self::User => match std::env::var_os("JUPYTER_DATA_DIR") {
                Some(directory) => PathBuf::from(directory),
                None => user_data_dir().context("Jupyter's directory is not known: name one with --prefix")?,
            },
        };
        Ok(data.join("kernels"))
    }
}

/// Writes a kernelspec that starts this program, and gives its directory.
pub fn install(place: &Place, kernel: &Named) -> Result<PathBuf> {
    check_name(&kernel.name)?;
    let directory = place.kernels()?.join(&kernel.name);
    refuse_others(&directory)?;
    let program = install_program()?;
    let mut argv = vec![program.display().to_string(), "kernel".to_owned(), "start".to_owned()];
    if !kernel.features.is_empty() {
        argv.extend([FEATURES_OPTION.to_owned(), kernel.features.to_string()]);
    }
    argv.push("{connection_file}".to_owned());
    let spec = JupyterKernelspec {
        argv,
        display_name: kernel.display_name.clone(),
        language: "rust".to_owned(),
        // Jupyter takes no null here.
        metadata: Some(HashMap::new()),
        // The kernel is told to interrupt; a signal would end the compiler that it waits for.
        interrupt_mode: Some("message".to_owned()),
        env: Some(HashMap::new()),
    };
    fs::create_dir_all(&directory).with_context(|| format!("could not make {}", directory.display()))?;
    let file = directory.join("kernel.json");
    fs::write(&file, serde_json::to_string_pretty(&spec)? + "\n")
        .with_context(|| format!("could not write {}", file.display()))?;
    fs::write(directory.join("logo-svg.svg"), LOGO).context("could not write the kernel's logo")?;
    Ok(directory)
}

/// Removes a kernelspec of ours, and gives the directory that it was in.
pub fn uninstall(place: &Place, kernel: &Named) -> Result<PathBuf> {
    check_name(&kernel.name)?;
    let directory = place.kernels()?.join(&kernel.name);
    if !directory.join("kernel.json").exists() {
        bail!("no kernel is installed in {}", directory.display());
    }
    refuse_others(&directory)?;
    fs::remove_dir_all(&directory).with_context(|| format!("could not remove {}", directory.display()))?;
    Ok(directory)
}

/// Every kernelspec of ours that Jupyter would find without a prefix, and what it says of its kernel's features.
pub fn installed() -> Result<Vec<(PathBuf, String)>> {
    let mut directories = vec![Place::User.kernels()?];
    let path = std::env::var_os("JUPYTER_PATH").unwrap_or_default();
    let of_all = std::env::split_paths(&path).filter(|data| !data.as_os_str().is_empty()).chain(system_data_dirs());
    directories.extend(of_all.map(|data| data.join("kernels")));
    let mut found = Vec::new();
    for directory in directories {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.filter_map(|entry| Some((entry.path(), features_of_ours(&entry.path())?))));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn check_name(name: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_allowed) {
        bail!("`{name}` is no kernel's name: it may have letters a to z, digits, `-`, `_` and, not at its start, `.`");
    }
    if name.eq_ignore_ascii_case("rust") {
        bail!("`rust` is the name of evcxr's own kernel: choose another with --name");
    }
    Ok(())
}

/// If the kernelspec in this directory starts this program, of whichever checkout: the features that it names, which may be none.
fn features_of_ours(directory: &Path) -> Option<String> {
    let text = fs::read_to_string(directory.join("kernel.json")).ok()?;
    let spec: JupyterKernelspec = serde_json::from_str(&text).ok()?;
    let argv: Vec<&str> = spec.argv.iter().map(String::as_str).collect();
    let (program, features) = match argv[..] {
        [program, "kernel", "start", _] => (program, ""),
        [program, "kernel", "start", FEATURES_OPTION, features, _] => (program, features),
        _ => return None,
    };
    // The second is what the program was called before it was a package of its own.
    let is_ours = Path::new(program).file_stem().is_some_and(|stem| stem == "quantlens-lab" || stem == "quantlens");
    is_ours.then(|| features.to_owned())
}

fn refuse_others(directory: &Path) -> Result<()> {
    if directory.exists() && features_of_ours(directory).is_none() {
        bail!("{} is another kernel's: choose another name with --name", directory.display());
    }
    Ok(())
}

/// The program that Jupyter is to start: in a clone a copy, which a later `cargo build` does not take away from under a running kernel.
fn install_program() -> Result<PathBuf> {
    let this = std::env::current_exe().context("this program's own file is not known")?;
    if home().clone_directory().is_none() {
        // Installed: it stays where it is.
        return Ok(this);
    }
    let directory = home().data().join("bin");
    let copy = directory.join(format!("quantlens-lab{}", std::env::consts::EXE_SUFFIX));
    if this == copy {
        return Ok(copy);
    }
    fs::create_dir_all(&directory).with_context(|| format!("could not make {}", directory.display()))?;
    // Beside it, then over it: a kernel that runs keeps the old one.
    let beside = directory.join(format!(".quantlens-lab.{}.part", std::process::id()));
    fs::copy(program()?, &beside)
        .and_then(|_| fs::rename(&beside, &copy))
        .with_context(|| format!("could not write {}", copy.display()))?;
    Ok(copy)
}

/// A line and the staircase that stands for it.
const LOGO: &str = concat!(
    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\">\n",
    "<rect width=\"64\" height=\"64\" rx=\"8\" fill=\"#ffffff\"/>\n",
    "<path d=\"M10 54L54 10\" stroke=\"#e69f00\" stroke-width=\"4\" fill=\"none\"/>\n",
    "<path d=\"M8 54h10V43h11V32h11V21h11V10h6\" stroke=\"#0072b2\" stroke-width=\"5\" fill=\"none\"/>\n",
    "</svg>\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_name_says_its_features_unless_it_is_given_one() {
        let features: Features = "parquet,lazy".parse().unwrap();
        for (name, features, expected, shown) in [
            (None, Features::default(), "quantlens", "Rust (quantlens)"),
            (None, features.clone(), "quantlens-lazy-parquet", "Rust (quantlens, lazy, parquet)"),
            (Some("mine"), Features::default(), "mine", "Rust (mine)"),
            (Some("mine"), features, "mine", "Rust (mine, lazy, parquet)"),
        ] {
            let named = Named::new(name.map(str::to_owned), features);
            assert_eq!((named.name.as_str(), named.display_name.as_str()), (expected, shown));
        }
    }
}
