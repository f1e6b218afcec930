//! Models in several safetensors files: a folder of them, with or without an index that says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::Result;
use crate::source::Skipped;

use super::entry::Contents;
use super::input::{Input, fault, shown};
use super::safetensors::{self, json_offset, json_reason};

/// How the name of an index ends.
pub(super) const INDEX: &str = ".safetensors.index.json";

/// How the name of a shard ends.
const SHARD: &str = ".safetensors";

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

/// The tensors of a folder: of the files that its index names, else of all safetensors files there.
pub(super) fn read_folder(folder: &Path) -> Result<Contents> {
    let indices = ending(folder, INDEX)?;
    match indices.as_slice() {
        [index] => read_index(index),
        [] => {
            let shards = ending(folder, SHARD)?;
            if shards.is_empty() {
                return Err(fault(folder, None, None, "there are no safetensors files in this folder: give the path of a file"));
            }
            let mut files: HashMap<String, String> = HashMap::new();
            let mut all = Contents::default();
            for shard in &shards {
                let contents = safetensors::read(&Input::open(shard)?)?;
                let names = contents.entries.iter().map(|entry| &entry.info.name);
                for name in names.chain(contents.skipped.iter().map(|skipped| &skipped.name)) {
                    if let Some(other) = files.insert(name.clone(), file_name(shard)) {
                        let reason = format!(
                            "a tensor of this name is in {other} too: they are two models, or two versions of one: open one file"
                        );
                        return Err(fault(shard, Some(name), None, reason));
                    }
                }
                all.entries.extend(contents.entries);
                all.skipped.extend(contents.skipped);
            }
            Ok(all)
        }
        several => {
            let names: Vec<_> = several.iter().map(|path| file_name(path)).collect();
            let reason = format!("there are several models in this folder: open one of {}", shown(&names.join(", ")));
            Err(fault(folder, None, None, reason))
        }
    }
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
