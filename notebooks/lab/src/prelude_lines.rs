//! The line of a cell that asks for the prelude. The prelude is there before the first cell, so whatever version or path the line names,
//! as it was written for another folder or for evcxr's own kernel, it means the one that is there.

use anyhow::Result;

use super::template::prelude_dependency;

/// The code with each `:dep quantlens-prelude …` naming the prelude that is there. No line is added or removed.
pub fn replaced(code: &str) -> Result<String> {
    if !code.lines().any(is_prelude_line) {
        return Ok(code.to_owned());
    }
    let dependency = prelude_dependency()?;
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
    use super::is_prelude_line;

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
