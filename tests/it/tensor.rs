//! The gate, and seeded data.

use polars::prelude::{IntoSeries, NamedFrom, Series};
use quantlens::{Dtype, Error, Synthetic, Tensor};

#[test]
fn chunks_of_a_series_are_joined_and_one_chunk_is_shared() {
    let mut series = Series::new("x".into(), [1.0_f32, 2.0]);
    series.append(&Series::new("x".into(), [3.0_f32])).unwrap();
    series.append(&Series::new("x".into(), Vec::<f32>::new())).unwrap();
    assert!(series.n_chunks() > 1);
    let x = Tensor::from_series(&series).unwrap();
    assert_eq!(x.values::<f32>(), Some(&[1.0, 2.0, 3.0][..]));
    assert_eq!((x.name(), x.dtype(), x.shape()), ("x", Dtype::F32, &[3][..]));
    assert_eq!(x.values::<f64>(), None);

    let single = Series::new("y".into(), [1.0_f64, -2.0]);
    let y = Tensor::from_series(&single).unwrap();
    let shared = y.values::<f64>().unwrap().as_ptr();
    assert_eq!(single.f64().unwrap().cont_slice().unwrap().as_ptr(), shared);
    assert_eq!(y.to_series().f64().unwrap().cont_slice().unwrap().as_ptr(), shared);
    assert_eq!(y.to_series(), single);
}

#[test]
fn a_sliced_series_keeps_to_its_slice() {
    let series = Series::new("x".into(), [f64::NAN, 1.0, 2.0, f64::NAN]).slice(1, 2);
    assert_eq!(Tensor::from_series(&series).unwrap().to_f64_vec(), [1.0, 2.0]);
}

#[test]
fn the_first_thing_wrong_is_named() {
    let nulls = Series::new("w".into(), [Some(1.0), Some(2.0), None, None]);
    assert!(matches!(Tensor::from_series(&nulls), Err(Error::Null { column, row: 2 }) if column == "w"));
    let integers = Series::new("n".into(), [1_i32, 2]);
    assert!(
        matches!(Tensor::from_series(&integers), Err(Error::ColumnDtype { column, dtype }) if column == "n" && dtype == "i32")
    );
    let mut values = vec![0.0_f32; 1_000_000];
    values[777_777] = f32::NEG_INFINITY;
    values[999_999] = f32::NAN;
    assert!(matches!(Tensor::from_vec("x", values), Err(Error::NotFinite { index: 777_777, value: f64::NEG_INFINITY, .. })));
    assert!(matches!(Tensor::new("x", &[2, 2], vec![1.0; 5]), Err(Error::Shape { needed: 4, elements: 5, .. })));
    assert!(matches!(Tensor::new("x", &[usize::MAX, 2], vec![1.0]), Err(Error::Shape { needed: usize::MAX, .. })));
    assert!(matches!(Tensor::from_vec::<f64>("x", vec![]), Err(Error::Empty { .. })));
    assert!(matches!(
        Tensor::from_series(&polars::prelude::Float32Chunked::from_vec("e".into(), vec![]).into_series()),
        Err(Error::Empty { .. })
    ));
}

#[test]
fn min_and_max_are_found_wherever_they_are() {
    for n in [1, 2, 15, 16, 17, 33, 300_000] {
        for at in [0, n / 2, n - 1] {
            let mut values = vec![0.5_f32; n];
            values[at] = -3.0;
            values[n - 1 - at] = if n - 1 - at == at { -3.0 } else { 7.0 };
            let x = Tensor::from_vec("x", values.clone()).unwrap();
            let min = values.iter().copied().fold(f32::INFINITY, f32::min);
            let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!((x.min(), x.max()), (min.into(), max.into()));
        }
    }
}

const FROZEN: [[f64; 3]; 4] = [
    [21.332587, -31.929069, 29.068322],
    [-0.725307, -1.47414, -0.405349],
    [0.337817, 1.710866, 0.234858],
    [-7.253071, -0.405349, -0.26931],
];

