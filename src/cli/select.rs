//! Which files, tensors and schemes.

use std::ops::Range;
use std::path::{Path, PathBuf};

use quantlens::{
    Dtype, Error, FileFormat, Model, Quantizer, Skipped, Slice, Source, Tensor, TensorInfo, TileBuffer, known_formats, open,
    quantizer,
};

use super::Stop;

/// Some tensors of a model.
pub struct Selection {
    path: PathBuf,
    /// `None` of one that only a cluster reads.
    model: Option<Model>,
    /// All tensors of the model, and the bits that a value of each takes where it is, where its kind tells.
    tensors: Vec<(TensorInfo, Option<f64>)>,
    /// The places in the model of those that are selected.
    numbers: Vec<usize>,
}

impl Selection {
    pub fn all(path: &Path) -> Result<Self, Stop> {
        let model = open(path)?;
        let stored_bits = |number| model.stored_bits_per_element(number);
        let tensors = model.infos().into_iter().enumerate().map(|(number, info)| (info, stored_bits(number))).collect();
        Ok(Self::of(path, Some(model), tensors))
    }

    /// The model of a URL, which is read by a cluster.
    #[cfg(feature = "cluster")]
    fn listed(url: &Path) -> Result<Self, Stop> {
        let listed = super::cluster::list(&url.to_string_lossy())?;
        Ok(Self::of(url, None, listed.into_iter().map(|listed| (listed.info, listed.stored_bits)).collect()))
    }

    fn of(path: &Path, model: Option<Model>, tensors: Vec<(TensorInfo, Option<f64>)>) -> Self {
        let numbers = (0..tensors.len()).collect();
        Self { path: path.to_owned(), model, tensors, numbers }
    }

    /// The path, as it was given.
    #[cfg(feature = "cluster")]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What kind of file it is.
    pub fn format(&self) -> Option<FileFormat> {
        self.model.as_ref().map(Model::format)
    }

    /// The places in the model of the tensors that are selected.
    #[cfg(feature = "cluster")]
    pub fn numbers(&self) -> &[usize] {
        &self.numbers
    }

    /// Bits that a value of each tensor takes where it is; `None` where that is not told by its kind, as in CSV.
    pub fn stored_bits(&self) -> Vec<Option<f64>> {
        self.numbers.iter().filter_map(|&number| Some(self.tensors.get(number)?.1)).collect()
    }

    pub fn elements(&self) -> usize {
        self.infos().iter().map(TensorInfo::elements).sum()
    }

    fn number(&self, tensor: usize) -> usize {
        // No tensor has the other number, which the model says.
        self.numbers.get(tensor).copied().unwrap_or(usize::MAX)
    }

    fn model(&self) -> quantlens::Result<&Model> {
        let reason = || format!("the values of `{}` are read by a cluster", self.name());
        self.model.as_ref().ok_or_else(|| Error::Nothing { what: "model", reason: reason() })
    }
}

impl Source for Selection {
    fn infos(&self) -> Vec<TensorInfo> {
        self.numbers.iter().filter_map(|&number| Some(self.tensors.get(number)?.0.clone())).collect()
    }

    fn read<'a>(&'a self, tensor: usize, elements: Range<usize>, buffer: &'a mut TileBuffer) -> quantlens::Result<Slice<'a>> {
        self.model()?.read(self.number(tensor), elements, buffer)
    }

    fn skipped(&self) -> Vec<Skipped> {
        self.model.as_ref().map(|model| model.skipped().to_vec()).unwrap_or_default()
    }

    fn tensor_at(&self, index: usize) -> quantlens::Result<Tensor> {
        self.model()?.tensor_at(self.number(index))
    }
}

/// Opens files, and of each takes the tensors whose names match one of the patterns, or all if there is none. Files without any are
/// left out.
pub fn select(paths: &[PathBuf], patterns: &[String]) -> Result<Vec<Selection>, Stop> {
    choose(paths.iter().map(|path| Selection::all(path)).collect::<Result<_, _>>()?, patterns)
}

/// The same where a cluster is asked, which may also be told URLs.
pub fn select_for(cluster: Option<&str>, paths: &[PathBuf], patterns: &[String]) -> Result<Vec<Selection>, Stop> {
    #[cfg(feature = "cluster")]
    if cluster.is_some() {
        let any = |path: &PathBuf| if super::cluster::is_url(path) { Selection::listed(path) } else { Selection::all(path) };
        return choose(paths.iter().map(any).collect::<Result<_, _>>()?, patterns);
    }
    let _ = cluster;
    select(paths, patterns)
}

