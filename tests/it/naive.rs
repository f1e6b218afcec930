//! The conventions' formulas, one element at a time, as their specifications write them.

use quantlens::{Convention, Mapping, Rounding, Scheme, Signedness, SymmetricRange};

macro_rules! naive {
    ($module:ident, $t:ident) => {
        pub mod $module {
            use super::*;

            /// (scale, zero point) for values from min to max.
            pub fn params(scheme: Scheme, min: $t, max: $t) -> ($t, $t) {
                let (qmin, qmax) = (scheme.quant_min() as $t, scheme.quant_max() as $t);
                let absmax = min.abs().max(max.abs());
                let (wmin, wmax) = (min.min(0.0), max.max(0.0));
                let unsigned = scheme.format().signedness() == Signedness::Unsigned;
                let middle = if unsigned { (2.0 as $t).powi(scheme.bits() as i32 - 1) } else { 0.0 };
                match (scheme.convention(), scheme.mapping()) {
                    (Convention::Onnx, Mapping::Asymmetric) => {
                        let scale = (wmax - wmin) / (qmax - qmin);
                        if scale < $t::MIN_POSITIVE {
                            return (1.0, 0.0);
                        }
                        (scale, (qmin - wmin / scale).clamp(qmin, qmax).round_ties_even())
                    }
                    (Convention::Onnx, Mapping::Symmetric) => {
                        let scale = absmax / ((qmax - qmin) / 2.0);
                        if scale < $t::MIN_POSITIVE { (1.0, (0.0 as $t).clamp(qmin, qmax)) } else { (scale, middle) }
                    }
                    (Convention::PyTorch, Mapping::Asymmetric) => {
                        let scale = ((wmax - wmin) / (qmax - qmin)).max(f32::EPSILON as $t);
                        (scale, (qmin - (wmin / scale).round_ties_even()).clamp(qmin, qmax))
                    }
                    (Convention::PyTorch, Mapping::Symmetric) => {
                        let scale = (absmax / ((qmax - qmin) / 2.0)).max(f32::EPSILON as $t);
                        let known = scheme.bits() == 8 || scheme.bits() == 16;
                        let custom = ((scheme.quant_min() + scheme.quant_max()) / 2) as $t;
                        (scale, if unsigned && !known { custom } else { middle })
                    }
                    (Convention::TfLite, Mapping::Asymmetric) => {
                        let (wmin, wmax, qmin, qmax) = (f64::from(wmin), f64::from(wmax), f64::from(qmin), f64::from(qmax));
                        let scale = (wmax - wmin) / (qmax - qmin);
                        if (scale as $t) < $t::MIN_POSITIVE {
                            return (1.0, 0.0);
                        }
                        let (a, b) = (qmin - wmin / scale, qmax - wmax / scale);
                        let a_is_better = qmin.abs() + (wmin / scale).abs() < qmax.abs() + (wmax / scale).abs();
                        (scale as $t, (if a_is_better { a } else { b }).clamp(qmin, qmax).round() as $t)
                    }
                    (Convention::TfLite, Mapping::Symmetric) => {
                        let scale = (f64::from(absmax) / (f64::from(qmax) - f64::from(middle))) as $t;
                        (if scale < $t::MIN_POSITIVE { 1.0 } else { scale }, middle)
                    }
                    (Convention::TorchAo, Mapping::Asymmetric) => {
                        let scale = ((wmax - wmin) / (qmax - qmin)).max($t::MIN_POSITIVE);
                        (scale, (qmin - (wmin / scale).round_ties_even()).clamp(qmin, qmax))
                    }
                    (Convention::TorchAo, Mapping::Symmetric) => {
                        ((absmax / ((qmax - qmin) / 2.0)).max($t::MIN_POSITIVE), ((qmax + qmin + 1.0) / 2.0).trunc())
                    }
                    (Convention::AiEdge, Mapping::Asymmetric) => {
                        let scale = (wmax - wmin).max(1e-9) / (qmax - qmin);
                        (scale, (qmin - wmin / scale).round_ties_even())
                    }
                    (Convention::AiEdge, Mapping::Symmetric) => (absmax.max(1e-9) / (qmax - middle), middle),
                    (Convention::Original, Mapping::Asymmetric) => {
                        let scale = (max - min) / ((2.0 as $t).powi(scheme.bits() as i32) - 1.0);
                        (scale, -(min / scale).round_ties_even())
                    }
                    (Convention::Original, Mapping::Symmetric) => {
                        (absmax / ((2.0 as $t).powi(scheme.bits() as i32 - 1) - 1.0), 0.0)
                    }
                    (convention, mapping) => unreachable!("{convention} {mapping:?} has no oracle"),
                }
            }

            /// The code before it is clamped.
            pub fn unclamped(scheme: Scheme, x: $t, scale: $t, zero_point: $t) -> $t {
                let round = |v: $t| match scheme.rounding() {
                    Rounding::HalfToEven => v.round_ties_even(),
                    Rounding::HalfAwayFromZero => v.round(),
                    other => unreachable!("{other} has no oracle"),
                };
                match scheme.convention() {
                    Convention::Onnx | Convention::TfLite => round(x / scale) + zero_point,
                    Convention::PyTorch | Convention::TorchAo => round(x * (1.0 / scale)) + zero_point,
                    Convention::AiEdge | Convention::Original => round(x / scale + zero_point),
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

/// Every valid combination of the axes that a shape with two axes can have, at this width.
pub fn schemes(bits: u32) -> Vec<Scheme> {
    let mut all = Vec::new();
    for convention in Convention::ALL {
        for base in [
            Scheme::asymmetric(bits),
            Scheme::asymmetric(bits).signed(),
            Scheme::symmetric(bits),
            Scheme::symmetric(bits).unsigned(),
        ] {
            for range in [None, Some(SymmetricRange::Full), Some(SymmetricRange::Restricted)] {
                for rounding in [None, Some(Rounding::HalfToEven), Some(Rounding::HalfAwayFromZero)] {
                    let scheme = base.with_convention(convention);
                    let scheme = match range {
                        None => scheme,
                        Some(SymmetricRange::Full) => scheme.full_range(),
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
