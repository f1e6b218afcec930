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

/// A function that is compiled for each kind of [`Vectors`], and calls the one for this processor. What it shall be fast at must be inlined into it.
macro_rules! for_vectors {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$($generic:ident: $bound:path),*>($($argument:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? {
            #[inline(always)]
            fn portable<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? {
                    portable::<$($generic),*>($($argument),*)
                }

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512<$($generic: $bound),*>($($argument: $type),*) $(-> $output)? {
                    portable::<$($generic),*>($($argument),*)
                }

                match $crate::simd::vectors() {
                    // SAFETY: the processor was asked for these.
                    $crate::simd::Vectors::Avx512 => return unsafe { avx512::<$($generic),*>($($argument),*) },
                    // SAFETY: likewise.
                    $crate::simd::Vectors::Avx2 => return unsafe { avx2::<$($generic),*>($($argument),*) },
                    $crate::simd::Vectors::Portable => {}
                }
            }
            portable::<$($generic),*>($($argument),*)
        }
    };
}

pub(crate) use for_vectors;
