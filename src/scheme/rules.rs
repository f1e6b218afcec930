//! Which axes of a scheme exclude each other.

use super::{Mapping, Overflow, Scheme, SymmetricRange};
use crate::calibrate::Calibration;
use crate::convention::Convention;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::format::{Format, Minifloat, Signedness};
use crate::granularity::Granularity;
use crate::scale::{ScaleFormat, ScaleRule, ScaleStorage, SecondLevel};

impl Scheme {
    /// Refuses what cannot be. Everything that uses a scheme asks here first.
    ///
    /// # Errors
    /// [`Error::BitsOutOfRange`], [`Error::GroupSize`], [`Error::Percentile`] and the other calibrations' bounds, or
    /// [`Error::Unsupported`] for axes that exclude each other, with the reason.
    pub fn validate(&self) -> Result<()> {
        let (bits, mapping) = (self.bits(), self.mapping);
        if matches!(self.format, Format::Int { .. }) && (bits < mapping.min_bits() || bits > Format::MAX_BITS) {
            let (min, max) = (mapping.min_bits(), Format::MAX_BITS);
            return Err(Error::BitsOutOfRange { bits, min, max, mapping: mapping.name() });
        }
        let sizes = match self.granularity {
            Granularity::PerGroup(size) | Granularity::PerGroupOn { group_size: size, .. } => [size, 1],
            Granularity::PerBlock(sizes) => sizes,
            Granularity::PerTensor | Granularity::PerAxis(_) => [1, 1],
        };
        if sizes.contains(&0) {
            return Err(Error::GroupSize);
        }
        self.calibration.validate()?;
        match self.contradiction() {
            Some(reason) => Err(Error::Unsupported { scheme: self.to_string(), reason }),
            None => Ok(()),
        }
    }

    /// Why the axes of this scheme exclude each other, if they do.
    fn contradiction(&self) -> Option<&'static str> {
        let is_integer = matches!(self.format, Format::Int { .. });
        let signedness = self.format.signedness();
        let is_search = matches!(self.calibration, Calibration::Mse | Calibration::Lp(_) | Calibration::Kl);
        let rules = [
            (
                self.format == Format::Float(Minifloat::E8M0),
                "e8m0 has neither 0 nor negative numbers: it is for scales, as in mxfp4",
            ),
            (
                !is_integer && matches!(self.mapping, Mapping::Asymmetric | Mapping::Minimum),
                "float formats and codebooks have no zero point and no minimum: use integers",
            ),
            (
                self.mapping == Mapping::Minimum && signedness == Signedness::Signed,
                "codes above a minimum start at 0: use unsigned ones",
            ),
            (
                self.symmetric_range.is_some() && !(is_integer && self.mapping == Mapping::Symmetric),
                "full, restricted and noclip ranges are for symmetric mappings to integers",
            ),
            (
                self.symmetric_range == Some(SymmetricRange::NoClipping)
                    && (signedness == Signedness::Unsigned || self.calibration != Calibration::MinMax),
                "noclip is about the whole range of signed codes: use those, and min-max calibration",
            ),
            (
                self.mapping == Mapping::Cast
                    && (self.granularity != Granularity::PerTensor
                        || self.calibration != Calibration::MinMax
                        || self.scale != ScaleStorage::DATA),
                "a cast has no scale: leave out granularity, calibration and what is said of scales",
            ),
            (
                self.scale.rule != ScaleRule::Floor && !self.scale.format.is_power_of_two(),
                "a scale rule chooses a power of two: store scales as e8m0 or pow2",
            ),
            (
                self.scale.second == Some(SecondLevel::TensorScale)
                    && (!matches!(self.scale.format, ScaleFormat::Float(_)) || self.scale.format.is_power_of_two()),
                "a tensor scale stands above scales in a float format such as e4m3fn",
            ),
            (
                self.scale.second == Some(SecondLevel::DoubleQuantized)
                    && !matches!(self.scale.format, ScaleFormat::Data | ScaleFormat::F32),
                "double quantization says how scales are stored: leave out another format",
            ),
            (
                self.scale.second.is_some() && matches!(self.mapping, Mapping::Asymmetric | Mapping::Minimum),
                "a second level of scales is for symmetric mappings",
            ),
            (
                self.overflow == Overflow::Special
                    && !matches!(self.format, Format::Float(float) if float.overflow_code().is_some()),
                "only float formats with infinities or NaN can do other than saturate",
            ),
            (
                self.overflow == Overflow::Special && matches!(self.format, Format::Float(float) if float.mantissa_bits() == 0),
                "numbers beyond the largest are clipped in a format without a mantissa: leave out nosat",
            ),
            (
                self.calibration == Calibration::Kl && self.mapping != Mapping::Symmetric,
                "kl looks for a magnitude to clip at: use a symmetric mapping",
            ),
            (
                is_search && self.mapping == Mapping::Minimum,
                "the search for the best scale needs 0 to be a code: use a zero point, or another calibration",
            ),
            (
                matches!(self.calibration, Calibration::Mse | Calibration::Lp(_))
                    && self.mapping == Mapping::Asymmetric
                    && self.scale.format.bits(Dtype::F32.bits()) <= 8,
                "a search with a zero point finds scales that few bits do not hold: store them in 16 bits or more, or use a symmetric mapping",
            ),
            (
                self.calibration == Calibration::AbsMean && self.mapping != Mapping::Symmetric,
                "absmean is a magnitude: use a symmetric mapping",
            ),
            (
                self.convention == Convention::Original
                    && (!is_integer
                        || self.scale != ScaleStorage::DATA
                        || !matches!(self.mapping, Mapping::Asymmetric | Mapping::Symmetric)
                        || !matches!(self.calibration, Calibration::MinMax | Calibration::Percentile(_))),
                "the original has integers with scales of the data's type, by min-max or percentile: use another convention",
            ),
            (
                self.convention == Convention::Original
                    && self.mapping == Mapping::Asymmetric
                    && signedness == Signedness::Signed,
                "the original's asymmetric codes start at 0: use unsigned ones, or another convention",
            ),
            (
                self.convention == Convention::Original
                    && self.mapping == Mapping::Symmetric
                    && signedness == Signedness::Unsigned,
                "the original's symmetric codes have a sign: use signed ones, or another convention",
            ),
        ];
        rules.into_iter().find(|(excluded, _)| *excluded).map(|(_, reason)| reason)
    }
}
