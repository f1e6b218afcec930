// Copyright 2020 The Evcxr Authors.
//
// Licensed under the Apache License, Version 2.0 <LICENSE or
// https://www.apache.org/licenses/LICENSE-2.0> or the MIT license <LICENSE
// or https://opensource.org/licenses/MIT>, at your option. This file may not be
// copied, modified, or distributed except according to those terms.

use crate::cargo_metadata;
use crate::cell_code;
use crate::child_process::ChildProcess;
use crate::code_block::CodeBlock;
use crate::code_block::CodeKind;
use crate::code_block::Segment;
use crate::code_block::UserCodeInfo;
use crate::crate_config::ExternalCrate;
use crate::errors::CompilationError;
use crate::errors::Error;
use crate::errors::Mark;
use crate::errors::bail;
use crate::extras::{self, BuildProgress, Extras};
use crate::inference;
use crate::item;
use crate::module::Module;
use crate::module::SoFile;
use crate::places::Places;
use crate::runtime;
use crate::rust_analyzer::Completions;
use crate::rust_analyzer::RustAnalyzer;
use crate::rust_analyzer::TypeName;
use crate::rust_analyzer::VariableInfo;
use crate::statics::{self, Around, Statics};
use crate::temporaries::Temporary;
use crate::temporaries::Why;
use crate::toml_parse;
use crate::use_trees::Import;
use crate::words::Words;
use anyhow::Result;
use once_cell::sync::Lazy;
use ra_ap_syntax::AstNode;
use ra_ap_syntax::SyntaxNode;
use ra_ap_syntax::ast;
use regex::Regex;
use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

pub struct EvalContext {
    // Order is important here. We need to drop child_process before _tmpdir,
    // since if the subprocess hasn't terminated before we clean up the temporary
    // directory, then on some platforms (e.g. Windows), files in the temporary
    // directory will still be locked, so won't be deleted.
    child_process: ChildProcess,
    // Our tmpdir if EVCXR_TMPDIR wasn't set - Drop causes tmpdir to be cleaned up.
    _tmpdir: Option<tempfile::TempDir>,
    module: Module,
    committed_state: ContextState,
    stdout_sender: crossbeam_channel::Sender<String>,
    analyzer: RustAnalyzer,
    initial_config: Config,
    places: Arc<Mutex<Places>>,
    extras: Extras,
}

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) tmpdir: PathBuf,
    pub(crate) debug_mode: bool,
    // Whether we should preserve variables that are Copy when a panic occurs.
    // Sounds good, but unfortunately doing so currently requires an extra build
    // attempt to determine if the type of the variable is copy.
    pub(crate) preserve_vars_on_panic: bool,
    output_format: String,
    display_types: bool,
    /// Whether to try to display the final expression. Currently this needs to
    /// be turned off when doing tab completion or cargo check, but otherwise it
    /// should always be on.
    display_final_expression: bool,
    /// Whether to expand and deduplicate use statements. We need to be able to
    /// turn this off in order for tab-completion of use statements to work, but
    /// otherwise this should always be on.
    expand_use_statements: bool,
    pub(crate) opt_level: String,
    error_fmt: &'static ErrorFormat,
    /// Whether to pass -Ztime-passes to the compiler and print the result.
    /// Causes the nightly compiler, which must be installed to be selected.
    pub(crate) time_passes: bool,
    pub(crate) linker: String,
    pub(crate) codegen_backend: Option<String>,
    pub(crate) sccache: Option<PathBuf>,
    /// Whether to attempt to avoid network access.
    pub(crate) offline_mode: bool,
    pub(crate) toolchain: String,
    cargo_path: PathBuf,
    pub(crate) rustc_path: PathBuf,
    cache_bytes: u64,
    /// A string of the form "core:/path/to/libstd-...so". This must be libstd that corresponds to
    /// the rust compiler in `rustc_path` so must be updated whenever `rustc_path` is updated.
    pub(crate) core_extern: OsString,
    pub(crate) allow_static_linking: bool,
    pub(crate) build_envs: HashMap<String, String>,
    subprocess_path: PathBuf,
    /// quantlens: what the compiler is told of the crates that the notebook has added.
    extra_flags: Vec<String>,
}

fn create_initial_config(tmpdir: PathBuf, subprocess_path: PathBuf) -> Result<Config> {
    let mut config = Config::new(tmpdir, subprocess_path)?;
    // default the linker to mold, then lld, first checking if either are installed
    // neither linkers support macos, so fallback to system (aka default)
    // https://github.com/rui314/mold/issues/132
    if !cfg!(target_os = "macos") && which::which("mold").is_ok() {
        "mold".clone_into(&mut config.linker);
    } else if !cfg!(target_os = "macos") && which::which("lld").is_ok() {
        "lld".clone_into(&mut config.linker);
    }
    Ok(config)
}

impl Config {
    pub fn new(tmpdir: PathBuf, subprocess_path: PathBuf) -> Result<Self> {
        let rustc_path = default_rustc_path()?;
        let core_extern = core_extern(&rustc_path)?;
        Ok(Config {
            tmpdir,
            debug_mode: false,
            preserve_vars_on_panic: true,
            output_format: "{:?}".to_owned(),
            display_types: false,
            display_final_expression: true,
            expand_use_statements: true,
            opt_level: "2".to_owned(),
            error_fmt: &ERROR_FORMATS[0],
            time_passes: false,
            linker: "system".to_owned(),
            cache_bytes: 0,
            sccache: None,
            offline_mode: false,
            toolchain: String::new(),
            cargo_path: default_cargo_path()?,
            rustc_path,
            core_extern,
            // Forcing dynamic linking causes hard-to-diagnose problems in some cases, so it's off
            // by default.
            allow_static_linking: true,
            subprocess_path,
            extra_flags: Vec::new(),
            codegen_backend: None,
            build_envs: Default::default(),
        })
    }

    pub fn set_sccache(&mut self, enabled: bool) -> Result<(), Error> {
        if enabled {
            if let Ok(path) = which::which("sccache") {
                self.sccache = Some(path);
            } else {
                bail!("Couldn't find sccache. Try running `cargo install sccache`.");
            }
        } else {
            self.sccache = None;
        }
        Ok(())
    }

    pub fn sccache(&self) -> bool {
        self.sccache.is_some()
    }

    pub fn set_cache_bytes(&mut self, bytes: u64) {
        self.cache_bytes = bytes;
    }

    pub fn cache_bytes(&self) -> u64 {
        self.cache_bytes
    }

    pub(crate) fn cargo_command(&self, command_name: &str) -> Command {
        let mut command = if self.linker == "mold" {
            Command::new("mold")
        } else {
            Command::new(&self.cargo_path)
        };
        if self.linker == "mold" {
            command.arg("-run").arg(&self.cargo_path);
        }
        if self.offline_mode {
            command.arg("--offline");
        }

        // quantlens: flags for every crate would make each another than cargo builds elsewhere. Those
        // that evcxr sets for the cell's own library are set for it alone, in `cell_flags`.
        let mut rustflags = Vec::new();
        if self.time_passes {
            rustflags.push("-Ztime-passes".to_owned());
        }
        if let Some(backend) = self.codegen_backend.as_ref() {
            rustflags.push(format!("-Zcodegen-backend={backend}"));
        }

        command
            .arg(command_name)
            .current_dir(self.crate_dir())
            .env("CARGO_TARGET_DIR", "target")
            // Ignore global build.build-dir, since we rely on stuff being under "target".
            .env("CARGO_BUILD_BUILD_DIR", "target")
            .env("RUSTC", &self.rustc_path)
            .envs(&self.build_envs)
            .env(crate::module::CORE_EXTERN_ENV, &self.core_extern);
        if !rustflags.is_empty() {
            command.env("RUSTFLAGS", rustflags.join(" "));
        }
        if self.cache_bytes > 0 {
            command.env(crate::module::CACHE_ENABLED_ENV, "1");
            command.env(
                crate::module::cache::TARGET_DIR_ENV,
                self.common_target_dir(),
            );
        }

        if matches!(command_name, "build" | "rustc") {
            // quantlens: not for a target of its own, so that what is built is what cargo builds elsewhere.
            command.arg("--message-format=json");
        }

        if self.allow_static_linking && self.cache_bytes == 0 {
            if let Some(sccache) = &self.sccache {
                command.env("RUSTC_WRAPPER", sccache);
            }
        } else {
            command.env("RUSTC_WRAPPER", &self.subprocess_path);
            command.env(runtime::WRAP_RUSTC_ENV, "1");
            if !self.allow_static_linking {
                command.env(runtime::FORCE_DYLIB_ENV, "1");
            }
        }

        command
    }

    /// quantlens: all but the manifest that decides how cargo calls rustc. None if it does not call it
    /// itself, with nothing around it.
    pub(crate) fn rustc_key(&self) -> Option<String> {
        let is_plain = self.linker != "mold"
            && self.allow_static_linking
            && self.cache_bytes == 0
            && self.sccache.is_none()
            && !self.time_passes;
        let mut envs: Vec<_> = self.build_envs.iter().collect();
        envs.sort();
        let backend = &self.codegen_backend;
        let flags = self.cell_flags();
        is_plain.then(|| format!("{:?} {flags:?} {backend:?} {envs:?}", self.rustc_path))
    }

    pub(crate) fn crate_dir(&self) -> &Path {
        &self.tmpdir
    }

    pub(crate) fn src_dir(&self) -> PathBuf {
        self.tmpdir.join("src")
    }

    pub(crate) fn deps_dir(&self) -> PathBuf {
        self.target_dir().join("debug").join("deps")
    }

    pub(crate) fn target_dir(&self) -> PathBuf {
        self.common_target_dir()
    }

