//! The few that carry most, and what would be without them.

use quantlens::{Granularity, Scheme, Synthetic, Tensor, blame, concentration, lorenz, quantizer, what_if};

use super::{all_weights, close, notebook, number, squared_error, synthetic, text};

fn squares(tensor: &Tensor, scheme: Scheme) -> Vec<f64> {
    let y = scheme.fake_quantize(tensor).unwrap().to_f64_vec();
    tensor.to_f64_vec().iter().zip(y).map(|(x, y)| (x - y) * (x - y)).collect()
}

#[test]
fn the_largest_errors_first() {
    for tensor in synthetic() {
        let scheme = Scheme::symmetric(4);
        let table = blame(&tensor, &[scheme], 7).unwrap();
        let squares = squares(&tensor, scheme);
        let mut order: Vec<usize> = (0..squares.len()).collect();
        order.sort_by(|a, b| squares[*b].total_cmp(&squares[*a]).then(a.cmp(b)));
        let total: f64 = squares.iter().sum();
        let mut carried = 0.0;
        for (row, &index) in order[..7].iter().enumerate() {
            carried += squares[index];
            assert_eq!(number(&table, "index", row) as usize, index);
            assert_eq!(number(&table, "rank", row) as usize, row + 1);
            assert_eq!(number(&table, "quantization_error", row).powi(2), squares[index]);
            assert!(close(number(&table, "cumulative_share", row), carried / total, 1e-12));
        }
        assert_eq!(blame(&tensor, &[scheme], usize::MAX).unwrap().height(), tensor.len());
        assert_eq!(blame(&tensor, &[scheme], 0).unwrap().height(), 0);
    }
}

/// Gini's coefficient as the mean difference of all pairs.
#[test]
fn concentration_as_it_is_defined() {
    for tensor in synthetic() {
        let scheme = Scheme::symmetric(4);
        let table = concentration(&tensor, &[scheme], &[Granularity::PerGroup(1), Granularity::PerAxis(0)]).unwrap();
        let elements = squares(&tensor, scheme);
        let rows: Vec<f64> = elements.chunks(tensor.shape()[1]).map(|row| row.iter().sum()).collect();
        for (row, units) in [elements, rows].iter().enumerate() {
            let n = units.len() as f64;
            let total: f64 = units.iter().sum();
            let pairs: f64 = units.iter().map(|a| units.iter().map(|b| (a - b).abs()).sum::<f64>()).sum();
            assert!(close(number(&table, "gini", row), pairs / (2.0 * n * total), 1e-10));
            assert_eq!(number(&table, "count", row), n);
            let mut falling = units.clone();
            falling.sort_by(|a, b| b.total_cmp(a));
            let half = number(&table, "units_for_half", row) as usize;
            assert!(falling[..half].iter().sum::<f64>() >= total / 2.0 * (1.0 - 1e-12));
            assert!(falling[..half - 1].iter().sum::<f64>() < total / 2.0 * (1.0 + 1e-12));
            let top: f64 = falling[..units.len().div_ceil(100)].iter().sum();
            assert!(close(number(&table, "top_percent_share", row), top / total, 1e-12));
        }
    }
}

#[test]
fn a_lorenz_curve_goes_from_nothing_to_all_and_bends_down() {
    for tensor in synthetic() {
        let table = lorenz(&tensor, &[Scheme::symmetric(4)], Granularity::PerGroup(1), 50).unwrap();
        let share = |row: usize| number(&table, "error_share", row);
        assert_eq!((table.height(), share(0)), (51, 0.0));
        assert!((share(50) - 1.0).abs() < 1e-12);
        for row in 1..50 {
            assert!(2.0 * share(row) >= share(row - 1) + share(row + 1) - 1e-12);
        }
        // Trapezia under the curve at every unit give the same coefficient as the formula.
        let fine = lorenz(&tensor, &[Scheme::symmetric(4)], Granularity::PerGroup(1), tensor.len()).unwrap();
        let share = |row: usize| number(&fine, "error_share", row);
        let area: f64 = (0..tensor.len()).map(|row| (share(row) + share(row + 1)) / 2.0 / tensor.len() as f64).sum();
        let gini = concentration(&tensor, &[Scheme::symmetric(4)], &[Granularity::PerGroup(1)]).unwrap();
        assert!(close(2.0 * area - 1.0, number(&gini, "gini", 0), 1e-9));
    }
}

