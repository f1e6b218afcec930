//! The figures of a tensor's own values: where its codes lie, and where it errs.

use super::short;
use crate::error::{Error, Result};
use crate::figure::{Figure, Ink, Marker, Style};
use crate::report::{Quantizer, levels, numbers};
use crate::scheme::Scheme;
use crate::tensor::Tensor;

/// Bins of a histogram.
const BINS: usize = 120;

/// Where a scheme's codes lie among the values: how densely the elements of each code stand (its share of them over its share of the axis, up to halfway to
/// its neighbours), over the tensor's histogram. Codes that no element has stand on the axis.
///
/// ```
/// # use quantlens::{Scheme, Synthetic, plot};
/// let x = Synthetic::normal(0.0, 1.0).outliers(0.001, 8.0).seed(1).tensor::<f32>("x", &[4096])?;
/// let figure = plot::occupancy(&x, &Scheme::symmetric(5))?;
/// assert!(figure.title().contains(" of 32 codes are used"));
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// As [`levels`]: schemes with one scale, of any format.
pub fn occupancy(tensor: &Tensor, scheme: &Scheme) -> Result<Figure> {
    let table = levels(tensor, scheme)?;
    let column = |name: &str| {
        Ok::<_, Error>(numbers(&table, name)?.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect::<Vec<_>>())
    };
    let (values, fractions, information) = (column("value")?, column("fraction")?, column("information_bits")?);
    let mut codes: Vec<(f64, f64)> =
        values.into_iter().zip(fractions.iter().copied()).filter(|code| code.0.is_finite()).collect();
    codes.sort_by(|a, b| a.0.total_cmp(&b.0));
    // -0 and 0 stand at the same place.
    codes.dedup_by(|next, kept| {
        next.0 == kept.0 && {
            kept.1 += next.1;
            true
        }
    });
    let used = codes.iter().filter(|code| code.1 > 0.0).count();
    let entropy: f64 =
        fractions.iter().zip(&information).filter(|(fraction, _)| **fraction > 0.0).map(|(share, bits)| share * bits).sum();

    let (min, max) = (tensor.min(), tensor.max());
    let width = (max - min) / BINS as f64;
    let mut figure = Figure::new(format!("{used} of {} codes are used, {entropy:.2} of {} bits", codes.len(), scheme.bits()))
        .subtitle(format!(
            "{} values of `{}` ({} to {}) and where the codes of {scheme} lie among them",
            tensor.len(),
            tensor.name(),
            short(min),
            short(max)
        ))
        .axes("value (units of the data)", "density (share of the elements per unit)");
    if width > 0.0 && width.is_finite() {
        let mut counts = [0_u64; BINS];
        tensor.to_f64_vec().iter().for_each(|x| counts[(((x - min) / width) as usize).min(BINS - 1)] += 1);
        let bar = |(bin, count): (usize, &u64)| {
            let (left, density) = (min + bin as f64 * width, *count as f64 / (tensor.len() as f64 * width));
            [(left, 0.0), (left + width, density)]
        };
        let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(bar);
        figure = figure.areas("the values' histogram", Ink::Gray, bars);
    }
    // The cell of a code reaches halfway to its neighbours, and as far on the open side.
    let edges: Vec<f64> = codes.windows(2).map(|pair| pair[0].0 / 2.0 + pair[1].0 / 2.0).collect();
    let mut outline = Vec::new();
    for (index, &(value, fraction)) in codes.iter().enumerate() {
        let (before, after) = (index.checked_sub(1).map(|before| edges[before]), edges.get(index).copied());
        let left = before.or(after.map(|after| 2.0 * value - after)).unwrap_or(value);
        let right = after.or(before.map(|before| 2.0 * value - before)).unwrap_or(value);
        let density = fraction / (right - left);
        outline.extend([(left, density), (right, density)]);
    }
    let dead = codes.iter().filter(|code| code.1 == 0.0).map(|code| (code.0, 0.0));
    figure = figure.series("the codes", Ink::Blue, Style::Line, outline);
    if used < codes.len() {
        figure = figure.series("codes that no element has", Ink::Vermillion, Style::Points(Marker::Tick), dead);
    }
    Ok(figure)
}

