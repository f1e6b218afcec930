//! The slow, obvious versions: formulas one element at a time, as their specifications write them, and rounding by looking at all of a grid.

use quantlens::{Codebook, Convention, Format, Mapping, Rounding, Scheme, Signedness, SymmetricRange};

macro_rules! naive {
    ($module:ident, $t:ident) => {
        pub mod $module {
            use super::*;

            /// A mapping's codes and the range of the values.
            #[derive(Clone, Copy)]
            struct Range {
                quant_min: $t,
                quant_max: $t,
                rmin: $t,
                rmax: $t,
            }

            impl Range {
                fn with_zero(self) -> Self {
                    Self { rmin: self.rmin.min(0.0), rmax: self.rmax.max(0.0), ..self }
                }

                /// <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>, with scale 1 for nothing as `compute_scale_zp` has it.
                fn dynamic_quantize_linear(self) -> ($t, $t) {
                    let Self { quant_min, quant_max, rmin, rmax } = self.with_zero();
                    let y_scale = (rmax - rmin) / (quant_max - quant_min);
                    if y_scale < $t::MIN_POSITIVE {
                        return (1.0, 0.0);
                    }
                    let intermediate_zero_point = quant_min - rmin / y_scale;
                    (y_scale, intermediate_zero_point.min(quant_max).max(quant_min).round_ties_even())
                }

                /// `compute_scale_zp(rmin, rmax, qmin, qmax, symmetric=True)` of ONNX Runtime's tool.
                fn compute_scale_zp(self) -> ($t, $t) {
                    let absmax = self.with_zero().rmin.abs().max(self.with_zero().rmax.abs());
                    let (rmin, rmax) = (-absmax, absmax);
                    let scale = (rmax - rmin) / (self.quant_max - self.quant_min);
                    if scale < $t::MIN_POSITIVE {
                        // 0, or the code nearest to it.
                        return (1.0, self.quant_min.max(0.0));
                    }
                    (scale, ((self.quant_min + self.quant_max) / 2.0).round_ties_even() + 0.0)
                }

                /// `_calculate_qparams` of `torch/ao/quantization/observer.py`; torchao's differs in the smallest scale.
                fn calculate_qparams_affine(self, eps: $t) -> ($t, $t) {
                    let Self { quant_min, quant_max, rmin: min_val_neg, rmax: max_val_pos } = self.with_zero();
                    let scale = ((max_val_pos - min_val_neg) / (quant_max - quant_min)).max(eps);
                    let zero_point = quant_min - (min_val_neg / scale).round_ties_even();
                    (scale, zero_point.max(quant_min).min(quant_max))
                }

                fn calculate_qparams_symmetric(self, eps: $t) -> $t {
                    let Self { quant_min, quant_max, rmin: min_val_neg, rmax: max_val_pos } = self.with_zero();
                    let max_val_pos = (-min_val_neg).max(max_val_pos);
                    (max_val_pos / ((quant_max - quant_min) / 2.0)).max(eps)
                }

                /// `SYMMETRIC_NO_CLIPPING_ERR` of torchao's `choose_qparams_affine`.
                fn no_clipping_err(self) -> $t {
                    let Self { quant_min, quant_max, rmin: min_val_neg, rmax: max_val_pos } = self.with_zero();
                    let (smin, smax) = (min_val_neg / quant_min, max_val_pos / quant_max);
                    if smin > smax { smin } else { smax }
                }

                /// `ChooseQuantizationParams` of TFLite's `quantization_util.h`, in double.
                fn choose_quantization_params(self) -> ($t, $t) {
                    let (qmin, qmax) = (f64::from(self.quant_min), f64::from(self.quant_max));
                    let (rmin, rmax) = (f64::from(self.with_zero().rmin), f64::from(self.with_zero().rmax));
                    let scale = (rmax - rmin) / (qmax - qmin);
                    if (scale as $t) < $t::MIN_POSITIVE {
                        return (1.0, 0.0);
                    }
                    let zero_point_from_min_error = qmin.abs() + (rmin / scale).abs();
                    let zero_point_from_max_error = qmax.abs() + (rmax / scale).abs();
                    let zero_point = if zero_point_from_min_error < zero_point_from_max_error {
                        qmin - rmin / scale
                    } else {
                        qmax - rmax / scale
                    };
                    let nudged = if zero_point < qmin {
                        qmin
                    } else if zero_point > qmax {
                        qmax
                    } else {
                        zero_point.round()
                    };
                    (scale as $t, nudged as $t)
                }

                /// Weights in <https://ai.google.dev/edge/litert/models/quantization_spec>: absmax is the largest code.
                fn weights_of_tflite(self, middle: $t) -> ($t, $t) {
                    let absmax = f64::from(self.rmin.abs().max(self.rmax.abs()));
                    let scale = (absmax / f64::from(self.quant_max - middle)) as $t;
                    (if scale < $t::MIN_POSITIVE { 1.0 } else { scale }, middle)
                }

                /// `tensor_zp_scale_from_min_max` of ai-edge-quantizer.
                fn tensor_zp_scale_from_min_max(self) -> ($t, $t) {
                    let Self { quant_min, quant_max, rmin: bound_min, rmax: bound_max } = self.with_zero();
                    let scale = (bound_max - bound_min).max(1e-9) / (quant_max - quant_min);
                    (scale, (quant_min - bound_min / scale).round_ties_even())
                }

                fn symmetric_of_ai_edge(self, middle: $t) -> ($t, $t) {
                    let bound = self.rmin.abs().max(self.rmax.abs()).max(1e-9);
                    (bound / (self.quant_max - middle), middle)
                }
            }

            /// The notebook's `asymmetric_quantization` and `symmetric_quantization`.
            fn original_asymmetric(bits: i32, alpha: $t, beta: $t) -> ($t, $t) {
                let scale = (alpha - beta) / ((2.0 as $t).powi(bits) - 1.0);
                (scale, -(beta / scale).round_ties_even())
            }

            fn original_symmetric(bits: i32, alpha: $t) -> ($t, $t) {
                (alpha / ((2.0 as $t).powi(bits - 1) - 1.0), 0.0)
            }

            /// (scale, zero point) for values from min to max.
            pub fn params(scheme: Scheme, min: $t, max: $t) -> ($t, $t) {
                let (quant_min, quant_max) = (scheme.quant_min() as $t, scheme.quant_max() as $t);
                let range = Range { quant_min, quant_max, rmin: min, rmax: max };
                let bits = scheme.bits() as i32;
                let unsigned = scheme.format().signedness() == Signedness::Unsigned;
                let middle = if unsigned { (2.0 as $t).powi(bits - 1) } else { 0.0 };
                let smallest = $t::MIN_POSITIVE;
                if scheme.symmetric_range() == SymmetricRange::NoClipping && scheme.mapping() == Mapping::Symmetric {
                    let scale = range.no_clipping_err();
                    return match scheme.convention() {
                        Convention::PyTorch => (scale.max(f32::EPSILON as $t), 0.0),
                        Convention::TorchAo => (scale.max(smallest), 0.0),
                        _ => (if scale < smallest { 1.0 } else { scale }, 0.0),
                    };
                }
                match (scheme.convention(), scheme.mapping()) {
                    (Convention::Onnx, Mapping::Asymmetric) => range.dynamic_quantize_linear(),
                    (Convention::Onnx, Mapping::Symmetric) => range.compute_scale_zp(),
                    (Convention::PyTorch, Mapping::Asymmetric) => range.calculate_qparams_affine(f32::EPSILON as $t),
                    (Convention::PyTorch, Mapping::Symmetric) => {
                        // quint8 and quint16 have a middle of their own; of a custom range it is (quant_min + quant_max) // 2.
                        let custom = ((scheme.quant_min() + scheme.quant_max()) / 2) as $t;
                        let zero_point = if unsigned && bits != 8 && bits != 16 { custom } else { middle };
                        (range.calculate_qparams_symmetric(f32::EPSILON as $t), zero_point)
                    }
                    (Convention::TfLite, Mapping::Asymmetric) => range.choose_quantization_params(),
                    (Convention::TfLite, Mapping::Symmetric) => range.weights_of_tflite(middle),
                    (Convention::TorchAo, Mapping::Asymmetric) => range.calculate_qparams_affine(smallest),
                    (Convention::TorchAo, Mapping::Symmetric) => {
                        (range.calculate_qparams_symmetric(smallest), ((quant_max + quant_min + 1.0) / 2.0).trunc())
                    }
                    (Convention::AiEdge, Mapping::Asymmetric) => range.tensor_zp_scale_from_min_max(),
                    (Convention::AiEdge, Mapping::Symmetric) => range.symmetric_of_ai_edge(middle),
                    (Convention::Original, Mapping::Asymmetric) => original_asymmetric(bits, max, min),
                    (Convention::Original, Mapping::Symmetric) => original_symmetric(bits, min.abs().max(max.abs())),
                    (convention, mapping) => unreachable!("{convention} {mapping:?} has no oracle"),
                }
            }

            /// A whole number, by the words of [`Rounding`]'s documentation.
            fn round(v: $t, rounding: Rounding) -> $t {
                let (below, above) = (v.floor(), v.ceil());
                // Exact, which v - below is not for a v just above -1/2.
                let fraction = v.abs().fract();
                let is_tie = fraction == 0.5;
                let nearest = if (fraction < 0.5) == (v > 0.0) { below } else { above };
                match rounding {
                    Rounding::HalfToEven if is_tie => {
                        if below % 2.0 == 0.0 {
                            below
                        } else {
                            above
                        }
                    }
                    Rounding::HalfAwayFromZero if is_tie => {
                        if v > 0.0 {
                            above
                        } else {
                            below
                        }
                    }
                    Rounding::HalfTowardZero if is_tie => {
                        if v > 0.0 {
                            below
                        } else {
                            above
                        }
                    }
                    Rounding::HalfUp if is_tie => above,
                    Rounding::HalfDown if is_tie => below,
                    Rounding::TowardZero => v.trunc(),
                    Rounding::Down => below,
                    Rounding::Up => above,
                    Rounding::Stochastic { .. } => unreachable!("its choice is the index', not the number's"),
                    _ => nearest,
                }
            }

            /// The code before it is clamped.
            pub fn unclamped(scheme: Scheme, x: $t, scale: $t, zero_point: $t) -> $t {
                match scheme.convention() {
                    Convention::Onnx | Convention::TfLite => round(x / scale, scheme.rounding()) + zero_point,
                    Convention::PyTorch | Convention::TorchAo => round(x * (1.0 / scale), scheme.rounding()) + zero_point,
                    Convention::AiEdge | Convention::Original => round(x / scale + zero_point, scheme.rounding()),
                    other => unreachable!("{other} has no oracle"),
                }
            }

            pub fn code(scheme: Scheme, x: $t, scale: $t, zero_point: $t) -> i32 {
                unclamped(scheme, x, scale, zero_point).clamp(scheme.quant_min() as $t, scheme.quant_max() as $t) as i32
            }

            pub fn dequantize(code: i32, scale: $t, zero_point: $t) -> $t {
                (code as $t - zero_point) * scale
            }
        }
    };
}
naive!(in_f32, f32);
naive!(in_f64, f64);

