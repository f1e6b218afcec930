//! Rules, and differences between reports.

use polars::prelude::{DataFrame, df};
use quantlens::{Comparison, Error, Operand, Rule, Scheme, Synthetic, check, diff, ledger, report};

use super::{is_null, number, text};

fn rule(text: &str) -> Rule {
    text.parse().unwrap()
}

#[test]
fn rules_there_and_back() {
    for text in [
        "sqnr_db >= 30",
        "mse <= 0.001",
        "bits != 8",
        "sqnr_db:delta >= -0.5",
        "scheme == \"int8-sym\"",
        "max_abs_error < 0.01 where tensor == \"lm_head.weight\" and bits <= 8",
        "sqnr_db > -inf where scheme != \"a \\\"b\\\\ where c\" and mse == 0",
    ] {
        assert_eq!(rule(text).to_string(), text);
        assert_eq!(rule(&rule(text).to_string()), rule(text));
        let json = serde_json::to_string(&rule(text)).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule(text));
    }
    let spaced = rule("  sqnr_db>=3e1   where   scheme==\"x\"  and bits<4 ");
    assert_eq!(spaced.to_string(), "sqnr_db >= 30 where scheme == \"x\" and bits < 4");
    assert_eq!(spaced.condition.comparison, Comparison::AtLeast);
    assert_eq!(spaced.only_where[0].operand, Operand::Text("x".to_owned()));
}

#[test]
fn what_is_no_rule_says_why() {
    for (text, reason) in [
        ("", "does not begin with the name of a column"),
        (">= 3", "does not begin with the name of a column"),
        ("mse", "after `mse` comes no comparison"),
        ("mse = 3", "after `mse` comes no comparison"),
        ("mse >= ", "neither a number nor a text"),
        ("mse >= nan", "neither a number nor a text"),
        ("mse >= int8", "neither a number nor a text"),
        ("scheme == \"x", "has no end"),
        ("scheme == \"\\n\"", "has no end"),
        ("scheme >= \"x\"", "texts are == or !="),
        ("mse <= 3 bits == 8", "is not `where` and a condition"),
        ("mse <= 3 where", "is not `where` and a condition"),
        ("mse <= 3 wherebits == 8", "is not `where` and a condition"),
        ("mse <= 3 where bits == 8 where bits == 8", "is not `and` and a condition"),
        ("mse <= 3 and bits == 8", "is not `where` and a condition"),
    ] {
        let error = text.parse::<Rule>().unwrap_err();
        assert!(matches!(error, Error::ParseRule { .. }));
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }
}

fn frame() -> DataFrame {
    df!(
        "tensor" => ["a", "a", "b", "b"],
        "scheme" => ["x", "y", "x", "y"],
        "bits" => [8_u32, 4, 8, 4],
        "sqnr_db" => [Some(40.0), Some(20.0), Some(f64::NAN), None],
        "is_pareto" => [true, false, true, true],
    )
    .unwrap()
}

#[test]
fn broken_rules_are_named() {
    let broken = |rules: &[&str]| {
        let rules: Vec<Rule> = rules.iter().map(|text| rule(text)).collect();
        let table = check(&frame(), &rules).unwrap();
        (0..table.height()).map(|row| text(&table, "tensor", row) + &text(&table, "scheme", row)).collect::<Vec<_>>()
    };
    assert_eq!(broken(&["sqnr_db >= 30"]), ["ay", "bx", "by"]);
    assert_eq!(broken(&["sqnr_db >= 30 where tensor == \"a\" and bits > 4"]), Vec::<String>::new());
    assert_eq!(broken(&["sqnr_db >= 20 where tensor == \"a\"", "bits == 8 where scheme == \"y\""]), ["ay", "by"]);
    assert_eq!(broken(&["sqnr_db > 20 where tensor == \"a\""]), ["ay"]);
    assert_eq!(broken(&["scheme != \"y\" where tensor == \"b\""]), ["by"]);
    // What is not known is not kept, and holds of nothing.
    assert_eq!(broken(&["sqnr_db != 3"]), ["bx", "by"]);
    assert_eq!(broken(&["bits == 3 where sqnr_db != 3"]), ["ax", "ay"]);
    assert_eq!(broken(&["is_pareto == 1"]), ["ay"]);
    assert_eq!(broken(&["sqnr_db >= 99 where tensor == \"c\""]), Vec::<String>::new());
    let table = check(&frame(), &[rule("sqnr_db >= 30"), rule("scheme == \"x\"")]).unwrap();
    assert_eq!(text(&table, "message", 0), "a under y: sqnr_db is 20, not >= 30");
    assert_eq!(text(&table, "message", 2), "b under y: sqnr_db is null, not >= 30");
    assert_eq!(text(&table, "message", 3), "a under y: scheme is y, not == \"x\"");
    assert_eq!((number(&table, "bound", 0), number(&table, "value", 0)), (30.0, 20.0));
    assert!(is_null(&table, "bound", 3) && is_null(&table, "value", 3));
    assert_eq!((text(&table, "metric", 3), text(&table, "comparison", 3)), ("scheme".to_owned(), "==".to_owned()));
}

