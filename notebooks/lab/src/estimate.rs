//! How long a build will still take: from how fast this machine has compiled so far, and from what share of the whole each crate is.
//! Only the standard library is used here, so that the launcher has this too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Milliseconds of processor time that each crate's compilation took where `jupyter/weights.py` was run last. Only their ratios matter.
const WEIGHTS: &str = include_str!("weights.txt");

/// Before this much of a build is done, nothing is said of the rest.
const LEAST_SHARE: f64 = 0.02;
const LEAST_TIME: Duration = Duration::from_secs(5);

/// A build that is going on.
pub struct Estimate {
    start: Instant,
    weights: BTreeMap<&'static str, f64>,
    /// Packages that are not built.
    waiting: BTreeSet<String>,
    /// Packages that were built now, or are.
    total: usize,
    done: usize,
    done_weight: f64,
    waiting_weight: f64,
}

impl Estimate {
    /// A build of these packages, `name version`, that begins now.
    pub fn new(packages: BTreeSet<String>) -> Self {
        let weights = WEIGHTS.lines().filter_map(|line| line.split_once(' '));
        let weights = weights.filter_map(|(name, weight)| Some((name, weight.parse().ok()?))).collect();
        let mut estimate = Self {
            start: Instant::now(),
            weights,
            total: packages.len(),
            waiting: packages,
            done: 0,
            done_weight: 0.0,
            waiting_weight: 0.0,
        };
        estimate.waiting_weight = estimate.waiting.iter().map(|package| estimate.weight(package)).sum();
        estimate
    }

    fn weight(&self, package: &str) -> f64 {
        let name = package.split(' ').next().unwrap_or(package);
        self.weights.get(name).copied().unwrap_or(300.0)
    }

    /// A package is there: compiled now, or `fresh`, from an earlier build.
    pub fn built(&mut self, package: &str, is_fresh: bool) {
        if !self.waiting.remove(package) {
            return;
        }
        let weight = self.weight(package);
        self.waiting_weight -= weight;
        if is_fresh {
            self.total -= 1;
        } else {
            self.done += 1;
            self.done_weight += weight;
        }
    }

    /// Packages compiled, and how many there are to compile.
    pub fn count(&self) -> (usize, usize) {
        (self.done, self.total)
    }

    /// What is to be shown of it.
    pub fn line(&self, name: &str) -> String {
        let elapsed = self.start.elapsed();
        let left = match self.left() {
            Some(left) => format!("about {} left", minutes(left)),
            None => "measuring how long it takes".to_owned(),
        };
        let (done, total) = self.count();
        format!("{done}/{total} crates, {}, {left}: {name}", minutes(elapsed))
    }

    fn left(&self) -> Option<Duration> {
        let elapsed = self.start.elapsed();
        let share = self.done_weight / (self.done_weight + self.waiting_weight);
        (share >= LEAST_SHARE && elapsed >= LEAST_TIME).then(|| elapsed.mul_f64((1.0 - share) / share))
    }
}

/// `4:05`.
pub fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// The package of a line that cargo prints for `--message-format json`, `name version`, and whether it was there already. `None` for
/// lines that say something else, and for build scripts, which are not the package yet.
pub fn built_package(line: &str) -> Option<(String, bool)> {
    if !line.starts_with(r#"{"reason":"compiler-artifact""#) || line.contains(r#""kind":["custom-build"]"#) {
        return None;
    }
    let id = line.split_once(r#""package_id":""#)?.1.split_once('"')?.0;
    let (path, named) = id.rsplit_once('#')?;
    // `…#name@version`; of a path whose last part is the name, `…/name#version`.
    let (name, version) = named.split_once('@').unwrap_or((path.rsplit('/').next()?, named));
    Some((format!("{name} {version}"), line.contains(r#""fresh":true"#)))
}

/// The packages that `cargo tree --prefix none` prints, `name version`.
pub fn packages_of_tree(text: &str) -> BTreeSet<String> {
    let name_and_version = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.strip_prefix('v')?))
    };
    text.lines().filter_map(name_and_version).collect()
}
