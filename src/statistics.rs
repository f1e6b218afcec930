//! Tail probabilities of the distributions that tests of significance ask for.

/// The probability that a standard normal number is further from 0 than z, on either side.
pub(crate) fn normal_two_sided(z: f64) -> f64 {
    chi_squared_above(z * z, 1.0)
}

/// The probability that a χ² number of so many degrees of freedom is above x: Q(k/2, x/2), the regularized upper incomplete gamma function.
///
/// A series below k/2 + 1 and a continued fraction above, as in Press et al., Numerical Recipes, 3rd edition, section 6.2; 10⁻¹² from the truth.
pub(crate) fn chi_squared_above(x: f64, degrees_of_freedom: f64) -> f64 {
    let (a, x) = (degrees_of_freedom / 2.0, x / 2.0);
    if x.is_nan() {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    let factor = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        return (1.0 - factor * sum).clamp(0.0, 1.0);
    }
    // Lentz's method.
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let (mut c, mut d) = (1.0 / TINY, 1.0 / b);
    let mut fraction = d;
    for i in 1..10_000 {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        let non_zero = |x: f64| if x.abs() < TINY { TINY } else { x };
        d = 1.0 / non_zero(an * d + b);
        c = non_zero(b + an / c);
        fraction *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (factor * fraction).clamp(0.0, 1.0)
}

/// ln Γ(x) of x > 0: Lanczos' approximation with g = 7 and 9 terms.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // The reflection formula.
        return (std::f64::consts::PI / ((std::f64::consts::PI * x).sin())).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum: f64 = (1..).zip(TERMS).fold(0.999_999_999_999_809_9, |sum, (i, term)| sum + term / (x + f64::from(i)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The probability that the Kolmogorov–Smirnov distance of n numbers from their own distribution is above D: Kolmogorov's limit with Stephens' correction
/// for small n (1970), which is within 0.01 of the truth from n = 5 on.
pub(crate) fn kolmogorov_above(distance: f64, n: f64) -> f64 {
    let root = n.sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    if lambda < 0.2 {
        // 1 - 10⁻¹² and more; the series would need many terms.
        return 1.0;
    }
    let mut sum = 0.0;
    for j in 1..=100 {
        let j = f64::from(j);
        let term = 2.0 * (-2.0 * j * j * lambda * lambda).exp();
        sum += if j as i32 % 2 == 1 { term } else { -term };
        if term < 1e-17 {
            break;
        }
    }
    sum.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::{chi_squared_above, kolmogorov_above, ln_gamma, normal_two_sided};

    /// Of tables, and of the closed forms that there are.
    #[test]
    fn tails_are_those_of_tables() {
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1e-3);
        assert!(close(normal_two_sided(1.959_963_984_540_054), 0.05));
        assert!(close(normal_two_sided(2.575_829_303_548_901), 0.01));
        assert_eq!(normal_two_sided(0.0), 1.0);
        assert!(normal_two_sided(40.0) < 1e-300);
        // With two degrees of freedom it is e^(-x/2), with four (1 + x/2)·e^(-x/2).
        for x in [0.1, 1.0, 3.0, 10.0, 100.0, 700.0] {
            assert!(close(chi_squared_above(x, 2.0), (-x / 2.0).exp()), "{x}");
            assert!(close(chi_squared_above(x, 4.0), (1.0 + x / 2.0) * (-x / 2.0).exp()), "{x}");
        }
        assert!(close(chi_squared_above(31.410_432_844_230_92, 20.0), 0.05));
        let factorials = [1.0, 1.0, 2.0, 6.0, 24.0, 120.0, 720.0_f64];
        for (n, factorial) in (1..).zip(factorials) {
            assert!((ln_gamma(f64::from(n)) - factorial.ln()).abs() < 1e-13, "{n}");
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-13);
        // 1.3581 is the 5% point of Kolmogorov's distribution, 1.6276 the 1% point.
        let large = 1e12;
        assert!((kolmogorov_above(1.358_1 / 1e6, large) - 0.05).abs() < 1e-4);
        assert!((kolmogorov_above(1.627_6 / 1e6, large) - 0.01).abs() < 1e-4);
        assert_eq!(kolmogorov_above(0.0, 10.0), 1.0);
    }
}
