//! Figures: the same bytes every time, readable by others, and titles that are true.

use quantlens::display::{Content, contents, frame_to_html};
use quantlens::figure::{Ink, Marker, Style};
use quantlens::{Error, Figure, Scheme, Source, Synthetic, Tensor, elements, frontier, ledger, open, plot, quantizer};

fn notebook() -> Tensor {
    Tensor::from_slice("parameters", &crate::NOTEBOOK).unwrap()
}

fn all() -> Vec<Figure> {
    let schemes = [Scheme::asymmetric(8), Scheme::symmetric(8)];
    vec![
        plot::original_and_dequantized(&notebook(), &schemes).unwrap(),
        plot::errors(&notebook(), &schemes).unwrap(),
        plot::staircase(&notebook(), &[Scheme::asymmetric(3), Scheme::symmetric(3)]).unwrap(),
        plot::error_against_bits(&notebook(), &schemes, 2..=12).unwrap(),
    ]
}

#[test]
fn the_same_figure_has_the_same_bytes() {
    for (a, b) in all().iter().zip(all()) {
        assert_eq!(a.to_svg().unwrap(), b.to_svg().unwrap());
        let png = a.to_png().unwrap();
        assert_eq!(png, b.to_png().unwrap());
        let reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let (width, height) = quantlens::figure::SIZE;
        assert_eq!((reader.info().width, reader.info().height), (2 * width, 2 * height));
        // Twice the 72 pixels an inch that are shown without it, in pixels a metre.
        let dimensions = reader.info().pixel_dims.unwrap();
        assert_eq!((dimensions.xppu, dimensions.yppu, dimensions.unit), (5669, 5669, png::Unit::Meter));
    }
}

#[test]
fn svg_is_what_code_hosts_show() {
    for figure in all() {
        let svg = figure.to_svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for stripped in ["<style", " id=", "<script", "<image"] {
            assert!(!svg.contains(stripped), "{stripped}");
        }
        // It shrinks where there is less room; who strips the style shows it as wide as its place.
        assert!(svg.starts_with("<svg width=\"100%\" style=\"max-width:900px\" viewBox=\"0 0 900 500\" "), "{}", &svg[..200]);
        assert_eq!(svg.matches("style=").count(), 1);
        assert!(svg.matches("<text").count() > 10);
    }
}

#[test]
fn titles_state_the_finding() {
    let titles: Vec<String> = all().iter().map(|figure| figure.title().to_owned()).collect();
    assert_eq!(titles[0], "uint8-asym stays closest: 0.316 off at most, rmse 0.173");
    assert_eq!(titles[1], "uint8-asym errs by 0.316 at most, int8-sym errs by 0.576 at most");
    assert_eq!(titles[2], "uint3-asym: 8 values, 23.8 apart; int3-sym: 8 values, 41.9 apart");
    assert!(titles[3].starts_with("Each bit buys 6.") && titles[3].ends_with("the law says 6.02"), "{}", titles[3]);
}

#[test]
fn large_and_degenerate_tensors_are_drawn_or_refused() {
    let large = Synthetic::normal(0.0, 1.0).tensor::<f32>("large", &[50_000]).unwrap();
    let figure = plot::original_and_dequantized(&large, &[Scheme::symmetric(4)]).unwrap();
    assert!(figure.to_svg().unwrap().contains("one in 50 drawn"));
    for values in [vec![3.0], vec![0.0, 0.0], vec![-1e300, 1e300], vec![1e-300, 2e-300], vec![5e-324, 0.0]] {
        let x = Tensor::from_vec("x", values).unwrap();
        for scheme in [Scheme::asymmetric(3), Scheme::symmetric(3)] {
            plot::original_and_dequantized(&x, &[scheme]).unwrap().to_png().unwrap();
            plot::errors(&x, &[scheme]).unwrap().to_svg().unwrap();
            plot::staircase(&x, &[scheme]).unwrap().to_svg().unwrap();
        }
    }
    let f32_edge = Tensor::from_vec("x", vec![-3e38_f32, 3e38]).unwrap();
    assert!(matches!(plot::staircase(&f32_edge, &[Scheme::symmetric(3)]), Err(Error::RangeOverflow { .. })));
    let edge = Tensor::from_vec("x", vec![f64::MAX, -f64::MAX]).unwrap();
    assert!(matches!(plot::staircase(&edge, &[Scheme::symmetric(3)]), Err(Error::RangeOverflow { .. })));
    assert!(matches!(plot::errors(&edge, &[]), Err(Error::Nothing { .. })));
    assert!(matches!(Figure::new("empty").to_svg(), Err(Error::Draw(_))));
}