/// A format's values, rising, 0 once, and the code of each.
pub struct Grid {
    codes: Vec<i32>,
    values: Vec<f64>,
    thresholds: Vec<f64>,
}

impl Grid {
    pub fn new(format: Format) -> Self {
        let mut grid = format.grid();
        grid.dedup_by(|a, b| a.1 == b.1);
        let (codes, values): (Vec<i32>, Vec<f64>) = grid.into_iter().unzip();
        let thresholds = values.windows(2).map(|pair| Self::middle(format, pair[0], pair[1])).collect();
        Self { codes, values, thresholds }
    }

    /// With values rounded to the type that they are computed in, and thresholds as they were.
    pub fn stored_as(self, round: impl Fn(f64) -> f64) -> Self {
        Self { values: self.values.into_iter().map(round).collect(), ..self }
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The largest value not above a number and the smallest not below it; the same where it is on the grid or outside.
    pub fn neighbours(&self, x: f64) -> (f64, f64) {
        let last = self.values[self.values.len() - 1];
        let below = self.values.iter().rev().find(|value| **value <= x).copied().unwrap_or(self.values[0]);
        let above = self.values.iter().find(|value| **value >= x).copied().unwrap_or(last);
        (below.min(above), below.max(above))
    }

    /// Between the values at this position and before it.
    pub fn threshold(&self, position: usize) -> f64 {
        self.thresholds[position - 1]
    }

    /// Halfway between two values. bitsandbytes has NF4's in f32 and FP4's written down.
    fn middle(format: Format, low: f64, high: f64) -> f64 {
        const FP4: [f32; 7] = [0.00260417, 0.0859375, 0.20833333, 0.29166667, 0.4166667, 0.583333, 0.8333333];
        let middle = low / 2.0 + high / 2.0;
        match format {
            Format::Codebook(codebook) if codebook == Codebook::NF4 => f64::from(middle as f32),
            Format::Codebook(codebook) if codebook == Codebook::FP4 => {
                let near = |threshold: &&f32| (f64::from(**threshold) - middle.abs()).abs() < 1e-5;
                f64::from(*FP4.iter().find(near).unwrap()).copysign(middle)
            }
            _ => middle,
        }
    }

    /// What a number becomes: itself, the end that it is beyond, or the neighbour that the rounding says.
    pub fn round(&self, x: f64, rounding: Rounding) -> f64 {
        let above = self.values.partition_point(|value| *value < x);
        let Some(&high) = self.values.get(above) else { return self.values[above - 1] };
        if high == x || above == 0 {
            return high;
        }
        let low = self.values[above - 1];
        let nearer_to_zero = if low.abs() < high.abs() { low } else { high };
        let further = if low.abs() < high.abs() { high } else { low };
        let even = if self.codes[above - 1] % 2 == 0 { low } else { high };
        let threshold = self.threshold(above);
        match rounding {
            Rounding::Down => low,
            Rounding::Up => high,
            Rounding::TowardZero => nearer_to_zero,
            _ if x < threshold => low,
            _ if x > threshold => high,
            Rounding::HalfToEven => even,
            Rounding::HalfAwayFromZero => further,
            Rounding::HalfTowardZero => nearer_to_zero,
            Rounding::HalfUp => high,
            Rounding::HalfDown => low,
            _ => unreachable!("{rounding} has no oracle"),
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014), one number after the other.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.next() % of.len() as u64) as usize]
    }
}

