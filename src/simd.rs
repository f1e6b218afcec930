//! The same code compiled for wider vectors, of which the widest that the processor has is chosen when the program runs.
//!
//! The results have the same bits: neither a fused multiply-add nor another order of sums comes in, for the compiler introduces neither by itself.
//! The environment variable `QUANTLENS_VECTORS`, `portable`, `avx2` or `avx512`, says which is used at most; it is read once.

use std::sync::OnceLock;

/// Which vectors code was compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Vectors {
    /// What every processor of the target has.
    Portable,
    /// 256 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The widest that this processor has and the environment allows.
pub(crate) fn vectors() -> Vectors {
    static VECTORS: OnceLock<Vectors> = OnceLock::new();
    *VECTORS.get_or_init(|| available().min(allowed(std::env::var("QUANTLENS_VECTORS").ok().as_deref())))
}

#[cfg(target_arch = "x86_64")]
fn available() -> Vectors {
    let has_avx512 = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl");
    if has_avx512 {
        Vectors::Avx512
    } else if std::arch::is_x86_feature_detected!("avx2") {
        Vectors::Avx2
    } else {
        Vectors::Portable
    }
}

#[cfg(target_arch = "x86_64")]
fn allowed(name: Option<&str>) -> Vectors {
    match name {
        Some("portable") => Vectors::Portable,
        Some("avx2") => Vectors::Avx2,
        _ => Vectors::Avx512,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn available() -> Vectors {
    Vectors::Portable
}

#[cfg(not(target_arch = "x86_64"))]
fn allowed(_: Option<&str>) -> Vectors {
    Vectors::Portable
}

/// Eight numbers, of which the smaller or larger are kept.
pub trait Extremes<T>: Copy {
    fn of(values: &[T; 8]) -> Self;
    fn array(self) -> [T; 8];
    /// `self` where it is smaller, else `other`.
    fn or_smaller(self, other: Self) -> Self;
    /// `self` where it is larger, else `other`.
    fn or_larger(self, other: Self) -> Self;
}

/// Eight f64, as the sums of metrics are taken. The compiler finds vectors for loops over elements by itself; for sums in eight lanes it does or
/// does not, by its level of optimisation and what surrounds them, so here the instructions are written out. Each lane has the same bits as
/// [`Portable`]'s.
pub trait Eight: Extremes<f64> {
    /// Eight f32 in the same kind of vectors.
    type Singles: Extremes<f32>;

    fn of_singles(values: &[f32; 8]) -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn abs(self) -> Self;
}

/// What every processor has.
#[derive(Clone, Copy)]
pub(crate) struct Portable<T>([T; 8]);

impl<T: Copy + PartialOrd> Extremes<T> for Portable<T> {
    #[inline(always)]
    fn of(values: &[T; 8]) -> Self {
        Self(*values)
    }
    #[inline(always)]
    fn array(self) -> [T; 8] {
        self.0
    }
    #[inline(always)]
    fn or_smaller(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| if self.0[lane] < other.0[lane] { self.0[lane] } else { other.0[lane] }))
    }
    #[inline(always)]
    fn or_larger(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| if self.0[lane] > other.0[lane] { self.0[lane] } else { other.0[lane] }))
    }
}

impl Eight for Portable<f64> {
    type Singles = Portable<f32>;

    #[inline(always)]
    fn of_singles(values: &[f32; 8]) -> Self {
        Self(values.map(f64::from))
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(self.0.map(f64::abs))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Eight, Extremes};

    // SAFETY, of every block below: `for_vectors` names these types only in functions compiled for their instructions, which run after the processor
    // was asked. Pointers are to arrays of eight. Of two of which one is NaN, min and max give the second, as the comparisons of `Portable` do.

    #[derive(Clone, Copy)]
    pub(crate) struct Singles(__m256);