#[test]
fn files_are_saved_by_their_ending() {
    let directory = tempfile::tempdir().unwrap();
    let figure = &all()[0];
    figure.save(directory.path().join("f.svg")).unwrap();
    figure.save(directory.path().join("f.png")).unwrap();
    assert_eq!(std::fs::read_to_string(directory.path().join("f.svg")).unwrap(), figure.to_svg().unwrap());
    assert_eq!(std::fs::read(directory.path().join("f.png")).unwrap(), figure.to_png().unwrap());
    assert!(matches!(figure.save(directory.path().join("f.gif")), Err(Error::Draw(_))));
    assert!(matches!(figure.save(directory.path().join("no/f.svg")), Err(Error::Write { .. })));
}

#[test]
fn values_show_themselves_by_media_type() {
    let kinds = |value: &dyn std::any::Any| -> Vec<&'static str> {
        let name = |content: &Content| match content {
            Content::Text(name, _) | Content::Bytes(name, _) => *name,
        };
        contents(value).unwrap().iter().map(name).collect()
    };
    let table = elements(&notebook(), &[Scheme::asymmetric(8)]);
    assert_eq!(kinds(&table), ["text/html", "text/plain"]);
    assert_eq!(kinds(&table.unwrap()), ["text/html", "text/plain"]);
    assert_eq!(kinds(&all()[0]), ["image/svg+xml", "image/png", "text/plain"]);
    assert_eq!(kinds(&()), [] as [&str; 0]);
    assert_eq!(contents(&3), None);
    let error: quantlens::Result<Figure> = Err(Error::GroupSize);
    assert!(
        matches!(&contents(&error).unwrap()[..], [Content::Text("text/plain", text)] if text.starts_with("error: group_size 0"))
    );
}

#[test]
fn html_escapes_and_elides() {
    let x = Synthetic::normal(0.0, 1.0).tensor::<f64>("x", &[1000]).unwrap();
    let html = frame_to_html(&elements(&x, &[Scheme::asymmetric(8)]).unwrap());
    assert_eq!(html.matches("<tr>").count(), 2 + 21);
    assert!(html.contains("1000 rows × 5 columns") && html.contains("<td>…</td>") && !html.contains("style"));
    use polars::prelude::{NamedFrom, Series};
    let frame = Series::new("<b>".into(), ["a & b"]).into_frame();
    let html = frame_to_html(&frame);
    assert!(html.contains("<th>&lt;b&gt;</th>") && html.contains("<td>a &amp; b</td>"));
}

/// The schemes of README's frontier and ledger.
const README_NAMES: [&str; 9] = [
    "int4-sym",
    "int4-sym-axis0",
    "int4-sym-g128",
    "int4-sym-g32-sf16",
    "uint4-asym-g128",
    "mxfp4",
    "nvfp4",
    "nf4-g64-dq",
    "int8-sym-axis0",
];

/// The pictures in the README are what the code draws. `QUANTLENS_BLESS=1 cargo test` draws them anew.
#[test]
fn the_readmes_pictures_are_up_to_date() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = open(root.join("notebooks/data/minilm-l6.safetensors")).unwrap();
    let weights = model.tensor("encoder.layer.0.output.dense.weight").unwrap();
    let quantizers = README_NAMES.map(|name| quantizer(name).unwrap());
    let figures = [
        ("errors", all().swap_remove(1)),
        ("frontier", plot::frontier(&frontier(&weights, &quantizers).unwrap()).unwrap()),
        ("ledger", plot::ledger(&ledger(&weights, &quantizers).unwrap()).unwrap()),
    ];
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.contains(&README_NAMES.map(|name| format!("\"{name}\"")).join(", ")), "README draws other schemes");
    for (name, figure) in figures {
        let path = root.join(format!("assets/{name}.png"));
        if std::env::var_os("QUANTLENS_BLESS").is_some() {
            figure.save(&path).unwrap();
        }
        let is_same = std::fs::read(&path).is_ok_and(|bytes| bytes == figure.to_png().unwrap());
        assert!(is_same, "{name}: run the tests with QUANTLENS_BLESS=1 and look at the picture");
    }
}

#[test]
fn titles_are_true_of_ties_too() {
    let title = |values: Vec<f64>, schemes: &[Scheme]| {
        plot::original_and_dequantized(&Tensor::from_vec("x", values).unwrap(), schemes).unwrap().title().to_owned()
    };
    let exact = [Scheme::symmetric(8), Scheme::asymmetric(8)];
    assert_eq!(title(vec![0.0, 3.0], &exact), "All are equally close: 0 off at most");
    // Both squares overflow; the wider format is closer all the same.
    let huge = title(vec![1e200, -0.9e200, 0.3e200], &[Scheme::symmetric(2), Scheme::symmetric(16)]);
    assert!(huge.starts_with("int16-sym stays closest"), "{huge}");
}

