//! Models in several files: a folder of safetensors files, with or without an index that says which tensor is in which, or of GGUF files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::error::Result;
use crate::source::Skipped;

use super::entry::Contents;
use super::input::{Input, fault, shown};
use super::safetensors::{self, json_offset, json_reason};
use super::{FileFormat, read};

/// How the name of an index ends.
pub(super) const INDEX: &str = ".safetensors.index.json";

/// How the name of a shard ends.
const SHARD: &str = ".safetensors";

/// How the name of a shard of a GGUF model ends.
const GGUF_SHARD: &str = ".gguf";

/// The largest index.
const MAX_INDEX: u64 = 100_000_000;

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether a path is that of an index.
pub(super) fn is_index(path: &Path) -> bool {
    file_name(path).ends_with(INDEX)
}

/// The files of a folder whose names end so, sorted.
fn ending(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| fault(folder, None, None, format!("it cannot be listed: {error}"));
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Hidden files are what some systems keep about the others.
        if file_name(&path).ends_with(end) && !file_name(&path).starts_with('.') && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The tensors of a folder: of the files that its index names, else of all safetensors files there, else of all GGUF files.
pub(super) fn read_folder(folder: &Path) -> Result<(FileFormat, Contents)> {
    let indices = ending(folder, INDEX)?;
    match indices.as_slice() {
        [index] => Ok((FileFormat::Safetensors, read_index(index)?)),
        [] => {
            let mut shards = ending(folder, SHARD)?;
            if shards.is_empty() {
                shards = ending(folder, GGUF_SHARD)?;
            }
            let shards = shards.iter().map(|shard| Input::open(shard)).collect::<Result<Vec<_>>>()?;
            let nothing = "there are no safetensors or GGUF files in this folder: give the path of a file";
            join(&shards).unwrap_or_else(|| Err(fault(folder, None, None, nothing)))
        }
        several => {
            let names: Vec<_> = several.iter().map(|path| file_name(path)).collect();
            let reason = format!("there are several models in this folder: open one of {}", shown(&names.join(", ")));
            Err(fault(folder, None, None, reason))
        }
    }
}

/// The tensors of several files as one model; `None` without files.
pub(super) fn join(shards: &[Arc<Input>]) -> Option<Result<(FileFormat, Contents)>> {
    let (first, others) = shards.split_first()?;
    let (format, mut all) = match read(first) {
        Ok(read) => read,
        Err(error) => return Some(Err(error)),
    };
    let mut files = HashMap::new();
    let joined = note_names(first, &all, &mut files).and_then(|()| {
        others.iter().try_for_each(|shard| {
            let (its, contents) = read(shard)?;
            if its != format {
                let reason = format!("it is of the format {its}, but {} of {format}: open one of them", file_name(first.path()));
                return Err(shard.fault(None, None, reason));
            }
            note_names(shard, &contents, &mut files)?;
            all.entries.extend(contents.entries);
            all.skipped.extend(contents.skipped);
            Ok(())
        })
    });
    Some(joined.map(|()| (format, all)))
}

/// Notes which file has which tensors, of which no other may have one.
fn note_names(shard: &Input, contents: &Contents, files: &mut HashMap<String, String>) -> Result<()> {
    let names = contents.entries.iter().map(|entry| &entry.info.name);
    for name in names.chain(contents.skipped.iter().map(|skipped| &skipped.name)) {
        if let Some(other) = files.insert(name.clone(), file_name(shard.path())) {
            let reason =
                format!("a tensor of this name is in {other} too: they are two models, or two versions of one: open one file");
            return Err(shard.fault(Some(name), None, reason));
        }
    }
    Ok(())
}

/// What an index says: the file of each tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The tensors of the files that an index names, in the order of the files' names.
pub(super) fn read_index(path: &Path) -> Result<Contents> {
    let input = Input::open(path)?;
    if input.len() > MAX_INDEX {
        return Err(input.fault(None, None, format!("an index has at most {MAX_INDEX} bytes, not {}", input.len())));
    }
    let mut text = vec![0; input.len() as usize];
    input.read_at(None, 0, &mut text)?;
    let index: Index = serde_json::from_slice(&text)
        .map_err(|error| input.fault(None, Some(json_offset(&text, &error)), json_reason("index", &error)))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut shards: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (tensor, shard) in &index.weight_map {
        let mut parts = Path::new(shard).components();
        let is_name = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !shard.contains(['/', '\\']);
        if !is_name {
            let reason = format!(
                "the index has it in `{}`, which is no name of a file beside the index: it is damaged or made to mislead",
                shown(shard)
            );
            return Err(input.fault(Some(tensor), None, reason));
        }
        shards.entry(shard).or_default().insert(tensor);
    }
    let mut all = Contents::default();
    for (shard, mut tensors) in shards.clone() {
        let shard_path = folder.join(shard);
        let contents = safetensors::read(&Input::open(&shard_path)?)?;
        for entry in contents.entries {
            if tensors.remove(entry.info.name.as_str()) {
                all.entries.push(entry);
            } else {
                let reason = format!("it is in {}, but the index does not have it there", shown(shard));
                all.skipped.push(Skipped { name: entry.info.name, stored: entry.info.stored, reason });
            }
        }
        for skipped in contents.skipped {
            tensors.remove(skipped.name.as_str());
            all.skipped.push(skipped);
        }
        if let Some(missing) = tensors.first() {
            let reason = format!("it is not in this file, but {} says so: get both again", file_name(path));
            return Err(fault(&shard_path, Some(missing), None, reason));
        }
    }
    for other in ending(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, SHARD)? {
        let name = file_name(&other);
        if !shards.contains_key(name.as_str()) {
            all.skipped.push(Skipped { name, stored: "file".to_owned(), reason: "the index does not name it".to_owned() });
        }
    }
    Ok(all)
}
