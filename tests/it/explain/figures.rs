//! The figures of these tables: they can be drawn whatever the names and however many the rows, and their titles are true.

use polars::prelude::DataFrame;
use quantlens::{
    Bootstrap, Error, Figure, Granularity, Objective, Scheme, Synthetic, Tensor, allocate, frontier, ledger, lorenz, plot,
    quantizer, report, uncertainty,
};

use super::{all_weights, notebook, number, text};

const LONG: &str = "model.layers.31.self_attention.query_key_value.weight.of.all"; // 60 characters

/// Some rows of real weights, among them outliers.
pub fn weights() -> Tensor {
    let all = all_weights().swap_remove(2);
    let rows = all.values::<f32>().unwrap()[64 * 1536..72 * 1536].to_vec();
    Tensor::new("output.dense", &[8, 1536], rows).unwrap()
}

pub fn thirty() -> Vec<Scheme> {
    let bases = (2..=8)
        .flat_map(|bits| [Scheme::symmetric(bits), Scheme::symmetric(bits).per_group(32), Scheme::asymmetric(bits).per_axis(0)]);
    bases
        .chain(
            ["mxfp4", "nvfp4", "nf4-g64", "nf4-g64-dq", "mxfp8-e4m3", "e4m3fn-axis0", "mxfp6-e2m3", "ternary", "mxint8"]
                .map(|name| name.parse().unwrap()),
        )
        .collect()
}

/// All of them, with the names that files are called.
pub fn all() -> Vec<(&'static str, Figure)> {
    let x = weights();
    let few: Vec<_> = [
        "int4-sym",
        "int4-sym-axis0",
        "int4-sym-g32-sf16",
        "uint4-asym-g128-sf16",
        "mxfp4",
        "mxfp4-mse",
        "nvfp4",
        "nf4-g64-dq",
        "q4_k",
        "mxfp8-e4m3",
        "int8-sym-axis0",
    ]
    .map(|name| quantizer(name).unwrap())
    .into();
    let many = thirty();
    let tensors: Vec<Tensor> = (0..24_u32)
        .map(|number| {
            let name = if number % 5 == 0 { format!("{number}.{LONG}") } else { format!("layer.{number}.weight") };
            Synthetic::laplace(0.0, 0.004 * f64::from(1 + number % 7))
                .outliers(0.001 * f64::from(number % 3), 8.0)
                .seed(number.into())
                .tensor::<f32>(name, &[16, 64])
                .unwrap()
        })
        .collect();
    let widths: Vec<Scheme> = (2..=8).map(|bits| Scheme::symmetric(bits).per_axis(0)).collect();
    let uniform = allocate(&tensors, &widths[2..3], 64.0, Objective::SquaredError).unwrap();
    let best = allocate(&tensors, &widths, number(&uniform, "bits_per_element", 0), Objective::SquaredError).unwrap();
    let curves = lorenz(
        &x,
        &["int4-sym", "int4-sym-axis0", "mxfp4", "nf4-g64"].map(|name| quantizer(name).unwrap()),
        Granularity::PerGroup(1),
        100,
    );
    let channels = lorenz(&x, &["int4-sym-axis0", "mxfp4"].map(|name| quantizer(name).unwrap()), Granularity::PerAxis(1), 100);
    let pair = ["uint8-asym-original", "int8-sym-original", "uint8-asym", "int8-sym"].map(|name| name.parse::<Scheme>().unwrap());
    vec![
        ("frontier", plot::frontier(&frontier(&x, &few).unwrap()).unwrap()),
        ("frontier_thirty", plot::frontier(&frontier(&x, &many).unwrap()).unwrap()),
        ("ledger", plot::ledger(&ledger(&x, &few).unwrap()).unwrap()),
        ("ledger_notebook", plot::ledger(&ledger(&notebook(), &pair).unwrap()).unwrap()),
        ("ledger_thirty", plot::ledger(&ledger(&[x.clone().with_name(LONG), x.clone()], &many[..15]).unwrap()).unwrap()),
        ("occupancy", plot::occupancy(&x, &Scheme::symmetric(8)).unwrap()),
        ("occupancy_nf4", plot::occupancy(&all_weights()[0], &Scheme::nf4()).unwrap()),
        ("heatmap", plot::heatmap(&x, &quantizer("int4-sym-g32-sf16").unwrap()).unwrap()),
        ("lorenz", plot::lorenz(&curves.unwrap()).unwrap()),
        ("lorenz_channels", plot::lorenz(&channels.unwrap()).unwrap()),
        ("sensitivity", plot::sensitivity(&report(&tensors, &widths[2..6]).unwrap()).unwrap()),
        ("allocation", plot::allocation(&uniform, &best).unwrap()),
        ("intervals", plot::intervals(&uncertainty(&notebook(), &pair, Bootstrap::default()).unwrap()).unwrap()),
        (
            "intervals_thirty",
            plot::intervals(&uncertainty(&x, &many, Bootstrap { resamples: 200, ..Bootstrap::default() }).unwrap()).unwrap(),
        ),
    ]
}

