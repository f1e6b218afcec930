//! Texts beside points, placed where they cover nothing.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::{draw_error, text};
use crate::error::Result;

/// A rectangle of pixels: left, top, right, bottom.
pub(super) type Area = [i32; 4];

/// The size of labels, in pixels.
const SIZE: i32 = 13;

/// How far a marker reaches from its point: a ring has 8.
const REACH: i32 = 8;

/// Draws each text at the first place beside its point that lies inside and covers no point, no area and no earlier text; leaves out those
/// that find none.
pub(super) fn draw<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    labels: &[((i32, i32), &str)],
    points: &[(i32, i32)],
    areas: &[Area],
    inside: Area,
) -> Result<()> {
    const AIR: i32 = 1;
    let reach = REACH + AIR;
    let mut taken: Vec<Area> = points.iter().map(|&(x, y)| [x - reach, y - reach, x + reach, y + reach]).collect();
    taken.extend(areas);
    for &((x, y), content) in labels {
        let (width, height) = root.estimate_text_size(content, &text(SIZE)).map_err(draw_error)?;
        let (width, height) = (width as i32, height as i32);
        let place = |(left, top): (i32, i32)| [left, top, left + width, top + height];
        let is_free = |place: &Area| {
            let contains = place[0] >= inside[0] && place[1] >= inside[1] && place[2] <= inside[2] && place[3] <= inside[3];
            contains && !taken.iter().any(|other| overlap(place, other))
        };
        if let Some(place) = beside(x, y, width, height).map(place).find(is_free) {
            root.draw(&Text::new(content.to_owned(), (place[0], place[1]), text(SIZE))).map_err(draw_error)?;
            // A little air above and below.
            taken.push([place[0], place[1] - 3, place[2], place[3] + 3]);
        }
    }
    Ok(())
}

/// Small areas that a line between two points goes through.
pub(super) fn along(from: (i32, i32), to: (i32, i32)) -> impl Iterator<Item = Area> {
    const STEP: i32 = 4;
    let (wide, high) = (to.0 - from.0, to.1 - from.1);
    let steps = (wide.abs().max(high.abs()) / STEP).max(1);
    (0..=steps).map(move |step| {
        // In 64 bits, for a line may go far.
        let at = |from: i32, length: i32| from + (i64::from(length) * i64::from(step) / i64::from(steps)) as i32;
        let (x, y) = (at(from.0, wide), at(from.1, high));
        [x - 2, y - 2, x + 2, y + 2]
    })
}

/// Upper left corners of a text of this size around a point, the best first: on the left, where a rising line leaves room.
fn beside(x: i32, y: i32, width: i32, height: i32) -> impl Iterator<Item = (i32, i32)> {
    let (gap, middle) = (REACH + 2, y - height / 2);
    let (left, right) = (x - gap - width, x + gap);
    let (above, below) = (y - height - gap, y + gap);
    let near = [
        (left, middle - 6),
        (x - width, above),
        (left, above),
        (right, middle + 6),
        (x, below),
        (x - width / 2, above),
        (x - width / 2, below),
        (right, below),
        (x, above),
    ];
    // Above another marker.
    let higher = (0..=4).map(move |quarter| (x - width * quarter / 4, above - REACH));
    near.into_iter().chain(higher)
}

fn overlap(a: &Area, b: &Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}
