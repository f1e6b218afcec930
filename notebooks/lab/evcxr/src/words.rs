//! quantlens: the words of some code (a file that evcxr does not have).

use std::collections::HashMap;

/// Everything in some code that could be the name of a variable, in strings and comments too: a format
/// string may hold one. How often each stands there.
pub(crate) struct Words {
    words: HashMap<String, usize>,
    /// Another file's code is part of it.
    pub(crate) includes: bool,
}

impl Words {
    pub(crate) fn of(code: &str) -> Words {
        // Beyond ASCII no character is taken for the end of a name.
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let mut words = HashMap::new();
        for word in code.split(|c| !is_part(c)) {
            *words.entry(word.to_owned()).or_insert(0) += 1;
        }
        Words {
            words,
            includes: code.contains("include"),
        }
    }

    pub(crate) fn contains(&self, variable: &str) -> bool {
        self.includes || self.words.contains_key(bare(variable))
    }

    pub(crate) fn is_once(&self, variable: &str) -> bool {
        !self.includes && self.words.get(bare(variable)) == Some(&1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.words.keys().map(String::as_str)
    }
}

/// A variable's name as it is among the words.
pub(crate) fn bare(variable: &str) -> &str {
    variable.trim_start_matches("r#")
}
