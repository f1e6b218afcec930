//! A scheme for each tensor under a budget.

use quantlens::{Error, Objective, Scheme, Synthetic, Tensor, allocate, quantizer};

use super::{all_weights, close, is_null, notebook, number, squared_error, synthetic, text};

/// Every selection in turn.
fn exhaustive(tensors: &[Tensor], schemes: &[Scheme], bits: f64, weight: &dyn Fn(usize) -> f64) -> f64 {
    let elements: usize = tensors.iter().map(Tensor::len).sum();
    let each: Vec<Vec<(f64, f64)>> = tensors
        .iter()
        .enumerate()
        .map(|(number, tensor)| {
            let of = |scheme: &Scheme| {
                let bits = scheme.bits_per_element(tensor.shape(), tensor.dtype()).unwrap() * tensor.len() as f64;
                (bits, weight(number) * squared_error(tensor, scheme))
            };
            schemes.iter().map(of).collect()
        })
        .collect();
    let mut least = f64::INFINITY;
    for mut selection in 0..schemes.len().pow(tensors.len() as u32) {
        let (mut bits_of_all, mut cost) = (0.0, 0.0);
        for choices in &each {
            let (bits, error) = choices[selection % schemes.len()];
            selection /= schemes.len();
            (bits_of_all, cost) = (bits_of_all + bits, cost + error);
        }
        if bits_of_all <= bits * elements as f64 + 1e-6 {
            least = least.min(cost);
        }
    }
    least
}

#[test]
fn no_selection_within_the_budget_costs_less() {
    let tensors = synthetic();
    let schemes: Vec<Scheme> = [2, 3, 5, 8].into_iter().map(|bits| Scheme::symmetric(bits).per_axis(0)).collect();
    let weights = vec![1.0, 0.0, 3.0, 0.25, 2.0];
    let power: Vec<f64> = tensors.iter().map(|tensor| tensor.to_f64_vec().iter().map(|x| x * x).sum()).collect();
    for bits in [4.0, 5.0, 6.3, 7.7, 20.0] {
        let cases: [(Objective, &dyn Fn(usize) -> f64); 3] = [
            (Objective::SquaredError, &|_| 1.0),
            (Objective::RelativeError, &|number| 1.0 / power[number]),
            (Objective::Weighted(weights.clone()), &|number| weights[number]),
        ];
        for (objective, weight) in cases {
            let table = allocate(&tensors, &schemes, bits, objective.clone()).unwrap();
            let cost: f64 = (0..tensors.len()).map(|row| number(&table, "cost", row)).sum();
            let least = exhaustive(&tensors, &schemes, bits, weight);
            assert!(close(cost, least, 1e-9), "{bits} {objective:?}: {cost} {least}");
            let total: f64 = (0..tensors.len()).map(|row| number(&table, "bits", row)).sum();
            let elements: usize = tensors.iter().map(Tensor::len).sum();
            assert!(total <= bits * elements as f64 * (1.0 + 1e-12));
            for (row, tensor) in tensors.iter().enumerate() {
                let scheme: Scheme = text(&table, "scheme", row).parse().unwrap();
                assert!(close(number(&table, "squared_error", row), squared_error(tensor, &scheme), 1e-12));
                let bits = scheme.bits_per_element(tensor.shape(), tensor.dtype()).unwrap();
                assert!(close(number(&table, "bits_per_element", row), bits, 1e-12));
                assert_eq!(number(&table, "gap", row), 0.0);
            }
        }
    }
}

#[test]
fn the_next_bit_buys_what_the_table_says() {
    let x = notebook();
    let schemes = [Scheme::asymmetric(2), Scheme::asymmetric(4), Scheme::asymmetric(8)];
    let bits = |scheme: &Scheme| scheme.bits_per_element(x.shape(), x.dtype()).unwrap();
    let table = allocate(&x, &schemes, bits(&schemes[0]), Objective::SquaredError).unwrap();
    assert_eq!(text(&table, "scheme", 0), "uint2-asym");
    let rate = |scheme: &Scheme| {
        (squared_error(&x, &schemes[0]) - squared_error(&x, scheme)) / (20.0 * (bits(scheme) - bits(&schemes[0])))
    };
    let best = if rate(&schemes[1]) > rate(&schemes[2]) { 1 } else { 2 };
    assert_eq!(text(&table, "next_scheme", 0), schemes[best].to_string());
    assert!(close(number(&table, "next_saves_per_bit", 0), rate(&schemes[best]), 1e-9));
    let all = allocate(&x, &schemes, 64.0, Objective::SquaredError).unwrap();
    assert_eq!(text(&all, "scheme", 0), "uint8-asym");
    assert!(is_null(&all, "next_scheme", 0) && is_null(&all, "next_bits", 0) && is_null(&all, "next_saves_per_bit", 0));
}

#[test]
fn impossible_budgets_and_weights_are_errors() {
    let x = notebook();
    let too_few = |bits: f64| allocate(&x, &[Scheme::asymmetric(8)], bits, Objective::SquaredError);
    assert!(matches!(too_few(7.0), Err(Error::Budget { .. })));
    assert!(matches!(too_few(f64::NAN), Err(Error::Budget { .. })));
    assert!(too_few(f64::INFINITY).is_ok());
    for weights in [vec![], vec![1.0, 1.0], vec![-1.0], vec![f64::NAN]] {
        assert!(matches!(allocate(&x, &[Scheme::asymmetric(8)], 16.0, Objective::Weighted(weights)), Err(Error::Nothing { .. })));
    }
}

#[test]
fn real_weights() {
    let quantizers: Vec<_> =
        ["int2-sym-g32-sf16", "int3-sym-g32-sf16", "int4-sym-g32-sf16", "int8-sym-g32-sf16", "nf4-g64", "mxfp4"]
            .map(|name| quantizer(name).unwrap())
            .into();
    let tensors = all_weights();
    let table = allocate(&tensors, &quantizers, 4.5, Objective::RelativeError).unwrap();
    let bits: f64 = (0..4).map(|row| number(&table, "bits", row)).sum();
    let elements: usize = tensors.iter().map(Tensor::len).sum();
    assert!(bits <= 4.5 * elements as f64 && bits > 4.4 * elements as f64);
}

/// Hundreds of tensors with a dozen choices each are no more than a moment's work.
#[test]
fn many_tensors() {
    let tensors: Vec<Tensor> = (0..200_u32)
        .map(|number| {
            let deviation = 0.001 * f64::from(1 + number * number % 97);
            let length = 32 + 8 * (number as usize % 13);
            Synthetic::normal(0.0, deviation).seed(number.into()).tensor::<f32>(format!("{number}"), &[length]).unwrap()
        })
        .collect();
    let schemes: Vec<Scheme> = (2..=12).map(Scheme::symmetric).collect();
    let table = allocate(&tensors, &schemes, 6.0, Objective::SquaredError).unwrap();
    assert_eq!((table.height(), number(&table, "gap", 0)), (200, 0.0));
}
