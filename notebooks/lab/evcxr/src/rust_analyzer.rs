// Copyright 2020 The Evcxr Authors.
//
// Licensed under the Apache License, Version 2.0 <LICENSE or
// https://www.apache.org/licenses/LICENSE-2.0> or the MIT license <LICENSE
// or https://opensource.org/licenses/MIT>, at your option. This file may not be
// copied, modified, or distributed except according to those terms.

use crate::hover::Hover;
use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use anyhow::bail;
use once_cell::sync::Lazy;
use ra_ap_base_db::SourceRoot;
use ra_ap_hir as ra_hir;
use ra_ap_ide_completion::CallableSnippets;
use ra_ap_ide_completion::CompletionConfig;
use ra_ap_ide_completion::CompletionFieldsToResolve;
use ra_ap_ide_completion::CompletionItemKind;
use ra_ap_ide_db::FilePosition;
use ra_ap_ide_db::FxHashMap;
use ra_ap_ide_db::RootDatabase;
use ra_ap_ide_db::SnippetCap;
use ra_ap_ide_db::imports::insert_use::ImportGranularity;
use ra_ap_ide_db::imports::insert_use::InsertUseConfig;
use ra_ap_ide_db::ra_fixture::RaFixtureConfig;
use ra_ap_paths::AbsPathBuf;
use ra_ap_project_model::CargoConfig;
use ra_ap_project_model::Package;
use ra_ap_project_model::ProjectManifest;
use ra_ap_project_model::ProjectWorkspace;
use ra_ap_project_model::ProjectWorkspaceKind;
use ra_ap_project_model::RustLibSource;
use ra_ap_project_model::TargetKind;
use ra_ap_syntax::Edition;
use ra_ap_syntax::ast::AstNode;
use ra_ap_syntax::ast::{self};
use ra_ap_vfs as ra_vfs;
use ra_ap_vfs::FileId;
use ra_ap_vfs::loader::LoadingProgress;
use ra_ap_vfs_notify as vfs_notify;
use std::collections::HashMap;
use std::convert::TryFrom;
use std::path::Path;

pub(crate) const EDITION: Edition = Edition::Edition2024;

