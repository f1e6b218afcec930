//! A scheme's name, there and back.

use std::fmt;
use std::str::FromStr;

use super::{Convention, Scheme, SymmetricRange};
use crate::calibrate::Calibration;
use crate::error::{Error, Result};
use crate::format::{Format, Rounding, whole_number};
use crate::granularity::Granularity;

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut name = format!("{}-{}", self.format, self.mapping.short_name());
        let mut say = |part: &dyn fmt::Display| name += &format!("-{part}");
        match self.symmetric_range {
            Some(SymmetricRange::Full) => say(&"full"),
            Some(SymmetricRange::Restricted) => say(&"restricted"),
            None => {}
        }
        if self.granularity != Granularity::PerTensor {
            say(&self.granularity);
        }
        if self.calibration != Calibration::MinMax {
            say(&self.calibration);
        }
        match self.rounding {
            Some(Rounding::HalfToEven) => say(&"half-even"),
            Some(Rounding::HalfAwayFromZero) => say(&"half-away"),
            None => {}
        }
        if self.convention != Convention::Onnx {
            say(&self.convention);
        }
        f.pad(&name)
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: String| Error::ParseScheme { text: text.to_owned(), reason };
        let (format, rest) = text.split_once('-').ok_or_else(|| refuse("it has no mapping".to_owned()))?;
        let format: Format = format.parse().map_err(refuse)?;
        let (mapping, mut rest) = rest.split_once('-').unwrap_or((rest, ""));
        let mut scheme = match mapping {
            "asym" => Self::asymmetric(format.bits()),
            "sym" => Self::symmetric(format.bits()),
            other => return Err(refuse(format!("`{other}` is no mapping, which is `asym` or `sym`"))),
        };
        scheme.format = format;
        while !rest.is_empty() {
            // Two of the words have a hyphen of their own.
            let end = ["half-even", "half-away"].iter().find(|word| rest.starts_with(**word)).map(|word| word.len());
            let end = end.or_else(|| rest.find('-')).unwrap_or(rest.len());
            let word = &rest[..end];
            scheme = scheme.with_word(word).ok_or_else(|| refuse(format!("`{word}` is not known")))?;
            rest = match rest[end..].strip_prefix('-') {
                Some("") => return Err(refuse("it ends in a hyphen".to_owned())),
                Some(next) => next,
                None if end == rest.len() => "",
                None => return Err(refuse(format!("`{rest}` is not known"))),
            };
        }
        scheme.validate()?;
        // One scheme, one name: words twice, out of order or spelled otherwise are refused rather than guessed at.
        let name = scheme.to_string();
        if name == text { Ok(scheme) } else { Err(refuse(format!("its parts spell `{name}`"))) }
    }
}

impl Scheme {
    fn with_word(self, word: &str) -> Option<Self> {
        match word {
            "full" => Some(self.full_range()),
            "restricted" => Some(self.restricted_range()),
            "half-even" => Some(self.with_rounding(Rounding::HalfToEven)),
            "half-away" => Some(self.with_rounding(Rounding::HalfAwayFromZero)),
            _ => {
                if let Some(axis) = word.strip_prefix("axis").and_then(whole_number) {
                    Some(self.per_axis(axis))
                } else if let Some(group_size) = word.strip_prefix('g').and_then(whole_number) {
                    Some(self.per_group(group_size))
                } else if let Ok(convention) = word.parse() {
                    Some(self.with_convention(convention))
                } else {
                    word.strip_prefix('p').and_then(whole_number).map(|percentile| self.percentile(percentile))
                }
            }
        }
    }
}

impl From<Scheme> for String {
    fn from(scheme: Scheme) -> Self {
        scheme.to_string()
    }
}

impl TryFrom<String> for Scheme {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}
