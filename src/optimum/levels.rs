//! The values of a grid, with the thresholds between them.

use super::Grid;
use crate::binary::{exponent, scaled};

/// Levels g₀ ≤ g₁ ≤ …, and the threshold between each and the next, halfway.
#[derive(Clone, Copy)]
pub(super) enum Levels<'a> {
    /// min, min + 1, …: `last` + 1 of them.
    Uniform {
        min: f64,
        last: usize,
    },
    Listed {
        levels: &'a [f64],
        thresholds: &'a [f64],
    },
}

impl<'a> Levels<'a> {
    /// The grid times 2⁻ᵏ, and k: such that listed levels are at most 2, and their squares far from overflow.
    /// None if it has no value other than 0.
    pub(super) fn of(grid: Grid, levels: &'a mut Vec<f64>, thresholds: &'a mut Vec<f64>) -> Option<(Self, i32)> {
        match grid {
            Grid::Uniform { min, max } if min <= max && (min, max) != (0, 0) => Some((Self::uniform(min.into(), max.into()), 0)),
            Grid::Uniform { .. } => None,
            Grid::Listed(listed) => {
                let largest = listed.iter().fold(0.0_f64, |largest, level| largest.max(level.abs()));
                if largest == 0.0 {
                    return None;
                }
                let shift = exponent(largest);
                levels.extend(listed.iter().map(|level| scaled(*level, -shift)));
                thresholds.extend(levels.windows(2).map(|pair| pair[0] / 2.0 + pair[1] / 2.0));
                Some((Self::Listed { levels, thresholds }, shift))
            }
        }
    }

    pub(super) fn uniform(min: i64, max: i64) -> Self {
        Self::Uniform { min: min as f64, last: (max - min) as usize }
    }

    /// The index of the last level.
    #[inline(always)]
    pub(super) fn last(self) -> usize {
        match self {
            Self::Uniform { last, .. } => last,
            Self::Listed { thresholds, .. } => thresholds.len(),
        }
    }

    #[inline(always)]
    pub(super) fn level(self, index: usize) -> f64 {
        match self {
            Self::Uniform { min, .. } => min + index as f64,
            Self::Listed { levels, .. } => levels[index],
        }
    }

    /// Between the level of this index and the next.
    #[inline(always)]
    pub(super) fn threshold(self, index: usize) -> f64 {
        match self {
            Self::Uniform { min, .. } => min + index as f64 + 0.5,
            Self::Listed { thresholds, .. } => thresholds[index],
        }
    }

    /// The index of the nearest level, the upper one of two as near.
    #[inline(always)]
    pub(super) fn nearest(self, y: f64) -> usize {
        match self {
            // The conversion saturates, so what is below the grid becomes 0.
            Self::Uniform { min, last } => ((y - min + 0.5) as usize).min(last),
            Self::Listed { thresholds, .. } => thresholds.partition_point(|threshold| *threshold <= y),
        }
    }

    /// How many thresholds are below 0, and how many at most 0.
    pub(super) fn thresholds_below_and_to_zero(self) -> (usize, usize) {
        match self {
            // A threshold of whole numbers is never 0.
            Self::Uniform { min, last } => {
                let below = ((-min).max(0.0) as usize).min(last);
                (below, below)
            }
            Self::Listed { thresholds, .. } => {
                (thresholds.partition_point(|t| *t < 0.0), thresholds.partition_point(|t| *t <= 0.0))
            }
        }
    }

    pub(super) fn range(self) -> (f64, f64) {
        (self.level(0), self.level(self.last()))
    }

    /// The largest |level|.
    pub(super) fn magnitude(self) -> f64 {
        let (lowest, highest) = self.range();
        lowest.abs().max(highest.abs())
    }

    /// The smallest and the largest |threshold| that is not 0; 1 and 1 if there is none.
    pub(super) fn threshold_magnitudes(self) -> (f64, f64) {
        let (below, to_zero) = self.thresholds_below_and_to_zero();
        let count = self.last();
        let at = |index: usize| self.threshold(index).abs();
        let (mut smallest, mut largest) = (f64::INFINITY, 0.0_f64);
        if below > 0 {
            (smallest, largest) = (at(below - 1), at(0));
        }
        if to_zero < count {
            (smallest, largest) = (smallest.min(at(to_zero)), largest.max(at(count - 1)));
        }
        if largest > 0.0 { (smallest, largest) } else { (1.0, 1.0) }
    }
}
