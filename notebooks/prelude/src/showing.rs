//! What a cell shows: quantlens' own tables and pictures, those in an `Option` or a list, text of a media type, and everything else by
//! `Debug`, cut in the middle where it is long.

use std::any::Any;
use std::fmt::{self, Debug, Write as _};

#[cfg(feature = "lazy")]
use polars::prelude::LazyFrame;
use polars::prelude::{Column, DataFrame, PolarsError, Series};
use quantlens::display::{Content, contents};
use quantlens::figure::Figure;

use crate::session;

/// Shows any value as a cell's last expression: what quantlens knows as tables and pictures, everything else by `Debug`.
///
/// evcxr calls a method of this name on the last expression. One blanket implementation makes every such cell compile at the first
/// attempt, where it would take a second one for types without the method.
pub trait Show {
    /// Writes the value's representations to where the kernel reads them. An `Err` of a table or a picture is the cell's error.
    fn evcxr_display(&self);
}

impl<T: Debug + Any> Show for T {
    fn evcxr_display(&self) {
        show_value(self, self);
    }
}

impl Show for str {
    fn evcxr_display(&self) {
        show_value(&Unknown, &self);
    }
}

impl<T: Debug + Any> Show for [T] {
    fn evcxr_display(&self) {
        show_value(&Unknown, &self);
    }
}

/// Nothing that is known as a table or a picture.
struct Unknown;

/// The traits whose `evcxr_display` shows a cell's last expression, nameless, so that they are in nobody's way.
pub mod shows {
    pub use super::Show as _;
    #[cfg(feature = "lazy")]
    pub use super::ShowPlan as _;
}

/// What has no `Debug`, so that [`Show`] does not know it: a lazy frame is shown as its plan.
#[cfg(feature = "lazy")]
pub trait ShowPlan {
    /// As [`Show::evcxr_display`].
    fn evcxr_display(&self);
}

#[cfg(feature = "lazy")]
impl ShowPlan for LazyFrame {
    fn evcxr_display(&self) {
        match self.explain(true) {
            Ok(plan) => session::send_value(&[Content::Text("text/plain", format!("{plan}\n\n`.collect()?` gives the table"))]),
            Err(error) => session::fail(&error.to_string()),
        }
    }
}

#[cfg(feature = "lazy")]
impl ShowPlan for Result<LazyFrame, PolarsError> {
    fn evcxr_display(&self) {
        match self {
            Ok(frame) => frame.evcxr_display(),
            Err(error) => session::fail(&error.to_string()),
        }
    }
}

/// Shows a value in the middle of a cell, as its last expression would be shown; several to a cell. Under a kernel that cannot, which is
/// evcxr's own, its text is printed.
pub fn show<T: Debug + Any>(value: &T) {
    for contents in representations(value, value) {
        session::send_display(&contents);
    }
}

/// Not generic, so that a cell has none of it to compile.
pub(crate) fn show_value(value: &dyn Any, debug: &dyn Debug) {
    if let Some(error) = quantlens::display::failure(value) {
        return session::fail(&error);
    }
    let mut all = representations(value, debug);
    // One value, or a list of tables and pictures.
    if all.len() == 1 {
        return session::send_value(&all.remove(0));
    }
    for contents in all {
        session::send_display(&contents);
    }
}

/// Of each value that is shown: a list is several.
fn representations(value: &dyn Any, debug: &dyn Debug) -> Vec<Vec<Content>> {
    known(value).unwrap_or_else(|| vec![vec![Content::Text("text/plain", debug_text(value, debug))]])
}

/// Of what is shown otherwise than by `Debug`.
fn known(value: &dyn Any) -> Option<Vec<Vec<Content>>> {
    if let Some(all) = contents(value) {
        return Some(vec![all]);
    }
    if let Some(column) = value.downcast_ref::<Column>() {
        return contents(column.as_materialized_series()).map(|all| vec![all]);
    }
    if let Some(content) = value.downcast_ref::<Content>() {
        return Some(vec![vec![content.clone()]]);
    }
    if let Some(all) = value.downcast_ref::<Vec<Content>>() {
        return Some(vec![all.clone()]);
    }
    within::<DataFrame>(value)
        .or_else(|| within::<Series>(value))
        .or_else(|| within::<Column>(value))
        .or_else(|| within::<Figure>(value))
        .or_else(|| media(value).map(|all| vec![all]))
}

