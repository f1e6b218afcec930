//! How each quantizer of a tensor is measured: what must be known before its values are read once more.

use super::Quantizer;
use super::row::{Codes, ReportRow};
use crate::calibrate::Calibration;
use crate::error::{Error, Result};
use crate::granularity::{Granularity, Layout, Slabs};
use crate::kernels::{Calibrated, Job, Tally};
use crate::qparams::{QParams, qparams_of_ranges};
use crate::scale::SecondLevel;
use crate::scheme::Scheme;
use crate::source::TensorInfo;
use crate::tensor::{Real, Tensor, larger_magnitude, spanning};

/// A tensor that is not in memory is read whole if it has at most so many elements: 64 MiB of f32. Calibrations that look at all values of a larger
/// block at once are refused.
pub(super) const HELD: usize = 16 << 20;

/// A quantizer of one tensor.
#[expect(clippy::large_enum_variant, reason = "there are few, and most are the large one")]
pub(super) enum Plan<'a, T> {
    /// It is measured with others.
    Measured(Measured<'a, T>),
    /// A scheme that can be measured when the ranges of the blocks of this layout are known.
    Ranges {
        scheme: Scheme,
        layout: Layout,
    },
    /// It takes the whole tensor at once.
    Whole,
    Failed(Error),
}

pub(super) struct Measured<'a, T> {
    pub(super) job: Job<'a, T>,
    pub(super) about: About,
}

/// What a row says besides what is measured.
pub(super) struct About {
    codes: Codes,
    /// Where there is one for all.
    scale: Option<f64>,
    zero_point: Option<i64>,
    /// Whether it counts the elements outside the codes.
    counts_clipped: bool,
}

impl About {
    fn by_rows(codes: Codes, counts_clipped: bool) -> Self {
        Self { codes, scale: None, zero_point: None, counts_clipped }
    }

    /// The row of all elements of a tensor.
    pub(super) fn row(self, info: &TensorInfo, quantizer: &dyn Quantizer, tally: Tally) -> Result<ReportRow> {
        if let Some(error) = tally.error {
            return Err(error);
        }
        let bits_per_element = quantizer.bits_per_element(&info.shape, info.dtype)?;
        let metrics = tally.accumulator.metrics().ok_or_else(|| Error::Empty { name: info.name.clone() })?;
        let clipped_fraction = self.counts_clipped.then(|| tally.clipped as f64 / metrics.elements as f64);
        let row = ReportRow::measured(info, quantizer.name(), bits_per_element, self.codes, metrics, &tally.counts);
        Ok(ReportRow { clipped_fraction, scale: self.scale, zero_point: self.zero_point, ..row })
    }
}

impl<'a, T: Real> Measured<'a, T> {
    fn calibrated(qparams: &QParams, layout: Layout) -> Self {
        let about = About {
            codes: codes_of(qparams.scheme()),
            scale: qparams.scale(),
            zero_point: qparams.zero_point(),
            counts_clipped: true,
        };
        Self { job: Job::Calibrated(Calibrated::new(qparams, layout, 0)), about }
    }

    /// A scheme whose blocks are within few rows.
    fn of_slabs(job: Job<'a, T>, scheme: Scheme) -> Self {
        Self { job, about: About::by_rows(codes_of(scheme), true) }
    }
}

fn codes_of(scheme: Scheme) -> Codes {
    Codes {
        format: scheme.format().to_string(),
        bits: scheme.bits(),
        granularity: scheme.granularity().to_string(),
        calibration: Some(scheme.calibration().to_string()),
    }
}

impl<'a, T: Real> Plan<'a, T> {
    /// How a quantizer is measured on a tensor, which may be in memory. Blocks are calibrated as they are met if they lie within slabs of at most so many
    /// elements.
    pub(super) fn of(quantizer: &'a dyn Quantizer, info: &TensorInfo, held: Option<&Tensor>, longest_slab: usize) -> Self {
        Self::try_of(quantizer, info, held, longest_slab).unwrap_or_else(Self::Failed)
    }