pub(crate) struct RustAnalyzer {
    with_sysroot: bool,
    root_directory: AbsPathBuf,
    /// quantlens: rust-analyzer's `AnalysisHost` around it is in its crate `ide`; see `hover.rs`.
    db: RootDatabase,
    vfs: ra_vfs::Vfs,
    loader: vfs_notify::NotifyHandle,
    message_receiver: crossbeam_channel::Receiver<ra_vfs::loader::Message>,
    last_cargo_toml: Option<Vec<u8>>,
    source_file: AbsPathBuf,
    source_file_id: FileId,
    current_source: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum TypeName {
    Named(String),
    Closure,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct VariableInfo {
    /// The variable's type as Rust code, or None if we couldn't determine it.
    pub(crate) type_name: TypeName,
    /// Whether the variable is declared as mutable.
    pub(crate) is_mutable: bool,
}

impl RustAnalyzer {
    pub(crate) fn new(root_directory: &Path) -> Result<RustAnalyzer> {
        use ra_vfs::loader::Handle;
        let (message_sender, message_receiver) = crossbeam_channel::unbounded();
        let mut vfs = ra_vfs::Vfs::default();
        let root_directory = AbsPathBuf::try_from(
            root_directory
                .to_str()
                .context("Root directory is not UTF-8")?,
        )
        .map_err(|path| anyhow!("Evcxr tmpdir is not absolute: '{:?}'", path))?;
        let source_file = root_directory.join("src/lib.rs");
        // We need to write the file to the filesystem even though we subsequently set the file
        // contents via the vfs and change.change_file. This is because the loader checks for the
        // files existence when determining the crate structure.
        let src_dir = root_directory.join("src");
        std::fs::create_dir_all(&src_dir)
            .with_context(|| format!("Failed to create directory `{src_dir:?}`"))?;
        // Pre-allocate an ID for our main source file.
        let vfs_source_file: ra_vfs::VfsPath = source_file.clone().into();
        vfs.set_file_contents(vfs_source_file.clone(), Some(vec![]));
        let (source_file_id, _) = vfs.file_id(&vfs_source_file).unwrap();
        Ok(RustAnalyzer {
            with_sysroot: true,
            root_directory,
            db: RootDatabase::new(None),
            vfs,
            loader: vfs_notify::NotifyHandle::spawn(message_sender),
            message_receiver,
            last_cargo_toml: None,
            source_file,
            source_file_id,
            current_source: String::new(),
        })
    }

    pub(crate) fn set_source(&mut self, source: String) -> Result<()> {
        self.current_source = source;
        let mut change = ra_hir::ChangeWithProcMacros::default();

        std::fs::write(self.source_file.as_path(), &*self.current_source)
            .with_context(|| format!("Failed to write {:?}", self.source_file))?;
        self.vfs.set_file_contents(
            self.source_file.clone().into(),
            Some(self.current_source.bytes().collect()),
        );
        change.change_file(self.source_file_id, Some(self.current_source.clone()));

        // Check to see if we haven't yet loaded Cargo.toml, or if it's changed since we read it.
        let cargo_toml = Some(std::fs::read(self.cargo_toml_filename()).with_context(|| {
            format!(
                "Failed to read Cargo.toml from `{:?}`",
                self.cargo_toml_filename()
            )
        })?);
        if cargo_toml != self.last_cargo_toml {
            self.load_cargo_toml(&mut change)?;
            self.last_cargo_toml = cargo_toml;
        }

        let is_loaded_anew = change.source_change.crate_graph.is_some();
        self.db.apply_change(change);
        if is_loaded_anew {
            know_all_crates(&self.db);
            give_back_memory();
        }
        Ok(())
    }

    /// Returns top-level variable names and their types.
    /// quantlens: of every function whose name starts so, by its name.
    pub(crate) fn top_level_variables(
        &self,
        name_start: &str,
    ) -> HashMap<String, HashMap<String, VariableInfo>> {
        use ra_ap_syntax::ast::HasModuleItem;
        use ra_ap_syntax::ast::HasName;
        let mut functions = HashMap::new();
        let db = &self.db;
        let sema = ra_hir::Semantics::new(db);

        let source_file = sema.parse(ra_ap_base_db::EditionedFileId::new(
            db,
            self.source_file_id,
            EDITION,
        ));

        ra_ap_hir::attach_db(db, || {
            for item in source_file.items() {
                if let ast::Item::Fn(function) = item
                    && let Some(name) = function.name()
                    && name.text().starts_with(name_start)
                {
                    let Some(body) = function.body() else {
                        continue;
                    };
                    let mut result = HashMap::new();
                    let module = sema
                        .scope(function.syntax())
                        .map(|scope| scope.module())
                        .unwrap();
                    for statement in body.statements() {
                        if let ast::Stmt::LetStmt(let_stmt) = statement
                            && let Some(pat) = let_stmt.pat()
                            && !add_variable_for_pattern(
                                &pat,
                                &sema,
                                let_stmt.ty(),
                                module,
                                &mut result,
                            )
                        {
                            // We didn't add a variable for `pat`, possibly because it's a
                            // more complex pattern that needs destructuring. Try for each
                            // sub pattern. This time, we ignore the explicit type, because
                            // it applies to the whole pattern, not to its parts. Note, this
                            // will attempt `pat` again, but that's OK, since it failed
                            // above, so will fail again.
                            for d in pat.syntax().descendants() {
                                if let Some(sub_pat) = ast::Pat::cast(d) {
                                    add_variable_for_pattern(
                                        &sub_pat,
                                        &sema,
                                        None,
                                        module,
                                        &mut result,
                                    );
                                }
                            }
                        }
                    }
                    functions.insert(name.text().to_string(), result);
                }
            }
        });

        functions
    }

    /// quantlens: a type as the program itself names it (`std::any::type_name`), such as
    /// `std::collections::hash::map::HashMap<&str, i32>`, as a cell can name it. None if it cannot.
    pub(crate) fn public_type_name(&self, type_name: &str) -> Option<String> {
        static PATH: Lazy<regex::Regex> =
            Lazy::new(|| regex::Regex::new(r"[A-Za-z_]\w*(?:::[A-Za-z_]\w*)+").unwrap());
        let db = &self.db;
        let is_known = std::cell::Cell::new(!type_name.contains("{{"));
        let public = ra_hir::attach_db(db, || {
            let sema = ra_hir::Semantics::new(db);
            let here = sema.file_to_module_def(self.source_file_id)?;
            let text = PATH.replace_all(type_name, |captures: &regex::Captures| {
                let path = &captures[0];
                if let Some(own) = path.strip_prefix("ctx::") {
                    return own.to_owned();
                }
                // Not read: see `STD_NOT_MET`.
                if let Some((_, name)) = path
                    .strip_prefix("core::core_arch::")
                    .and_then(|path| path.rsplit_once("::"))
                {
                    return format!("std::arch::{}::{name}", std::env::consts::ARCH);
                }
                self.public_path(path, here).unwrap_or_else(|| {
                    is_known.set(false);
                    path.to_owned()
                })
            });
            Some(text.into_owned())
        })?;
        (is_known.get() && is_type_valid(&public)).then_some(public)
    }

    /// quantlens: how a cell can name what stands in this place, which may be private.
    fn public_path(&self, path: &str, here: ra_hir::Module) -> Option<String> {
        let db = &self.db;
        let mut segments = path.split("::");
        let crate_name = segments.next()?;
        let names: Vec<&str> = segments.collect();
        let (name, modules) = names.split_last()?;
        let name_is = |found: Option<ra_hir::Name>, name: &str| {
            found.is_some_and(|found| found.as_str() == name)
        };
        let is_crate = |of: &ra_hir::Crate| {
            let display = of.display_name(db);
            display.is_some_and(|display| {
                display.canonical_name().as_str().replace('-', "_") == crate_name
            })
        };
        let config = ra_hir::FindPathConfig {
            prefer_no_std: false,
            prefer_prelude: false,
            prefer_absolute: false,
            allow_unstable: false,
        };
        ra_hir::Crate::all(db)
            .into_iter()
            .filter(is_crate)
            .find_map(|of| {
                let mut module = of.root_module(db);
                for name in modules {
                    module = module
                        .children(db)
                        .find(|child| name_is(child.name(db), name))?;
                }
                let is_type = |def: &ra_hir::ModuleDef| {
                    use ra_hir::ModuleDef::{Adt, Trait, TypeAlias};
                    matches!(def, Adt(_) | Trait(_) | TypeAlias(_)) && name_is(def.name(db), name)
                };
                let def = module.declarations(db).into_iter().find(is_type)?;
                let found = here.find_path(db, def, config)?;
                Some(found.display(db, EDITION).to_string())
            })
    }

    fn load_cargo_toml(&mut self, change: &mut ra_hir::ChangeWithProcMacros) -> Result<()> {
        let manifest = ProjectManifest::from_manifest_file(self.cargo_toml_filename())?;
        let sysroot = if self.with_sysroot {
            Some(RustLibSource::Discover)
        } else {
            None
        };
        let config = CargoConfig {
            sysroot,
            ..CargoConfig::default()
        };
        let workspace = ProjectWorkspace::load(manifest, &config, &|_| {})?;
        // quantlens: what cannot show up in a cell is not loaded.
        let seen = packages_seen(&workspace);
        let sources = workspace
            .sysroot
            .rust_lib_src_root()
            .map(|root| root.to_path_buf());
        let is_seen = |directory: &AbsPathBuf| {
            sources
                .as_ref()
                .is_some_and(|sources| directory.starts_with(sources))
                || seen.iter().any(|package| directory.starts_with(package))
        };
        let load = workspace
            .to_roots()
            .iter_mut()
            .filter(|root| root.include.iter().any(is_seen))
            .map(|root| {
                if let Some(sources) = sources
                    .as_ref()
                    .filter(|sources| root.include.contains(sources))
                {
                    let not_met = STD_NOT_MET.iter().map(|part| sources.join(part));
                    root.exclude.extend(not_met);
                }
                ra_vfs::loader::Entry::Directories(ra_vfs::loader::Directories {
                    extensions: vec!["rs".to_owned()],
                    include: root.include.clone(),
                    exclude: root.exclude.clone(),
                })
            })
            .collect();
        // Note, set_config is what triggers loading and calling the callback that we registered when we created self.loader.
        use ra_vfs::loader::Handle;
        self.loader.set_config(ra_vfs::loader::Config {
            version: 1,
            load,
            watch: vec![],
        });

        for message in &self.message_receiver {
            match message {
                ra_vfs::loader::Message::Progress {
                    n_total: _, n_done, ..
                } => {
                    if n_done == LoadingProgress::Finished {
                        break;
                    }
                }
                ra_vfs::loader::Message::Loaded { files }
                | ra_vfs::loader::Message::Changed { files } => {
                    for (path, contents) in files {
                        let vfs_path: ra_vfs::VfsPath = path.to_path_buf().into();
                        self.vfs
                            .set_file_contents(vfs_path.clone(), contents.clone());
                    }
                }
            }
        }

        for (file_id, changed_file) in self.vfs.take_changes() {
            let mut new_contents = None;
            if let ra_vfs::Change::Create(v, _hash) | ra_vfs::Change::Modify(v, _hash) =
                changed_file.change
                && let Ok(text) = std::str::from_utf8(&v)
            {
                new_contents = Some(text.to_owned());
            }
            change.change_file(file_id, new_contents);
        }
        // quantlens: only the cells' own source is expected to change. What is known of everything
        // else then needs no checking again when a cell's text is set.
        let mut file_sets = ra_vfs::file_set::FileSetConfig::builder();
        file_sets.add_file_set(vec![self.root_directory.join("src").into()]);
        let mut file_sets = file_sets.build().partition(&self.vfs).into_iter();
        change.set_roots(
            file_sets
                .next()
                .map(SourceRoot::new_local)
                .into_iter()
                .chain(file_sets.map(SourceRoot::new_library))
                .collect(),
        );
        let (crate_graph, _) = workspace.to_crate_graph(
            &mut |path| {
                self.vfs
                    .file_id(&path.to_path_buf().into())
                    .map(|(id, _)| id)
            },
            &FxHashMap::default(),
        );

        change.set_crate_graph(crate_graph);
        Ok(())
    }

    fn cargo_toml_filename(&self) -> AbsPathBuf {
        let with_extras = self
            .root_directory
            .join(crate::module::ANALYSIS_DIRECTORY)
            .join("Cargo.toml");
        if std::path::Path::new(with_extras.as_str()).exists() {
            return with_extras;
        }
        self.root_directory.join("Cargo.toml")
    }

    pub(crate) fn completions(&self, position: usize) -> Result<Completions> {
        let mut completions = Vec::new();
        let mut range = None;
        let config = CompletionConfig {
            enable_postfix_completions: true,
            snippet_cap: SnippetCap::new(true),
            enable_imports_on_the_fly: false,
            enable_self_on_the_fly: true,
            enable_private_editable: true,
            prefer_no_std: false,
            full_function_signatures: true,
            snippets: vec![],
            insert_use: InsertUseConfig {
                prefix_kind: ra_hir::PrefixKind::ByCrate,
                group: false,
                granularity: ImportGranularity::Item,
                enforce_granularity: false,
                skip_glob_imports: false,
            },
            callable: Some(CallableSnippets::FillArguments),
            limit: None,
            prefer_prelude: false,
            // quantlens: it panics on `let x = ` ("failed to unify type owners").
            enable_term_search: false,
            term_search_fuel: 400,
            prefer_absolute: false,
            add_semicolon_to_unit: true,
            fields_to_resolve: CompletionFieldsToResolve::empty(),
            exclude_flyimport: vec![],
            exclude_traits: &[],
            enable_auto_iter: true,
            enable_auto_await: true,
            ra_fixture: RaFixtureConfig::default(),
            add_colons_to_module: true,
        };
        let found = ra_hir::attach_db_allow_change(&self.db, || {
            let offset = (position as u32).into();
            let position = FilePosition {
                file_id: self.source_file_id,
                offset,
            };
            ra_ap_ide_completion::completions(&self.db, &config, position, None)
        });
        if let Some(completion_items) = found {
            for item in completion_items {
                use regex::Regex;
                static ARG_PLACEHOLDER: Lazy<Regex> =
                    Lazy::new(|| Regex::new("\\$\\{[0-9]+:([^}]*)\\}").unwrap());
                let mut indels = item.text_edit.iter();
                if let Some(indel) = indels.next() {
                    let text_to_delete = &self.current_source[indel.delete];
                    // Rust analyzer returns all available methods/fields etc. It's up to us to
                    // decide how what we filter and what we keep.
                    if !item.lookup().starts_with(text_to_delete) {
                        continue;
                    }
                    completions.push(Completion {
                        code: ARG_PLACEHOLDER
                            .replace_all(&indel.insert, "$1")
                            .replace("$0", ""),
                        kind: jupyter_kind(item.kind),
                        label: item.label.primary.to_string(),
                    });
                    if let Some(previous_range) = range.as_ref() {
                        if *previous_range != indel.delete {
                            bail!(
                                "Different completions wanted to replace different parts of the text"
                            );
                        }
                    } else {
                        range = Some(indel.delete)
                    }
                }
                if indels.next().is_some() {
                    bail!("Completion unexpectedly provided more than one insertion/deletion");
                }
            }
        }
        Ok(Completions {
            completions,
            start_offset: range.map(|range| range.start().into()).unwrap_or(position),
            end_offset: range.map(|range| range.end().into()).unwrap_or(position),
        })
    }

    pub(crate) fn hover(&self, offset: usize) -> Option<Hover> {
        ra_hir::attach_db_allow_change(&self.db, || {
            Hover::at(&self.db, self.source_file_id, offset)
        })
    }
}

/// quantlens: parts of the standard library that no cell meets by their types: tests, vector instructions
/// of every processor (more text than all the rest), arithmetic for processors that lack it, macros.
const STD_NOT_MET: [&str; 10] = [
    "alloctests",
    "compiler-builtins",
    "coretests",
    "portable-simd",
    "proc_macro",
    "std/benches",
    "std/tests",
    "std_detect",
    "stdarch",
    "test",
];

/// quantlens: packages beneath the library and polars whose types no cell meets, and which take long to
/// read: formats of files, syntax trees, tables of time zones, C's library, wide integers, asynchronous
/// input. One that a cell asks for by `:dep` is read.
const NOT_MET: [&str; 17] = [
    "argminmax",
    "brotli",
    "chrono-tz",
    "ethnum",
    "libc",
    "libm",
    "num-bigint",
    "parquet",
    "polars-stream",
    "raw-cpuid",
    "regex-syntax",
    "reqwest",
    "signal-hook",
    "sqlparser",
    "tokio",
    "unicode-normalization",
    "zlib-rs",
];

/// quantlens: the directories of the packages whose types a cell can meet: the dependencies, theirs, and
/// so on for this many steps. Macros that only a compiler can run, and what only they or build scripts
/// need, are none, nor is `NOT_MET`. What rust-analyzer does not know of, rustc still does.
fn packages_seen(workspace: &ProjectWorkspace) -> Vec<AbsPathBuf> {
    const STEPS: usize = 4;
    let ProjectWorkspaceKind::Cargo { cargo, .. } = &workspace.kind else {
        return Vec::new();
    };
    let is_macro = |package: &Package| {
        let mut targets = cargo[*package].targets.iter();
        targets.any(|target| {
            matches!(
                cargo[*target].kind,
                TargetKind::Lib {
                    is_proc_macro: true
                }
            )
        })
    };
    let mut seen: Vec<Package> = cargo.packages().filter(|p| cargo[*p].is_member).collect();
    let mut start = 0;
    for step in 0..STEPS {
        let end = seen.len();
        for index in start..end {
            for dependency in &cargo[seen[index]].dependencies {
                // A package that only a test or a build script needs is loaded too, if it is there: cargo's
                // answer names few of them. Those of this name are there only for their features.
                let is_used = !dependency.name.starts_with("features_of_")
                    && !is_macro(&dependency.pkg)
                    && (step == 0 || !NOT_MET.contains(&cargo[dependency.pkg].name.as_str()));
                if is_used && !seen.contains(&dependency.pkg) {
                    seen.push(dependency.pkg);
                }
            }
        }
        start = end;
    }
    seen.iter()
        .map(|package| cargo[*package].manifest.parent().to_path_buf())
        .collect()
}

/// quantlens: the first analysis goes through every dependency, for its names and its trait
/// implementations; here on all cores. (rust-analyzer's own `parallel_prime_caches` also makes indices
/// that only an editor needs, which take a quarter more memory.)
fn know_all_crates(db: &RootDatabase) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let crates = ra_ap_base_db::all_crates(db);
    let (named, implemented) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (db, crates, named, implemented) = (db.clone(), &crates, &named, &implemented);
            scope.spawn(move || {
                while let Some(&of) = crates.get(named.fetch_add(1, Ordering::Relaxed)) {
                    ra_hir::crate_def_map(&db, of);
                }
                while let Some(&of) = crates.get(implemented.fetch_add(1, Ordering::Relaxed)) {
                    ra_hir::attach_db(&db, || {
                        ra_hir::TraitImpls::for_crate(&db, of);
                    });
                }
            });
        }
    });
}