#[test]
fn seeded_data_is_the_same_everywhere_and_has_its_distribution() {
    let draw = |synthetic: Synthetic| synthetic.seed(11).tensor::<f64>("x", &[100_000]).unwrap().to_f64_vec();
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
    };
    let near = |(mean, std_dev): (f64, f64), expected: (f64, f64)| {
        assert!((mean - expected.0).abs() < 0.02 * expected.1, "{mean} against {}", expected.0);
        assert!((std_dev / expected.1 - 1.0).abs() < 0.02, "{std_dev} against {}", expected.1);
    };
    near(moments(&draw(Synthetic::uniform(-50.0, 150.0))), (50.0, 200.0 / 12_f64.sqrt()));
    near(moments(&draw(Synthetic::normal(3.0, 2.0))), (3.0, 2.0));
    near(moments(&draw(Synthetic::laplace(-1.0, 0.5))), (-1.0, 0.5 * 2_f64.sqrt()));
    let outliers = draw(Synthetic::uniform(1.0, 2.0).outliers(0.01, 100.0)).iter().filter(|&&x| x >= 100.0).count();
    assert!((800..1200).contains(&outliers), "{outliers}");
    assert!(draw(Synthetic::uniform(-50.0, 150.0).decimals(2)).iter().all(|x| *x == (x * 100.0).round() / 100.0));
    // Frozen: a change of generator would change every tutorial.
    let first = |synthetic: Synthetic| draw(synthetic.decimals(6))[..3].to_vec();
    assert_eq!(first(Synthetic::uniform(-50.0, 150.0)), FROZEN[0]);
    assert_eq!(first(Synthetic::normal(0.0, 1.0)), FROZEN[1]);
    assert_eq!(first(Synthetic::laplace(0.0, 1.0)), FROZEN[2]);
    assert_eq!(first(Synthetic::normal(0.0, 1.0).outliers(0.5, 10.0)), FROZEN[3]);
    let other = Synthetic::uniform(-50.0, 150.0).seed(12).tensor::<f64>("x", &[3]).unwrap();
    assert_ne!(other.to_f64_vec(), draw(Synthetic::uniform(-50.0, 150.0))[..3]);
    let f32s = Synthetic::normal(0.0, 1.0).seed(11).tensor::<f32>("x", &[5]).unwrap();
    let f64s = Synthetic::normal(0.0, 1.0).seed(11).tensor::<f64>("x", &[5]).unwrap();
    assert_eq!(f32s.to_f64_vec(), f64s.to_f64_vec().iter().map(|&x| f64::from(x as f32)).collect::<Vec<_>>());
}

#[test]
fn impossible_distributions_are_refused() {
    let refused = |synthetic: Synthetic| matches!(synthetic.tensor::<f32>("x", &[3]), Err(Error::Synthetic { .. }));
    assert!(refused(Synthetic::uniform(1.0, 1.0)));
    assert!(refused(Synthetic::uniform(f64::NAN, 1.0)));
    assert!(refused(Synthetic::uniform(-f64::MAX, f64::MAX)));
    assert!(refused(Synthetic::normal(0.0, -1.0)));
    assert!(refused(Synthetic::laplace(f64::INFINITY, 1.0)));
    assert!(refused(Synthetic::normal(0.0, 1.0).outliers(1.5, 2.0)));
    assert!(refused(Synthetic::normal(0.0, 1.0).decimals(16)));
    assert!(matches!(Synthetic::normal(0.0, 1.0).tensor::<f32>("x", &[0, 3]), Err(Error::Empty { .. })));
    assert!(matches!(Synthetic::normal(0.0, 1.0).tensor::<f32>("x", &[usize::MAX, 3]), Err(Error::Shape { .. })));
    // Finite in f64, too large for f32: refused at the gate.
    assert!(matches!(Synthetic::normal(1e300, 1.0).tensor::<f32>("x", &[3]), Err(Error::NotFinite { .. })));
}
