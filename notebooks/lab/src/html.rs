//! Text and foreign HTML in our HTML.

/// Text as it stands in HTML, in an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Elements that show something and do nothing.
const HARMLESS_ELEMENTS: &[&str] = &[
    "a", "b", "br", "caption", "code", "dd", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
    "kbd", "li", "ol", "p", "pre", "progress", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "u", "ul",
];
/// Attributes that load nothing and run nothing.
const HARMLESS_ATTRIBUTES: &[&str] = &["align", "class", "colspan", "max", "open", "rowspan", "scope", "title", "value"];

/// Whether a piece of HTML has only elements and attributes that neither run a script nor load anything. What is not understood is not
/// harmless.
pub fn is_harmless(html: &str) -> bool {
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let Some(length) = rest[start..].find('>') else { return false };
        if !is_harmless_tag(&rest[start + 1..start + length]) {
            return false;
        }
        rest = &rest[start + length + 1..];
    }
    true
}

/// What is between `<` and `>`.
fn is_harmless_tag(tag: &str) -> bool {
    let tag = tag.strip_prefix('/').unwrap_or(tag);
    let tag = tag.strip_suffix('/').unwrap_or(tag);
    let name_end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
    let name = tag[..name_end].to_ascii_lowercase();
    if !HARMLESS_ELEMENTS.contains(&name.as_str()) {
        return false;
    }
    let mut rest = tag[name_end..].trim();
    while !rest.is_empty() {
        let name_end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if !HARMLESS_ATTRIBUTES.contains(&rest[..name_end].to_ascii_lowercase().as_str()) {
            return false;
        }
        rest = rest[name_end..].trim_start();
        if let Some(value) = rest.strip_prefix('=') {
            // Only quoted values: it is plain where they end.
            let Some(value) = value.trim_start().strip_prefix('"') else { return false };
            let Some(end) = value.find('"') else { return false };
            rest = value[end + 1..].trim_start();
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_text_are_harmless() {
        for html in [
            "plain & simple",
            "<table class=\"dataframe\">\n<tr><th>a</th><td rowspan=\"2\">&lt;1&gt;</td></tr></table><p>2 rows × 3 columns</p>",
            "<br/>a <b>bold</b> <DIV>word</DIV>",
            "<progress value=\"1\" max=\"3\"></progress>",
        ] {
            assert!(is_harmless(html), "{html}");
        }
    }

    #[test]
    fn what_runs_loads_or_is_not_understood_is_not() {
        for html in [
            "<script>alert(1)</script>",
            "<SCRIPT src=x>",
            "<img src=\"https://example.org/a.png\">",
            "<td style=\"background:url(https://example.org)\">",
            "<b onclick=\"x\">",
            "<b/onclick=\"x\">",
            "<a href=\"javascript:x\">",
            "<svg><script/></svg>",
            "<b class=x onclick=y>",
            "<!-- <script> -->",
            "<b",
            "a < b",
            "<iframe srcdoc=\"\">",
        ] {
            assert!(!is_harmless(html), "{html}");
        }
    }
}
