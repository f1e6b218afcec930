//! Model files as sources of tensors: [`open`].

mod claims;
#[cfg(feature = "csv")]
mod csv;
mod encoding;
mod entry;
mod gguf;
mod input;
mod npy;
mod onnx;
#[cfg(feature = "parquet")]
mod parquet;
mod protobuf;
mod safetensors;
mod shards;
mod zip;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::source::{Skipped, Source, TensorInfo, TileBuffer, no_tensor};
use crate::tensor::{Slice, Tensor};

use entry::{Contents, Entry};
use input::Input;
pub use input::ReadAt;
#[cfg(feature = "parquet")]
pub(crate) use parquet::{StoredCells, StoredTable};

/// A kind of file that tensors are read from. Its name, in lower case, is how such files usually end, and parses back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// [safetensors](https://huggingface.co/docs/safetensors/index#format), one file or several.
    Safetensors,
    /// An [array](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html) of numpy's.
    Npy,
    /// A zip archive of such arrays, compressed or not.
    Npz,
    /// [GGUF](https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3.
    Gguf,
    /// The initializers of an [ONNX](https://onnx.ai) graph.
    Onnx,
    /// A table as text: the columns of which every field is a number. The first row has their names unless it is all numbers. Fields are separated
    /// by commas, tabs or semicolons, whichever there are most of in the first row. With the crate's feature `csv`.
    Csv,
    /// The columns of a [Parquet](https://parquet.apache.org) file. With the crate's feature `parquet`.
    Parquet,
}

impl FileFormat {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Safetensors, Self::Gguf, Self::Npy, Self::Npz, Self::Onnx, Self::Csv, Self::Parquet];
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Gguf => "gguf",
            Self::Onnx => "onnx",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        })
    }
}

impl FromStr for FileFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.to_string() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("`{text}` is no format of files: they are {}", names.join(", "))
        })
    }
}

/// An opened model file: a [`Source`] whose values are read when they are asked for. Clones share it.
///
/// Values stored as f64 are f64; f32, f16, bf16, floats of 8 bits and ggml's blocks are f32, each exactly the number stored. Of npy, npz, CSV and
/// Parquet integers are numbers too: f32 where they have at most 16 bits, else f64, and one that f64 does not hold is an error when it is read. In
/// the other formats integers are no weights but indices and the like; [`Source::skipped`] lists them and whatever else is left out, with the reason.
///
/// Files stay open and are read at given places, a piece at a time; they are not mapped into memory, so one that is changed meanwhile is an
/// [`Error::File`](crate::Error::File) or other numbers, but no crash.
#[derive(Clone)]
pub struct Model {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    format: FileFormat,
    contents: Contents,
}

