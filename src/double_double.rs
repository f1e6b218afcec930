//! `DoubleDouble`: sums and products with twice the digits of f64, for what is left when large sums cancel.

/// The number hi + lo, |lo| at most half a unit in the last place of hi: about 32 decimal digits.
///
/// Dekker 1971, "A floating-point technique for extending the available precision"; Knuth's two-sum. Without fused
/// multiply-add, which baseline x86-64 lacks: the bits are the same with or without it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct DoubleDouble {
    hi: f64,
    lo: f64,
}

impl DoubleDouble {
    /// a · b, exact unless it leaves the range of f64 (|a|, |b| < 2⁹⁹⁰ here).
    #[inline(always)]
    pub(crate) fn product(a: f64, b: f64) -> Self {
        // 2²⁷ + 1 splits 53 bits into halves whose products are exact.
        const SPLIT: f64 = 134_217_729.0;
        let halves = |x: f64| {
            let high = SPLIT * x - (SPLIT * x - x);
            (high, x - high)
        };
        let hi = a * b;
        let ((a_high, a_low), (b_high, b_low)) = (halves(a), halves(b));
        Self { hi, lo: ((a_high * b_high - hi) + a_high * b_low + a_low * b_high) + a_low * b_low }
    }

    /// a + b, exact.
    #[inline(always)]
    pub(crate) fn sum(a: f64, b: f64) -> Self {
        let hi = a + b;
        let b_in_sum = hi - a;
        Self { hi, lo: (a - (hi - b_in_sum)) + (b - b_in_sum) }
    }

    /// This plus a, to about 2⁻¹⁰⁵.
    #[inline(always)]
    pub(crate) fn plus(self, a: f64) -> Self {
        let sum = Self::sum(self.hi, a);
        Self::renormalized(sum.hi, sum.lo + self.lo)
    }

    /// This plus that, to about 2⁻¹⁰⁵ of the larger.
    #[inline(always)]
    pub(crate) fn add(self, that: Self) -> Self {
        let (high, low) = (Self::sum(self.hi, that.hi), Self::sum(self.lo, that.lo));
        let first = Self::renormalized(high.hi, high.lo + low.hi);
        Self::renormalized(first.hi, first.lo + low.lo)
    }

    /// This times a, to about 2⁻¹⁰⁴.
    #[inline(always)]
    pub(crate) fn times(self, a: f64) -> Self {
        let product = Self::product(self.hi, a);
        Self::renormalized(product.hi, product.lo + self.lo * a)
    }

    #[inline(always)]
    pub(crate) fn negated(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo }
    }

    /// The nearest f64.
    #[inline(always)]
    pub(crate) fn value(self) -> f64 {
        self.hi
    }

    /// What the nearest f64 lacks.
    #[inline(always)]
    pub(crate) fn rest(self) -> f64 {
        self.lo
    }

    /// hi + lo for |hi| ≥ |lo|.
    #[inline(always)]
    fn renormalized(hi: f64, lo: f64) -> Self {
        let sum = hi + lo;
        Self { hi: sum, lo: lo - (sum - hi) }
    }
}

#[cfg(test)]
mod tests {
    use super::DoubleDouble;

    #[test]
    fn keeps_what_f64_drops() {
        let tiny = DoubleDouble::sum(1.0, 1e-25).plus(-1.0);
        assert_eq!(tiny.value(), 1e-25);
        // (1 + 2⁻⁵⁰)² = 1 + 2⁻⁴⁹ + 2⁻¹⁰⁰
        let one = 1.0 + 2f64.powi(-50);
        let square = DoubleDouble::product(one, one);
        assert_eq!((square.value(), square.rest()), (1.0 + 2f64.powi(-49), 2f64.powi(-100)));
        let zero = square.times(3.0).add(square.times(-3.0));
        assert_eq!(zero.value(), 0.0);
    }
}
