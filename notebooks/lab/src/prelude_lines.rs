//! The line of a cell that asks for the prelude. The prelude is there before the first cell, so whatever version or path the line names,
//! as it was written for another folder or for evcxr's own kernel, it means the one that is there.

use anyhow::Result;

use super::features::Features;
use super::template::prelude_dependency;

/// The code with each `:dep quantlens-prelude …` naming the prelude that is there, with these features. No line is added or removed.
pub fn replaced(code: &str, features: &Features) -> Result<String> {
    if !code.lines().any(is_prelude_line) {
        return Ok(code.to_owned());
    }
    let dependency = prelude_dependency(features)?;
    let line_of = |line: &str| if is_prelude_line(line) { format!(":dep {dependency}") } else { line.to_owned() };
    Ok(code.lines().map(line_of).collect::<Vec<_>>().join("\n"))
}

fn is_prelude_line(line: &str) -> bool {
    let Some(rest) = line.trim_start().strip_prefix(":dep") else { return false };
    let named = rest.trim_start().split(['=', ' ', '\t']).next().unwrap_or("");
    rest.starts_with([' ', '\t']) && ["quantlens-prelude", "quantlens_prelude"].contains(&named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_has_the_features_of_the_session_whatever_the_line_says() {
        let features: Features = "lazy,parquet".parse().unwrap();
        for line in
            [":dep quantlens-prelude = { path = \"prelude\" }", ":dep quantlens-prelude = { path = \"x\", features = [\"sql\"] }"]
        {
            let code = replaced(&format!("{line}\nlet x = 1;"), &features).unwrap();
            assert_eq!(code, format!(":dep {}\nlet x = 1;", prelude_dependency(&features).unwrap()));
        }
    }

    #[test]
    fn only_lines_that_ask_for_the_prelude_are_changed() {
        for line in [
            ":dep quantlens-prelude = { path = \"prelude\" }",
            ":dep quantlens-prelude=\"0.1\"",
            "  :dep\tquantlens-prelude = \"*\"",
            ":dep quantlens-prelude",
            ":dep quantlens_prelude = \"0.1\"",
        ] {
            assert!(is_prelude_line(line), "{line}");
        }
        for line in
            [":dep quantlens-prelude-2 = \"1\"", ":depquantlens-prelude", ":dep csv = \"1\"", "use quantlens_prelude::*;", ":dep"]
        {
            assert!(!is_prelude_line(line), "{line}");
        }
    }
}
