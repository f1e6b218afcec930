//! Rounding to whole numbers, each way.

use crate::format::Rounding;
use crate::tensor::Real;

/// What `rounding` makes of each number; `index` is that of the first in its tensor. Numbers are as small as [`Real::round_small`] needs.
#[inline(always)]
pub(crate) fn round_each<T: Real>(numbers: &mut [T], rounding: Rounding, index: usize) {
    let half = T::from_f64(0.5);
    // `even` is the nearest whole number, ties to even; `rest` is exact, as both are close, and ±1/2 at a tie.
    let each = |numbers: &mut [T], correct: fn(T, T, T, T) -> T| {
        for x in numbers.iter_mut() {
            let even = x.round_small();
            *x = correct(*x, even, *x - even, half);
        }
    };
    match rounding {
        Rounding::HalfToEven => numbers.iter_mut().for_each(|x| *x = x.round_small()),
        Rounding::HalfAwayFromZero => each(numbers, |x, even, rest, half| {
            if rest == half && x > T::ZERO {
                even + T::ONE
            } else if rest == -half && x < T::ZERO {
                even - T::ONE
            } else {
                even
            }
        }),
        Rounding::HalfTowardZero => each(numbers, |x, even, rest, half| {
            if rest == -half && x > T::ZERO {
                even - T::ONE
            } else if rest == half && x < T::ZERO {
                even + T::ONE
            } else {
                even
            }
        }),
        Rounding::HalfUp => each(numbers, |_, even, rest, half| if rest == half { even + T::ONE } else { even }),
        Rounding::HalfDown => each(numbers, |_, even, rest, half| if rest == -half { even - T::ONE } else { even }),
        Rounding::TowardZero => each(numbers, |x, even, rest, _| {
            if x > T::ZERO && rest < T::ZERO {
                even - T::ONE
            } else if x < T::ZERO && rest > T::ZERO {
                even + T::ONE
            } else {
                even
            }
        }),
        Rounding::Down => each(numbers, |_, even, rest, _| if rest < T::ZERO { even - T::ONE } else { even }),
        Rounding::Up => each(numbers, |_, even, rest, _| if rest > T::ZERO { even + T::ONE } else { even }),
        Rounding::Stochastic { seed } => {
            for (index, x) in (index as u64..).zip(numbers) {
                let even = x.round_small();
                let floor = if *x < even { even - T::ONE } else { even };
                let rises = (*x - floor).to_f64() > Rounding::threshold(seed, index);
                *x = if rises { floor + T::ONE } else { floor };
            }
        }
    }
}

/// What `rounding` makes of one number, as small as [`Real::round_small`] needs.
pub(crate) fn round<T: Real>(x: T, rounding: Rounding) -> T {
    let mut number = [x];
    round_each(&mut number, rounding, 0);
    number[0]
}
