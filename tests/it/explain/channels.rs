//! Channels, groups, and what their mean errors cost.

use quantlens::{Granularity, Scheme, Synthetic, Tensor, bias_correction, channels, quantizer};

use super::{all_weights, close, is_null, number, squared_error, synthetic, text};

/// The index of the part that each element is in, by division.
fn part_of(granularity: Granularity, shape: &[usize], index: usize) -> usize {
    let (row, column) = (index / shape[1], index % shape[1]);
    match granularity {
        Granularity::PerAxis(0) => row,
        Granularity::PerAxis(_) => column,
        Granularity::PerGroup(size) => row * shape[1].div_ceil(size) + column / size,
        Granularity::PerBlock([rows, columns]) => row / rows * shape[1].div_ceil(columns) + column / columns,
        _ => 0,
    }
}

#[test]
fn parts_are_sums_of_their_elements() {
    let granularities = [
        Granularity::PerTensor,
        Granularity::PerAxis(0),
        Granularity::PerAxis(1),
        Granularity::PerGroup(16),
        Granularity::PerBlock([5, 16]),
    ];
    for tensor in synthetic() {
        for granularity in granularities {
            let scheme = Scheme::asymmetric(4);
            let table = channels(&tensor, &[scheme], granularity).unwrap();
            let (x, y) = (tensor.to_f64_vec(), scheme.fake_quantize(&tensor).unwrap().to_f64_vec());
            let (mut shares, mut last) = (0.0, f64::INFINITY);
            for row in 0..table.height() {
                let part = number(&table, "part", row) as usize;
                let own: Vec<usize> = (0..x.len()).filter(|&i| part_of(granularity, tensor.shape(), i) == part).collect();
                let errors: Vec<f64> = own.iter().map(|&i| x[i] - y[i]).collect();
                let squares: f64 = errors.iter().map(|error| error * error).sum();
                let n = own.len() as f64;
                assert_eq!(number(&table, "elements", row), n);
                assert!(close(number(&table, "squared_error", row), squares, 1e-12));
                assert!(close(number(&table, "mse", row), squares / n, 1e-12));
                assert!((number(&table, "mean_error", row) - errors.iter().sum::<f64>() / n).abs() < 1e-12 * x[0].abs().max(1.0));
                assert_eq!(number(&table, "min", row), own.iter().map(|&i| x[i]).fold(f64::INFINITY, f64::min));
                assert_eq!(number(&table, "max", row), own.iter().map(|&i| x[i]).fold(f64::NEG_INFINITY, f64::max));
                assert!(number(&table, "squared_error", row) <= last);
                last = number(&table, "squared_error", row);
                shares += number(&table, "error_share", row);
                let blame = number(&table, "error_share", row) * x.len() as f64 / n;
                assert!(close(number(&table, "blame", row), blame, 1e-12));
            }
            assert!((shares - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn a_part_has_a_scale_if_it_is_one() {
    let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[8, 64]).unwrap();
    let schemes = [Scheme::symmetric(8), Scheme::symmetric(8).per_axis(0), Scheme::symmetric(8).per_group(32)];
    let table = channels(&x, &schemes, Granularity::PerAxis(0)).unwrap();
    let scales = schemes.map(|scheme| scheme.qparams(&x).unwrap().scales().to_vec());
    for row in 0..8 {
        assert_eq!(number(&table, "scale", row), scales[0][0]);
        assert_eq!(number(&table, "scale", 8 + row), scales[1][number(&table, "part", 8 + row) as usize]);
        assert!(is_null(&table, "scale", 16 + row) && is_null(&table, "zero_point", 16 + row));
    }
    let of_ggml =
        channels(&x.clone().with_shape(&[2, 256]).unwrap(), &[quantizer("q4_k").unwrap()], Granularity::PerAxis(0)).unwrap();
    assert!(is_null(&of_ggml, "scale", 0) && number(&of_ggml, "squared_error", 0) > 0.0);
}

#[test]
fn what_adding_the_mean_error_back_saves() {
    for tensor in synthetic().into_iter().chain(all_weights().into_iter().take(1)) {
        for axis in [0, 1] {
            let scheme = Scheme::asymmetric(3);
            let table = bias_correction(&tensor, &[scheme], axis).unwrap();
            let mut corrected = scheme.fake_quantize(&tensor).unwrap().to_f64_vec();
            let granularity = Granularity::PerAxis(axis);
            assert_eq!(table.height(), tensor.shape()[axis]);
            for (index, y) in corrected.iter_mut().enumerate() {
                *y += number(&table, "mean_error", part_of(granularity, tensor.shape(), index));
            }
            let left: f64 = tensor.to_f64_vec().iter().zip(&corrected).map(|(x, y)| (x - y).powi(2)).sum();
            let saved: f64 = (0..table.height()).map(|row| number(&table, "saved", row)).sum();
            let before = squared_error(&tensor, &scheme);
            assert!((before - saved - left).abs() <= 1e-10 * before, "{} {axis}", tensor.name());
            for row in 0..table.height() {
                let n = number(&table, "elements", row);
                assert!(close(number(&table, "correction", row), n * number(&table, "mean_error", row), 1e-12));
                assert!((0.0..=1.0 + 1e-12).contains(&number(&table, "saved_share", row)));
            }
        }
    }
}

#[test]
fn an_axis_that_is_not_there_is_an_error() {
    let x = Tensor::from_vec("x", vec![1.0, 2.0]).unwrap();
    let error = channels(&x, &[Scheme::symmetric(8)], Granularity::PerAxis(1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "tensor `x` under `int8-sym`: axis 1 does not exist in shape [2], whose axes are counted from 0"
    );
    assert!(bias_correction(&x, &[Scheme::symmetric(8)], 1).is_err());
    let table = channels(&x, &[Scheme::symmetric(8)], Granularity::PerTensor).unwrap();
    assert_eq!(text(&table, "parts", 0), "tensor");
}
