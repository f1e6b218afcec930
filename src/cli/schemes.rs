//! `quantlens schemes`.

use quantlens::known_formats;

use super::table::Table;
use super::terminal::{self, Shown};
use super::{Status, Stop, print, say};

const EXAMPLES: &str = "\
Examples:
  quantlens schemes
  quantlens schemes | grep vLLM
  COLUMNS=300 quantlens schemes | less -S

These are the formats in use. A name may also be put together:
  format        int2 … int16, uint2 … uint16, e4m3fn, e5m2, e3m4, f16, bf16,
                nf4, fp4 and others
  mapping       sym, asym, min (a minimum is stored), cast (no scale);
                floats and codebooks are sym where nothing is said
  granularity   one scale a tensor where nothing is said, axis0 (one for each
                index of axis 0), g128 (for 128 along the last axis), b128x128
  calibration   smallest and largest value where nothing is said,
                p99.9 (a percentile), mse (the least error) and others
  scales        sf16, sbf16, se8m0 and others: the type they are stored in
as int4-sym-g32, uint8-asym-axis0, int8-sym-p99.9, e4m3fn-b128x128 and
int4-sym-g128-mse-sf16.";

/// List the schemes there are: what they cost, which elements share a scale, who uses them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {}

const COLUMNS: [&str; 11] =
    ["name", "bits", "bits_per_element", "levels", "largest", "smallest", "block", "scale", "format", "used_by", "source"];

const SHOWN: Shown = Shown {
    order: &COLUMNS,
    importance: &[
        "name",
        "bits_per_element",
        "used_by",
        "block",
        "bits",
        "levels",
        "largest",
        "smallest",
        "scale",
        "source",
        "format",
    ],
    essential: 3,
};

pub fn run(_: &Args) -> Result<Status, Stop> {
    let table = Table::of_frame(&known_formats()?, &COLUMNS)?;
    let text = terminal::text_of(&table, &SHOWN, terminal::width());
    print(&text)?;
    let has_bits = text.lines().next().is_some_and(|names| names.split_whitespace().any(|name| name == "bits"));
    let bits = if has_bits { "bits: of a code. " } else { "" };
    say(&format!("{bits}bits_per_element: with scales, of a 4096 × 4096 tensor of f32. Names may be put together: see --help."));
    Ok(Status::Done)
}
