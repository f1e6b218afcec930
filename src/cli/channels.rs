//! `quantlens report --channels`: rows of single indices of the first axis.

use quantlens::progress::Work;
use quantlens::{Metrics, MetricsAccumulator, Quantizer, Real, Slice, Source, Tensor, TensorInfo};

use super::bar::Bar;
use super::report::{Failures, Measured, fitting, subject};
use super::select::{Schemes, Selection};
use super::table::{Column, Table};
use super::{Stop, go_on};

/// One channel under one scheme, or a tensor under a scheme that it cannot be quantized under.
struct Row {
    file: String,
    tensor: String,
    shape: String,
    scheme: String,
    bits_per_element: Option<f64>,
    channel: Result<Channel, String>,
}

struct Channel {
    index: usize,
    min: f64,
    max: f64,
    metrics: Metrics,
}

/// Each tensor is quantized as a whole, and compared channel by channel.
pub fn measure(files: &[Selection], schemes: &Schemes) -> Result<Measured, Stop> {
    let fitting: Vec<Vec<&dyn Quantizer>> = files.iter().map(|file| fitting(file, schemes)).collect();
    let steps = files.iter().zip(&fitting).map(|(file, quantizers)| file.elements().saturating_mul(quantizers.len()));
    let total = steps.fold(0, usize::saturating_add);
    let _bar = Bar::new(total);
    let mut work = Work::new("channels", total);
    let (mut rows, mut failures, mut left_out, mut vectors) = (Vec::new(), Failures::default(), 0, 0);
    for (file, quantizers) in files.iter().zip(&fitting) {
        left_out += (schemes.quantizers.len() - quantizers.len()) * file.infos().len();
        for (index, (info, bits)) in file.infos().iter().zip(file.stored_bits()).enumerate() {
            if info.shape.len() < 2 {
                vectors += 1;
                work.advance(info.elements() * quantizers.len());
                continue;
            }
            go_on()?;
            let tensor = file.tensor_at(index).map_err(|error| error.to_string());
            for quantizer in quantizers {
                go_on()?;
                if schemes.are_default && !Schemes::fits(*quantizer, info, bits) {
                    left_out += 1;
                } else {
                    let channels =
                        tensor.clone().and_then(|tensor| channels(&tensor, *quantizer).map_err(|error| error.to_string()));
                    let row = |channel| row(file, info, *quantizer, channel);
                    match channels {
                        Ok(channels) => rows.extend(channels.into_iter().map(|channel| row(Ok(channel)))),
                        Err(error) => {
                            failures.add(error.clone(), 1, subject(&info.name, &quantizer.name()));
                            rows.push(row(Err(error)));
                        }
                    }
                }
                work.advance(info.elements());
            }
        }
    }
    if rows.is_empty() && vectors > 0 {
        return Err(Stop::Error(
            "no tensor that was asked for has channels: they have fewer than two axes, leave out --channels".to_owned(),
        ));
    }
    Ok(Measured { table: table_of(&rows), failures, schemes: schemes.names(), left_out, vectors })
}

fn row(file: &Selection, info: &TensorInfo, quantizer: &dyn Quantizer, channel: Result<Channel, String>) -> Row {
    Row {
        file: file.name(),
        tensor: info.name.clone(),
        shape: format!("{:?}", info.shape),
        scheme: quantizer.name(),
        bits_per_element: quantizer.bits_per_element(&info.shape, info.dtype).ok(),
        channel,
    }
}

fn channels(tensor: &Tensor, quantizer: &dyn Quantizer) -> quantlens::Result<Vec<Channel>> {
    let back = quantizer.fake_quantize(tensor)?;
    let length = tensor.len() / tensor.shape().first().copied().unwrap_or(1);
    match (tensor.as_slice(), back.as_slice()) {
        (Slice::F32(x), Slice::F32(y)) => cut(x, y, length),
        (Slice::F32(x), Slice::F64(y)) => cut(x, y, length),
        (Slice::F64(x), Slice::F32(y)) => cut(x, y, length),
        (Slice::F64(x), Slice::F64(y)) => cut(x, y, length),
    }
}

fn cut<T: Real, U: Real>(x: &[T], y: &[U], length: usize) -> quantlens::Result<Vec<Channel>> {
    let mut channels = Vec::with_capacity(x.len() / length);
    for (index, (x, y)) in x.chunks(length).zip(y.chunks(length)).enumerate() {
        let mut accumulator = MetricsAccumulator::default();
        accumulator.push(x, y)?;
        let (min, max) = x
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(min, max), value| (min.min(value.to_f64()), max.max(value.to_f64())));
        // A chunk has values, and so metrics.
        channels.extend(accumulator.metrics().map(|metrics| Channel { index, min, max, metrics }));
    }
    Ok(channels)
}

fn table_of(rows: &[Row]) -> Table {
    let text = |name, value: fn(&Row) -> &String| Column::text(name, rows.iter().map(|row| Some(value(row).clone())));
    let real = |name, value: fn(&Channel) -> f64| Column::real(name, rows.iter().map(|row| row.channel.as_ref().ok().map(value)));
    let whole =
        |name, value: fn(&Channel) -> i64| Column::whole(name, rows.iter().map(|row| row.channel.as_ref().ok().map(value)));
    let mut columns = vec![
        text("file", |row| &row.file),
        text("tensor", |row| &row.tensor),
        text("shape", |row| &row.shape),
        whole("channel", |channel| channel.index as i64),
        whole("elements", |channel| channel.metrics.elements as i64),
        text("scheme", |row| &row.scheme),
        Column::real("bits_per_element", rows.iter().map(|row| row.bits_per_element)),
        real("min", |channel| channel.min),
        real("max", |channel| channel.max),
    ];
    let metric = |row: &Row, value: fn(&Metrics) -> f64| row.channel.as_ref().ok().map(|channel| value(&channel.metrics));
    columns.extend(Metrics::COLUMNS.map(|(name, value)| Column::real(name, rows.iter().map(|row| metric(row, value)))));
    columns.push(Column::text("error", rows.iter().map(|row| row.channel.as_ref().err().cloned())));
    Table::new(columns)
}

/// The names of the columns of channels, after the file's.
pub fn column_names() -> Vec<&'static str> {
    let none = table_of(&[]);
    none.columns.iter().map(|column| column.name).filter(|&name| name != "file").collect()
}
