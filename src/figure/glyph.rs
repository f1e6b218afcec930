//! The markers of a series' points.

use plotters::element::{Drawable, PointCollection};
use plotters::prelude::*;
use plotters_backend::DrawingErrorKind;

use super::Marker;

/// A marker at a point, in pixels whatever the scale of the axes.
pub(super) struct Glyph<C> {
    pub at: C,
    pub marker: Marker,
    pub color: RGBColor,
}

impl<'a, C> PointCollection<'a, C> for &'a Glyph<C> {
    type Point = &'a C;
    type IntoIter = std::iter::Once<&'a C>;

    fn point_iter(self) -> Self::IntoIter {
        std::iter::once(&self.at)
    }
}

impl<C, DB: DrawingBackend> Drawable<DB> for Glyph<C> {
    fn draw<I: Iterator<Item = (i32, i32)>>(
        &self,
        mut points: I,
        backend: &mut DB,
        _: (u32, u32),
    ) -> std::result::Result<(), DrawingErrorKind<DB::ErrorType>> {
        let Some((x, y)) = points.next() else { return Ok(()) };
        let thick = self.color.stroke_width(2);
        let mut path = |corners: &[(i32, i32)]| {
            backend.draw_path(corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>(), &thick)
        };
        match self.marker {
            Marker::Disc => backend.draw_circle((x, y), 3, &self.color.filled(), true),
            Marker::Circle => backend.draw_circle((x, y), 7, &thick, false),
            Marker::Cross => path(&[(-6, -6), (6, 6)]).and_then(|()| path(&[(-6, 6), (6, -6)])),
            Marker::Square => path(&[(-6, -6), (6, -6), (6, 6), (-6, 6), (-6, -6)]),
            Marker::Tick => path(&[(0, -9), (0, 9)]),
            Marker::Triangle => path(&[(0, -8), (7, 6), (-7, 6), (0, -8)]),
        }
    }
}