fn choose(mut files: Vec<Selection>, patterns: &[String]) -> Result<Vec<Selection>, Stop> {
    for file in &files {
        if file.numbers.is_empty() {
            let skipped = file.skipped();
            let first = skipped.first().map_or_else(String::new, |first| {
                format!("; {} skipped, such as `{}` ({}): {}", skipped.len(), first.name, first.stored, first.reason)
            });
            return Err(Stop::Error(format!("`{}` has no tensor of numbers{first}", file.name())));
        }
    }
    let names: Vec<String> = files.iter().flat_map(Source::infos).map(|info| info.name).collect();
    if let Some(pattern) = patterns.iter().find(|pattern| !names.iter().any(|name| matches(pattern, name))) {
        return Err(Stop::Error(no_match(pattern, &names)));
    }
    if !patterns.is_empty() {
        for file in &mut files {
            let infos = file.infos();
            let is_asked_for = |info: &TensorInfo| patterns.iter().any(|pattern| matches(pattern, &info.name));
            file.numbers = (0..infos.len()).filter(|&number| is_asked_for(&infos[number])).collect();
        }
    }
    files.retain(|file| !file.numbers.is_empty());
    Ok(files)
}

fn no_match(pattern: &str, names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut some = nearest(pattern, names.iter().map(String::as_str), SHOWN, 0.0).join(", ");
    if names.len() > SHOWN {
        some += &format!(" and {} more", names.len() - SHOWN);
    }
    format!("no tensor's name matches `{pattern}` (`*` stands for any text, `?` for one character): there are {some}")
}

/// Whether a name matches a pattern as a whole: `*` stands for any text, `?` for any one character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stands, and how much of the name is before what it takes.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some('?') => (p, n) = (p + 1, n + 1),
            Some(char) if *char == name[n] => (p, n) = (p + 1, n + 1),
            // The last `*` takes one more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|char| *char == '*')
}

/// The quantizers of a report.
pub struct Schemes {
    pub quantizers: Vec<Box<dyn Quantizer>>,
    /// Whether nobody asked for them by name.
    pub are_default: bool,
}

/// A width of each kind, as it is used: 8 bits as integers and floats, and 4 bits in groups.
pub const DEFAULT: [&str; 8] =
    ["int8-sym-axis0", "e4m3fn-axis0", "q8_0", "int4-sym-g128-sf16", "nf4-g64", "nvfp4", "mxfp4", "q4_0"];

impl Schemes {
    pub fn new(names: &[String]) -> Result<Self, Stop> {
        if names.is_empty() {
            let quantizers = DEFAULT.into_iter().map(quantizer).collect::<Result<_, _>>()?;
            return Ok(Self { quantizers, are_default: true });
        }
        let mut quantizers: Vec<Box<dyn Quantizer>> = Vec::new();
        for name in names {
            let one = scheme(name).map_err(Stop::Usage)?;
            if !quantizers.iter().any(|other| other.name() == one.name()) {
                quantizers.push(one);
            }
        }
        Ok(Self { quantizers, are_default: false })
    }

    pub fn names(&self) -> Vec<String> {
        self.quantizers.iter().map(|quantizer| quantizer.name()).collect()
    }

    /// Whether it makes sense to measure a tensor so, where nobody asked for it: the shape must fit, and the codes with their
    /// scales must cost less than the values do as they are stored. Where these are quantized already, less than as they are computed.
    pub fn fits(quantizer: &dyn Quantizer, info: &TensorInfo, stored_bits: Option<f64>) -> bool {
        let computed = match info.dtype {
            Dtype::F32 => 32.0,
            Dtype::F64 => 64.0,
        };
        let width = stored_bits.filter(|bits| *bits >= 16.0).unwrap_or(computed);
        quantizer.bits_per_element(&info.shape, info.dtype).is_ok_and(|bits| bits < width)
    }
}

/// The quantizer of this name, as it is written or in small letters, as ggml's types are not.
fn scheme(name: &str) -> Result<Box<dyn Quantizer>, String> {
    if name.is_empty() {
        return Err("there is no name where --scheme has one: take the comma away".to_owned());
    }
    let found = quantizer(name).or_else(|error| quantizer(&name.to_lowercase()).map_err(|_| error));
    found.map_err(|error| format!("{error}{}", meant(name)))
}

/// Which scheme may be meant by a name that is none.
fn meant(name: &str) -> String {
    let names = known_formats().ok();
    let names: Vec<&str> =
        names.iter().filter_map(|frame| frame.column("name").ok()?.str().ok()).flat_map(|names| names.iter().flatten()).collect();
    let near = nearest(&name.to_lowercase(), names.into_iter(), 3, 0.75);
    let near = if near.is_empty() { String::new() } else { format!("; the nearest names are {}", near.join(", ")) };
    format!("{near}; `quantlens schemes` lists what there is")
}

/// The most similar of some names, in backquotes, the most similar first.
fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>, most: usize, least: f64) -> Vec<String> {
    let mut near: Vec<(f64, &str)> = names.map(|name| (strsim::jaro_winkler(wanted, name), name)).collect();
    near.retain(|(similarity, _)| *similarity >= least);
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(most).map(|(_, name)| format!("`{name}`")).collect()
}