#[test]
fn columns_that_are_not_there() {
    for (rule, column) in
        [("snr >= 3", "snr"), ("tensor >= 3", "tensor"), ("bits == \"8\"", "bits"), ("bits == 8 where snr == 3", "snr")]
    {
        let error = check(&frame(), &[rule.parse().unwrap()]).unwrap_err();
        assert!(matches!(&error, Error::NoColumn { column: found, .. } if found == column), "{error}");
    }
    let without_names = df!("mse" => [1.0, 2.0]).unwrap();
    let table = check(&without_names, &[rule("mse < 2")]).unwrap();
    assert_eq!(text(&table, "message", 0), "row 1: mse is 2, not < 2");
    assert!(diff(&frame(), &without_names).is_err());
}

#[test]
fn differences_by_tensor_and_scheme() {
    let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[512]).unwrap();
    let y = Synthetic::normal(0.0, 1.0).seed(2).tensor::<f32>("y", &[512]).unwrap();
    let a = report(&[x.clone(), y.clone()], &[Scheme::symmetric(8), Scheme::symmetric(4)]).unwrap();
    // Another order, one row more and one less.
    let b = report(&[y, x], &[Scheme::symmetric(4), Scheme::symmetric(2)]).unwrap();
    let table = diff(&a, &b).unwrap();
    let rows: Vec<String> = (0..table.height())
        .map(|row| format!("{} {} {}", text(&table, "tensor", row), text(&table, "scheme", row), text(&table, "is_in", row)))
        .collect();
    assert_eq!(rows, ["x int8-sym a", "x int4-sym both", "y int8-sym a", "y int4-sym both", "y int2-sym b", "x int2-sym b"]);
    assert_eq!(number(&table, "sqnr_db:delta", 1), 0.0);
    assert_eq!(number(&table, "sqnr_db:a", 0), number(&a, "sqnr_db", 0));
    assert!(is_null(&table, "sqnr_db:b", 0) && is_null(&table, "sqnr_db:delta", 0) && is_null(&table, "sqnr_db:a", 5));
    assert!(table.column("format:a").is_err());
    let same = diff(&a, &a).unwrap();
    for row in 0..same.height() {
        assert_eq!(number(&same, "mse:delta", row), 0.0);
    }
}

#[test]
fn differences_of_any_tables_infinities_and_repeated_names() {
    let a = df!("tensor" => ["t", "t", "t"], "scheme" => ["s", "s", "r"], "v" => [f64::INFINITY, 1.0, f64::NAN]).unwrap();
    let b = df!("tensor" => ["t", "t", "t"], "scheme" => ["s", "s", "r"], "v" => [f64::INFINITY, 3.0, f64::NAN]).unwrap();
    let table = diff(&a, &b).unwrap();
    assert_eq!(table.column("v:delta").unwrap().f64().unwrap().to_vec(), [Some(0.0), Some(2.0), Some(0.0)]);
    let x = Synthetic::normal(0.0, 1.0).seed(1).tensor::<f32>("x", &[512]).unwrap();
    let parts = |scheme: Scheme| ledger(&x, &[scheme]).unwrap();
    let table = diff(&parts(Scheme::symmetric(8)), &parts(Scheme::symmetric(8))).unwrap();
    assert_eq!(number(&table, "rounding:delta", 0), 0.0);
}