/// At most as many rows and columns of cells.
const CELLS: [usize; 2] = [64, 96];

/// Where a tensor errs: the root mean squared error of each cell of its channels (first axis, from the top) and what lies behind them (all other axes,
/// flattened). Of large tensors several neighbours share a cell.
///
/// # Errors
/// As the quantizer; [`Error::Nothing`] where nothing is lost.
pub fn heatmap<Q: Quantizer>(tensor: &Tensor, quantizer: &Q) -> Result<Figure> {
    heatmap_of(tensor, quantizer)
}

fn heatmap_of(tensor: &Tensor, quantizer: &dyn Quantizer) -> Result<Figure> {
    let channels = if tensor.shape().len() > 1 { tensor.shape()[0] } else { 1 };
    let columns = tensor.len() / channels;
    let approximation = quantizer.fake_quantize(tensor)?;
    if approximation.len() != tensor.len() {
        return Err(Error::Length { reference: tensor.len(), approximation: approximation.len() });
    }
    let (x, y) = (tensor.to_f64_vec(), approximation.to_f64_vec());
    let (high, wide) = (channels.div_ceil(CELLS[0]), columns.div_ceil(CELLS[1]));
    let (rows_of_cells, columns_of_cells) = (channels.div_ceil(high), columns.div_ceil(wide));
    let mut sums = vec![(0.0, 0_u64); rows_of_cells * columns_of_cells];
    let mut of_channel = vec![0.0; channels];
    for (index, (x, y)) in x.iter().zip(&y).enumerate() {
        let (channel, column) = (index / columns, index % columns);
        let squared = (x - y) * (x - y);
        let cell = &mut sums[channel / high * columns_of_cells + column / wide];
        *cell = (cell.0 + squared, cell.1 + 1);
        of_channel[channel] += squared;
    }
    let rms: Vec<f64> = sums.iter().map(|(sum, count)| (sum / *count as f64).sqrt()).collect();
    let (lowest, highest) = (rms.iter().copied().fold(f64::INFINITY, f64::min), rms.iter().copied().fold(0.0, f64::max));
    if highest <= 0.0 {
        return Err(Error::Nothing { what: "heatmap", reason: "nothing is lost".to_owned() });
    }
    let (worst, most) = of_channel
        .iter()
        .enumerate()
        .fold((0, 0.0), |worst, (channel, sum)| if *sum > worst.1 { (channel, *sum) } else { worst });
    let mean = of_channel.iter().sum::<f64>() / channels as f64;
    let title = if channels > 1 {
        format!("Channel {worst} errs most: {:.1} times the mean squared error", most / mean)
    } else {
        format!("The error is {} to {} along the axis", short(lowest), short(highest))
    };
    let cell = |(index, rms): (usize, &f64)| {
        let (row, column) = (index / columns_of_cells, index % columns_of_cells);
        let top = (row * high) as f64;
        let bottom = ((row + 1) * high).min(channels) as f64;
        let (left, right) = ((column * wide) as f64, ((column + 1) * wide).min(columns) as f64);
        ([(left, top), (right, bottom)], rms / highest)
    };
    let shared = if high * wide > 1 { format!("; a cell is {high} by {wide} elements") } else { String::new() };
    Ok(Figure::new(title)
        .subtitle(format!(
            "root mean squared error of `{}` {:?} under {}{shared}",
            tensor.name(),
            tensor.shape(),
            quantizer.name()
        ))
        .axes("element within the channel", "channel")
        .y_downward()
        .shades("0", format!("{} units of the data", short(highest)), rms.iter().enumerate().map(cell)))
}
