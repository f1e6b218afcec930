//! A scheme's name, there and back.

use std::fmt;
use std::str::FromStr;

use super::preset::presets;
use super::{Mapping, Overflow, Scheme, SymmetricRange};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::scale::{ScaleStorage, SecondLevel};

const RANGES: [(SymmetricRange, &str); 3] =
    [(SymmetricRange::Full, "full"), (SymmetricRange::Restricted, "restricted"), (SymmetricRange::NoClipping, "noclip")];
const SECOND_LEVELS: [(SecondLevel, &str); 2] = [(SecondLevel::TensorScale, "ts"), (SecondLevel::DoubleQuantized, "dq")];
const MAPPINGS: [(Mapping, &str); 4] =
    [(Mapping::Asymmetric, "asym"), (Mapping::Symmetric, "sym"), (Mapping::Minimum, "min"), (Mapping::Cast, "cast")];
const NO_SATURATION: &str = "nosat";

fn word_of<A: PartialEq>(table: &[(A, &'static str)], value: &A) -> &'static str {
    table.iter().find(|(known, _)| known == value).map_or("", |(_, word)| word)
}

fn value_of<A: Copy>(table: &[(A, &str)], word: &str) -> Option<A> {
    table.iter().find(|(_, known)| *known == word).map(|(value, _)| *value)
}

impl Scheme {
    /// The beginning of the name, and the scheme that has nothing more.
    fn head(&self) -> (String, Self) {
        let same_scales = |preset: &Self| {
            let ScaleStorage { format, second, .. } = preset.scale;
            (format, second) == (self.scale.format, self.scale.second)
        };
        let matches = |preset: &Self| preset.format == self.format && preset.mapping == self.mapping && same_scales(preset);
        if let Some((name, preset)) = presets().into_iter().find(|(_, preset)| matches(preset)) {
            return (name.to_owned(), preset);
        }
        let plain = Self::plain(self.format, self.mapping);
        let name = match (self.format, self.mapping) {
            (Format::Float(_) | Format::Codebook(_), Mapping::Symmetric) => self.format.to_string(),
            _ => format!("{}-{}", self.format, word_of(&MAPPINGS, &self.mapping)),
        };
        (name, plain)
    }

    /// The scheme whose name is a format and a mapping.
    fn plain(format: Format, mapping: Mapping) -> Self {
        match (format, mapping) {
            (Format::Codebook(codebook), Mapping::Symmetric) => Self::codebook(codebook),
            _ => Self { mapping, ..Self::of(format) },
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut name, head) = self.head();
        let mut say = |is_said: bool, word: &dyn fmt::Display| {
            if is_said {
                name += &format!("-{word}");
            }
        };
        if let Some(range) = &self.symmetric_range {
            say(true, &word_of(&RANGES, range));
        }
        say(self.granularity != head.granularity, &self.granularity);
        say(self.calibration != head.calibration, &self.calibration);
        say(self.scale.format != head.scale.format, &format!("s{}", self.scale.format));
        say(self.scale.rule != head.scale.rule, &self.scale.rule);
        if let (Some(second), true) = (&self.scale.second, self.scale.second != head.scale.second) {
            say(true, &word_of(&SECOND_LEVELS, second));
        }
        if let Some(rounding) = self.rounding {
            say(true, &rounding);
        }
        say(self.overflow == Overflow::Special, &NO_SATURATION);
        say(self.convention != head.convention, &self.convention);
        f.pad(&name)
    }
}

impl FromStr for Scheme {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |reason: String| Error::ParseScheme { text: text.to_owned(), reason };
        let (mut scheme, mut rest) = parse_head(text).map_err(refuse)?;
        if text.ends_with('-') && !rest.is_empty() {
            return Err(refuse("it ends in a hyphen".to_owned()));
        }
        while !rest.is_empty() {
            let (word, after) = first_word(rest);
            scheme = scheme.with_word(word).ok_or_else(|| refuse(format!("`{word}` is not known")))?;
            rest = after;
        }
        scheme.validate()?;
        // One scheme, one name: words twice, out of order or spelled otherwise are refused rather than guessed at.
        let name = scheme.to_string();
        if name == text { Ok(scheme) } else { Err(refuse(format!("its parts spell `{name}`"))) }
    }
}

/// The scheme of a name's beginning, and the words after it.
fn parse_head(text: &str) -> Result<(Scheme, &str), String> {
    for (name, preset) in presets() {
        match text.strip_prefix(name) {
            Some("") => return Ok((preset, "")),
            Some(rest) if rest.starts_with('-') => return Ok((preset, &rest[1..])),
            _ => {}
        }
    }
    let (format, rest) = text.split_once('-').unwrap_or((text, ""));
    let format: Format = format.parse()?;
    let (word, after) = rest.split_once('-').unwrap_or((rest, ""));
    match (value_of(&MAPPINGS, word), format) {
        (Some(mapping), Format::Int { .. }) => Ok((Scheme::plain(format, mapping), after)),
        (None, Format::Int { .. }) if word.is_empty() => {
            Err("it has no mapping, which is `asym`, `sym`, `min` or `cast`".to_owned())
        }
        (None, Format::Int { .. }) => Err(format!("`{word}` is no mapping, which is `asym`, `sym`, `min` or `cast`")),
        (Some(Mapping::Cast), _) => Ok((Scheme::plain(format, Mapping::Cast), after)),
        _ => Ok((Scheme::plain(format, Mapping::Symmetric), rest)),
    }
}

/// The first word of some, and those after it. Some roundings have a hyphen of their own.
fn first_word(words: &str) -> (&str, &str) {
    let from = if words.starts_with("half-") { "half-".len() } else { 0 };
    match words[from..].find('-') {
        Some(end) => (&words[..from + end], &words[from + end + 1..]),
        None => (words, ""),
    }
}

impl Scheme {
    fn with_word(self, word: &str) -> Option<Self> {
        if word == NO_SATURATION {
            return Some(self.with_overflow(Overflow::Special));
        }
        if let Some(range) = value_of(&RANGES, word) {
            return Some(Self { symmetric_range: Some(range), ..self });
        }
        if let Some(second) = value_of(&SECOND_LEVELS, word) {
            return Some(Self { scale: ScaleStorage { second: Some(second), ..self.scale }, ..self });
        }
        let scale_format = || Some(self.with_scale_format(word.strip_prefix('s')?.parse().ok()?));
        let calibration = || Some(self.with_calibration(word.parse().ok()?));
        let granularity = || Some(self.with_granularity(word.parse().ok()?));
        let rule = || Some(self.with_scale_rule(word.parse().ok()?));
        let rounding = || Some(self.with_rounding(word.parse().ok()?));
        let convention = || Some(self.with_convention(word.parse().ok()?));
        calibration().or_else(granularity).or_else(scale_format).or_else(rule).or_else(rounding).or_else(convention)
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
