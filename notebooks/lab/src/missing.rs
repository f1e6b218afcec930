//! What a cell needs of polars that its kernel was built without, and how to get it.

use super::features::{Feature, Features};
use super::home::home;

/// What to do about an error of the compiler, of this code and message, that comes of a name which another feature has. `None` if it
/// does not, or the kernel has that feature.
pub fn needed_by_name(code: &str, message: &str, features: &Features) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    let name = name.rsplit("::").next().unwrap_or(name);
    let feature = match code {
        "E0599" if is_of_polars(quoted.next()?) => feature_of_method(name)?,
        "E0405" | "E0412" | "E0425" | "E0432" | "E0433" => feature_of_item(name)?,
        _ => return None,
    };
    way(feature, features)
}

/// The same for the message of a panic: polars panics where it would need a feature that it was built without, `activate feature
/// dtype-date`, or `activate 'dtype-time, ' feature`.
pub fn needed_by_panic(message: &str, features: &Features) -> Option<String> {
    let rest = message.strip_prefix("activate ").filter(|rest| rest.contains("feature"))?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name = rest.split(|c| !is_part(c)).find(|word| !word.is_empty() && *word != "feature")?;
    let way = feature_of_polars(name).and_then(|feature| way(feature, features));
    let way = way.map_or_else(|| ", which the notebooks' polars is built without".to_owned(), |way| format!(": {way}"));
    Some(format!("this needs polars' feature `{name}`{way}"))
}

/// How to get a feature beside those that the kernel has; `None` if it has it.
fn way(feature: Feature, features: &Features) -> Option<String> {
    let all = features.with(feature);
    (all != *features)
        .then(|| format!("install the kernel with --features {all}: {} kernel install --features {all}", home().command()))
}

/// Whether a type whose method is asked for, in the compiler's words, is one of polars.
fn is_of_polars(of: &str) -> bool {
    let types = ["polars", "DataFrame", "Series", "Column", "ChunkedArray", "LazyFrame", "Expr", "GroupBy"];
    types.iter().any(|name| of.contains(name))
}

fn feature_of_method(name: &str) -> Option<Feature> {
    Some(match name {
        "scan_parquet" | "sink_parquet" => Feature::Parquet,
        "sink_json" | "sink_ndjson" => Feature::Json,
        "lazy" | "join" | "left_join" | "inner_join" | "full_join" | "cross_join" | "semi_join" | "anti_join" | "join_asof"
        | "join_asof_by" | "value_counts" | "unique_counts" | "unpivot" | "to_dummies" | "pivot" | "rank" | "diff" | "mode"
        | "abs" | "round" | "is_in" | "is_unique" | "is_duplicated" | "cum_sum" | "top_k" | "partition_by" | "pct_change"
        | "interpolate" | "skew" | "kurtosis" | "product" | "sample_n" | "sample_frac" | "rolling_mean" | "rolling_sum"
        | "zip_with" | "as_date" | "as_datetime" | "as_time" | "date" | "datetime" | "duration" | "time" | "year" | "month"
        | "day" | "weekday" | "hour" | "minute" | "second" | "strftime" | "as_struct" | "struct_" | "into_struct" | "i8"
        | "i16" | "u8" | "u16" => Feature::Lazy,
        _ => return None,
    })
}

fn feature_of_item(name: &str) -> Option<Feature> {
    Some(match name {
        "ParquetReader" | "ParquetWriter" | "ParquetWriteOptions" | "ParquetCompression" | "ScanArgsParquet" => Feature::Parquet,
        "JsonReader" | "JsonWriter" | "JsonLineReader" | "JsonFormat" | "LazyJsonLineReader" => Feature::Json,
        "SQLContext" | "sql" => Feature::Sql,
        "lazy"
        | "col"
        | "cols"
        | "lit"
        | "len"
        | "when"
        | "concat"
        | "as_struct"
        | "Expr"
        | "LazyFrame"
        | "LazyGroupBy"
        | "IntoLazy"
        | "LazyCsvReader"
        | "LazyFileListReader"
        | "pivot"
        | "DataFrameJoinOps"
        | "DataFrameOps"
        | "JoinArgs"
        | "JoinType"
        | "JoinValidation"
        | "SeriesMethods"
        | "UnpivotDF"
        | "CsvReader"
        | "CsvWriter"
        | "CsvReadOptions"
        | "CsvParseOptions"
        | "SerReader"
        | "SerWriter"
        | "StrptimeOptions"
        | "StringMethods"
        | "StringNameSpaceImpl"
        | "TemporalMethods"
        | "DateMethods"
        | "DatetimeMethods"
        | "TimeMethods"
        | "DurationMethods"
        | "DateChunked"
        | "DatetimeChunked"
        | "DurationChunked"
        | "TimeChunked"
        | "StructChunked"
        | "date_range"
        | "datetime_range"
        | "RankOptions"
        | "RankMethod"
        | "Int8Chunked"
        | "Int16Chunked"
        | "UInt8Chunked"
        | "UInt16Chunked" => Feature::Lazy,
        _ => return None,
    })
}