    /// quantlens: the compiler's flags for a cell. Optimising across a cell's own codegen units takes longer
    /// than all else and gains nothing one sees. The level of optimisation is the cell's alone, so that
    /// another one compiles no library again.
    pub(crate) fn cell_flags(&self) -> Vec<String> {
        let mut flags = [
            "-Clto=off",
            "-Ccodegen-units=4",
            "-Cprefer-dynamic",
            "-Crpath",
            "-Cdebuginfo=line-tables-only",
            "-Cstrip=none",
        ]
        .map(str::to_owned)
        .to_vec();
        flags.push(format!("-Copt-level={}", self.opt_level));
        if self.linker == "lld" {
            flags.push(format!("-Clink-arg=-fuse-ld={}", self.linker));
        }
        flags.extend(self.extra_flags.iter().cloned());
        flags
    }

    pub(crate) fn common_target_dir(&self) -> PathBuf {
        self.tmpdir.join("target")
    }
}

#[derive(Debug)]
struct ErrorFormat {
    format_str: &'static str,
    format_trait: &'static str,
}

static ERROR_FORMATS: &[ErrorFormat] = &[
    ErrorFormat {
        format_str: "{}",
        format_trait: "std::fmt::Display",
    },
    ErrorFormat {
        format_str: "{:?}",
        format_trait: "std::fmt::Debug",
    },
    ErrorFormat {
        format_str: "{:#?}",
        format_trait: "std::fmt::Debug",
    },
];

// quantlens: what the cells' process prints is in the prelude (`cells.rs`), which does what evcxr's `evcxr_internal_runtime.rs`
// does: that is compiled with every cell.
const PANIC_NOTIFICATION: &str = "EVCXR_PANIC_NOTIFICATION";
const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";
const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
const STORED: &str = "EVCXR_STORED:";

// Outputs from an EvalContext. This is a separate struct since users may want
// destructure this and pass its components to separate threads.
pub struct EvalContextOutputs {
    pub stdout: crossbeam_channel::Receiver<String>,
    pub stderr: crossbeam_channel::Receiver<String>,
}

#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct InputRequest {
    pub prompt: String,
    pub is_password: bool,
}

pub struct EvalCallbacks<'a> {
    pub input_reader: &'a dyn Fn(InputRequest) -> String,
}

fn default_input_reader(_: InputRequest) -> String {
    String::new()
}

impl Default for EvalCallbacks<'_> {
    fn default() -> Self {
        EvalCallbacks {
            input_reader: &default_input_reader,
        }
    }
}

impl EvalContext {
    pub fn new() -> Result<(EvalContext, EvalContextOutputs), Error> {
        fix_path();

        let current_exe = std::env::current_exe()?;
        Self::with_subprocess_command(std::process::Command::new(current_exe))
    }

    fn apply_platform_specific_vars(config: &Config, command: &mut std::process::Command) {
        if cfg!(not(windows)) {
            return;
        }
        // Windows doesn't support rpath, so we need to set PATH so that it
        // knows where to find dlls.
        let mut path_var_value = OsString::new();
        path_var_value.push(config.deps_dir());
        path_var_value.push(";");

        let mut sysroot_command = std::process::Command::new("rustc");
        sysroot_command.arg("--print").arg("sysroot");
        path_var_value.push(format!(
            "{}\\bin;",
            String::from_utf8_lossy(&sysroot_command.output().unwrap().stdout).trim()
        ));
        path_var_value.push(std::env::var("PATH").unwrap_or_default());

        command.env("PATH", path_var_value);
    }

    pub fn with_subprocess_command(
        mut subprocess_command: std::process::Command,
    ) -> Result<(EvalContext, EvalContextOutputs), Error> {
        let parsed_config = toml_parse::ConfigToml::find_then_parse()?;
        let tmpdir_var = parsed_config.get_tmp_dir()?;
        let tmpdir_path = tmpdir_var.get_path()?;
        let opt_tmpdir = tmpdir_var.get_opt_tmpdir();
        let analyzer = RustAnalyzer::new(&tmpdir_path)?;
        let module = Module::new()?;
        let mut initial_config =
            create_initial_config(tmpdir_path, subprocess_command.get_program().into())?;
        parsed_config.update_config(&mut initial_config)?;
        Self::apply_platform_specific_vars(&initial_config, &mut subprocess_command);

        let (stdout_sender, stdout_receiver) = crossbeam_channel::unbounded();
        let (stderr_sender, stderr_receiver) = crossbeam_channel::unbounded();
        let child_process = ChildProcess::new(subprocess_command, stderr_sender)?;
        let initial_state = ContextState::new(initial_config.clone());
        let mut context = EvalContext {
            _tmpdir: opt_tmpdir,
            committed_state: initial_state,
            module,
            child_process,
            stdout_sender,
            analyzer,
            initial_config,
            places: Arc::default(),
            extras: Extras::default(),
        };
        let outputs = EvalContextOutputs {
            stdout: stdout_receiver,
            stderr: stderr_receiver,
        };
        // quantlens: evcxr evaluates `42` here, and so loads the standard library into rust-analyzer
        // once without and once with the notebook's dependencies. Our session evaluates something
        // itself before it serves anyone.
        if context.committed_state.linker() == "lld" && context.eval("42").is_err() {
            context.committed_state.set_linker("system".to_owned());
        }
        context.initial_config = context.committed_state.config.clone();
        Ok((context, outputs))
    }

    /// Returns a new context state, suitable for passing to `eval` after
    /// optionally calling things like `add_dep`.
    pub fn state(&self) -> ContextState {
        self.committed_state.clone()
    }

    /// Evaluates the supplied Rust code.
    pub fn eval(&mut self, code: &str) -> Result<EvalOutputs, Error> {
        self.eval_with_state(code, self.state())
    }

    pub fn eval_with_state(
        &mut self,
        code: &str,
        state: ContextState,
    ) -> Result<EvalOutputs, Error> {
        let (user_code, code_info) = CodeBlock::from_original_user_code(code);
        self.eval_with_callbacks(user_code, state, &code_info, &mut EvalCallbacks::default())
    }

    /// Evaluates the supplied Rust code.
    pub(crate) fn eval_with_callbacks(
        &mut self,
        user_code: CodeBlock,
        mut state: ContextState,
        code_info: &UserCodeInfo,
        callbacks: &mut EvalCallbacks,
    ) -> Result<EvalOutputs, Error> {
        if user_code.is_empty()
            && !self
                .committed_state
                .state_change_can_fail_compilation(&state)
        {
            self.commit_state(state);
            return Ok(EvalOutputs::default());
        }
        let mut phases = PhaseDetailsBuilder::new();
        let code_out = state.apply(user_code.clone(), &code_info.nodes)?;

        let mut outputs =
            match self.run_statements(code_out, code_info, &mut state, &mut phases, callbacks) {
                error @ Err(Error::SubprocessTerminated(_)) => {
                    self.restart_child_process()?;
                    return error;
                }
                Err(Error::CompilationErrors(mut errors)) => {
                    for error in &mut errors {
                        error.fill_lines(code_info);
                    }
                    // If we have any errors in user code then remove all errors that aren't from user
                    // code.
                    if errors.iter().any(|error| error.is_from_user_code()) {
                        errors.retain(|error| error.is_from_user_code())
                    }
                    // quantlens: what points into the cell says all; the rest follows from it.
                    if errors.iter().any(|error| error.points_into_cell()) {
                        errors.retain(|error| error.points_into_cell())
                    }
                    return Err(Error::CompilationErrors(errors));
                }
                error @ Err(_) => return error,
                Ok(x) => x,
            };

        // Once, we reach here, our code has successfully executed, so we
        // conclude that variable changes are now applied.
        self.commit_state(state);

        phases.phase_complete("Run");
        outputs.phases = phases.phases;

        Ok(outputs)
    }

    pub(crate) fn completions(
        &mut self,
        user_code: CodeBlock,
        mut state: ContextState,
        nodes: &[SyntaxNode],
        offset: usize,
    ) -> Result<Completions> {
        // Wrapping the final expression in order to display it might interfere
        // with completions on that final expression.
        state.config.display_final_expression = false;
        // Expanding use statements would prevent us from tab-completing those
        // use statements, since we lose information about where each bit came
        // from when we expand. This could be fixed with some work, but there's
        // not really any downside to turn it off here. It'll produce errors,
        // but those errors don't effect the analysis needed for completions.
        state.config.expand_use_statements = false;
        let user_code = state.apply(user_code, nodes)?;
        let code = state.analysis_code(user_code);
        let wrapped_offset = code.user_offset_to_output_offset(offset)?;

        if state.config.debug_mode {
            let mut s = code.code_string();
            s.insert_str(wrapped_offset, "<|>");
            println!("=========\n{s}\n==========");
        }

        self.analyzer.set_source(code.code_string())?;
        let mut completions = self.analyzer.completions(wrapped_offset)?;
        completions.start_offset = code.output_offset_to_user_offset(completions.start_offset)?;
        completions.end_offset = code.output_offset_to_user_offset(completions.end_offset)?;
        // Filter internal identifiers.
        completions.completions.retain(|c| {
            c.code != "evcxr_variable_store"
                && c.code != "evcxr_internal_runtime"
                && c.code != "evcxr_analysis_wrapper"
        });
        Ok(completions)
    }

    pub fn hover(&mut self, code: &str, state: &mut ContextState) -> Result<(String, String)> {
        let (modified_code, hover_offset) = if code == "let" {
            (String::from("let _ = 1;"), 0)
        } else if code.ends_with('(') {
            //If code is a function like `Option::ok_or_else`, the hover works fine, but if it is
            // method like `None.ok_or_else`, the hover show nothing, in order to show that, the code
            // has to end with "(", like `None.ok_or_else(`
            (format!("{code});"), code.len() - 1)
        } else {
            (format!("{code};"), code.len())
        };
        let (user_code, code_info) = CodeBlock::from_original_user_code(&modified_code);
        let user_code = state.apply(user_code, &code_info.nodes)?;
        let pad_code = state.analysis_code(user_code);
        self.analyzer.set_source(pad_code.code_string())?;
        let wrapped_offset = pad_code.user_offset_to_output_offset(hover_offset)?;
        match self.analyzer.hover(wrapped_offset) {
            Some(hover) => Ok((hover.plain_text(), hover.markdown())),
            None => Ok((
                "No documentation found".into(),
                "No documentation found".into(),
            )),
        }
    }