/// Of an `Option` that has one, and of a list that has some.
fn within<T: Any>(value: &dyn Any) -> Option<Vec<Vec<Content>>> {
    if let Some(Some(inner)) = value.downcast_ref::<Option<T>>() {
        return known(inner);
    }
    if let Some(Ok(inner)) = value.downcast_ref::<Result<T, PolarsError>>() {
        return known(inner);
    }
    let list = value.downcast_ref::<Vec<T>>().filter(|list| !list.is_empty())?;
    Some(list.iter().filter_map(|inner| known(inner)).flatten().collect())
}

macro_rules! text_media {
    ($($name:ident $media_type:literal $what:literal,)*) => {
        $(
            #[doc = $what]
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $name<S = String>(pub S);

            impl<S: AsRef<str>> $name<S> {
                /// As a cell's last expression.
                pub fn evcxr_display(&self) {
                    session::send_value(&self.contents());
                }

                fn contents(&self) -> Vec<Content> {
                    let text = self.0.as_ref();
                    vec![Content::Text($media_type, text.to_owned()), Content::Text("text/plain", text.to_owned())]
                }
            }
        )*

        fn media(value: &dyn Any) -> Option<Vec<Content>> {
            $(
                if let Some(found) = value.downcast_ref::<$name<String>>() {
                    return Some(found.contents());
                }
                if let Some(found) = value.downcast_ref::<$name<&'static str>>() {
                    return Some(found.contents());
                }
            )*
            value.downcast_ref::<Png>().map(Png::contents)
        }
    };
}

text_media! {
    Html "text/html" "Shows its text as HTML: `Html(\"<b>bold</b>\")`.",
    Markdown "text/markdown" "Shows its text as Markdown: `Markdown(\"**bold**\")`.",
    Latex "text/latex" "Shows its text as LaTeX: `Latex(\"$x^2$\")`.",
    Svg "image/svg+xml" "Shows its text as a picture: `Svg(\"<svg …>…</svg>\")`.",
    Json "application/json" "Shows its text as a tree: `Json(\"{\\\"a\\\": 1}\")`.",
}

/// Shows the bytes of a PNG file: `Png(std::fs::read("picture.png")?)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Png(pub Vec<u8>);

impl Debug for Png {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Png: {} bytes", self.0.len())
    }
}

impl Png {
    fn contents(&self) -> Vec<Content> {
        vec![Content::Bytes("image/png", self.0.clone()), Content::Text("text/plain", format!("{self:?}"))]
    }
}

/// A list of more values than this is shown by its ends.
const MOST_VALUES: usize = 1000;
/// So many values are at each end.
const END_VALUES: usize = 10;
/// Other text is cut beyond this many characters.
const MOST_CHARACTERS: usize = 20_000;
/// So many characters are before and behind the cut.
const END_CHARACTERS: (usize, usize) = (8000, 2000);

/// A value as text by `Debug`, the middle left out where it is long; then how long it is.
fn debug_text(value: &dyn Any, debug: &dyn Debug) -> String {
    fn of<T: Any + Debug>(value: &dyn Any) -> Option<String> {
        let list = value.downcast_ref::<Vec<T>>().filter(|list| list.len() > MOST_VALUES)?;
        let text = |values: &[T]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
        let (first, last) = (text(&list[..END_VALUES]), text(&list[list.len() - END_VALUES..]));
        Some(format!("[{first}, …, {last}] ({} values)", list.len()))
    }
    let ends = of::<f64>(value)
        .or_else(|| of::<f32>(value))
        .or_else(|| of::<i32>(value))
        .or_else(|| of::<i64>(value))
        .or_else(|| of::<u8>(value))
        .or_else(|| of::<i8>(value))
        .or_else(|| of::<u16>(value))
        .or_else(|| of::<i16>(value))
        .or_else(|| of::<u32>(value))
        .or_else(|| of::<u64>(value))
        .or_else(|| of::<usize>(value))
        .or_else(|| of::<bool>(value))
        .or_else(|| of::<String>(value))
        .or_else(|| of::<&'static str>(value));
    ends.unwrap_or_else(|| cut_text(debug))
}

/// The text by `Debug`, of which never more is kept than is shown.
pub(crate) fn cut_text(debug: &dyn Debug) -> String {
    let mut text = Cut::default();
    // Only what is shown could fail, by its own `Debug`; what it has written is there.
    let _ = write!(text, "{debug:?}");
    text.finished()
}

/// Takes text of any length and keeps its ends.
#[derive(Default)]
struct Cut {
    head: String,
    /// The last characters, and those before them that were not yet thrown away.
    tail: String,
    tail_characters: usize,
    characters: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.characters += 1;
            if self.characters <= END_CHARACTERS.0 {
                self.head.push(character);
                continue;
            }
            self.tail.push(character);
            self.tail_characters += 1;
            // Rarely, so that it takes no time.
            if self.tail_characters >= 2 * MOST_CHARACTERS {
                self.keep_last(MOST_CHARACTERS);
            }
        }
        Ok(())
    }
}

