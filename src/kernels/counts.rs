//! `Counts`: how often each code occurs, counted while a block's sums are added.

use crate::metrics::Lanes;
use crate::simd::Eight;
use crate::tensor::Real;

/// How often each code occurs, counted from `quant_min`.
pub(super) enum Counts {
    /// Of at most 16 codes. Two neighbours are counted at once, the first in the lower four bits; those of an odd end one by one.
    Pairs {
        pairs: Box<[[u32; BYTE]; 4]>,
        singles: [u32; 16],
    },
    /// Of at most 256. Neighbouring elements often have the same code; counting them in turn in several tables keeps one increment from waiting for
    /// the last.
    Bytes(Box<[[u32; BYTE]; 4]>),
    Many(Vec<u32>),
}

/// Codes of at most 8 bits: no index can be past the end of such a table.
const BYTE: usize = 256;

impl Counts {
    pub(super) fn new(codes_in_all: usize) -> Self {
        match codes_in_all {
            0 => Self::Many(Vec::new()),
            1..=16 => Self::Pairs { pairs: Box::new([[0; BYTE]; 4]), singles: [0; 16] },
            17..=BYTE => Self::Bytes(Box::new([[0; BYTE]; 4])),
            _ => Self::Many(vec![0; codes_in_all]),
        }
    }

    /// Counts codes while the sums of these elements are added.
    #[inline(always)]
    pub(super) fn count_adding<V: Eight, T: Real>(&mut self, lanes: &mut Lanes, x: &[T], y: &[T], codes: &[u32]) {
        match self {
            Self::Pairs { pairs, singles } => {
                let [a, b, c, d] = &mut **pairs;
                lanes.add_counting::<V, T, T>(x, y, codes, |codes| {
                    let (eights, rest) = codes.as_chunks::<8>();
                    let pair = |low: u32, high: u32| usize::from((low | high << 4) as u8);
                    for codes in eights {
                        increment(&mut a[pair(codes[0], codes[1])]);
                        increment(&mut b[pair(codes[2], codes[3])]);
                        increment(&mut c[pair(codes[4], codes[5])]);
                        increment(&mut d[pair(codes[6], codes[7])]);
                    }
                    rest.iter().for_each(|&code| increment(&mut singles[code as usize % 16]));
                });
            }
            Self::Bytes(tables) => {
                let [a, b, c, d] = &mut **tables;
                lanes.add_counting::<V, T, T>(x, y, codes, |codes| {
                    let (fours, rest) = codes.as_chunks::<4>();
                    for codes in fours {
                        increment(&mut a[usize::from(codes[0] as u8)]);
                        increment(&mut b[usize::from(codes[1] as u8)]);
                        increment(&mut c[usize::from(codes[2] as u8)]);
                        increment(&mut d[usize::from(codes[3] as u8)]);
                    }
                    rest.iter().for_each(|&code| increment(&mut a[usize::from(code as u8)]));
                });
            }
            Self::Many(counts) => lanes.add_counting::<V, T, T>(x, y, codes, |codes| {
                for &code in codes {
                    if let Some(count) = counts.get_mut(code as usize) {
                        increment(count);
                    }
                }
            }),
        }
    }

    /// How often each code occurs: at least as many as there are.
    pub(super) fn totals(&self) -> Vec<u64> {
        match self {
            Self::Pairs { pairs, singles } => {
                let mut totals: Vec<u64> = singles.iter().map(|&count| count.into()).collect();
                for (pair, &count) in pairs.iter().flat_map(|table| table.iter().enumerate()) {
                    totals[pair % 16] += u64::from(count);
                    totals[pair / 16] += u64::from(count);
                }
                totals
            }
            Self::Bytes(tables) => (0..BYTE).map(|code| tables.iter().map(|table| u64::from(table[code])).sum()).collect(),
            Self::Many(counts) => counts.iter().map(|&count| count.into()).collect(),
        }
    }
}

#[inline(always)]
fn increment(count: &mut u32) {
    // Tasks are too short for it to overflow.
    *count = count.wrapping_add(1);
}
