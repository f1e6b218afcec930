//! quantlens: the crates that a notebook adds, built beside the prelude (a file that evcxr does not have).
//!
//! As dependencies of the cells' own package they would change the features of crates that the prelude has too, so that the prelude, and
//! polars in it, would be compiled again, into a library that is not the one that is loaded. So they are a package of their own, with its
//! own directory of what is built, which all notebooks share; and a cell is given what the compiler was given for that package.

use crate::crate_config::ExternalCrate;
use crate::errors::Error;
use crate::errors::bail;
use crate::eval_context::Config;
use crate::module::shell_words;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

/// Told which package was compiled last, how many were, and how many there are.
pub type BuildProgress = Arc<dyn Fn(&str, usize, usize) + Send + Sync>;

/// The one dependency that the cells' own package has.
pub(crate) const PRELUDE: &str = "quantlens-prelude";

/// What is part of the prelude, and another build of which would have other types.
const IN_PRELUDE: [&str; 5] = [
    "quantlens-prelude",
    "quantlens",
    "polars",
    "plotters",
    "chrono",
];

#[derive(Default)]
pub(crate) struct Extras {
    /// The manifest for which they were built, and the compiler's flags for a cell.
    built: Option<(String, Vec<String>)>,
    attempts: usize,
    pub(crate) progress: Option<BuildProgress>,
}

/// Refuses what the prelude has.
pub(crate) fn check(name: &str) -> Result<(), Error> {
    let name = name.replace('_', "-");
    if name != PRELUDE && IN_PRELUDE.contains(&name.as_str()) {
        let said = format!(
            "{name} is there already, compiled into the prelude: `use quantlens_prelude::{name}::…;`. Another build of it would have other \
             types; what polars can do beside is chosen when the kernel is installed, with --features"
        );
        return Err(Error::Message(said));
    }
    Ok(())
}

fn is_prelude(dependency: &ExternalCrate) -> bool {
    dependency.name.replace('_', "-") == PRELUDE
}

/// The lines of a manifest.
pub(crate) fn lines_of<'a>(
    dependencies: impl Iterator<Item = &'a ExternalCrate>,
    of_prelude: bool,
) -> String {
    let mut lines: Vec<String> = dependencies
        .filter(|dependency| is_prelude(dependency) == of_prelude)
        .map(|dependency| format!("{} = {}\n", dependency.name, dependency.config))
        .collect();
    lines.sort();
    lines.concat()
}

impl Extras {
    /// The compiler's flags for a cell, when all is built.
    pub(crate) fn flags(&mut self, lines: &str, config: &Config) -> Result<Vec<String>, Error> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        // One's own library may have been edited.
        let may_change = lines.contains("path");
        if let Some((built, flags)) = &self.built
            && built == lines
            && !may_change
        {
            return Ok(flags.clone());
        }
        let flags = self.build(lines, config)?;
        self.built = Some((lines.to_owned(), flags.clone()));
        Ok(flags)
    }

    fn build(&mut self, lines: &str, config: &Config) -> Result<Vec<String>, Error> {
        let directory = config.crate_dir().join("extras");
        fs::create_dir_all(&directory)?;
        let manifest = format!(
            "[package]\nname = \"extras\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n[workspace]\n\n\
             [profile.dev]\nopt-level = 2\ndebug = false\n\n[profile.dev.package]\n\"*\" = {{ debug-assertions = false, \
             overflow-checks = false }}\n\n[dependencies]\n{lines}"
        );
        fs::write(directory.join("Cargo.toml"), manifest)?;
        // cargo says how it calls the compiler only where it does.
        self.attempts += 1;
        fs::write(
            directory.join("lib.rs"),
            format!("// {} {}\n", std::process::id(), self.attempts),
        )?;
        let lock = directory.join("Cargo.lock");
        if !lock.exists() {
            fs::copy(config.crate_dir().join("Cargo.lock"), &lock)?;
        }
        let total = self.packages(&directory, config);
        let mut command = config.cargo_command("build");
        command
            .arg("-v")
            .current_dir(&directory)
            .env("CARGO_TARGET_DIR", target_directory(config))
            .env("CARGO_BUILD_BUILD_DIR", target_directory(config))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let json = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.map(|mut stdout| stdout.read_to_string(&mut text));
            text
        });
        let (mut said, mut call, mut done) = (String::new(), None, 0);
        for line in BufReader::new(child.stderr.take().ok_or("cargo has no stderr")?).lines() {
            let line = line?;
            let word = line.trim_start();
            if word.contains("--crate-name extras ") {
                call = line
                    .split_once('`')
                    .and_then(|(_, rest)| rest.strip_suffix('`'))
                    .map(str::to_owned);
            } else if word.starts_with("Compiling ") || word.starts_with("Fresh ") {
                done += 1;
                let package = word.split_whitespace().nth(1).unwrap_or("");
                if let Some(progress) = &self.progress
                    && word.starts_with("Compiling ")
                    && package != "extras"
                {
                    progress(package, done.min(total.saturating_sub(1)), total);
                }
            } else if !word.starts_with("Running ") && !word.starts_with("Dirty ") {
                said += &line;
                said.push('\n');
            }
        }
        let status = child.wait()?;
        if let Some(progress) = &self.progress {
            progress("done", total, total);
        }
        let json = json.join().unwrap_or_default();
        if !status.success() {
            if status.code().is_none() {
                bail!("the compiler was stopped");
            }
            bail!("{}{}", rendered(&json), said.trim_end());
        }
        let words = call
            .as_deref()
            .and_then(shell_words)
            .ok_or("cargo did not say how it calls the compiler")?;
        Ok(flags_of(&words))
    }

    /// How many packages there are, at least one.
    fn packages(&self, directory: &Path, config: &Config) -> usize {
        let mut command = config.cargo_command("tree");
        command
            .args(["--prefix", "none", "--edges", "normal,build"])
            .current_dir(directory);
        let output = command
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let packages: std::collections::HashSet<&str> = output
            .lines()
            .map(|line| line.trim_end_matches(" (*)"))
            .collect();
        packages.len().max(1)
    }
}

/// All notebooks' extras are built in one place, beside their slots: what one has built is there for the next.
fn target_directory(config: &Config) -> PathBuf {
    let slot = config.crate_dir();
    slot.parent().unwrap_or(slot).join("extras")
}

/// What the package was given: its dependencies, and where theirs are found.
fn flags_of(words: &[String]) -> Vec<String> {
    let mut flags = Vec::new();
    for pair in words.windows(2) {
        match pair[0].as_str() {
            // The compiler can do with a dependency's types alone while it makes a library, but not for a cell.
            "--extern" => flags.push(match pair[1].strip_suffix(".rmeta") {
                Some(stem) => format!("--extern={stem}.rlib"),
                None => format!("--extern={}", pair[1]),
            }),
            "-L" => flags.push(format!("-L{}", pair[1])),
            _ => {}
        }
    }
    flags
}

/// The errors of a crate that does not compile, as the compiler words them.
fn rendered(json: &str) -> String {
    let messages = json
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let errors = messages.filter(|message| message["message"]["level"] == "error");
    errors
        .filter_map(|message| {
            message["message"]["message"]
                .as_str()
                .map(|text| format!("error: {text}\n"))
        })
        .collect()
}
