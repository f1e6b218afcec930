//! Pixels as a PNG file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use png::{BitDepth, ColorType, Compression, Encoder, EncodingError, Filter, PixelDimensions, Unit};

/// 144 to the inch.
const PIXELS_PER_METRE: u32 = 5669;

/// The file, of pixels of three bytes (red, green, blue), row by row.
///
/// A chart has a few hundred colours at most, those of smoothed edges included. Up to 256 are a palette, with a byte a pixel: some six tenths
/// of the file that three bytes a pixel gave, and compressed in a fraction of the time, for which a notebook's cell waits.
pub(super) fn png(rgb: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, EncodingError> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, height);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: PIXELS_PER_METRE, yppu: PIXELS_PER_METRE, unit: Unit::Meter }));
    let indexed = indexed(rgb);
    let pixels = match &indexed {
        Some((palette, pixels)) => {
            encoder.set_color(ColorType::Indexed);
            encoder.set_palette(palette);
            // What stands above is mostly the same. Of a palette's numbers nothing else could be told from each other.
            encoder.set_filter(Filter::Up);
            pixels
        }
        None => {
            encoder.set_color(ColorType::Rgb);
            rgb
        }
    };
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

/// The colours in the order in which they first appear, and each pixel's number among them; `None` if they are more than 256.
fn indexed(rgb: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (colors, _) = rgb.as_chunks::<3>();
    let (mut palette, mut numbers) = (Vec::new(), HashMap::new());
    let mut pixels = Vec::with_capacity(colors.len());
    // Most pixels have the colour of the one before.
    let mut last = None;
    for &color in colors {
        let number = match last {
            Some((seen, number)) if seen == color => number,
            _ => match numbers.entry(color) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    let number = u8::try_from(palette.len() / 3).ok()?;
                    palette.extend(color);
                    *new.insert(number)
                }
            },
        };
        last = Some((color, number));
        pixels.push(number);
    }
    Some((palette, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of the file sees.
    fn decoded(file: &[u8]) -> Vec<u8> {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut rgb).unwrap();
        rgb
    }

    #[test]
    fn the_pixels_come_back_whether_their_colours_fit_a_palette_or_not() {
        for (colors, kind) in [(1, ColorType::Indexed), (256, ColorType::Indexed), (257, ColorType::Rgb), (4096, ColorType::Rgb)]
        {
            let rgb: Vec<u8> = (0..64 * 128_u32).flat_map(|i| [(i % colors) as u8, ((i % colors) >> 8) as u8, 7]).collect();
            let file = png(&rgb, (64, 128)).unwrap();
            assert_eq!(png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap().info().color_type, kind);
            assert_eq!(decoded(&file), rgb, "{colors} colours");
        }
    }
}
