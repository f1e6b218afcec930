//! What people type from other notebooks: `%%time`, `%timeit`, `%%html`, `?name`, `import numpy`. Each either works or says in a line how it is
//! done here.

use super::media::Media;

/// What a cell is.
#[derive(Debug, PartialEq)]
pub enum Typed {
    /// Rust code, which may have `:commands`.
    Code { code: String, is_timed: bool },
    /// Something that is shown as it is.
    Shown(Media),
    /// The documentation of this name is asked for.
    Question(String),
    /// It cannot be done; what can.
    Refused(String),
}

/// Takes the line of such a kind off the code's start. The lines of the code stay where they are.
pub fn typed(code: &str) -> Typed {
    let code_as_it_is = || Typed::Code { code: code.to_owned(), is_timed: false };
    let Some((start, first)) = code.lines().enumerate().find(|(_, line)| !line.trim().is_empty() && !line.starts_with("//"))
    else {
        return code_as_it_is();
    };
    let first = first.trim();
    let rest = || code.lines().skip(start + 1).collect::<Vec<_>>().join("\n");
    // As many lines as before.
    let replaced = |line: &str| "\n".repeat(start) + line + "\n" + &rest();
    if let Some(name) = first.strip_prefix('?').or_else(|| first.strip_prefix("%pinfo ")) {
        return Typed::Question(name.trim().to_owned());
    }
    let (word, argument) = first.split_once(char::is_whitespace).map_or((first, ""), |(word, rest)| (word, rest.trim()));
    match word {
        "%%time" => return Typed::Code { code: replaced(argument), is_timed: true },
        "%time" => return Typed::Code { code: replaced(argument), is_timed: true },
        "%timeit" | "%%timeit" => {
            // `timeit` says it as a text, which is printed.
            let (open, close) = ("println!(\"{}\", ::quantlens_prelude::timeit(|| {", "}));");
            let argument = argument.trim_end_matches(';');
            let code = format!("{}{open} {argument}\n{}\n{close}", "\n".repeat(start), rest());
            return Typed::Code { code, is_timed: false };
        }
        "%%html" | "%%HTML" => return shown("text/html", &rest()),
        "%%markdown" => return shown("text/markdown", &rest()),
        "%%latex" => return shown("text/latex", &rest()),
        "%%svg" | "%%SVG" => return shown("image/svg+xml", &rest()),
        "%%bash" | "%%sh" => {
            return Typed::Refused("a cell of shell commands has `!` before each: `!ls -l`".to_owned());
        }
        "%matplotlib" | "%pip" | "%conda" | "!pip" => {
            let said = "this is a Rust notebook: crates are added with `:dep name = \"version\"`, and figures show themselves";
            return Typed::Refused(said.to_owned());
        }
        _ => {}
    }
    if word.len() > 1 && word.starts_with('%') && word[1..].trim_start_matches('%').starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let said = format!(
            "there is no `{word}` here: there are %%time, %time, %%timeit, %timeit, %%html, %%markdown, %%latex, %%svg, `?name`, `!command`, \
             and what `:help` lists"
        );
        return Typed::Refused(said);
    }
    let is_python = match word {
        "import" => argument.chars().all(|c| c.is_alphanumeric() || "_., ".contains(c)),
        "from" => argument.contains(" import "),
        "def" => first.ends_with(':'),
        _ => false,
    };
    if is_python {
        let said = "that is Python, and this is a Rust notebook: `use` brings names in (`use std::collections::HashMap;`), \
                    `:dep name = \"version\"` adds a crate, `fn` defines a function";
        return Typed::Refused(said.to_owned());
    }
    code_as_it_is()
}

fn shown(media_type: &str, text: &str) -> Typed {
    Typed::Shown(Media::from([(media_type.to_owned(), text.to_owned()), ("text/plain".to_owned(), text.to_owned())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: &str, is_timed: bool) -> Typed {
        Typed::Code { code: code.to_owned(), is_timed }
    }

    #[test]
    fn rust_code_stays_as_it_is() {
        for text in ["", "let x = 5 % 3;", "let r = x?;", "// %%time\n1", "import!(a);", ":dep csv = \"1\"", "!ls", "x %y"] {
            assert_eq!(typed(text), code(text, false), "{text}");
        }
    }

    #[test]
    fn lines_stay_where_they_are() {
        assert_eq!(typed("%%time\nlet x = 1;\nx"), code("\nlet x = 1;\nx", true));
        assert_eq!(typed("// slow\n%time f(2)"), code("\nf(2)\n", true));
        let Typed::Code { code, .. } = typed("%%timeit\nf(2)") else { panic!("no code") };
        assert_eq!(code.lines().position(|line| line == "f(2)"), Some(1));
    }

    #[test]
    fn what_is_of_another_language_is_refused_in_a_line() {
        for text in ["import numpy as np", "from os import path", "%matplotlib inline", "%%capture\n1", "def f(x):\n  pass"] {
            assert!(matches!(typed(text), Typed::Refused(_)), "{text}");
        }
        assert_eq!(typed("?Scheme"), Typed::Question("Scheme".to_owned()));
        assert!(matches!(typed("%%html\n<b>x</b>"), Typed::Shown(media) if media["text/html"] == "<b>x</b>"));
    }
}