/// Which of ours has this feature of polars.
fn feature_of_polars(name: &str) -> Option<Feature> {
    Some(match name {
        "parquet" => Feature::Parquet,
        "json" => Feature::Json,
        "sql" => Feature::Sql,
        "lazy" | "csv" | "temporal" | "strings" | "regex" | "dtype-date" | "dtype-datetime" | "dtype-duration" | "dtype-time"
        | "dtype-struct" | "dtype-categorical" | "dtype-array" | "dtype-decimal" | "dtype-i8" | "dtype-i16" | "dtype-u8"
        | "dtype-u16" | "asof_join" | "cross_join" | "semi_anti_join" | "is_in" | "rank" | "cum_agg" | "diff"
        | "rolling_window" | "round_series" | "top_k" | "mode" | "abs" | "pivot" | "zip_with" | "partition_by" | "random" => {
            Feature::Lazy
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Features {
        text.parse().unwrap()
    }

    fn told(features: &str) -> String {
        format!("install the kernel with --features {features}: {} kernel install --features {features}", home().command())
    }

    #[test]
    fn a_name_that_a_feature_has_is_told_with_the_way_to_it() {
        let none = Features::default();
        for (code, message, features) in [
            ("E0599", "no method named `lazy` found for struct `DataFrame` in the current scope", "lazy"),
            (
                "E0599",
                "no method named `value_counts` found for reference `&polars::prelude::Series` in the current scope",
                "lazy",
            ),
            ("E0425", "cannot find function `col` in this scope", "lazy"),
            ("E0432", "unresolved import `polars::prelude::CsvReader`", "lazy"),
            ("E0433", "cannot find type `ParquetWriter` in this scope", "parquet"),
            ("E0433", "cannot find type `JsonReader` in this scope", "json"),
            ("E0432", "unresolved import `polars::sql`", "lazy,sql"),
        ] {
            assert_eq!(needed_by_name(code, message, &none), Some(told(features)), "{message}");
        }
    }

    #[test]
    fn names_of_other_types_and_of_what_is_there_say_nothing() {
        let none = Features::default();
        for (code, message) in [
            ("E0599", "no method named `join` found for struct `Vec<f64>` in the current scope"),
            ("E0599", "no method named `no_such` found for struct `DataFrame` in the current scope"),
            ("E0425", "cannot find value `undefined` in this scope"),
            ("E0308", "mismatched types: `col` and `lit`"),
            ("E0425", "no name"),
        ] {
            assert_eq!(needed_by_name(code, message, &none), None, "{message}");
        }
        assert_eq!(needed_by_name("E0425", "cannot find function `col` in this scope", &with("lazy")), None);
    }

    #[test]
    fn what_the_kernel_has_stays_in_the_way_to_more() {
        let said = needed_by_name("E0433", "cannot find type `ParquetWriter` in this scope", &with("lazy"));
        assert_eq!(said, Some(told("lazy,parquet")));
    }

    #[test]
    fn a_panic_of_polars_is_told_with_the_way_to_what_it_needs() {
        let none = Features::default();
        let date = needed_by_panic("activate feature dtype-date", &none);
        assert_eq!(date, Some(format!("this needs polars' feature `dtype-date`: {}", told("lazy"))));
        let time = needed_by_panic("activate 'dtype-time, ' feature", &none);
        assert_eq!(time, Some(format!("this needs polars' feature `dtype-time`: {}", told("lazy"))));
        let said = "this needs polars' feature `dtype-f16`, which the notebooks' polars is built without".to_owned();
        assert_eq!(needed_by_panic("activate feature dtype-f16", &with("lazy")), Some(said));
        assert_eq!(needed_by_panic("index out of bounds", &none), None);
    }
}
