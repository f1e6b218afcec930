//! What polars and the library can do in a cell: features of the prelude, of which a kernel has a set, chosen when it is installed.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A feature of `notebooks/prelude/Cargo.toml`. Their order is that of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    Json,
    Lazy,
    Parquet,
    Sql,
}

impl Feature {
    pub const ALL: [Self; 4] = [Self::Json, Self::Lazy, Self::Parquet, Self::Sql];

    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Lazy => "lazy",
            Self::Parquet => "parquet",
            Self::Sql => "sql",
        }
    }
}

/// A set of features: the same whatever the order and the number of times in which they were named.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Features(BTreeSet<Feature>);

impl Features {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This set and one more.
    pub fn with(&self, feature: Feature) -> Self {
        self.0.iter().copied().chain([feature]).collect()
    }

    /// Every set there can be, the empty one first.
    pub fn all_sets() -> BTreeSet<Self> {
        (0..1_usize << Feature::ALL.len())
            .map(|bits| {
                Feature::ALL.into_iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, feature)| feature).collect()
            })
            .collect()
    }

    /// In their order.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|feature| feature.name()).collect()
    }

    /// A name, and behind it those of the features: `template-lazy-parquet`.
    pub fn suffixed(&self, name: &str) -> String {
        std::iter::once(name).chain(self.names()).collect::<Vec<_>>().join("-")
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        let mut all: BTreeSet<Feature> = features.into_iter().collect();
        // As in the manifest, so that no build is there under two names.
        if all.contains(&Feature::Sql) {
            all.insert(Feature::Lazy);
        }
        Self(all)
    }
}

/// The names, commas between.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(","))
    }
}

/// A name that is no feature's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownFeature(String);

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = Feature::ALL.into_iter().map(Feature::name).collect();
        write!(f, "there is no feature `{}`: name some of {}, with commas between", self.0, known.join(", "))
    }
}

impl std::error::Error for UnknownFeature {}

impl FromStr for Features {
    type Err = UnknownFeature;

    fn from_str(text: &str) -> Result<Self, UnknownFeature> {
        let feature = |name: &str| {
            let name = name.trim();
            Feature::ALL.into_iter().find(|feature| feature.name() == name).ok_or_else(|| UnknownFeature(name.to_owned()))
        };
        text.split(',').map(feature).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Features {
        text.parse().unwrap()
    }

    #[test]
    fn a_set_is_the_same_in_any_order() {
        for text in ["lazy,parquet", "parquet,lazy", " parquet , lazy ", "lazy,parquet,lazy"] {
            assert_eq!(set(text), set("lazy,parquet"), "{text}");
            assert_eq!(set(text).to_string(), "lazy,parquet");
        }
        assert_eq!(set("lazy").with(Feature::Json).to_string(), "json,lazy");
        assert_eq!(set("lazy").with(Feature::Lazy), set("lazy"));
        assert_eq!(Features::default().suffixed("template"), "template");
        assert_eq!(set("parquet,lazy").suffixed("template"), "template-lazy-parquet");
    }

    #[test]
    fn sql_brings_lazy_as_in_the_manifest() {
        assert_eq!(set("sql"), set("lazy,sql"));
        assert_eq!(Features::default().with(Feature::Sql), set("lazy,sql"));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        for (text, name) in [("lazy,fast", "fast"), ("", ""), ("lazy,", ""), ("Lazy", "Lazy"), ("lazy parquet", "lazy parquet")] {
            let said = text.parse::<Features>().unwrap_err().to_string();
            assert!(said.contains(&format!("no feature `{name}`")) && said.contains("json, lazy, parquet, sql"), "{said}");
        }
    }

    #[test]
    fn every_set_has_a_name_of_its_own_that_leads_back_to_it() {
        let sets = Features::all_sets();
        // Of the sixteen, the four with `sql` and without `lazy` are others.
        assert_eq!(sets.len(), 12);
        assert!(sets.first().is_some_and(Features::is_empty));
        for set in sets.iter().filter(|set| !set.is_empty()) {
            assert_eq!(set.to_string().parse(), Ok(set.clone()));
        }
        assert!(Feature::ALL.is_sorted_by_key(|feature| feature.name()));
    }

    #[test]
    fn they_are_the_manifests() {
        let manifest = include_str!("../bundle/prelude.toml");
        let section = manifest.split("\n[features]\n").nth(1).and_then(|rest| rest.split("\n[").next()).unwrap();
        let names: Vec<&str> = section.lines().filter_map(|line| line.split_once(" = [")).map(|(name, _)| name).collect();
        let known: BTreeSet<&str> = Feature::ALL.into_iter().map(Feature::name).collect();
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>(), known);
    }
}