/// Neumaier's compensated sum.
pub fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for x in values {
        let next = sum + x;
        lost += if sum.abs() >= x.abs() { (sum - next) + x } else { (x - next) + sum };
        sum = next;
    }
    sum + lost
}

const ROUNDINGS: [Option<Rounding>; 9] = [
    None,
    Some(Rounding::HalfToEven),
    Some(Rounding::HalfAwayFromZero),
    Some(Rounding::HalfTowardZero),
    Some(Rounding::HalfUp),
    Some(Rounding::HalfDown),
    Some(Rounding::TowardZero),
    Some(Rounding::Down),
    Some(Rounding::Up),
];

/// Every valid combination of the axes that a tensor can have, at this width, rounded to nearest.
pub fn schemes(bits: u32) -> Vec<Scheme> {
    let mut schemes = all_schemes(bits);
    let is_usual = |scheme: &Scheme| [Rounding::HalfToEven, Rounding::HalfAwayFromZero].contains(&scheme.rounding());
    schemes.retain(|scheme| is_usual(scheme) && scheme.symmetric_range() != SymmetricRange::NoClipping);
    schemes
}

/// Those of [`schemes`], the ones with other roundings, and those that clip nothing.
pub fn all_schemes(bits: u32) -> Vec<Scheme> {
    let mut all = Vec::new();
    for convention in Convention::ALL {
        for base in [
            Scheme::asymmetric(bits),
            Scheme::asymmetric(bits).signed(),
            Scheme::symmetric(bits),
            Scheme::symmetric(bits).unsigned(),
        ] {
            for range in [None, Some(SymmetricRange::Full), Some(SymmetricRange::Restricted), Some(SymmetricRange::NoClipping)] {
                for rounding in ROUNDINGS {
                    let scheme = base.with_convention(convention);
                    let scheme = match range {
                        None => scheme,
                        Some(SymmetricRange::Full) => scheme.full_range(),
                        Some(SymmetricRange::NoClipping) => scheme.without_clipping(),
                        Some(_) => scheme.restricted_range(),
                    };
                    let scheme = rounding.map_or(scheme, |rounding| scheme.with_rounding(rounding));
                    if scheme.validate().is_ok() {
                        all.push(scheme);
                    }
                }
            }
        }
    }
    all
}