    pub fn last_source(&self) -> Result<String, std::io::Error> {
        std::fs::read_to_string(self.state().config.src_dir().join("lib.rs"))
    }

    pub fn set_opt_level(&mut self, level: &str) -> Result<(), Error> {
        self.committed_state.set_opt_level(level)
    }

    pub fn set_time_passes(&mut self, value: bool) {
        self.committed_state.set_time_passes(value);
    }

    pub fn set_preserve_vars_on_panic(&mut self, value: bool) {
        self.committed_state.set_preserve_vars_on_panic(value);
    }

    pub fn set_error_format(&mut self, value: &str) -> Result<(), Error> {
        self.committed_state.set_error_format(value)
    }

    pub fn variables_and_types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.committed_state
            .variable_states
            .iter()
            .map(|(v, t)| (v.as_str(), t.type_name.as_deref().unwrap_or("_")))
    }

    pub fn defined_item_names(&self) -> impl Iterator<Item = &str> {
        self.committed_state
            .items_by_name
            .keys()
            .map(String::as_str)
    }

    // Clears all state, while keeping tmpdir. This allows us to effectively
    // restart, but without having to recompile any external crates we'd already
    // compiled. Config is preserved.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.committed_state = self.cleared_state();
        self.restart_child_process()
    }

    /// Returns the state that would result from clearing. Config is preserved. Nothing is done to
    /// the subprocess.
    pub(crate) fn cleared_state(&self) -> ContextState {
        // quantlens: with the libraries that are there, which stay compiled, and without which the prelude's
        // names could not be used again.
        let mut state = ContextState::new(self.committed_state.config.clone());
        state
            .external_deps
            .clone_from(&self.committed_state.external_deps);
        state.cell = self.committed_state.cell;
        state.build_num = self.committed_state.build_num;
        state
    }

    pub fn reset_config(&mut self) {
        self.committed_state.config = self.initial_config.clone();
    }

    /// quantlens: where in the cells the lines of what was compiled stand.
    pub fn places(&self) -> Arc<Mutex<Places>> {
        Arc::clone(&self.places)
    }

    /// quantlens: who is told how far a build of added crates is.
    pub fn on_build(&mut self, progress: BuildProgress) {
        self.extras.progress = Some(progress);
    }

    /// quantlens: what is evaluated from now on is this cell.
    pub(crate) fn set_cell(&mut self, cell: usize) {
        self.committed_state.cell = cell;
    }

    pub fn process_handle(&self) -> Arc<Mutex<std::process::Child>> {
        self.child_process.process_handle()
    }

    pub(crate) fn restart_child_process(&mut self) -> Result<(), Error> {
        self.committed_state.variable_states.clear();
        self.committed_state.stored_variable_states.clear();
        self.committed_state.statics.note_lost();
        self.child_process = self.child_process.restart()?;
        Ok(())
    }

    pub(crate) fn last_compile_dir(&self) -> &Path {
        self.committed_state.config.crate_dir()
    }

    fn commit_state(&mut self, mut state: ContextState) {
        state
            .stored_variable_states
            .clone_from(&state.variable_states);
        state.commit_old_user_code();
        self.committed_state = state;
    }

    fn run_statements(
        &mut self,
        user_code: CodeBlock,
        code_info: &UserCodeInfo,
        state: &mut ContextState,
        phases: &mut PhaseDetailsBuilder,
        callbacks: &mut EvalCallbacks,
    ) -> Result<EvalOutputs, Error> {
        // quantlens: what is added is built first; if it cannot be, nothing has changed.
        let lines = extras::lines_of(state.external_deps.values(), false);
        state.config.extra_flags = self.extras.flags(&lines, &state.config)?;
        self.write_cargo_toml(state)?;
        // quantlens: evcxr stops here if the type of a variable is not known, or has no name, and checks the
        // cell with `cargo check` for other errors, which goes through all dependencies once.
        self.fix_variable_types(state, &user_code, &code_info.nodes)?;
        phases.phase_complete("Types");
        state.uses_await(&user_code);
        // In some circumstances we may need a few tries before we get the code right. Note that
        // we'll generally give up sooner than this if there's nothing left that we think we can
        // fix. The limit is really to prevent retrying indefinitely in case our "fixing" of things
        // somehow ends up flip-flopping back and forth. Not sure how that could happen, but best to
        // avoid any infinite loops.
        let mut remaining_retries = 8 + 3 * state.variable_states.len();
        // TODO: Now that we have rust analyzer, we can probably with a bit of work obtain all the
        // information we need without relying on compilation errors. See if we can get rid of this.
        loop {
            // Try to compile and run the code.
            let result = self.try_run_statements(
                user_code.clone(),
                &code_info.nodes,
                state,
                phases,
                callbacks,
            );
            match result {
                Ok(execution_artifacts) => {
                    return Ok(execution_artifacts.output);
                }

                Err(Error::CompilationErrors(errors)) => {
                    // If we failed to compile, attempt to deal with the first
                    // round of compilation errors by adjusting variable types,
                    // whether they've been moved into the catch_unwind block
                    // etc.
                    if remaining_retries > 0 {
                        let mut fixed = HashSet::new();
                        for is_certain in [true, false] {
                            for error in &errors {
                                if is_certain || fixed.is_empty() {
                                    attempt_to_fix_error(
                                        error,
                                        &code_info.nodes,
                                        state,
                                        is_certain,
                                        &mut fixed,
                                    );
                                }
                            }
                        }
                        if !fixed.is_empty() {
                            remaining_retries -= 1;
                            let fixed_sorted: Vec<_> = fixed.into_iter().collect();
                            phases.phase_complete(&fixed_sorted.join("|"));
                            continue;
                        }
                    }
                    // quantlens: it may be because the statements are steps; and if not, the compiler's
                    // words are about the cell as it was written.
                    if !state.is_flat && errors.iter().any(may_be_of_steps) {
                        state.is_flat = true;
                        phases.phase_complete("Flat");
                        continue;
                    }
                    return Err(Error::CompilationErrors(errors));
                }

                Err(Error::TypeRedefinedVariablesLost(variables)) => {
                    for variable in &variables {
                        state.variable_states.remove(variable);
                        state.stored_variable_states.remove(variable);
                        self.committed_state.variable_states.remove(variable);
                        self.committed_state.stored_variable_states.remove(variable);
                    }
                    remaining_retries -= 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_run_statements(
        &mut self,
        user_code: CodeBlock,
        nodes: &[SyntaxNode],
        state: &mut ContextState,
        phases: &mut PhaseDetailsBuilder,
        callbacks: &mut EvalCallbacks,
    ) -> Result<ExecutionArtifacts, Error> {
        let code = state.code_to_compile(user_code, nodes);
        let so_file = self.module.compile(&code, &state.config)?;
        if let Ok(mut places) = self.places.lock() {
            places.add(state.build_num, state.cell, &code);
        }
        phases.phase_complete("Compile");

        let mut output = self.run_and_capture_output(state, &so_file, callbacks)?;
        output.notes = state.temporaries.iter().map(Temporary::note).collect();
        output.warnings = so_file.warnings;
        Ok(ExecutionArtifacts { output })
    }

    pub(crate) fn write_cargo_toml(&self, state: &ContextState) -> Result<()> {
        self.module.write_cargo_toml(state)?;
        self.module.write_config_toml(state)?;
        Ok(())
    }

    fn fix_variable_types(
        &mut self,
        state: &mut ContextState,
        user_code: &CodeBlock,
        nodes: &[SyntaxNode],
    ) -> Result<(), Error> {
        let variables = inference::variables(user_code, nodes, |functions| {
            let code = state.inference_code(functions);
            self.analyzer.set_source(code.code_string())?;
            let mut found = self.analyzer.top_level_variables(FUNCTION);
            let names = (0..functions.len()).map(function_name);
            Ok::<_, Error>(
                names
                    .map(|name| found.remove(&name).unwrap_or_default())
                    .collect(),
            )
        })?;
        for (
            variable_name,
            VariableInfo {
                type_name,
                is_mutable,
            },
        ) in variables
        {
            let type_name = match type_name {
                // For now, we need to look for and escape any reserved words. This should probably in
                // theory be done in rust analyzer in a less hacky way.
                TypeName::Named(x) => Some(replace_reserved_words_in_type(&x)),
                // quantlens: such a variable is a temporary of the cell's.
                TypeName::Closure => {
                    state.make_temporary(&variable_name, Why::Closure);
                    continue;
                }
                // quantlens: the variable is stored without its type being written, and then says it.
                TypeName::Unknown => None,
            };
            state
                .variable_states
                .entry(variable_name)
                .or_insert_with(|| VariableState {
                    type_name: None,
                    is_mut: is_mutable,
                    move_state: VariableMoveState::New,
                })
                .type_name = type_name;
        }
        Ok(())
    }

    fn run_and_capture_output(
        &mut self,
        state: &mut ContextState,
        so_file: &SoFile,
        callbacks: &mut EvalCallbacks,
    ) -> Result<EvalOutputs, Error> {
        let mut output = EvalOutputs::new();
        // TODO: We should probably send an OsString not a String. Otherwise
        // things won't work if the path isn't UTF-8 - apparently that's a thing
        // on some platforms.
        let fn_name = state.current_user_fn_name();
        // quantlens: later cells find its statics only if the loader is told so.
        let scope = if state.statics.has_new() {
            " global"
        } else {
            ""
        };
        self.child_process.send(&format!(
            "LOAD_AND_RUN {} {}{scope}",
            so_file.path.to_string_lossy(),
            fn_name,
        ))?;
        state.statics.note_loaded(state.build_num);

        state.build_num += 1;

        let mut stored = None;
        let mut lost_variables = Vec::new();
        static MIME_OUTPUT: Lazy<Regex> =
            Lazy::new(|| Regex::new("EVCXR_BEGIN_CONTENT ([^ ]+)").unwrap());
        loop {
            let line = self.child_process.recv_line()?;
            if line == runtime::EVCXR_EXECUTION_COMPLETE {
                break;
            }
            if line == PANIC_NOTIFICATION || line == USER_ERROR_OCCURRED {
                // quantlens: which variables there are, the cell says at its end.
            } else if line.starts_with(evcxr_input::GET_CMD) {
                let is_password = line.starts_with(evcxr_input::GET_CMD_PASSWORD);
                let prompt = line.split(':').nth(1).unwrap_or_default().to_owned();
                self.child_process
                    .send(&(callbacks.input_reader)(InputRequest {
                        prompt,
                        is_password,
                    }))?;
            } else if let Some(words) = line.strip_prefix(STORED) {
                stored = Some(Stored::of(words));
            } else if let Some(variable_name) = line.strip_prefix(VARIABLE_CHANGED_TYPE) {
                lost_variables.push(variable_name.to_owned());
            } else if let Some(captures) = MIME_OUTPUT.captures(&line) {
                let mime_type = captures[1].to_owned();
                let mut content = String::new();
                loop {
                    let line = self.child_process.recv_line()?;
                    if line == "EVCXR_END_CONTENT" {
                        break;
                    }
                    if line == PANIC_NOTIFICATION {
                        break;
                    }
                    if !content.is_empty() {
                        content.push('\n');
                    }
                    content.push_str(&line);
                }
                output.content_by_mime_type.insert(mime_type, content);
            } else {
                // Note, errors sending are ignored, since it just means the
                // user of the library has dropped the Receiver.
                let _ = self.stdout_sender.send(line);
            }
        }
        if !lost_variables.is_empty() {
            return Err(Error::TypeRedefinedVariablesLost(lost_variables));
        }
        if let Some(stored) = stored {
            self.note_stored(state, stored);
        }

        // Block until stdout_sender is empty with exponential backoff
        let mut sleep_duration = Duration::from_millis(1);
        while !self.stdout_sender.is_empty() {
            std::thread::sleep(sleep_duration);
            sleep_duration = std::cmp::min(sleep_duration * 2, Duration::from_millis(100));
        }

        Ok(output)
    }

    /// quantlens: from what the cell says that is stored, which variables there are.
    fn note_stored(&mut self, state: &mut ContextState, mut stored: Stored) {
        let mut variables = HashMap::new();
        for name in stored.present {
            let new = stored.new.remove(&name);
            let variable = match (new, state.variable_states.remove(&name)) {
                (Some(type_name), Some(mut variable)) => {
                    if variable.type_name.is_none() {
                        variable.type_name = self.analyzer.public_type_name(&type_name);
                    }
                    if variable.type_name.is_none() {
                        state
                            .temporaries
                            .push(Temporary::new(&name, Why::NoName(type_name)));
                        state.forgotten.push(name);
                        continue;
                    }
                    variable
                }
                _ => match state.stored_variable_states.get(&name) {
                    Some(variable) => variable.clone(),
                    None => continue,
                },
            };
            variables.insert(name, variable);
        }
        // Those that were not kept because their type has no name.
        for (name, type_name) in stored.new {
            state
                .temporaries
                .push(Temporary::new(&name, Why::NoName(type_name)));
        }
        state.variable_states = variables;
    }
}

/// quantlens: how the names of functions begin that only rust-analyzer sees.
const FUNCTION: &str = "evcxr_function_";

fn function_name(index: usize) -> String {
    format!("{FUNCTION}{index}")
}

/// Changes the state so that the error may not come again. If `is_certain`, only where the error itself says what to change.
fn attempt_to_fix_error(
    error: &CompilationError,
    nodes: &[SyntaxNode],
    state: &mut ContextState,
    is_certain: bool,
    fixed_errors: &mut HashSet<&'static str>,
) {
    // quantlens: told by the places that an error touches in the code around the cell's.
    let code = error.code();
    let packs = |mark: &Mark| match &mark.kind {
        CodeKind::PackVariable {
            variable_name,
            is_old,
        } => Some((variable_name.clone(), *is_old)),
        _ => None,
    };
    let is_static = |mark: &&Mark| mark.label.contains("'static");
    if error.code() == Some("E0728") && !state.async_mode {
        state.async_mode = true;
        fixed_errors.insert("Enabled async mode");
        return;
    }
    if matches!(code, Some("E0382" | "E0381")) {
        for (name, is_old) in error
            .marks
            .iter()
            .filter(|mark| mark.is_primary)
            .filter_map(packs)
        {
            if is_old {
                state.moved.insert(name);
            } else {
                state.variable_states.remove(&name);
            }
            fixed_errors.insert("Variable moved");
        }
        return;
    }
    let is_shown = |mark: &Mark| matches!(mark.kind, CodeKind::ShowOpen | CodeKind::ShowClose);
    let cannot_be_shown = code == Some("E0599") && error.message().contains("evcxr_display");
    if cannot_be_shown || error.marks.iter().filter(is_static).any(is_shown) {
        // Two errors of one attempt are one step.
        let is_done = fixed_errors.contains("Fallback");
        if !is_done && state.shows != Shows::Text && (code != Some("E0599") || cannot_be_shown) {
            let is_borrowed = state.shows == Shows::Rich && !cannot_be_shown;
            state.shows = if is_borrowed {
                Shows::Borrowed
            } else {
                Shows::Text
            };
            fixed_errors.insert("Fallback");
        }
        return;
    }
    // Who asks for more than the value can give, before whom that keeps from being stored.
    let new_of = |marks: &mut dyn Iterator<Item = &Mark>| -> Vec<String> {
        let new = marks.filter_map(packs).filter(|(_, is_old)| !is_old);
        new.map(|(name, _)| name).collect()
    };
    let mut culprits = new_of(&mut error.marks.iter().filter(is_static));
    if culprits.is_empty() && is_of_lifetimes(code) {
        // The compiler may say it of the value that the variable is given.
        let lets = error
            .marks
            .iter()
            .filter(is_static)
            .filter_map(|mark| match &mark.kind {
                CodeKind::OriginalUserCode(meta) => {
                    ast::LetStmt::cast(nodes.get(meta.node_index)?.clone())
                }
                _ => None,
            });
        culprits = lets
            .flat_map(|let_stmt| cell_code::names_of(&let_stmt))
            .collect();
    }
    if culprits.is_empty() && is_of_lifetimes(code) && !is_certain {
        culprits = new_of(&mut error.marks.iter());
    }
    culprits.retain(|name| state.variable_states.contains_key(name));
    for name in &culprits {
        state.make_temporary(name, Why::Borrow(borrowed_by(error)));
        fixed_errors.insert("Temporary");
    }
    if culprits.is_empty() && !is_of_lifetimes(code) {
        for (name, is_old) in error
            .marks
            .iter()
            .filter(|mark| mark.is_primary)
            .filter_map(packs)
        {
            if let Some(variable) = state.variable_states.get_mut(&name)
                && !is_old
                && variable.type_name.take().is_some()
            {
                fixed_errors.insert("Type of variable");
            }
        }
    }
}

/// quantlens: errors that only the way in which a cell is compiled may bring about: of borrows, lifetimes and types that are inferred.
fn may_be_of_steps(error: &CompilationError) -> bool {
    let Some(code) = error.code() else {
        return error.message().contains("lifetime") || error.message().contains("borrow");
    };
    !matches!(
        code,
        "E0425"
            | "E0433"
            | "E0432"
            | "E0412"
            | "E0599"
            | "E0061"
            | "E0609"
            | "E0560"
            | "E0423"
            | "E0405"
            | "E0463"
            | "unconditional_panic"
            | "arithmetic_overflow"
    )
}

fn is_of_lifetimes(code: Option<&str>) -> bool {
    matches!(
        code,
        None | Some(
            "E0310"
                | "E0373"
                | "E0499"
                | "E0502"
                | "E0503"
                | "E0505"
                | "E0506"
                | "E0515"
                | "E0521"
                | "E0597"
                | "E0621"
                | "E0700"
                | "E0713"
                | "E0716"
        )
    )
}

/// quantlens: the variable that an error of lifetimes says is borrowed.
fn borrowed_by(error: &CompilationError) -> Option<String> {
    static BORROWED: Lazy<Regex> = Lazy::new(|| Regex::new("`([^`]+)` is borrowed for").unwrap());
    let mut labels = error.marks.iter().map(|mark| mark.label.as_str());
    labels.find_map(|label| Some(BORROWED.captures(label)?[1].to_owned()))
}

/// quantlens: what a cell says is stored at its end.
struct Stored {
    /// The variables it has defined, and their types as the program knows them.
    new: HashMap<String, String>,
    present: Vec<String>,
}

impl Stored {
    fn of(words: &str) -> Stored {
        let (new, present) = words.split_once("\t\t").unwrap_or((words, ""));
        let new: Vec<&str> = new.split('\t').filter(|word| !word.is_empty()).collect();
        Stored {
            new: new
                .chunks_exact(2)
                .map(|pair| (pair[0].to_owned(), pair[1].to_owned()))
                .collect(),
            present: present
                .split('\t')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// quantlens: how a cell's code gets at the variables.
struct CellVariables<'a> {
    state: &'a ContextState,
    used: Words,
    text: String,
}

impl CellVariables<'_> {
    fn check(&self) -> CodeBlock {
        let mut statements = CodeBlock::new().generated("{let mut vars_ok = true;");
        for (var_name, var_state) in &self.state.stored_variable_states {
            if !self.is_loaded(var_name) {
                continue;
            }
            let type_name = var_state.type_name.as_deref().unwrap_or("_");
            statements = statements.generated(format!(
                "vars_ok &= evcxr_variable_store.check_variable::<{type_name}>(stringify!({var_name}));",
            ));
        }
        statements.generated("if !vars_ok {return evcxr_variable_store;}}")
    }

    /// A variable of which the code names only another of the same name stays where it is.
    fn is_loaded(&self, name: &str) -> bool {
        self.used.contains(name) && !(self.is_defined_anew(name) && self.used.is_once(name))
    }

    fn is_defined_anew(&self, name: &str) -> bool {
        let is_temporary = self
            .state
            .temporaries
            .iter()
            .any(|temporary| temporary.name == name);
        let variable = self.state.variable_states.get(name);
        is_temporary
            || variable.is_some_and(|variable| variable.move_state == VariableMoveState::New)
    }
}

impl cell_code::Variables for CellVariables<'_> {
    fn load(
        &self,
        code: &str,
        defined: &[String],
        loaded: &mut HashSet<String>,
    ) -> (CodeBlock, Vec<String>) {
        let (mut statements, mut names) = (CodeBlock::new(), Vec::new());
        let words = Words::of(code);
        loaded.extend(defined.iter().filter(|name| words.is_once(name)).cloned());
        for (name, variable) in &self.state.stored_variable_states {
            if !words.contains(name) || !self.is_loaded(name) || !loaded.insert(name.clone()) {
                continue;
            }
            let mutability = if variable.is_mut { "mut " } else { "" };
            let type_name = variable.type_name.as_deref().unwrap_or("_");
            statements = statements.generated(format!(
                "let {mutability}{name} = evcxr_variable_store.take_variable::<{type_name}>(stringify!({name}));"
            ));
            names.push(name.clone());
        }
        (statements, names)
    }

    fn put_back(&self, name: &str) -> CodeBlock {
        let mut statements = CodeBlock::new();
        let is_moved = self.state.moved.contains(name);
        // That it is moved the compiler would say, after some time.
        let may_be_moved =
            self.is_defined_anew(name) && !cell_code::is_only_borrowed(&self.text, name);
        if !is_moved && !may_be_moved {
            statements.pack_variable(
                name.to_owned(),
                true,
                format!("evcxr_variable_store.put_back(stringify!({name}), {name});"),
            );
        }
        statements
    }

    fn put_new(&self, name: &str) -> CodeBlock {
        let mut statements = CodeBlock::new();
        if let Some(variable) = self.state.variable_states.get(name)
            && variable.move_state == VariableMoveState::New
        {
            let type_name = variable.type_name.as_deref().unwrap_or("_");
            statements.pack_variable(
                name.to_owned(),
                false,
                // Note, we use stringify instead of quoting ourselves since it results in
                // better errors if the user forgets to close a double-quote in their code.
                format!("(&evcxr_variable_store.put_new::<{type_name}>(stringify!({name}), {name})).evcxr_note_send();"),
            );
        }
        statements
    }
}

fn fix_path() {
    // If cargo isn't on our path, see if it exists in the same directory as
    // our executable and if it does, add that directory to our PATH.
    if which::which("cargo").is_err()
        && let Ok(current_exe) = std::env::current_exe()
        && let Some(bin_dir) = current_exe.parent()
        && bin_dir.join("cargo").exists()
        && let Some(mut path) = std::env::var_os("PATH")
    {
        if cfg!(windows) {
            path.push(";");
        } else {
            path.push(":");
        }
        path.push(bin_dir);
        // Safety: We probably aren't doing stuff on other threads while we do this.
        // Is that good enough? Probably not really. TODO: Investigate alternatives.
        // Perhaps we can set PATH on our build commands instead.
        unsafe { std::env::set_var("PATH", path) };
    }
}

#[derive(Debug)]
pub struct PhaseDetails {
    pub name: String,
    pub duration: Duration,
}

struct PhaseDetailsBuilder {
    start: Instant,
    phases: Vec<PhaseDetails>,
}

impl PhaseDetailsBuilder {
    fn new() -> PhaseDetailsBuilder {
        PhaseDetailsBuilder {
            start: Instant::now(),
            phases: Vec::new(),
        }
    }

    fn phase_complete(&mut self, name: &str) {
        let new_start = Instant::now();
        self.phases.push(PhaseDetails {
            name: name.to_owned(),
            duration: new_start.duration_since(self.start),
        });
        self.start = new_start;
    }
}

#[derive(Default, Debug)]
pub struct EvalOutputs {
    pub content_by_mime_type: HashMap<String, String>,
    pub timing: Option<Duration>,
    pub phases: Vec<PhaseDetails>,
    /// quantlens: what became of variables that could not be kept, a line each.
    pub notes: Vec<String>,
    /// quantlens: what the compiler warns of in the cell's own code.
    pub warnings: Vec<CompilationError>,
}

impl EvalOutputs {
    pub fn new() -> EvalOutputs {
        EvalOutputs::default()
    }

    pub fn text_html(text: String, html: String) -> EvalOutputs {
        let mut out = EvalOutputs::new();
        out.content_by_mime_type
            .insert("text/plain".to_owned(), text);
        out.content_by_mime_type
            .insert("text/html".to_owned(), html);
        out
    }

    pub fn is_empty(&self) -> bool {
        self.content_by_mime_type.is_empty()
    }

    pub fn get(&self, mime_type: &str) -> Option<&str> {
        self.content_by_mime_type.get(mime_type).map(String::as_str)
    }

    pub fn merge(&mut self, mut other: EvalOutputs) {
        for (mime_type, content) in other.content_by_mime_type {
            self.content_by_mime_type
                .entry(mime_type)
                .or_default()
                .push_str(&content);
        }
        self.timing = match (self.timing.take(), other.timing) {
            (Some(t1), Some(t2)) => Some(t1 + t2),
            (t1, t2) => t1.or(t2),
        };
        self.phases.append(&mut other.phases);
        self.notes.append(&mut other.notes);
        self.warnings.append(&mut other.warnings);
    }
}

#[derive(Clone, Debug)]
struct VariableState {
    /// quantlens: None where rust-analyzer does not know it, until the variable is stored.
    type_name: Option<String>,
    is_mut: bool,
    move_state: VariableMoveState,
}

/// quantlens: how the last expression is shown.
#[derive(PartialEq, Eq, Debug, Copy, Clone)]
enum Shows {
    /// As the prelude knows how.
    Rich,
    /// As what it borrows.
    Borrowed,
    /// By `Debug`.
    Text,
}

#[derive(PartialEq, Eq, Debug, Copy, Clone)]
enum VariableMoveState {
    New,
    Available,
}

struct ExecutionArtifacts {
    output: EvalOutputs,
}

/// State that is cloned then modified every time we try to compile some code. If compilation
/// succeeds, we keep the modified state, if it fails, we revert to the old state.
#[derive(Clone, Debug)]
pub struct ContextState {
    items_by_name: HashMap<String, CodeBlock>,
    unnamed_items: Vec<CodeBlock>,
    pub(crate) external_deps: HashMap<String, ExternalCrate>,
    // Keyed by crate name. Could use a set, except that the statement might be
    // formatted slightly differently.
    extern_crate_stmts: HashMap<String, String>,
    /// States of variables. Includes variables that have just been defined by
    /// the code about to be executed.
    variable_states: HashMap<String, VariableState>,
    /// State of variables that have been stored. i.e. after the last bit of
    /// code was executed. Doesn't include newly defined variables until after
    /// execution completes.
    stored_variable_states: HashMap<String, VariableState>,
    attributes: HashMap<String, CodeBlock>,
    async_mode: bool,
    build_num: i32,
    pub(crate) config: Config,
    /// quantlens: the number of the cell that is evaluated.
    pub(crate) cell: usize,
    /// quantlens: variables of the cell that end with it.
    temporaries: Vec<Temporary>,
    /// quantlens: stored variables that the cell moves.
    moved: HashSet<String>,
    /// quantlens: what is stored and cannot be named.
    forgotten: Vec<String>,
    /// quantlens: the cell does not compile as steps (`cell_code.rs`).
    is_flat: bool,
    /// quantlens: how the last expression can be shown.
    shows: Shows,
    /// quantlens: what is to be there once for all cells.
    statics: Statics,
}

impl ContextState {
    fn new(config: Config) -> ContextState {
        ContextState {
            items_by_name: HashMap::new(),
            unnamed_items: vec![],
            external_deps: HashMap::new(),
            extern_crate_stmts: HashMap::new(),
            variable_states: HashMap::new(),
            stored_variable_states: HashMap::new(),
            attributes: HashMap::new(),
            async_mode: false,
            build_num: 0,
            config,
            cell: 0,
            temporaries: Vec::new(),
            moved: HashSet::new(),
            forgotten: Vec::new(),
            is_flat: false,
            shows: Shows::Rich,
            statics: Statics::default(),
        }
    }

    pub fn time_passes(&self) -> bool {
        self.config.time_passes
    }

    pub fn set_time_passes(&mut self, value: bool) {
        self.config.time_passes = value;
    }

    pub fn set_offline_mode(&mut self, value: bool) {
        self.config.offline_mode = value;
    }

    pub fn set_allow_static_linking(&mut self, value: bool) {
        self.config.allow_static_linking = value;
    }

    pub fn set_sccache(&mut self, enabled: bool) -> Result<(), Error> {
        self.config.set_sccache(enabled)
    }

    pub fn set_cache_bytes(&mut self, bytes: u64) {
        self.config.set_cache_bytes(bytes)
    }

    pub fn cache_bytes(&mut self) -> u64 {
        self.config.cache_bytes()
    }

    pub fn sccache(&self) -> bool {
        self.config.sccache()
    }

    pub fn set_error_format(&mut self, format_str: &str) -> Result<(), Error> {
        for format in ERROR_FORMATS {
            if format.format_str == format_str {
                self.config.error_fmt = format;
                return Ok(());
            }
        }
        bail!(
            "Unsupported error format string. Available options: {}",
            ERROR_FORMATS
                .iter()
                .map(|f| f.format_str)
                .collect::<Vec<_>>()
                .join(", ")
        );
    }

    pub fn error_format(&self) -> &str {
        self.config.error_fmt.format_str
    }

    pub fn error_format_trait(&self) -> &str {
        self.config.error_fmt.format_trait
    }

    pub fn set_linker(&mut self, linker: String) {
        self.config.linker = linker;
    }

    pub fn linker(&self) -> &str {
        &self.config.linker
    }

    pub fn set_codegen_backend(&mut self, value: String) {
        self.config.codegen_backend = if value == "default" {
            None
        } else {
            Some(value)
        };
    }

    pub fn codegen_backend(&mut self) -> &str {
        self.config.codegen_backend.as_deref().unwrap_or("default")
    }

    pub fn preserve_vars_on_panic(&self) -> bool {
        self.config.preserve_vars_on_panic
    }

    pub fn offline_mode(&self) -> bool {
        self.config.offline_mode
    }

    pub fn set_preserve_vars_on_panic(&mut self, value: bool) {
        self.config.preserve_vars_on_panic = value;
    }

    pub fn debug_mode(&self) -> bool {
        self.config.debug_mode
    }

    pub fn set_debug_mode(&mut self, debug_mode: bool) {
        self.config.debug_mode = debug_mode;
    }

    pub fn opt_level(&self) -> &str {
        &self.config.opt_level
    }

    pub fn set_opt_level(&mut self, level: &str) -> Result<(), Error> {
        if level.is_empty() {
            bail!("Optimization level cannot be an empty string");
        }
        level.clone_into(&mut self.config.opt_level);
        Ok(())
    }
    pub fn output_format(&self) -> &str {
        &self.config.output_format
    }

    pub fn set_output_format(&mut self, output_format: String) {
        self.config.output_format = output_format;
    }

    pub fn display_types(&self) -> bool {
        self.config.display_types
    }

    pub fn set_display_types(&mut self, display_types: bool) {
        self.config.display_types = display_types;
    }

    pub fn set_toolchain(&mut self, value: &str) -> Result<()> {
        if let Some(rustc_path) = rustup_tool_path(Some(value), "rustc") {
            self.config.core_extern = core_extern(&rustc_path)?;
            self.config.rustc_path = rustc_path;
        }
        if let Some(cargo_path) = rustup_tool_path(Some(value), "cargo") {
            self.config.cargo_path = cargo_path;
        }
        value.clone_into(&mut self.config.toolchain);
        Ok(())
    }

    pub fn set_build_env(&mut self, key: &str, value: &str) {
        self.config
            .build_envs
            .insert(key.to_owned(), value.to_owned());
    }

    pub fn toolchain(&mut self) -> &str {
        &self.config.toolchain
    }

    /// Adds a crate dependency with the specified name and configuration.
    pub fn add_dep(&mut self, dep: &str, dep_config: &str) -> Result<(), Error> {
        // Avoid repeating dep validation once we're already added it.
        // quantlens: compared with its path made absolute, as it is kept.
        let external = ExternalCrate::new(dep.to_owned(), dep_config.to_owned())?;
        if self.external_deps.get(dep) == Some(&external) {
            return Ok(());
        }
        extras::check(&external.name)?;
        // quantlens: so that cargo asks the network if it may.
        crate::module::Module::new()?.write_config_toml(self)?;
        crate::cargo_metadata::validate_dep(&external.name, &external.config, &self.config)?;
        self.external_deps.insert(dep.to_owned(), external);
        Ok(())
    }

    /// Adds a crate dependency at the specified local path
    pub fn add_local_dep(&mut self, dep: &str) -> Result<(), Error> {
        let name = cargo_metadata::parse_crate_name(dep)?;
        self.add_dep(&name, &format!("{{ path = \"{dep}\" }}"))
    }

    /// Clears fields that aren't useful for inclusion in bug reports and which might give away
    /// things like usernames.
    pub(crate) fn clear_non_debug_relevant_fields(&mut self) {
        self.config.tmpdir = PathBuf::from("redacted");
        if self.config.sccache.is_some() {
            self.config.sccache = Some(PathBuf::from("redacted"));
        }
    }

    /// Returns whether transitioning to `new_state` might cause compilation
    /// failures. e.g. if `new_state` has extra dependencies, then we must
    /// return true. If we return false, we're saying that the proposed state
    /// change cannot cause compilation failures, so compilation can be skipped
    /// if there is otherwise no code to execute.
    fn state_change_can_fail_compilation(&self, new_state: &ContextState) -> bool {
        (self.extern_crate_stmts != new_state.extern_crate_stmts
            && !new_state.extern_crate_stmts.is_empty())
            || (self.external_deps != new_state.external_deps
                && !new_state.external_deps.is_empty())
            || (self.items_by_name != new_state.items_by_name
                && !new_state.items_by_name.is_empty())
            || (self.config.sccache != new_state.config.sccache)
    }

    /// Returns code suitable for analysis purposes. Doesn't attempt to preserve runtime behaviour.
    fn analysis_code(&self, user_code: CodeBlock) -> CodeBlock {
        let mut code = self
            .analysis_items()
            .generated("fn evcxr_variable_store<T: 'static>(_: T) {}")
            .generated("#[allow(unused_variables)]")
            .generated("async fn evcxr_analysis_wrapper(")
            .add_all(self.parameters(|_| true))
            .generated(") -> Result<(), EvcxrUserCodeError> {")
            .add_all(user_code);

        // Pack variable statements in analysis mode are a lot simpler than in compiled mode. We
        // just call a function that enforces that the variable doesn't contain any non-static
        // lifetimes.
        for var_name in self.variable_states.keys() {
            code.pack_variable(
                var_name.clone(),
                false,
                format!("evcxr_variable_store({var_name});"),
            );
        }

        code = code.generated("Ok(())").generated("}");
        code
    }

    /// quantlens: the code of which rust-analyzer is asked for the variables' types.
    fn inference_code(&self, functions: &[CodeBlock]) -> CodeBlock {
        let mut code = self.analysis_items().generated(inference::GIVEN);
        for (index, function) in functions.iter().enumerate() {
            let words = Words::of(&function.code_string());
            code = code
                .generated(format!("async fn {}(", function_name(index)))
                .add_all(self.parameters(|name| words.contains(name)))
                .generated(") -> Result<(), EvcxrUserCodeError> {")
                .add_all(function.clone())
                .generated("Ok(())}");
        }
        code
    }

    /// quantlens: all but the cell's statements.
    fn analysis_items(&self) -> CodeBlock {
        CodeBlock::new()
            .generated("#![allow(unused_imports, unused_mut, dead_code)]")
            .add_all(self.attributes_code())
            .add_all(self.items_code(true))
            .add_all(self.runtime_code())
    }

    /// quantlens: the stored variables as a function's parameters.
    fn parameters(&self, is_named: impl Fn(&str) -> bool) -> CodeBlock {
        let mut code = CodeBlock::new();
        for (var_name, state) in &self.stored_variable_states {
            if is_named(var_name) {
                code = code.generated(format!(
                    "{}{}: {},",
                    if state.is_mut { "mut " } else { "" },
                    var_name,
                    state.type_name.as_deref().unwrap_or("_")
                ));
            }
        }
        code
    }

    fn code_to_compile(&self, user_code: CodeBlock, nodes: &[SyntaxNode]) -> CodeBlock {
        let mut code = CodeBlock::new()
            .generated("#![allow(unused_imports, unused_mut, dead_code, improper_ctypes)]")
            .add_all(self.attributes_code())
            .add_all(self.items_code(false));
        let has_user_code = !user_code.is_empty();
        if has_user_code {
            code = code.add_all(self.wrap_user_code(user_code, nodes));
        } else {
            // TODO: Add a mechanism to load a crate without any function to call then remove this.
            code = code
                .generated("#[unsafe(no_mangle)]")
                .generated(format!(
                    "pub extern \"C\" fn {}(",
                    self.current_user_fn_name()
                ))
                .generated("mut x: *mut std::os::raw::c_void) -> *mut std::os::raw::c_void {x}");
        }
        code
    }

    fn items_code(&self, for_analysis: bool) -> CodeBlock {
        let mut code = CodeBlock::new().add_all(self.get_imports());
        for (name, item) in &self.items_by_name {
            // quantlens: a static of an earlier cell is that cell's.
            let around = match for_analysis {
                true => Around::Nothing,
                false => self.statics.around(name, self.build_num),
            };
            code = match around {
                Around::Nothing => code.add_all(item.clone()),
                Around::Before(text) => code.generated(text).add_all(item.clone()),
                Around::Behind(text) => code.add_all(item.clone()).generated(text),
                Around::Instead(text) => code.generated(text),
            };
        }
        for item in &self.unnamed_items {
            code = code.add_all(item.clone());
        }
        code
    }

    fn attributes_code(&self) -> CodeBlock {
        let mut code = CodeBlock::new();
        for attrib in self.attributes.values() {
            code = code.add_all(attrib.clone());
        }
        code
    }

    /// quantlens: what the code around a cell calls.
    fn runtime_code(&self) -> CodeBlock {
        let failure = match self.config.error_fmt.format_str {
            "{}" => "Failure",
            "{:?}" => "DebugFailure",
            _ => "PrettyFailure",
        };
        CodeBlock::new().generated(format!(
            "use ::quantlens_prelude::{{cells as evcxr_internal_runtime, evcxr_dbg as dbg}}; use evcxr_internal_runtime::{{{failure} as EvcxrUserCodeError, IsSend as _, IsNotSend as _}};"
        ))
    }

    fn wrap_user_code(&self, mut user_code: CodeBlock, nodes: &[SyntaxNode]) -> CodeBlock {
        // quantlens: a variable that the code does not name stays in the store, so that a cell's
        // time does not grow with the notebook.
        let text = user_code.code_string();
        let variables = CellVariables {
            state: self,
            used: Words::of(&text),
            text,
        };
        self.show_otherwise(&mut user_code);
        let mut code = CodeBlock::new()
            .add_all(self.runtime_code())
            .generated("#[unsafe(no_mangle)]")
            .generated(format!(
                "pub extern \"C\" fn {}(",
                self.current_user_fn_name()
            ))
            .generated("evcxr_variable_store: *mut evcxr_internal_runtime::VariableStore)")
            .generated("  -> *mut evcxr_internal_runtime::VariableStore {")
            .generated("let evcxr_variable_store = unsafe { evcxr_internal_runtime::VariableStore::of(evcxr_variable_store) };")
            .add_all(variables.check());
        for name in &self.forgotten {
            code = code.generated(format!("evcxr_variable_store.forget(stringify!({name}));"));
        }
        // quantlens: with the steps of a cell an `.await` would be in another function.
        let is_flat = self.is_flat || self.async_mode || !self.config.preserve_vars_on_panic;
        code = if is_flat {
            code.add_all(self.in_one_step(user_code, nodes, &variables))
        } else {
            code.add_all(cell_code::in_steps(user_code, nodes, &variables))
        };
        code.generated("evcxr_variable_store.end_cell();")
            .generated("evcxr_variable_store")
            .generated("}")
    }

    /// quantlens: all of a cell in one closure, as evcxr has it.
    fn in_one_step(
        &self,
        user_code: CodeBlock,
        nodes: &[SyntaxNode],
        variables: &CellVariables,
    ) -> CodeBlock {
        let mut loaded = HashSet::new();
        let (mut load, mut names, mut new_names) = (CodeBlock::new(), Vec::new(), Vec::new());
        for segment in &user_code.segments {
            let mut defined = Vec::new();
            if let CodeKind::OriginalUserCode(meta) = &segment.kind
                && let Some(let_stmt) = ast::LetStmt::cast(nodes[meta.node_index].clone())
            {
                defined = cell_code::names_of(&let_stmt);
            }
            let (code, loaded_names) =
                cell_code::Variables::load(variables, &segment.code, &defined, &mut loaded);
            load = load.add_all(code);
            names.extend(loaded_names);
            for name in defined {
                new_names.retain(|earlier| *earlier != name);
                new_names.push(name);
            }
        }
        let mut body = user_code;
        for name in &new_names {
            body = body.add_all(cell_code::Variables::put_new(variables, name));
        }
        body = body.generated("Ok::<(), EvcxrUserCodeError>(())");
        if self.async_mode && self.external_deps.contains_key("tokio") {
            body = CodeBlock::new()
                .generated(stringify!(
                let mut mutex = evcxr_variable_store.lazy_arc("evcxr_tokio_runtime",
                    || std::sync::Mutex::new(tokio::runtime::Runtime::new().unwrap())
                );
                // If a previous cell execution did panic, then the mutex may be poisoned.
                match mutex.lock() {
                    Ok(guard) => guard,
                    Err(poisoned) => poisoned.into_inner(),
                }
                ))
                .generated(".block_on(async {")
                .add_all(body)
                .generated("})");
        } else if self.async_mode {
            body = CodeBlock::new()
                .generated("evcxr_internal_runtime::block_on(async {")
                .add_all(body)
                .generated("})");
        }
        let mut code = load;
        let step = "(|| -> ::std::result::Result<(), EvcxrUserCodeError> {";
        code = if self.config.preserve_vars_on_panic {
            code.generated(format!("evcxr_internal_runtime::step{step}"))
        } else {
            code.generated(format!("let _ = ({step}"))
        };
        code = code.add_all(body);
        code = code.generated(if self.config.preserve_vars_on_panic {
            "});"
        } else {
            "}))();"
        });
        for name in &names {
            code = code.add_all(cell_code::Variables::put_back(variables, name));
        }
        code
    }

    /// quantlens: with its type before it, and what lives too short for `evcxr_display` as what it borrows, or as text.
    fn show_otherwise(&self, user_code: &mut CodeBlock) {
        let (mut open, mut close) = match self.shows {
            Shows::Rich => (
                "use evcxr_internal_runtime::shows::*; let evcxr_shown = &(",
                "); (*evcxr_shown).evcxr_display();",
            ),
            Shows::Borrowed => (
                "use evcxr_internal_runtime::{ShowBorrowed as _, ShowText as _}; let evcxr_shown = &(",
                "); (&evcxr_internal_runtime::Shown(evcxr_shown)).evcxr_show();",
            ),
            Shows::Text => (
                "let evcxr_shown = &(",
                "); evcxr_internal_runtime::show_text(evcxr_shown);",
            ),
        };
        let with_type = close.replacen(
            "); ",
            "); evcxr_internal_runtime::say_type(evcxr_shown); ",
            1,
        );
        if self.config.display_types {
            close = &with_type;
        } else if self.shows == Shows::Rich {
            (open, close) = (
                "use evcxr_internal_runtime::shows::*; (",
                ").evcxr_display();",
            );
        }
        for segment in &mut user_code.segments {
            let text = match segment.kind {
                CodeKind::ShowOpen => open,
                CodeKind::ShowClose => close,
                _ => continue,
            };
            *segment = Segment::new(segment.kind.clone(), text.to_owned());
        }
    }

    /// quantlens: the variable ends with the cell.
    fn make_temporary(&mut self, name: &str, why: Why) {
        self.variable_states.remove(name);
        self.temporaries.push(Temporary::new(name, why));
    }

    /// quantlens: a cell that awaits is no steps.
    fn uses_await(&mut self, user_code: &CodeBlock) {
        self.async_mode = Words::of(&user_code.code_string())
            .iter()
            .any(|word| word == "await");
    }

    fn current_user_fn_name(&self) -> String {
        format!("run_user_code_{}", self.build_num)
    }

    fn get_imports(&self) -> CodeBlock {
        let mut extern_stmts = CodeBlock::new();
        for stmt in self.extern_crate_stmts.values() {
            extern_stmts = extern_stmts.other_user_code(stmt.clone());
        }
        extern_stmts
    }

    /// Converts OriginalUserCode to OtherUserCode. OriginalUserCode can only be
    /// used for the current code that's being evaluated, otherwise things like
    /// tab completion will be confused, since there will be multiple bits of
    /// code at a particular offset.
    fn commit_old_user_code(&mut self) {
        let cell = self.cell;
        for block in self.items_by_name.values_mut() {
            block.commit_old_user_code(cell);
        }
        for block in self.unnamed_items.iter_mut() {
            block.commit_old_user_code(cell);
        }
        for block in self.attributes.values_mut() {
            block.commit_old_user_code(cell);
        }
    }

    /// Applies `user_code` to this state object, returning the updated user
    /// code. Things like use-statements will be removed from the returned code,
    /// as they will have been stored in `self`.
    fn apply(&mut self, user_code: CodeBlock, nodes: &[SyntaxNode]) -> Result<CodeBlock, Error> {
        for variable_state in self.variable_states.values_mut() {
            variable_state.move_state = VariableMoveState::Available;
        }
        self.temporaries.clear();
        self.moved.clear();
        self.is_flat = false;
        self.shows = Shows::Rich;
        self.async_mode = false;

        let mut code_out = CodeBlock::new();
        let mut previous_item_name = None;
        let num_statements = user_code.segments.len();
        for (statement_index, segment) in user_code.segments.into_iter().enumerate() {
            let node = if let CodeKind::OriginalUserCode(meta) = &segment.kind {
                &nodes[meta.node_index]
            } else {
                code_out = code_out.with_segment(segment);
                continue;
            };
            if let Some(let_stmt) = ast::LetStmt::cast(node.clone()) {
                if let Some(pat) = let_stmt.pat() {
                    self.record_new_locals(pat, let_stmt.ty());
                    code_out = code_out.with_segment(segment);
                }
            } else if ast::Attr::can_cast(node.kind()) {
                self.attributes.insert(
                    node.text().to_string(),
                    CodeBlock::new().with_segment(segment),
                );
            } else if let Some(all) = statics::of_thread_local(node) {
                // quantlens: else they would be the cell's own.
                for of_thread in all {
                    let code = of_thread.segment(&segment);
                    let (name, type_name) = (of_thread.name, of_thread.type_name);
                    self.statics.item_defined(&name);
                    self.statics.define(&name, &type_name, false, true);
                    self.items_by_name
                        .insert(name, CodeBlock::new().with_segment(code));
                }
            } else if ast::Expr::can_cast(node.kind()) {
                if statement_index == num_statements - 1 {
                    if self.config.display_final_expression {
                        code_out = code_out
                            .with(CodeKind::ShowOpen, "(")
                            .with_segment(segment)
                            .with(CodeKind::ShowClose, ").evcxr_display();");
                    } else {
                        code_out = code_out
                            .generated("let _ = ")
                            .with_segment(segment)
                            .generated(";");
                    }
                } else {
                    // We got an expression, but it wasn't the last statement,
                    // so don't try to print it. Yes, this is possible. For
                    // example `for x in y {}` is an expression. See the test
                    // non_semi_statements.
                    code_out = code_out.with_segment(segment);
                }
            } else if let Some(item) = ast::Item::cast(node.clone()) {
                match item {
                    ast::Item::ExternCrate(extern_crate) => {
                        if let Some(crate_name) = extern_crate.name_ref() {
                            let crate_name = crate_name.text().to_string();
                            if !self.dependency_lib_names()?.contains(&crate_name) {
                                self.external_deps
                                    .entry(crate_name.clone())
                                    .or_insert_with(|| {
                                        ExternalCrate::new(crate_name.clone(), "\"*\"".to_owned())
                                            .unwrap()
                                    });
                            }
                            self.extern_crate_stmts
                                .insert(crate_name, segment.code.clone());
                        }
                    }
                    ast::Item::MacroRules(macro_rules) => {
                        if let Some(name) = ast::HasName::name(&macro_rules) {
                            let item_block = CodeBlock::new().with_segment(segment);
                            self.items_by_name
                                .insert(name.text().to_string(), item_block);
                        } else {
                            code_out = code_out.with_segment(segment);
                        }
                    }
                    ast::Item::Use(use_stmt) => {
                        if let Some(use_tree) = use_stmt.use_tree() {
                            if self.config.expand_use_statements {
                                // This mode is used for normal execution as it results in all named
                                // items being stored separately, which permits future code to
                                // deduplicate / replace those items. It doesn't however preserve
                                // traceability back to the original user's code, so isn't so useful
                                // for analysis purposes.
                                crate::use_trees::use_tree_names_do(&use_tree, &mut |import| {
                                    match import {
                                        Import::Unnamed(code) => {
                                            self.unnamed_items
                                                .push(CodeBlock::new().other_user_code(code));
                                        }
                                        Import::Named { name, code } => {
                                            self.items_by_name.insert(
                                                name,
                                                CodeBlock::new().other_user_code(code),
                                            );
                                        }
                                    }
                                });
                            } else {
                                // This mode finds all names that the use statement expands to, then
                                // removes any previous definitions of those names and then adds the
                                // original user code as-is. This allows error reporting on the
                                // added line. It's only good for one-off usage though, since all
                                // the names get put into `unnamed_items`, so can't get tracked.
                                // Fortunately this is fine for analysis purposes, since we always
                                // through away the state after we're done with analysis.
                                crate::use_trees::use_tree_names_do(&use_tree, &mut |import| {
                                    if let Import::Named { name, .. } = import {
                                        self.items_by_name.remove(&name);
                                    }
                                });
                                self.unnamed_items
                                    .push(CodeBlock::new().with_segment(segment));
                            }
                        } else {
                            // No use-tree probably means something is malformed, just put it into
                            // the output as-is so that we can get proper error reporting.
                            code_out = code_out.with_segment(segment);
                        }
                    }
                    item => {
                        let item_block = CodeBlock::new().with_segment(segment);
                        if let Some(item_name) = item::item_name(&item) {
                            self.statics.item_defined(&item_name);
                            if let ast::Item::Static(of) = &item
                                && let Some(ty) = of.ty()
                            {
                                let type_name = ty.syntax().text().to_string();
                                let is_mut = of.mut_token().is_some();
                                self.statics.define(&item_name, &type_name, is_mut, false);
                            }
                            *self.items_by_name.entry(item_name.to_owned()).or_default() =
                                item_block;
                            previous_item_name = Some(item_name);
                        } else if let Some(item_name) = &previous_item_name {
                            // unwrap below should never fail because we put
                            // that key in the map on a previous iteration,
                            // otherwise we wouldn't have had a value in
                            // `previous_item_name`.
                            self.items_by_name
                                .get_mut(item_name)
                                .unwrap()
                                .modify(move |block_for_name| block_for_name.add_all(item_block));
                        } else {
                            self.unnamed_items.push(item_block);
                        }
                    }
                }
            } else {
                code_out = code_out.with_segment(segment);
            }
        }
        Ok(code_out)
    }

    fn dependency_lib_names(&self) -> Result<Vec<String>> {
        cargo_metadata::get_library_names(&self.config)
    }

    fn record_new_locals(&mut self, pat: ast::Pat, opt_ty: Option<ast::Type>) {
        match pat {
            ast::Pat::IdentPat(ident) => self.record_local(ident, opt_ty),
            ast::Pat::RecordPat(ref pat_struct) => {
                if let Some(record_fields) = pat_struct.record_pat_field_list() {
                    for field in record_fields.fields() {
                        if let Some(pat) = field.pat() {
                            self.record_new_locals(pat, None);
                        }
                    }
                }
            }
            ast::Pat::TuplePat(ref pat_tuple) => {
                for pat in pat_tuple.fields() {
                    self.record_new_locals(pat, None);
                }
            }
            ast::Pat::TupleStructPat(ref pat_tuple) => {
                for pat in pat_tuple.fields() {
                    self.record_new_locals(pat, None);
                }
            }
            _ => {}
        }
    }

    fn record_local(&mut self, pat_ident: ast::IdentPat, opt_ty: Option<ast::Type>) {
        let type_name = match opt_ty {
            Some(ty) if inference::is_fully_specified(&ty) => {
                Some(AstNode::syntax(&ty).text().to_string())
            }
            _ => None,
        };
        if let Some(name) = ast::HasName::name(&pat_ident) {
            self.variable_states.insert(
                name.text().to_string(),
                VariableState {
                    type_name,
                    is_mut: pat_ident.mut_token().is_some(),
                    // All new locals will initially be defined only inside our catch_unwind
                    // block.
                    move_state: VariableMoveState::New,
                },
            );
        }
    }
}

// Returns the path to `tool` (rustc or cargo) that rustup will use, or None if anything goes wrong
// (e.g. rustup isn't available). By invoking this binary directly, we avoid having rustup decide
// which binary to invoke each time we compile. Doing this for cargo reduces eval time for a trivial
// bit of code from about 140ms to 109ms. Doing it for rustc as well further reduces it to about
// 75ms.
fn rustup_tool_path(toolchain: Option<&str>, tool: &str) -> Option<PathBuf> {
    let mut cmd = Command::new("rustup");
    if let Some(toolchain) = toolchain {
        cmd.arg("+".to_owned() + toolchain);
    }
    let output = cmd.arg("which").arg(tool).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(PathBuf::from(
        std::str::from_utf8(&output.stdout).ok()?.trim().to_owned(),
    ))
}

/// Returns the path to `tool` (cargo or rustc), first attempting to use rustup, then failing that
/// looking for the tool on the PATH and failing that checking if `fallback` exists. If all that
/// fails, then returns an error. `fallback` should be the path to the tool at compile time and is a
/// last resort for handling the case where the user does `cargo install` from a shell that has rust
/// tools on their path, but then runs evcxr (most like the jupyter kernel) without their path set
/// correctly. This mostly happens when people set PATH in their bashrc, then run evcxr_jupyter from
/// vscode.
fn default_tool_path(tool: &str, fallback: &str) -> Result<PathBuf> {
    if let Some(path) = rustup_tool_path(None, tool) {
        return Ok(path);
    }
    if let Ok(path) = which::which(tool) {
        return Ok(path);
    }
    let path = PathBuf::from(fallback);
    if path.exists() {
        // For security reasons, we only use the fallback path if it's in the user's home directory.
        // This is probably a bit paranoid, but we'd like to avoid the situation where someone
        // downloads a pre-built evcxr binary and runs it and someone else on the system knows
        // they're going to do this, so puts a malicious cargo/rustc binary at the location of the
        // fallback path.
        if let Some(home) = dirs::home_dir()
            && path.starts_with(home)
        {
            // Note, if the user is using rustup, then we're likely returning the path to the
            // rustup proxy, so they won't in this case get the speedup from bypassing the
            // proxy... but at least thing will work. The complexity required to bypass in this
            // case doesn't seem worth it.
            return Ok(path);
        }
    }
    anyhow::bail!("Cannot find `{}` binary", tool);
}

fn default_cargo_path() -> Result<PathBuf> {
    const BUILD_TIME_CARGO_PATH: &str = include_str!(concat!(env!("OUT_DIR"), "/cargo_path"));
    default_tool_path("cargo", BUILD_TIME_CARGO_PATH)
}

fn default_rustc_path() -> Result<PathBuf> {
    const BUILD_TIME_RUSTC_PATH: &str = include_str!(concat!(env!("OUT_DIR"), "/rustc_path"));
    default_tool_path("rustc", BUILD_TIME_RUSTC_PATH)
}

fn replace_reserved_words_in_type(ty: &str) -> String {
    static RESERVED_WORDS: Lazy<Regex> =
        Lazy::new(|| Regex::new("(^|:|<)(async|try)(>|$|:)").unwrap());
    RESERVED_WORDS.replace_all(ty, "${1}r#${2}${3}").to_string()
}

fn core_extern(rustc: &Path) -> Result<OsString> {
    let std_lib = std_lib_path(rustc)?;
    let mut result = OsString::from("core=");
    result.push(std_lib.as_os_str());
    Ok(result)
}

/// Returns the path to the shared object for the rust standard library.
fn std_lib_path(rustc: &Path) -> Result<PathBuf> {
    let libdir_bytes = std::process::Command::new(rustc)
        .arg("--print")
        .arg("target-libdir")
        .output()?
        .stdout;
    let libdir = std::str::from_utf8(&libdir_bytes)?;
    let dir = std::fs::read_dir(libdir.trim())?;
    let prefix = format!("{}std-", crate::module::shared_object_prefix());
    for entry in dir {
        let Ok(entry) = entry else { continue };
        if entry
            .file_name()
            .to_str()
            .is_some_and(|file_name| file_name.starts_with(&prefix))
            && entry
                .path()
                .extension()
                .map(|ext| ext == crate::module::shared_object_extension())
                .unwrap_or(false)
        {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("No libstd found in {libdir}");
}