#[test]
fn widths_may_come_in_any_order() {
    let schemes = [Scheme::asymmetric(8)];
    let rising = plot::error_against_bits(&notebook(), &schemes, 2..=8).unwrap();
    assert_eq!(plot::error_against_bits(&notebook(), &schemes, (2..=8).rev()).unwrap(), rising);
    assert_eq!(plot::error_against_bits(&notebook(), &schemes, [8, 2, 3, 4, 4, 5, 6, 7]).unwrap(), rising);
    assert!(matches!(plot::error_against_bits(&notebook(), &schemes, [8]), Err(Error::Nothing { .. })));
}

#[test]
fn of_a_report_those_rows_are_joined_that_nothing_cheaper_surpasses() {
    let x = Synthetic::laplace(0.0, 0.02).seed(1).tensor::<f32>("weights", &[16, 256]).unwrap();
    let names = ["int8-sym", "int4-sym", "int4-sym-g32", "int5-sym", "nf4-g32", "int4-sym-g32-sf16"];
    let schemes: Vec<Scheme> = names.iter().map(|name| name.parse().unwrap()).collect();
    let table = quantlens::report(&[x], &schemes).unwrap();
    let figure = plot::error_against_cost(&table).unwrap();
    // Of the three that cost 5 bits, nf4 is the best.
    assert_eq!(figure.title(), "4 of 6 rows are the best for their bits");
    let svg = figure.to_svg().unwrap();
    for name in ["int4-sym", "int4-sym-g32-sf16", "nf4-g32", "int5-sym"] {
        assert!(svg.lines().any(|line| line.trim() == name), "{name}");
    }
    assert!(matches!(plot::error_against_cost(&table.head(Some(0))), Err(Error::Nothing { .. })));
}

#[test]
fn rows_have_names_and_labels_cover_nothing() {
    let (ink, style) = (Ink::Blue, Style::Points(Marker::Tick));
    let figure = Figure::new("Two rows").rows(["above", "below"]).series("", ink, style, [(0.0, 0.0), (1.0, 1.0)]);
    let svg = figure.to_svg().unwrap();
    let height_of = |name: &str| {
        let mut lines = svg.lines().zip(svg.lines().skip(1)).filter(|(_, text)| text.trim() == name);
        let (tag, _) = lines.next().unwrap();
        tag.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(height_of("above") < height_of("below"));
    // The second stands elsewhere than the first, and for the last there is no place.
    let crowd = (0..20).fold(figure, |figure, i| figure.label((0.5, 0.5), format!("label {i}")));
    let count = crowd.to_svg().unwrap().matches("label ").count();
    assert!((2..20).contains(&count), "{count}");
}

#[test]
fn a_chart_of_ones_own_is_a_figure_that_shows_and_saves() {
    use plotters::prelude::*;
    let draw = |caption: &'static str| {
        quantlens::chart((400, 300), move |root| {
            root.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(root)
                .caption(caption, ("Arial", 20))
                .margin(10)
                .x_label_area_size(30)
                .y_label_area_size(40)
                .build_cartesian_2d(0..4, 0..10)?;
            chart.configure_mesh().x_desc("n").draw()?;
            let bars = [1, 1, 3].into_iter().map(|x| (x, 2));
            chart.draw_series(Histogram::vertical(&chart).style(BLUE.filled()).data(bars))?;
            chart.draw_series(AreaSeries::new([(0, 1), (4, 9)], 0, RED.mix(0.3)))?;
            chart.draw_series([Circle::new((2, 5), 6, GREEN.filled())])?;
            Ok(())
        })
        .unwrap()
    };
    let figure = draw("a caption before any figure");
    let svg = figure.to_svg().unwrap();
    for part in ["a caption before any figure", "max-width:400px", "<circle", "<polygon", "#0000FF"] {
        assert!(svg.contains(part), "{part}");
    }
    let png = figure.to_png().unwrap();
    assert_eq!([&png[16..20], &png[20..24]].map(|side| u32::from_be_bytes(side.try_into().unwrap())), [800, 600]);
    // Not `draw` again: plotters' histogram draws its bars in the order of a hash map.
    assert_eq!(figure, figure.clone());
    assert_ne!(figure, draw("another"));
    let directory = tempfile::tempdir().unwrap();
    figure.save(directory.path().join("chart.png")).unwrap();
    assert_eq!(std::fs::read(directory.path().join("chart.png")).unwrap(), png);
}

#[test]
fn a_chart_that_cannot_be_drawn_says_why() {
    let error = quantlens::chart((0, 300), |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("0 by 300"), "{error}");
    let error = quantlens::chart((10, 10), |_| "x".parse::<i32>().map(|_| ()).map_err(Into::into)).unwrap_err().to_string();
    assert!(error.contains("invalid digit"), "{error}");
}