/// Each remedy by hand.
#[test]
fn counterfactuals_as_they_are_described() {
    let x = Synthetic::normal(0.0, 1.0).outliers(0.01, 20.0).seed(7).tensor::<f64>("x", &[8, 50]).unwrap();
    let scheme = Scheme::asymmetric(4);
    let table = what_if(&x, &[scheme], 0.01, Granularity::PerAxis(0)).unwrap();
    assert_eq!(table.height(), 8);
    let values = x.to_f64_vec();
    let mut order: Vec<usize> = (0..400).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()));
    let squares = squares(&x, scheme);
    let worst = (0..8).max_by(|a, b| {
        let of = |row: usize| squares[row * 50..][..50].iter().sum::<f64>();
        of(*a).total_cmp(&of(*b))
    });
    let worst = worst.unwrap();
    for (first_row, kept) in [(0, order[..4].to_vec()), (4, (worst * 50..worst * 50 + 50).collect())] {
        let others: Vec<f64> = (0..400).filter(|i| !kept.contains(i)).map(|i| values[i]).collect();
        let (low, high) = (others.iter().copied().fold(f64::INFINITY, f64::min), others.iter().copied().fold(0.0, f64::max));
        let moved = values.iter().enumerate().map(|(i, x)| if kept.contains(&i) { x.clamp(low, high) } else { *x }).collect();
        let y = scheme.fake_quantize(&Tensor::new("x", &[8, 50], moved).unwrap()).unwrap().to_f64_vec();
        let f16 = quantizer("f16-cast").unwrap().fake_quantize(&x).unwrap().to_f64_vec();
        let signal: f64 = values.iter().map(|x| x * x).sum();
        let noise = |of_kept: &dyn Fn(usize) -> f64| -> f64 {
            (0..400).map(|i| values[i] - if kept.contains(&i) { of_kept(i) } else { y[i] }).map(|error| error * error).sum()
        };
        let noises = [squared_error(&x, &scheme), noise(&|i| y[i]), noise(&|i| values[i]), noise(&|i| f16[i])];
        for (row, noise) in (first_row..).zip(noises) {
            assert!(close(number(&table, "sqnr_db", row), 10.0 * (signal / noise).log10(), 1e-12), "{row}");
            let gain = number(&table, "sqnr_db", row) - number(&table, "sqnr_db", first_row);
            assert_eq!(number(&table, "gain_db", row), gain);
            assert_eq!(number(&table, "elements", row), kept.len() as f64);
        }
        let bits = |row: usize| number(&table, "bits_per_element", row) - number(&table, "bits_per_element", first_row);
        let (n, places) = (kept.len() as f64, number(&table, "count", first_row));
        assert_eq!(bits(first_row + 1), 0.0);
        assert!((bits(first_row + 2) - (n * 64.0 + places * 32.0) / 400.0).abs() < 1e-12);
        assert!((bits(first_row + 3) - (n * 16.0 + places * 32.0) / 400.0).abs() < 1e-12);
    }
    assert_eq!((text(&table, "what", 0).as_str(), text(&table, "what", 4).as_str()), ("elements", "axis0"));
}

#[test]
fn a_single_part_has_nothing_to_be_split_from() {
    let table = what_if(&notebook(), &[Scheme::symmetric(4)], 0.1, Granularity::PerTensor).unwrap();
    assert_eq!(table.height(), 4);
    for share in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(what_if(&notebook(), &[Scheme::symmetric(4)], share, Granularity::PerTensor).is_err());
    }
}

#[test]
fn real_weights() {
    let quantizers = [quantizer("int4-sym").unwrap(), quantizer("q4_0").unwrap()];
    let tensors = &all_weights()[..3];
    let table = what_if(tensors, &quantizers, 0.001, Granularity::PerAxis(0)).unwrap();
    assert_eq!(table.height(), 3 * 2 * 8);
    assert_eq!(blame(tensors, &quantizers, 5).unwrap().height(), 3 * 2 * 5);
    assert_eq!(lorenz(tensors, &quantizers, Granularity::PerAxis(1), 4).unwrap().height(), 3 * 2 * 5);
}