#[test]
fn figures_are_drawn_and_say_what_they_found() {
    let all = all();
    let title = |name: &str| all.iter().find(|(known, _)| *known == name).unwrap().1.title().to_owned();
    for (name, figure) in &all {
        let svg = figure.to_svg().unwrap();
        assert_eq!(svg, figure.to_svg().unwrap(), "{name}");
        // No row of text begins left of the picture, and none below it.
        let height: i32 = svg.split("viewBox=\"0 0 900 ").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        for element in svg.split("<text ").skip(1) {
            let at = |name: &str| -> i32 {
                element.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
            };
            assert!(at("x") >= 0 && at("y") >= 0 && at("x") <= 900 && at("y") <= height, "{name}: {}", &element[..120]);
        }
    }
    let frontier = frontier(&weights(), &thirty()).unwrap();
    let best = (0..frontier.height())
        .min_by(|&a, &b| number(&frontier, "gaussian_gap_db", a).total_cmp(&number(&frontier, "gaussian_gap_db", b)));
    assert!(title("frontier_thirty").contains(&format!("; {} is the nearest", text(&frontier, "scheme", best.unwrap()))));
    assert!(title("ledger").contains("% of the error of ") && title("ledger").contains(" is due to "), "{}", title("ledger"));
    assert!(title("occupancy").contains(" of 255 codes are used"), "{}", title("occupancy"));
    assert!(title("allocation").contains("dB less error"), "{}", title("allocation"));
}

#[test]
fn what_cannot_be_drawn_says_why() {
    let zeros = Tensor::from_vec("zeros", vec![0.0; 8]).unwrap();
    let scheme = [Scheme::symmetric(4)];
    let is_nothing = |figure: Result<Figure, Error>| matches!(figure, Err(Error::Nothing { .. }));
    assert!(is_nothing(plot::ledger(&ledger(&zeros, &scheme).unwrap())));
    assert!(is_nothing(plot::frontier(&frontier(&zeros, &scheme).unwrap())));
    assert!(is_nothing(plot::frontier(&frontier(&[notebook(), notebook().with_name("y")], &scheme).unwrap())));
    assert!(is_nothing(plot::lorenz(&lorenz(&zeros, &scheme, Granularity::PerGroup(1), 4).unwrap())));
    assert!(is_nothing(plot::sensitivity(&report(&zeros, &scheme).unwrap())));
    assert!(is_nothing(plot::intervals(&uncertainty(&zeros, &scheme, Bootstrap::default()).unwrap())));
    assert!(is_nothing(plot::heatmap(&zeros, &scheme[0])));
    let of = |tensor: &Tensor| -> DataFrame { allocate(tensor, &scheme, 64.0, Objective::SquaredError).unwrap() };
    assert!(is_nothing(plot::allocation(&of(&zeros), &of(&notebook()))));
    assert!(matches!(plot::ledger(&report(&notebook(), &scheme).unwrap()), Err(Error::NoColumn { .. })));
    assert!(matches!(plot::occupancy(&notebook(), &scheme[0].per_group(4)), Err(Error::SeveralBlocks { .. })));
    for values in [vec![3.0], vec![0.0, 0.0], vec![-1e300, 1e300], vec![1e-300, 2e-300]] {
        plot::occupancy(&Tensor::from_vec("x", values).unwrap(), &scheme[0]).unwrap().to_svg().unwrap();
    }
}

/// Ticks of a narrow range far from 0 are as many different texts as there are ticks.
#[test]
fn close_ticks_stay_apart() {
    for values in
        [vec![0.5, 0.5001], vec![1000.0, 1_000.000_001], vec![1e-9, 1.000_01e-9], vec![3e20, 3.000_001e20], vec![-7.000_2, -7.0]]
    {
        let x = Tensor::from_vec("x", values.clone()).unwrap();
        let svg = plot::staircase(&x, &[Scheme::asymmetric(3).with_float_minimum()]).unwrap().to_svg().unwrap();
        let texts: Vec<&str> =
            svg.split("<text ").skip(1).filter_map(|element| element.split('\n').nth(1)).map(str::trim).collect();
        let is_number = |text: &&&str| text.parse::<f64>().is_ok();
        let ticks: Vec<&&str> = texts.iter().filter(is_number).collect();
        let mut different = ticks.clone();
        different.sort();
        different.dedup();
        // Both axes show the same range, so each may be there twice.
        assert!(ticks.len() > 8 && 2 * different.len() >= ticks.len(), "{values:?}: {ticks:?}");
    }
}