/// quantlens: what parsing took and freed, glibc keeps unless told.
fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // Safety: it has no condition.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// If `pat` represents a variable that is being defined, then record it in `result` and return
/// true.
fn add_variable_for_pattern(
    pat: &ast::Pat,
    sema: &ra_hir::Semantics<RootDatabase>,
    explicit_type: Option<ast::Type>,
    module: ra_hir::Module,
    result: &mut HashMap<String, VariableInfo>,
) -> bool {
    use ra_ap_syntax::ast::HasName;
    if let ast::Pat::IdentPat(ident_pat) = pat
        && let Some(name) = ident_pat.name()
    {
        let type_name = get_type_name(
            explicit_type,
            sema.type_of_pat(pat).map(|info| info.original()),
            sema,
            module,
        );
        result.insert(
            name.text().to_string(),
            VariableInfo {
                type_name,
                is_mutable: ident_pat.mut_token().is_some(),
            },
        );
        return true;
    }
    false
}

fn get_type_name(
    explicit_type: Option<ast::Type>,
    inferred_type: Option<ra_hir::Type>,
    sema: &ra_hir::Semantics<RootDatabase>,
    module: ra_hir::Module,
) -> TypeName {
    use ra_hir::HirDisplay;
    if let Some(explicit_type) = explicit_type {
        let type_name = explicit_type.syntax().text().to_string();
        if is_type_valid(&type_name) {
            return TypeName::Named(type_name);
        }
    }
    if let Some(ty) = inferred_type {
        if ty.is_closure() {
            return TypeName::Closure;
        }
        if let Ok(type_name) = ty.display_source_code(sema.db, module.into(), true)
            && is_type_valid(&type_name)
        {
            return TypeName::Named(type_name);
        }
    }
    TypeName::Unknown
}

