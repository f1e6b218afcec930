//! What a cell shows: a value in several representations, by media type.

use std::collections::BTreeMap;

use base64::Engine as _;

/// Representations of one value, by media type; what is no text is base64.
pub type Media = BTreeMap<String, String>;

/// What a medium of a JSON type says; `None` of any other, and where it is no JSON.
pub fn json_of(media_type: &str, content: &str) -> Option<serde_json::Value> {
    media_type.ends_with("json").then(|| serde_json::from_str(content).ok()).flatten()
}

/// Whether a medium of this type is text, not bytes.
pub fn is_text(media_type: &str) -> bool {
    media_type.starts_with("text/") || media_type.ends_with("+xml") || media_type.ends_with("json")
}

/// What Jupyter is to know of a value's representations: the size at which a picture is shown, where that is not its number of pixels.
pub fn metadata(media: &Media) -> serde_json::Map<String, serde_json::Value> {
    let size = media.get("image/png").and_then(|png| shown_size(png));
    let size = size.map(|(width, height)| ("image/png".to_owned(), serde_json::json!({ "width": width, "height": height })));
    size.into_iter().collect()
}

/// Width and height of a PNG at 72 pixels an inch, when the file says that it has more.
fn shown_size(png: &str) -> Option<(u32, u32)> {
    // The chunks before the data: all that is looked for is in the first hundred bytes.
    let start: String = png.chars().filter(|c| !c.is_ascii_whitespace()).take(136).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(start.get(..start.len() / 4 * 4)?).ok()?;
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    // Source: PNG, third edition, 11.2.1 IHDR and 11.3.4.3 pHYs: pixels per metre, where the unit is 1.
    let (width, height) = (number(16)?, number(20)?);
    let physical = bytes.windows(4).position(|name| name == b"pHYs")?;
    let (per_metre, unit) = (number(physical + 4)?, bytes.get(physical + 12)?);
    let times = (f64::from(per_metre) * 0.0254 / 72.0).round();
    (*unit == 1 && times >= 2.0).then(|| {
        let shown = |pixels: u32| (f64::from(pixels) / times).round() as u32;
        (shown(width), shown(height))
    })
}

/// What the kernel itself says below a cell, in grey wherever text has colours.
pub fn note_media(text: &str) -> Media {
    let grey: Vec<String> = text.lines().map(|line| format!("{GREY}{line}{PLAIN}")).collect();
    Media::from([("text/plain".to_owned(), grey.join("\n"))])
}

/// The text of such a note; `None` if it is none.
pub fn note_of(plain: &str) -> Option<String> {
    plain.starts_with(GREY).then(|| plain.replace(GREY, "").replace(PLAIN, ""))
}

const GREY: &str = "\x1b[90m";
const PLAIN: &str = "\x1b[0m";
