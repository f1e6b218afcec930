//! quantlens: variables that end with their cell, and what their user is told (a file that evcxr does not have).

/// A variable that could not be kept for later cells.
#[derive(Clone, Debug)]
pub(crate) struct Temporary {
    pub(crate) name: String,
    why: Why,
}

#[derive(Clone, Debug)]
pub(crate) enum Why {
    /// Its type has no name.
    Closure,
    /// It borrows, from this if it is known.
    Borrow(Option<String>),
    /// Its type, as the program knows it, cannot be written in a cell.
    NoName(String),
}

impl Temporary {
    pub(crate) fn new(name: &str, why: Why) -> Temporary {
        Temporary {
            name: name.to_owned(),
            why,
        }
    }

    /// Why it is not there any more, and what would keep it, in one line.
    pub(crate) fn note(&self) -> String {
        let name = &self.name;
        match &self.why {
            Why::Closure => format!(
                "`{name}` ended with this cell: it is a closure; to keep it, write a `fn`, or box it: `let {name}: Box<dyn Fn(…) -> …> = Box::new(…);`"
            ),
            Why::Borrow(Some(from)) => format!(
                "`{name}` ended with this cell: it borrows from `{from}`; to keep it, make it a value of its own, as with `.clone()` or `.to_owned()`"
            ),
            Why::Borrow(None) => format!(
                "`{name}` ended with this cell: it borrows; to keep it, make it a value of its own, as with `.clone()` or `.to_owned()`"
            ),
            Why::NoName(type_name) if type_name.contains("{{closure}}") => format!(
                "`{name}` ended with this cell: a closure is part of its type; to keep it, `.collect()` it, or box it: `let {name}: Box<dyn …> = Box::new(…);`"
            ),
            Why::NoName(type_name) => format!(
                "`{name}` ended with this cell: its type, {type_name}, has no name here; to keep it, write its type: `let {name}: … = …;`"
            ),
        }
    }
}