    impl Extremes<f32> for Singles {
        #[inline(always)]
        fn of(values: &[f32; 8]) -> Self {
            unsafe { Self(_mm256_loadu_ps(values.as_ptr())) }
        }
        #[inline(always)]
        fn array(self) -> [f32; 8] {
            let mut values = [0.0; 8];
            unsafe { _mm256_storeu_ps(values.as_mut_ptr(), self.0) };
            values
        }
        #[inline(always)]
        fn or_smaller(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_ps(self.0, other.0)) }
        }
        #[inline(always)]
        fn or_larger(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_ps(self.0, other.0)) }
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256d, __m256d);

    impl Extremes<f64> for Avx2 {
        #[inline(always)]
        fn of(values: &[f64; 8]) -> Self {
            let at = values.as_ptr();
            unsafe { Self(_mm256_loadu_pd(at), _mm256_loadu_pd(at.add(4))) }
        }
        #[inline(always)]
        fn array(self) -> [f64; 8] {
            let mut values = [0.0; 8];
            let at = values.as_mut_ptr();
            unsafe {
                _mm256_storeu_pd(at, self.0);
                _mm256_storeu_pd(at.add(4), self.1);
            }
            values
        }
        #[inline(always)]
        fn or_smaller(self, other: Self) -> Self {
            unsafe { Self(_mm256_min_pd(self.0, other.0), _mm256_min_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn or_larger(self, other: Self) -> Self {
            unsafe { Self(_mm256_max_pd(self.0, other.0), _mm256_max_pd(self.1, other.1)) }
        }
    }

    impl Eight for Avx2 {
        type Singles = Singles;

        #[inline(always)]
        fn of_singles(values: &[f32; 8]) -> Self {
            let at = values.as_ptr();
            unsafe { Self(_mm256_cvtps_pd(_mm_loadu_ps(at)), _mm256_cvtps_pd(_mm_loadu_ps(at.add(4)))) }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_pd(self.0, other.0), _mm256_add_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_pd(self.0, other.0), _mm256_sub_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_pd(self.0, other.0), _mm256_mul_pd(self.1, other.1)) }
        }
        #[inline(always)]
        fn abs(self) -> Self {
            unsafe {
                let sign = _mm256_set1_pd(-0.0);
                Self(_mm256_andnot_pd(sign, self.0), _mm256_andnot_pd(sign, self.1))
            }
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512d);

    impl Extremes<f64> for Avx512 {
        #[inline(always)]
        fn of(values: &[f64; 8]) -> Self {
            unsafe { Self(_mm512_loadu_pd(values.as_ptr())) }
        }
        #[inline(always)]
        fn array(self) -> [f64; 8] {
            let mut values = [0.0; 8];
            unsafe { _mm512_storeu_pd(values.as_mut_ptr(), self.0) };
            values
        }
        #[inline(always)]
        fn or_smaller(self, other: Self) -> Self {
            unsafe { Self(_mm512_min_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn or_larger(self, other: Self) -> Self {
            unsafe { Self(_mm512_max_pd(self.0, other.0)) }
        }
    }

    impl Eight for Avx512 {
        type Singles = Singles;

        #[inline(always)]
        fn of_singles(values: &[f32; 8]) -> Self {
            unsafe { Self(_mm512_cvtps_pd(_mm256_loadu_ps(values.as_ptr()))) }
        }
        #[inline(always)]
        fn plus(self, other: Self) -> Self {
            unsafe { Self(_mm512_add_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn minus(self, other: Self) -> Self {
            unsafe { Self(_mm512_sub_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn times(self, other: Self) -> Self {
            unsafe { Self(_mm512_mul_pd(self.0, other.0)) }
        }
        #[inline(always)]
        fn abs(self) -> Self {
            unsafe { Self(_mm512_abs_pd(self.0)) }
        }
    }
}

/// A function that is compiled for each kind of [`Vectors`], and calls the one for this processor. What it shall be fast at must be inlined into it.
/// In its body `V` is the kind's [`Eight`].
macro_rules! for_vectors {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$($generic:ident: $bound:path),*>($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters, reason = "not every body has sums")]
            fn body<V: $crate::simd::Eight, $($generic: $bound),*>($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? {
                    body::<$crate::simd::Avx2, $($generic),*>($($argument),*)
                }

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? {
                    body::<$crate::simd::Avx512, $($generic),*>($($argument),*)
                }

                match $crate::simd::vectors() {
                    // SAFETY: the processor was asked for these.
                    $crate::simd::Vectors::Avx512 => return unsafe { avx512::<$($generic),*>($($argument),*) },
                    // SAFETY: likewise.
                    $crate::simd::Vectors::Avx2 => return unsafe { avx2::<$($generic),*>($($argument),*) },
                    $crate::simd::Vectors::Portable => {}
                }
            }
            body::<$crate::simd::Portable<f64>, $($generic),*>($($argument),*)
        }
    };
}

pub(crate) use for_vectors;
