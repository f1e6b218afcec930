//! What each code is used for.

use quantlens::{Codebook, Scheme, Synthetic, levels};

use super::{close, is_null, notebook, number, squared_error, synthetic};

#[test]
fn codes_add_up_to_the_report() {
    let schemes = [
        Scheme::asymmetric(4),
        Scheme::symmetric(5).without_clipping(),
        "e2m1".parse().unwrap(),
        Scheme::nf4(),
        Scheme::ternary(),
        "e4m3fn-cast".parse().unwrap(),
        "uint3-asym-original".parse().unwrap(),
        "int8-sym-original".parse().unwrap(),
    ];
    for tensor in synthetic() {
        for scheme in schemes {
            let table = levels(&tensor, &scheme).unwrap();
            let row = quantlens::Quantizer::report_row(&scheme, &tensor).unwrap();
            let sum = |name: &str| -> f64 { (0..table.height()).map(|row| number(&table, name, row)).sum() };
            assert_eq!(sum("count"), tensor.len() as f64, "{scheme}");
            assert!(close(sum("squared_error"), squared_error(&tensor, &scheme), 1e-12), "{scheme}");
            let used = (0..table.height()).filter(|&row| number(&table, "is_dead", row) == 0.0).count();
            assert_eq!(Some(used as u64), row.levels_used, "{scheme}");
            let (mut entropy, mut total) = (0.0, 0.0);
            for row in 0..table.height() {
                assert_eq!(is_null(&table, "mean", row), number(&table, "count", row) == 0.0);
                if !is_null(&table, "mean", row) {
                    entropy += number(&table, "fraction", row) * number(&table, "information_bits", row);
                    total += number(&table, "count", row) * number(&table, "mean", row);
                }
            }
            assert!((entropy - row.code_entropy_bits.unwrap()).abs() < 1e-12, "{scheme}");
            let values = tensor.to_f64_vec();
            let magnitude: f64 = values.iter().map(|x| x.abs()).sum();
            assert!((total - values.iter().sum::<f64>()).abs() < 1e-12 * magnitude, "{scheme}");
        }
    }
}

#[test]
fn one_code_by_hand() {
    let table = levels(&notebook(), &Scheme::asymmetric(2)).unwrap();
    // The scale is 166.27 / 3, code 1 means 55.42: what is between 27.7 and 83.1.
    let own: Vec<f64> = notebook().to_f64_vec().into_iter().filter(|x| (27.712..83.13).contains(x)).collect();
    let value = 166.27 / 3.0;
    assert_eq!(number(&table, "count", 1), own.len() as f64);
    assert!(close(number(&table, "mean", 1), own.iter().sum::<f64>() / own.len() as f64, 1e-12));
    assert!(close(number(&table, "squared_error", 1), own.iter().map(|x| (x - value).powi(2)).sum(), 1e-12));
}

/// In the best codebook each level is the mean of its elements.
#[test]
fn the_best_codebook_has_means() {
    let x = Synthetic::normal(0.0, 1.0).seed(3).tensor::<f64>("x", &[500]).unwrap();
    let table = levels(&x, &Scheme::cast(Codebook::optimal(&x, 8).unwrap())).unwrap();
    assert_eq!(table.height(), 8);
    for row in 0..8 {
        assert!((number(&table, "mean", row) - number(&table, "value", row)).abs() < 1e-12);
    }
}