/// Opens a model: a file, a `*.safetensors.index.json` beside its shards, or a folder of safetensors files or, if it has none, of GGUF files. Only what says which tensors there are is
/// read, and checked whole: where it says that values are, there are bytes, no two tensors share one, and each name is there once.
///
/// The format is told by how the file begins; ONNX, which has no mark of its own, and CSV by how its name ends.
///
/// ```
/// # use quantlens::{Source, open};
/// # let path = std::env::temp_dir().join(format!("quantlens-doc-{}.safetensors", std::process::id()));
/// # let header = br#"{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
/// # std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, &[0x80, 0x3f, 0x00, 0xc0]].concat()).unwrap();
/// let model = open(&path)?;
/// assert_eq!(model.infos()[0].stored, "BF16");
/// assert_eq!(model.tensor("x")?.to_f64_vec(), [1.0, -2.0]);
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`](crate::Error::File) if it cannot be read, is damaged, or is of no format that is known.
pub fn open(path: impl AsRef<Path>) -> Result<Model> {
    open_path(path.as_ref())
}

/// Not generic, so that a notebook's cell has nothing of it to compile.
fn open_path(path: &Path) -> Result<Model> {
    let (format, contents) = if path.is_dir() {
        shards::read_folder(path)?
    } else if shards::is_index(path) {
        (FileFormat::Safetensors, shards::read_index(path)?)
    } else {
        read(&Input::open(path)?)?
    };
    Ok(Model::new(path, format, contents))
}

fn read(input: &Arc<Input>) -> Result<(FileFormat, Contents)> {
    let format = detect(input)?;
    let contents = match format {
        FileFormat::Safetensors => safetensors::read(input)?,
        FileFormat::Npy => npy::read(input)?,
        FileFormat::Npz => npy::read_archive(input)?,
        FileFormat::Gguf => gguf::read(input)?,
        FileFormat::Onnx => onnx::read(input)?,
        #[cfg(feature = "csv")]
        FileFormat::Csv => csv::read(input)?,
        #[cfg(feature = "parquet")]
        FileFormat::Parquet => parquet::read(input)?,
        #[cfg(not(all(feature = "csv", feature = "parquet")))]
        _ => {
            let reason = format!("{format} is read with the feature `{format}` of quantlens: build it with that");
            return Err(input.fault(None, None, reason));
        }
    };
    Ok((format, contents))
}

/// Which format a file is of: by how it begins, else by how its name ends.
fn detect(input: &Input) -> Result<FileFormat> {
    const HEAD: u64 = 32;
    let mut head = vec![0; input.len().min(HEAD) as usize];
    input.read_at(None, 0, &mut head)?;
    if head.is_empty() {
        return Err(input.fault(None, Some(0), "the file is empty: get it again"));
    }
    if head.starts_with(npy::MAGIC) {
        return Ok(FileFormat::Npy);
    }
    if head.starts_with(zip::MAGIC) || head.starts_with(zip::EMPTY_MAGIC) {
        return Ok(FileFormat::Npz);
    }
    if head.starts_with(gguf::MAGIC) {
        return Ok(FileFormat::Gguf);
    }
    if head.starts_with(b"PAR1") {
        return Ok(FileFormat::Parquet);
    }
    if safetensors::is_it(&head, input.len()) {
        return Ok(FileFormat::Safetensors);
    }
    let ending = input.path().extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "safetensors" => return Ok(FileFormat::Safetensors),
        "npy" => return Ok(FileFormat::Npy),
        "npz" => return Ok(FileFormat::Npz),
        "gguf" => return Ok(FileFormat::Gguf),
        "onnx" => return Ok(FileFormat::Onnx),
        "csv" | "tsv" => return Ok(FileFormat::Csv),
        "parquet" => return Ok(FileFormat::Parquet),
        _ => {}
    }
    let what = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map_or("", |(_, what)| what);
    let formats: Vec<_> = FileFormat::ALL.iter().map(ToString::to_string).collect();
    Err(input.fault(None, Some(0), format!("this is no file of a format that is read, which are {}{what}", formats.join(", "))))
}

/// How files of other formats begin that a model may be in, and what to do with them.
const FOREIGN: [(&[u8], &str); 4] = [
    (b"\x89HDF\r\n\x1a\n", ": it is an HDF5 file, store its arrays with numpy.savez"),
    (b"\x80\x02", ": it is a Python pickle, which may run anything when it is read, store its tensors as safetensors"),
    (b"\x1f\x8b", ": it is compressed by gzip, decompress it first"),
    (b"version https://gi", ": it is what Git LFS keeps in place of a file, run `git lfs pull`"),
];

impl Model {
    fn new(path: &Path, format: FileFormat, contents: Contents) -> Self {
        Self { inner: Arc::new(Inner { path: path.to_owned(), format, contents }) }
    }

    /// A model whose file is in memory. `name` stands for its path in errors, and its end tells the format where the bytes do not.
    ///
    /// # Errors
    /// As [`open`]; also where values are said to be in another file.
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self> {
        let (format, contents) = read(&Input::memory(name.as_ref(), bytes))?;
        Ok(Self::new(name.as_ref(), format, contents))
    }

    /// A model whose files, one or several shards, are read by way of these readers. Their names stand for paths in errors.
    ///
    /// # Errors
    /// As [`open`]; [`Error::Nothing`](crate::Error::Nothing) without files; also where two files have a tensor of the same name, or values are said to
    /// be in another file.
    pub fn from_readers(name: impl AsRef<Path>, files: Vec<(PathBuf, Arc<dyn ReadAt>)>) -> Result<Self> {
        let inputs: Vec<_> = files.into_iter().map(|(name, reader)| Input::reader(&name, reader)).collect();
        let nothing = || Error::Nothing { what: "model", reason: "it needs at least one file".to_owned() };
        let (format, contents) = shards::join(&inputs).unwrap_or_else(|| Err(nothing()))?;
        Ok(Self::new(name.as_ref(), format, contents))
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What kind of file it is.
    pub fn format(&self) -> FileFormat {
        self.inner.format
    }

    /// What is in the file besides, and why it is no tensor here.
    pub fn skipped(&self) -> &[Skipped] {
        &self.inner.contents.skipped
    }

    /// Bits that an element of a tensor takes in the file, the tensors counted from 0 in the order of [`Source::infos`]: 16 for `BF16`, 4.5 for
    /// `Q4_0` with its scales. `None` where values are written as text or compressed (CSV, Parquet), and where there is no such tensor.
    ///
    /// ```
    /// # use quantlens::Model;
    /// let header = r#"{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
    /// let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat();
    /// let model = Model::from_bytes("w.safetensors", bytes)?;
    /// assert_eq!((model.stored_bits_per_element(0), model.stored_bits_per_element(1)), (Some(16.0), None));
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    pub fn stored_bits_per_element(&self, tensor: usize) -> Option<f64> {
        self.inner.contents.entries.get(tensor)?.values.bits_per_element()
    }

    fn entry(&self, tensor: usize, elements: Option<&Range<usize>>) -> Result<&Entry> {
        let entry = self.inner.contents.entries.get(tensor);
        let fits = |entry: &&Entry| elements.is_none_or(|range| range.start <= range.end && range.end <= entry.info.elements());
        entry.filter(fits).ok_or_else(|| {
            let wanted = match elements {
                Some(Range { start, end }) => format!("number {tensor}, elements {start} to {end}"),
                None => format!("number {tensor}"),
            };
            no_tensor(wanted, &self.infos())
        })
    }
}

impl Source for Model {
    fn infos(&self) -> Vec<TensorInfo> {
        self.inner.contents.entries.iter().map(|entry| entry.info.clone()).collect()
    }

    fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> Result<Slice<'a>> {
        self.entry(tensor, Some(&elements))?.read(elements, buffer)
    }

    fn skipped(&self) -> Vec<Skipped> {
        self.inner.contents.skipped.clone()
    }

    fn tensor_at(&self, index: usize) -> Result<Tensor> {
        let entry = self.entry(index, None)?;
        let TensorInfo { name, shape, .. } = &entry.info;
        // The buffer's values become the tensor's: no copy.
        let mut buffer = TileBuffer::default();
        match entry.read(0..entry.info.elements(), &mut buffer)? {
            Slice::F32(_) => Tensor::new(name, shape, buffer.f32),
            Slice::F64(_) => Tensor::new(name, shape, buffer.f64),
        }
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contents { entries, skipped } = &self.inner.contents;
        write!(f, "Model {}: {}, {} tensors", self.path().display(), self.format(), entries.len())?;
        if skipped.is_empty() { Ok(()) } else { write!(f, ", {} skipped", skipped.len()) }
    }
}
