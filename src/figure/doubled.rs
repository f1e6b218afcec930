//! A picture of twice as many pixels in each direction, of the same drawing.

use plotters::style::{FontDesc, TextStyle};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};

/// Draws on another backend whatever is drawn on it, twice as large. Text is drawn at its own size there, not stretched, so that its
/// letters stand evenly.
pub(super) struct Doubled<DB>(pub DB);

/// A line twice as wide.
struct Wide<'a, S>(&'a S);

impl<S: BackendStyle> BackendStyle for Wide<'_, S> {
    fn color(&self) -> BackendColor {
        self.0.color()
    }

    fn stroke_width(&self) -> u32 {
        2 * self.0.stroke_width()
    }
}

fn doubled((x, y): BackendCoord) -> BackendCoord {
    (2 * x, 2 * y)
}

fn large_text<S: BackendTextStyle>(style: &S) -> TextStyle<'_> {
    let font = FontDesc::new(style.family(), 2.0 * style.size(), style.style()).transform(style.transform());
    TextStyle { font, color: style.color(), pos: style.anchor() }
}

impl<DB: DrawingBackend> DrawingBackend for Doubled<DB> {
    type ErrorType = DB::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        let (width, height) = self.0.get_size();
        (width / 2, height / 2)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.present()
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let (x, y) = doubled(point);
        self.0.draw_rect((x, y), (x + 1, y + 1), &color, true)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_line(doubled(from), doubled(to), &Wide(style))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let (x, y) = doubled(bottom_right);
        // A filled rectangle has its last pixels on both sides.
        let bottom_right = if fill { (x + 1, y + 1) } else { (x, y) };
        self.0.draw_rect(doubled(upper_left), bottom_right, &Wide(style), fill)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_path(path.into_iter().map(doubled), &Wide(style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_circle(doubled(center), 2 * radius, &Wide(style), fill)
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.fill_polygon(corners.into_iter().map(doubled), &Wide(style))
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_text(text, &large_text(style), doubled(at))
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        // As it is measured for the drawing at its own size, so that both are laid out alike.
        self.0.estimate_text_size(text, style)
    }
}
