//! `Lanes`: the sums of a block under way, in eight lanes.

use crate::simd::Eight;
use crate::tensor::Real;

use super::Sums;

const LANES: usize = 8;

/// Σx², in the same lanes. Apart from the other sums: it is the same for all schemes, and there are no registers left for it beside them.
#[inline(always)]
pub(crate) fn sum_of_squares<V: Eight, T: Real>(x: &[T]) -> f64 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = V::of(&[0.0; LANES]);
    for x in chunks {
        let x = T::eight::<V>(x);
        sums = sums.plus(x.times(x));
    }
    let mut lanes = sums.array();
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x.to_f64() * x.to_f64();
    }
    tree_sum(lanes)
}

/// The sums of a block under way: element i of the block is added in lane i mod 8.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    elements: u64,
    squared_error: [f64; LANES],
    absolute_error: [f64; LANES],
    error: [f64; LANES],
    max_abs_error: [f64; LANES],
    squared_approximation: [f64; LANES],
}

/// The same in registers.
struct LanesIn<V> {
    squared_error: V,
    absolute_error: V,
    error: V,
    max_abs_error: V,
    squared_approximation: V,
}

impl<V: Eight> LanesIn<V> {
    // No closures here: they are functions of their own, without the vectors of what they stand in, until the compiler has inlined them.
    #[inline(always)]
    fn add_eights<T: Real, U: Real>(&mut self, x: &[T], y: &[U]) {
        for (x, y) in x.as_chunks().0.iter().zip(y.as_chunks().0) {
            self.add(T::eight(x), U::eight(y));
        }
    }

    #[inline(always)]
    fn add(&mut self, x: V, y: V) {
        let error = x.minus(y);
        let magnitude = error.abs();
        self.squared_error = self.squared_error.plus(error.times(error));
        self.absolute_error = self.absolute_error.plus(magnitude);
        self.error = self.error.plus(error);
        self.max_abs_error = magnitude.or_larger(self.max_abs_error);
        self.squared_approximation = self.squared_approximation.plus(y.times(y));
    }
}

impl Lanes {
    /// Adds the next elements, of which there are a multiple of 8 but at the block's end.
    #[inline(always)]
    pub(crate) fn add<V: Eight, T: Real, U: Real>(&mut self, x: &[T], y: &[U]) {
        self.add_counting::<V, T, U>(x, y, &[], |_| {});
    }

    /// As [`Lanes::add`], with codes to be counted, some at a time between the sums. The processor does both at once: sums wait for additions,
    /// counts for memory. With many at a time it would see only one of the two.
    #[inline(always)]
    pub(crate) fn add_counting<V: Eight, T: Real, U: Real>(
        &mut self,
        x: &[T],
        y: &[U],
        codes: &[u32],
        mut count: impl FnMut(&[u32]),
    ) {
        const STRIDE: usize = 4 * LANES;
        let mut lanes = self.load::<V>();
        let ((x_chunks, x_rest), (y_chunks, y_rest)) = (x.as_chunks::<STRIDE>(), y.as_chunks::<STRIDE>());
        if codes.is_empty() {
            for (x, y) in x_chunks.iter().zip(y_chunks) {
                lanes.add_eights(x, y);
            }
        } else {
            let (code_chunks, code_rest) = codes.as_chunks::<STRIDE>();
            for ((x, y), codes) in x_chunks.iter().zip(y_chunks).zip(code_chunks) {
                lanes.add_eights(x, y);
                count(codes);
            }
            count(code_rest);
        }
        lanes.add_eights(x_rest, y_rest);
        self.store(&lanes);
        let whole = x_rest.len() / LANES * LANES;
        for (lane, (x, y)) in x_rest[whole..].iter().zip(&y_rest[whole..]).enumerate() {
            self.add_one(lane, x.to_f64(), y.to_f64());
        }
        self.elements += x.len() as u64;
    }

    #[inline(always)]
    fn load<V: Eight>(&self) -> LanesIn<V> {
        LanesIn {
            squared_error: V::of(&self.squared_error),
            absolute_error: V::of(&self.absolute_error),
            error: V::of(&self.error),
            max_abs_error: V::of(&self.max_abs_error),
            squared_approximation: V::of(&self.squared_approximation),
        }
    }

    #[inline(always)]
    fn store<V: Eight>(&mut self, lanes: &LanesIn<V>) {
        self.squared_error = lanes.squared_error.array();
        self.absolute_error = lanes.absolute_error.array();
        self.error = lanes.error.array();
        self.max_abs_error = lanes.max_abs_error.array();
        self.squared_approximation = lanes.squared_approximation.array();
    }

    fn add_one(&mut self, lane: usize, x: f64, y: f64) {
        let error = x - y;
        self.squared_error[lane] += error * error;
        self.absolute_error[lane] += error.abs();
        self.error[lane] += error;
        self.max_abs_error[lane] = if error.abs() > self.max_abs_error[lane] { error.abs() } else { self.max_abs_error[lane] };
        self.squared_approximation[lane] += y * y;
    }

    /// Whether all approximations were finite.
    #[inline(always)]
    pub(crate) fn is_finite(&self) -> bool {
        // The largest error passes over NaN, which the sums keep.
        let largest = self.max_abs_error.iter().fold(true, |finite, largest| finite & largest.is_finite());
        self.squared_error.iter().fold(largest, |finite, sum| finite & !sum.is_nan())
    }

    /// The block's sums, with [`sum_of_squares`] of its reference.
    #[inline(always)]
    pub(crate) fn sums(&self, squared_reference: f64) -> Sums {
        Sums {
            elements: self.elements,
            squared_error: tree_sum(self.squared_error),
            absolute_error: tree_sum(self.absolute_error),
            error: tree_sum(self.error),
            max_abs_error: self.max_abs_error.iter().fold(0.0, |a, &b| if b > a { b } else { a }),
            squared_reference,
            squared_approximation: tree_sum(self.squared_approximation),
        }
    }
}

fn tree_sum([a, b, c, d, e, f, g, h]: [f64; LANES]) -> f64 {
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
