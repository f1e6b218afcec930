//! Exponents of f64 numbers, exact.

/// 2^exponent, for exponents of normal and subnormal f64.
pub(crate) fn power_of_two(exponent: i32) -> f64 {
    // Two factors, for below 2^-1022 one alone is not a normal number.
    let normal = |exponent: i32| f64::from_bits(((exponent + 1023) as u64) << 52);
    if exponent >= -1022 { normal(exponent.min(1023)) } else { normal(exponent.max(-1074) + 100) * normal(-100) }
}

/// ⌊log₂ x⌋ of a positive finite number, exact.
pub(crate) fn exponent(x: f64) -> i32 {
    let bits = x.to_bits();
    match (bits >> 52) as i32 & 0x7ff {
        0 => 63 - bits.leading_zeros() as i32 - 1074,
        biased => biased - 1023,
    }
}

/// x · 2ᵏ, rounded where the result is subnormal.
pub(crate) fn scaled(x: f64, k: i32) -> f64 {
    // In three steps, since 2ᵏ itself need not be an f64. The first two are exact whenever the result is normal.
    let power = |k: i32| f64::from_bits(((1023 + k) as u64) << 52);
    let third = k / 3;
    x * power(third) * power(third) * power(k - 2 * third)
}