    fn try_of(quantizer: &'a dyn Quantizer, info: &TensorInfo, held: Option<&Tensor>, longest_slab: usize) -> Result<Self> {
        let Some(scheme) = quantizer.as_scheme() else {
            return Ok(match quantizer.by_rows(&info.name, &info.shape) {
                Some(rows) => {
                    let (codes, rows) = rows?;
                    Self::Measured(Measured { job: Job::Rows(rows), about: About::by_rows(codes, false) })
                }
                None => Self::Whole,
            });
        };
        scheme.validate()?;
        let layout = Layout::new(scheme.granularity(), &info.shape)?;
        let is_min_max = scheme.calibration() == Calibration::MinMax;
        let may_be_by_rows = match scheme.second_level() {
            None => true,
            // Of which more than the range of the whole need not be known.
            Some(SecondLevel::TensorScale) => is_min_max,
            Some(_) => false,
        };
        // What is not in memory and not calibrated by ranges can be measured in no other way, however long the slabs are.
        let is_short = |period: usize| period <= longest_slab || held.is_none() && !is_min_max;
        if let Some(slabs) = layout.slabs(scheme.granularity()).filter(|slabs| may_be_by_rows && is_short(slabs.period())) {
            let tensor_magnitude = match (scheme.second_level(), held) {
                (None, _) => None,
                (Some(_), Some(tensor)) => Some(larger_magnitude((T::from_f64(tensor.min()), T::from_f64(tensor.max())))),
                (Some(_), None) => return Ok(Self::Ranges { scheme, layout }),
            };
            return Ok(Self::Measured(Measured::of_slabs(Job::ByRows { scheme, slabs, tensor_magnitude }, scheme)));
        }
        match held {
            Some(tensor) => Ok(Self::Measured(Measured::calibrated(&scheme.qparams(tensor)?, layout))),
            None if is_min_max => Ok(Self::Ranges { scheme, layout }),
            None => Err(Error::NeedsWhole { calibration: scheme.calibration().to_string(), elements: layout.largest_block() }),
        }
    }
}

/// The ranges that some plans of a tensor wait for.
pub(super) struct WantedRanges {
    /// The whole tensor as one block first.
    layouts: Vec<Layout>,
    /// The number of each plan, its scheme, which of the layouts it needs, and the slabs of one that needs only the range of the whole tensor.
    schemes: Vec<(usize, Scheme, usize, Option<Slabs>)>,
}

impl WantedRanges {
    pub(super) fn of<T: Real>(info: &TensorInfo, plans: &[Plan<T>]) -> Result<Self> {
        let mut layouts = vec![Layout::new(Granularity::PerTensor, &info.shape)?];
        let mut schemes = Vec::new();
        for (number, plan) in plans.iter().enumerate() {
            if let Plan::Ranges { scheme, layout } = plan {
                let has_tensor_scale = scheme.second_level() == Some(SecondLevel::TensorScale);
                let slabs = if has_tensor_scale { layout.slabs(scheme.granularity()) } else { None };
                let known = if slabs.is_some() { Some(0) } else { layouts.iter().position(|known| known == layout) };
                schemes.push((number, *scheme, known.unwrap_or(layouts.len()), slabs));
                if known.is_none() {
                    layouts.push(layout.clone());
                }
            }
        }
        Ok(Self { layouts, schemes })
    }

    /// Whether no plan waits.
    pub(super) fn is_nothing(&self) -> bool {
        self.schemes.is_empty()
    }

    /// What the ranges are wanted of.
    pub(super) fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// Turns the plans that waited into what can be measured; the ranges are of the blocks of each layout.
    pub(super) fn calibrate<T: Real>(self, ranges: &[Vec<(T, T)>], plans: &mut [Plan<T>]) {
        for (number, scheme, place, slabs) in self.schemes {
            plans[number] = match slabs {
                Some(slabs) => {
                    let tensor_magnitude = ranges[place].iter().copied().reduce(spanning).map(larger_magnitude);
                    Plan::Measured(Measured::of_slabs(Job::ByRows { scheme, slabs, tensor_magnitude }, scheme))
                }
                None => match qparams_of_ranges(scheme, ranges[place].clone()) {
                    Ok(qparams) => Plan::Measured(Measured::calibrated(&qparams, self.layouts[place].clone())),
                    Err(error) => Plan::Failed(error),
                },
            };
        }
    }
}
