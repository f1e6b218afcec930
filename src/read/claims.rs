//! Which bytes of a file belong to which tensor: each to at most one.

use std::ops::Range;

use crate::error::Result;

use super::input::{Input, shown};

/// The bytes that tensors claim.
#[derive(Default)]
pub(super) struct Claims {
    claims: Vec<(Range<u64>, String)>,
}

impl Claims {
    pub fn add(&mut self, bytes: Range<u64>, tensor: &str) {
        self.claims.push((bytes, tensor.to_owned()));
    }

    /// The stretches of `within` that nobody claims, in order.
    ///
    /// # Errors
    /// Where two claim the same byte.
    pub fn unclaimed(mut self, input: &Input, within: Range<u64>) -> Result<Vec<Range<u64>>> {
        self.claims.retain(|(bytes, _)| !bytes.is_empty());
        self.claims.sort_by_key(|(range, _)| (range.start, range.end));
        for pair in self.claims.windows(2) {
            let [(first, one), (second, other)] = pair else { continue };
            if second.start < first.end {
                let reason = format!("this byte is also one of tensor `{}`: the file is damaged or made to mislead", shown(one));
                return Err(input.fault(Some(other), Some(second.start), reason));
            }
        }
        let mut next = within.start;
        let mut gaps = Vec::new();
        for (bytes, _) in &self.claims {
            if bytes.start > next {
                gaps.push(next..bytes.start);
            }
            next = next.max(bytes.end);
        }
        if next < within.end {
            gaps.push(next..within.end);
        }
        Ok(gaps)
    }
}
