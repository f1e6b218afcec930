//! `ModelTable`: a model as a table of tiles.

mod scan;

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as EngineResult, exec_err};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use quantlens::{Dtype, Model, Source, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{store, tile};
pub(crate) use scan::TileScan;

/// How the values of a model are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Partitions {
    /// Into ranges of about so many bytes, of values as they are computed with, whatever the sizes of tensors: small tensors are together, large ones
    /// are cut.
    Bytes(u64),
    /// Each tensor into so many.
    PerTensor(usize),
}

impl Default for Partitions {
    /// 32 MiB: large beside what a partition costs, some milliseconds, and small beside what an executor holds.
    fn default() -> Self {
        Self::Bytes(32 << 20)
    }
}

/// A model as a table, whose values are read where the query runs: by executors that see the same path or store of objects.
///
/// Its columns are `number` (the tensor's place in the model), `tensor` (its name), and `tile`, a struct with some neighbouring values and what is known
/// of the tensor: `number`, `tensor`, `shape`, `dtype`, `first` (the number of the first value), the values as `f32` or `f64`, and `error`, which says
/// why they could not be read. A partition is a range of the model's values.
///
/// The client opens the model, and each executor once when it first reads of it; the scheduler does not.
#[derive(Clone)]
pub struct ModelTable {
    pub(crate) scan: Scan,
    /// All tensors of the model; none where nobody asks.
    infos: Arc<[TensorInfo]>,
    /// Where it was opened for this table.
    model: Option<Model>,
}

/// What is read, as it travels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scan {
    pub place: String,
    /// Of this opening of the model: what was opened earlier may have been replaced since.
    pub opening: u64,
    pub partitions: Partitions,
    /// The numbers of the tensors that are read; all if there are none.
    pub only: Option<Vec<usize>>,
    /// Of some tensors, elements between two places where values may be cut.
    pub periods: BTreeMap<usize, usize>,
    /// What the model said of its tensors when it was opened.
    pub stamp: u64,
}

/// Elements of a tile where nothing says otherwise.
const TILE: usize = 1 << 20;

/// Elements that a block of sums has: parts of whole blocks are smallest.
const BLOCK: usize = 4096;

impl ModelTable {
    /// The model at a path, or a URL such as `s3://bucket/folder`: what [`quantlens::open`] opens. Executors open the same.
    ///
    /// # Errors
    /// As [`store::open`].
    pub fn open(place: &str, partitions: Partitions) -> Result<Self> {
        let model = store::open(place)?;
        let infos: Arc<[TensorInfo]> = model.infos().into();
        // The state of a map differs from any other's.
        let opening = RandomState::new().hash_one(place);
        let (place, only, stamp) = (place.to_owned(), None, stamp(&infos));
        let scan = Scan { place, opening, partitions, only, periods: BTreeMap::new(), stamp };
        Ok(Self { scan, infos, model: Some(model) })
    }

    /// What another machine read, or sent to be read. The model is opened when something of it is.
    pub(crate) fn of_scan(scan: Scan, infos: Vec<TensorInfo>) -> Self {
        Self { scan, infos: infos.into(), model: None }
    }

    /// The model, which is opened here if it was not yet. May wait for a disk or a network.
    pub(crate) fn model(&self) -> Result<Model> {
        match &self.model {
            Some(model) => Ok(model.clone()),
            None => opened(&self.scan),
        }
    }

    /// All tensors of the model.
    pub fn infos(&self) -> Vec<TensorInfo> {
        self.infos.to_vec()
    }

    /// The same model, shared out so.
    pub fn with_partitions(&self, partitions: Partitions) -> Self {
        Self { scan: Scan { partitions, ..self.scan.clone() }, ..self.clone() }
    }

    /// The same model with only the tensors of these numbers, in this order.
    pub fn select(&self, tensors: Vec<usize>) -> Self {
        self.with(tensors, self.scan.periods.clone())
    }

    /// The tensors that are read, each with its number.
    pub(crate) fn selected(&self) -> Vec<(u64, TensorInfo)> {
        let numbers = self.scan.only.clone().unwrap_or_else(|| (0..self.infos.len()).collect());
        numbers.into_iter().filter_map(|number| Some((number as u64, self.infos.get(number)?.clone()))).collect()
    }

    /// The same model with only these tensors, cut so.
    pub(crate) fn with(&self, only: Vec<usize>, periods: BTreeMap<usize, usize>) -> Self {
        Self { scan: Scan { only: Some(only), periods, ..self.scan.clone() }, ..self.clone() }
    }