/// Completions found in a particular context.
#[derive(Default)]
pub struct Completions {
    pub completions: Vec<Completion>,
    pub start_offset: usize,
    pub end_offset: usize,
}

/// A code completion. We use our own type rather than exposing rust-analyzer's CompletionItem,
/// since rust-analyzer is an internal implementation detail, so we don't want to expose it in a
/// public API.
#[derive(Debug, Eq, PartialEq)]
pub struct Completion {
    pub code: String,
    pub kind: &'static str,
    pub label: String,
}

fn jupyter_kind(kind: CompletionItemKind) -> &'static str {
    use CompletionItemKind as K;
    use ra_ap_ide_db::SymbolKind;
    match kind {
        K::SymbolKind(SymbolKind::Function | SymbolKind::Method) => "function",
        K::SymbolKind(
            SymbolKind::Struct
            | SymbolKind::Enum
            | SymbolKind::Union
            | SymbolKind::Trait
            | SymbolKind::TypeAlias
            | SymbolKind::TypeParam
            | SymbolKind::SelfType,
        ) => "class",
        K::SymbolKind(SymbolKind::Module | SymbolKind::CrateRoot | SymbolKind::ToolModule) => {
            "module"
        }
        K::SymbolKind(
            SymbolKind::Const
            | SymbolKind::Static
            | SymbolKind::ConstParam
            | SymbolKind::Variant
            | SymbolKind::Field
            | SymbolKind::Local
            | SymbolKind::SelfParam
            | SymbolKind::ValueParam
            | SymbolKind::Label,
        )
        | K::Binding
        | K::InferredType => "instance",
        K::SymbolKind(
            SymbolKind::Macro
            | SymbolKind::ProcMacro
            | SymbolKind::Derive
            | SymbolKind::DeriveHelper
            | SymbolKind::Attribute
            | SymbolKind::BuiltinAttr,
        ) => "function",
        K::Keyword => "keyword",
        K::Snippet | K::BuiltinType | K::UnresolvedReference | K::Expression => "instance",
        _ => "instance",
    }
}

/// Returns whether this appears to be a valid type. Rust analyzer, when asked to emit code for some
/// types, produces invalid code. In particular, fixed sized arrays come out without a size. e.g.
/// instead of `[i32, 5]`, we get `[i32, _]`.
pub(crate) fn is_type_valid(type_name: &str) -> bool {
    use ra_ap_syntax::SyntaxKind;
    let wrapped_source = format!("const _: {type_name} = foo();");
    let parsed = ast::SourceFile::parse(&wrapped_source, EDITION);
    if !parsed.errors().is_empty() {
        return false;
    }
    for node in parsed.syntax_node().descendants() {
        if node.kind() == SyntaxKind::ERROR || node.kind() == SyntaxKind::INFER_TYPE {
            return false;
        }
    }
    true
}
