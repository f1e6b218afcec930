//! Models on paths and in stores of objects.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path as ObjectPath};
use quantlens::{Model, ReadAt};
use serde::Deserialize;
use url::Url;

use crate::error::{Error, Result};

/// Opens the model at a path, or at a URL of a store of objects that this build knows: a file, or what a folder has.
///
/// # Errors
/// As [`quantlens::open`]; [`Error::Url`] for a URL that is none, of a store that is not compiled in, or with nothing there.
pub fn open(place: &str) -> Result<Model> {
    let fault = |reason: String| Error::Url { url: place.to_owned(), reason };
    if !place.contains("://") {
        return Ok(quantlens::open(place)?);
    }
    let url = Url::parse(place).map_err(|error| fault(error.to_string()))?;
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| fault("it is no path on this machine".to_owned()))?;
        return Ok(quantlens::open(path)?);
    }
    let (store, path) = object_store::parse_url_opts(&url, options()).map_err(|error| {
        fault(format!("{error}; a store of objects is compiled in by the feature aws, azure, gcp or http of quantlens-ballista"))
    })?;
    open_in(Arc::from(store), &path, place)
}

/// Credentials and settings are where the stores' own tools have them. Others' variables are none of theirs, such as `TOKEN` and `REGION`.
fn options() -> impl Iterator<Item = (String, String)> {
    let variable = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?.to_lowercase();
        let is_of_a_store = ["aws_", "azure_", "google_"].iter().any(|start| name.starts_with(start));
        if is_of_a_store { Some((name, value.into_string().ok()?)) } else { None }
    };
    std::env::vars_os().filter_map(variable)
}

/// Opens the model of this path in a store: an object, an index of shards, or what lies in the folder of this path, which is what [`quantlens::open`] takes
/// of a folder: the files that its index names, else all safetensors files, else all GGUF files, none of them from folders below, and none hidden.
/// `place` stands for it in errors.
///
/// # Errors
/// As [`open`].
pub fn open_in(store: Arc<dyn ObjectStore>, path: &ObjectPath, place: &str) -> Result<Model> {
    let fault = |reason: String| Error::Url { url: place.to_owned(), reason };
    let (reader, at) = (Arc::clone(&store), path.clone());
    let shards = wait(async move { shards(reader, at).await })?.map_err(fault)?;
    let files = shards.into_iter().map(|object| {
        let reader = Object { store: Arc::clone(&store), path: object.location.clone(), len: object.size };
        (PathBuf::from(object.location.as_ref()), Arc::new(reader) as Arc<dyn ReadAt>)
    });
    Ok(Model::from_readers(Path::new(place), files.collect())?)
}

/// How the name of an index of shards ends.
const INDEX: &str = ".safetensors.index.json";

/// The objects that a model is in, or why there are none.
async fn shards(store: Arc<dyn ObjectStore>, path: ObjectPath) -> Result<Vec<ObjectMeta>, String> {
    let said = |error: object_store::Error| error.to_string();
    let is_index = path.as_ref().ends_with(INDEX);
    let folder = match store.head(&path).await {
        Ok(object) if !is_index => return Ok(vec![object]),
        Ok(_) => path.parts().take(path.parts_count().saturating_sub(1)).collect(),
        Err(object_store::Error::NotFound { .. }) => path.clone(),
        Err(error) => return Err(said(error)),
    };
    let mut objects = store.list_with_delimiter(Some(&folder)).await.map_err(said)?.objects;
    // Hidden files are what some systems keep about the others.
    objects.retain(|object| object.location.filename().is_some_and(|name| !name.starts_with('.')));
    objects.sort_by(|a, b| a.location.cmp(&b.location));
    let ending = |end: &str| -> Vec<ObjectMeta> {
        objects.iter().filter(|object| object.location.as_ref().ends_with(end)).cloned().collect()
    };
    let indices = if is_index { vec![path] } else { ending(INDEX).into_iter().map(|index| index.location).collect() };
    match indices.as_slice() {
        [] => {
            let safetensors = ending(".safetensors");
            let all = if safetensors.is_empty() { ending(".gguf") } else { safetensors };
            match all.is_empty() {
                true => Err("there is no such object, and no safetensors or GGUF files in such a folder".to_owned()),
                false => Ok(all),
            }
        }
        [index] => {
            #[derive(Deserialize)]
            struct Index {
                weight_map: BTreeMap<String, String>,
            }
            let text = store.get(index).await.map_err(said)?.bytes().await.map_err(said)?;
            let Index { weight_map } = serde_json::from_slice(&text).map_err(|error| format!("{index} is no index: {error}"))?;
            let names: BTreeSet<String> = weight_map.into_values().collect();
            let shard = |name: &String| {
                let found = objects.iter().find(|object| object.location.filename() == Some(name));
                found.cloned().ok_or_else(|| format!("{index} names `{name}`, which is not beside it"))
            };
            names.iter().map(shard).collect()
        }
        several => {
            let names: Vec<_> = several.iter().filter_map(ObjectPath::filename).collect();
            Err(format!("there are several models in this folder: open one of {}", names.join(", ")))
        }
    }
}

/// An object of a store.
struct Object {
    store: Arc<dyn ObjectStore>,
    path: ObjectPath,
    len: u64,
}

impl ReadAt for Object {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (store, path, range) = (Arc::clone(&self.store), self.path.clone(), offset..offset + out.len() as u64);
        let got = wait(async move { store.get_range(&path, range).await }).map_err(io::Error::other)?;
        let bytes = got.map_err(io::Error::other)?;
        if bytes.len() != out.len() {
            let reason = format!("{} bytes came where {} were asked for", bytes.len(), out.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }
}

/// Waits for what a store does, on threads of its own: whoever asks may be a thread of another runtime, which must not wait for itself.
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    static RUNTIME: OnceLock<io::Result<tokio::runtime::Runtime>> = OnceLock::new();
    let failed = |error: &io::Error| {
        let source = io::Error::new(error.kind(), error.to_string());
        Error::Io { what: "the threads that read from stores could not be started".to_owned(), source }
    };
    let runtime = RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build());
    let runtime = runtime.as_ref().map_err(failed)?;
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        // Nobody may be waiting any more.
        let _ = sender.send(work.await);
    });
    receiver.recv().map_err(|error| failed(&io::Error::other(error)))
}