    /// The tiles of each partition: a tensor's number and a range of its elements.
    pub(crate) fn tiles(&self) -> Vec<Vec<scan::Wanted>> {
        let mut partitions = vec![Vec::new()];
        let mut bytes = 0;
        for (number, info) in &self.selected() {
            let number = *number as usize;
            let (elements, unit) = (info.elements(), self.unit(number, info));
            let width = match info.dtype {
                Dtype::F32 => 4,
                Dtype::F64 => 8,
            };
            match self.scan.partitions {
                Partitions::Bytes(most) => {
                    for tile in cut(0..elements, TILE.max(unit) / unit * unit) {
                        let its = tile.len() as u64 * width;
                        if bytes > 0 && bytes + its > most {
                            partitions.push(Vec::new());
                            bytes = 0;
                        }
                        bytes += its;
                        if let Some(last) = partitions.last_mut() {
                            last.push((number, tile));
                        }
                    }
                }
                Partitions::PerTensor(parts) => {
                    let part = elements.div_ceil(parts.max(1)).next_multiple_of(unit);
                    for part in cut(0..elements, part) {
                        partitions.push(cut(part, TILE.max(unit) / unit * unit).map(|tile| (number, tile)).collect());
                    }
                }
            }
        }
        partitions.retain(|partition| !partition.is_empty());
        if partitions.is_empty() {
            partitions.push(Vec::new());
        }
        partitions
    }

    /// Elements between two places where a tensor's values may be cut.
    fn unit(&self, number: usize, info: &TensorInfo) -> usize {
        let elements = info.elements().max(1);
        if let Some(&period) = self.scan.periods.get(&number) {
            return joined(period, elements);
        }
        // Whole rows of the first axis, or of the last if those are too long: slabs of most schemes.
        let row = info.shape.iter().skip(1).product::<usize>();
        let short = if row <= TILE { row } else { info.shape.last().copied().unwrap_or(1) };
        joined(short.max(1), elements)
    }
}

/// A multiple of a period that has whole blocks of sums, if there is one that is not too long.
fn joined(period: usize, elements: usize) -> usize {
    let (mut divisor, mut rest) = (period.max(1), BLOCK);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let both = (period / divisor).saturating_mul(BLOCK);
    let unit = if both <= TILE { both } else { period };
    unit.clamp(1, elements)
}

fn cut(elements: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = elements.end;
    elements.step_by(length.max(1)).map(move |start| start..start.saturating_add(length).min(end))
}

/// The names, shapes and types of all tensors in a number.
fn stamp(infos: &[TensorInfo]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for info in infos {
        (&info.name, &info.shape, info.dtype.to_string(), &info.stored).hash(&mut hasher);
    }
    hasher.finish()
}

/// The model of a scan that came from elsewhere. It is opened once in this process for all its partitions, not for each: a model in a store of objects has
/// several requests for each of its shards.
fn opened(scan: &Scan) -> Result<Model> {
    /// Those that were asked for last stay open.
    const MOST: usize = 4;
    type Slot = Arc<Mutex<Option<Model>>>;
    static OPENED: Mutex<VecDeque<(u64, Slot)>> = Mutex::new(VecDeque::new());
    let slot = {
        let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.iter().position(|(opening, _)| *opening == scan.opening);
        let own = known.and_then(|place| all.remove(place)).unwrap_or_else(|| (scan.opening, Slot::default()));
        let slot = Arc::clone(&own.1);
        all.push_front(own);
        all.truncate(MOST);
        slot
    };
    // Others that want the same wait for it. Where it fails, the next one tries again.
    let mut model = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(model) = &*model {
        return Ok(model.clone());
    }
    let found = store::open(&scan.place)?;
    if stamp(&found.infos()) != scan.stamp {
        let reason = "it has other tensors than when the query was made: leave a model alone while it is read".to_owned();
        return Err(Error::Url { url: scan.place.clone(), reason });
    }
    Ok(model.insert(found).clone())
}

impl fmt::Debug for ModelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelTable of {}, {} tensors", self.scan.place, self.infos.len())
    }
}

#[async_trait]
impl TableProvider for ModelTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&tile::SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        match TileScan::of_all(self.clone(), projection.cloned()) {
            Ok(scan) => Ok(Arc::new(scan)),
            Err(error) => exec_err!("{error}"),
        }
    }
}