impl Cut {
    fn keep_last(&mut self, count: usize) {
        let gone = self.tail_characters.saturating_sub(count);
        let at = self.tail.char_indices().nth(gone).map_or(self.tail.len(), |(at, _)| at);
        self.tail.drain(..at);
        self.tail_characters -= gone;
    }

    fn finished(mut self) -> String {
        if self.characters <= MOST_CHARACTERS {
            return self.head + &self.tail;
        }
        self.keep_last(END_CHARACTERS.1);
        format!("{} … {}\n({} characters)", self.head, self.tail, self.characters)
    }
}

/// What lives too short for [`Show`]: what it borrows is shown, if that is a table or a picture. Of its two `evcxr_show` the compiler
/// takes the one of [`ShowBorrowed`], if the type has it.
pub struct Shown<'a, T: ?Sized>(pub &'a T);

pub trait ShowBorrowed {
    fn evcxr_show(&self);
}

impl<T: Debug + Any> ShowBorrowed for Shown<'_, &mut T> {
    fn evcxr_show(&self) {
        show_value(&**self.0, &**self.0);
    }
}

impl<T: Debug + Any> ShowBorrowed for Shown<'_, Option<&T>> {
    fn evcxr_show(&self) {
        match self.0 {
            Some(inner) if known(*inner).is_some() => show_value(*inner, *inner),
            other => show_value(&Unknown, other),
        }
    }
}

impl<T: Debug + Any, E: Debug + fmt::Display> ShowBorrowed for Shown<'_, Result<&T, E>> {
    fn evcxr_show(&self) {
        match self.0 {
            Ok(inner) if known(*inner).is_some() => show_value(*inner, *inner),
            Err(error) if std::any::type_name::<E>().ends_with("PolarsError") => session::fail(&error.to_string()),
            other => show_value(&Unknown, other),
        }
    }
}

pub trait ShowText {
    fn evcxr_show(&self);
}

impl<T: Debug + ?Sized> ShowText for &Shown<'_, T> {
    fn evcxr_show(&self) {
        show_value(&Unknown, &self.0);
    }
}

/// By `Debug`.
pub fn show_text<T: Debug + ?Sized>(value: &T) {
    show_value(&Unknown, &value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_in_its_middle_and_says_how_long_it_is() {
        for length in [0, 19_998, 19_999, 60_001, 1_000_000] {
            let text = "é".repeat(length);
            let shown = cut_text(&text);
            let whole = length + 2;
            if whole <= MOST_CHARACTERS {
                assert_eq!(shown, format!("{text:?}"));
            } else {
                assert_eq!(shown, format!("\"{} … {}\"\n({whole} characters)", "é".repeat(7999), "é".repeat(1999)));
            }
        }
    }

    #[test]
    fn a_long_list_is_shown_by_its_ends() {
        let list: Vec<i32> = (0..1001).collect();
        let text = debug_text(&list, &list);
        assert_eq!(text, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …, 991, 992, 993, 994, 995, 996, 997, 998, 999, 1000] (1001 values)");
        let list: Vec<i32> = (0..1000).collect();
        assert_eq!(debug_text(&list, &list), format!("{list:?}"));
    }
}
