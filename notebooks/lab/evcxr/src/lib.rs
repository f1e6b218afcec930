// Copyright 2020 The Evcxr Authors.
//
// Licensed under the Apache License, Version 2.0 <LICENSE or
// https://www.apache.org/licenses/LICENSE-2.0> or the MIT license <LICENSE
// or https://opensource.org/licenses/MIT>, at your option. This file may not be
// copied, modified, or distributed except according to those terms.

#[macro_use]
mod errors;
mod cargo_metadata;
mod cell_code;
mod child_process;
mod code_block;
mod command_context;
mod crash_guard;
mod crate_config;
mod eval_context;
mod extras;
mod hover;
mod inference;
mod item;
mod module;
mod places;
mod runtime;
mod rust_analyzer;
mod statement_splitter;
mod statics;
mod temporaries;
mod toml_parse;
mod use_trees;
mod words;

pub use crate::command_context::CommandContext;
pub use crate::errors::Child;
pub use crate::errors::CompilationError;
pub use crate::errors::Error;
pub use crate::errors::Span;
pub use crate::errors::SpannedMessage;
pub use crate::errors::Theme;
pub use crate::eval_context::EvalCallbacks;
pub use crate::eval_context::EvalContext;
pub use crate::eval_context::EvalContextOutputs;
pub use crate::eval_context::{EvalOutputs, PhaseDetails};
pub use crate::extras::BuildProgress;
pub use crate::runtime::runtime_hook;
pub use places::Places;
pub use rust_analyzer::Completions;

/// Return the directory that evcxr tools should use for their configuration.
///
/// By default this is the `evcxr` subdirectory of whatever `dirs::config_dir()`
/// returns, but it can be overridden by the `EVCXR_CONFIG_DIR` environment
/// variable.
pub fn config_dir() -> Option<std::path::PathBuf> {
    std::env::var_os("EVCXR_CONFIG_DIR")
        .map(std::path::PathBuf::from)
        .or_else(|| dirs::config_dir().map(|d| d.join("evcxr")))
}
