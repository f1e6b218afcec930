//! `describe`, which polars has in Python and not in Rust.

use polars::prelude::{Column, DataFrame, PolarsResult, QuantileMethod};

/// A table's columns in numbers.
pub trait Describe {
    /// For each column how many values and how many nulls it has, and, if it is one of numbers, their mean, standard deviation, least and
    /// largest value and quartiles, as polars' `describe` in Python.
    ///
    /// # Errors
    /// Where a column has the name of the first, `statistic`.
    fn describe(&self) -> PolarsResult<DataFrame>;
}

const STATISTICS: [&str; 9] = ["count", "null_count", "mean", "std", "min", "25%", "50%", "75%", "max"];

impl Describe for DataFrame {
    fn describe(&self) -> PolarsResult<DataFrame> {
        let mut columns = vec![Column::new("statistic".into(), STATISTICS)];
        for column in self.columns() {
            columns.push(Column::new(column.name().clone(), statistics(column)?));
        }
        DataFrame::new(STATISTICS.len(), columns)
    }
}

fn statistics(column: &Column) -> PolarsResult<[Option<f64>; STATISTICS.len()]> {
    let nulls = column.null_count();
    let mut all = [None; STATISTICS.len()];
    all[0] = Some((column.len() - nulls) as f64);
    all[1] = Some(nulls as f64);
    if column.dtype().is_primitive_numeric() {
        let quantile = |at| column.quantile_reduce(at, QuantileMethod::Nearest);
        let scalars = [
            column.mean_reduce()?,
            column.std_reduce(1)?,
            column.min_reduce()?,
            quantile(0.25)?,
            quantile(0.5)?,
            quantile(0.75)?,
            column.max_reduce()?,
        ];
        for (value, scalar) in all[2..].iter_mut().zip(scalars) {
            *value = scalar.value().extract();
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use polars::prelude::df;

    use super::*;

    #[test]
    fn numbers_have_all_statistics_and_text_only_counts() {
        let frame =
            df!["n" => [Some(1), Some(2), Some(3), Some(4), Some(5), None], "t" => ["a", "b", "c", "d", "e", "f"]].unwrap();
        let described = frame.describe().unwrap();
        let values = |name: &str| described.column(name).unwrap().f64().unwrap().to_vec();
        let std = 2.5_f64.sqrt();
        assert_eq!(values("n"), [5.0, 1.0, 3.0, std, 1.0, 2.0, 3.0, 4.0, 5.0].map(Some));
        let none = [None; 7];
        assert_eq!(values("t"), [[Some(6.0), Some(0.0)].as_slice(), none.as_slice()].concat());
    }

    #[test]
    fn a_table_without_rows_and_one_of_a_single_row_have_statistics_too() {
        for (frame, count) in [(df!["n" => Vec::<f64>::new()].unwrap(), 0.0), (df!["n" => [1.5]].unwrap(), 1.0)] {
            let described = frame.describe().unwrap();
            assert_eq!(described.column("n").unwrap().f64().unwrap().get(0), Some(count));
        }
    }
}
