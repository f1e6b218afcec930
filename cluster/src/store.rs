//! Models on paths and in stores of objects.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path as ObjectPath};
use quantlens::{Model, ReadAt};
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
    // Credentials are where the store's own tools have them.
    let variables = std::env::vars().map(|(name, value)| (name.to_lowercase(), value));
    let (store, path) = object_store::parse_url_opts(&url, variables).map_err(|error| {
        fault(format!("{error}; a store of objects is compiled in by the feature aws, azure, gcp or http of quantlens-ballista"))
    })?;
    open_in(Arc::from(store), &path, place)
}

/// Opens the model of this path in a store: an object, or what has the path as its folder. `place` stands for it in errors.
///
/// # Errors
/// As [`open`].
pub fn open_in(store: Arc<dyn ObjectStore>, path: &ObjectPath, place: &str) -> Result<Model> {
    let fault = |reason: String| Error::Url { url: place.to_owned(), reason };
    let (lister, at) = (Arc::clone(&store), path.clone());
    let objects = wait(async move {
        match lister.head(&at).await {
            Ok(object) => Ok(vec![object]),
            Err(object_store::Error::NotFound { .. }) => lister.list(Some(&at)).try_collect::<Vec<_>>().await,
            Err(error) => Err(error),
        }
    })?
    .map_err(|error| fault(error.to_string()))?;
    let ending = |end: &str| -> Vec<_> { objects.iter().filter(|object| object.location.as_ref().ends_with(end)).collect() };
    let mut shards = match objects.as_slice() {
        [only] if only.location == *path => vec![only],
        _ => ending(".safetensors"),
    };
    if shards.is_empty() {
        shards = ending(".gguf");
    }
    shards.sort_by(|a, b| a.location.cmp(&b.location));
    if shards.is_empty() {
        return Err(fault("there is no such object, and no safetensors or GGUF files below it".to_owned()));
    }
    let files = shards.into_iter().map(|object| {
        let reader = Object { store: Arc::clone(&store), path: object.location.clone(), len: object.size };
        (PathBuf::from(object.location.as_ref()), Arc::new(reader) as Arc<dyn ReadAt>)
    });
    Ok(Model::from_readers(Path::new(place), files.collect())?)
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
