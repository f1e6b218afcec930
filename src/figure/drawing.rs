//! A chart that is drawn with plotters by whoever wants another than [`Figure`] has: what is drawn is noted, and drawn again as SVG and PNG.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, SVGBackend};
use plotters::style::text_anchor::Pos;
use plotters::style::{FontDesc, FontFamily, FontStyle, FontTransform, TextStyle};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};

use super::{Figure, draw_error, use_bundled_font};
use crate::error::{Error, Result};

/// A [`Figure`] that is drawn with plotters: of this width and height in pixels, at which it is shown, up to 8192 each. The closure
/// draws on a plotters drawing area; the figure shows itself in a notebook and saves itself as every other does. Text has the bundled
/// font ([`use_bundled_font`](super::use_bundled_font)).
///
/// ```
/// # use quantlens::chart;
/// use plotters::prelude::*;
/// let figure = chart((800, 450), |root| {
///     root.fill(&WHITE)?;
///     let mut chart = ChartBuilder::on(root).caption("A parabola", ("sans-serif", 24)).margin(10)
///         .x_label_area_size(30).y_label_area_size(40).build_cartesian_2d(-1.0..1.0, 0.0..1.0)?;
///     chart.configure_mesh().draw()?;
///     chart.draw_series(LineSeries::new((-50..=50).map(|x| f64::from(x) / 50.0).map(|x| (x, x * x)), &RED))?;
///     Ok(())
/// })?;
/// assert!(figure.to_svg()?.contains("A parabola"));
/// assert_eq!(&figure.to_png()?[1..4], b"PNG");
/// # Ok::<(), quantlens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Draw`] with what the closure met, or if a side is 0 or longer than 8192.
pub fn chart(
    size: (u32, u32),
    draw: impl FnOnce(&DrawingArea<Recorder, Shift>) -> std::result::Result<(), Box<dyn std::error::Error>>,
) -> Result<Figure> {
    if size.0 == 0 || size.1 == 0 || size.0.max(size.1) > LONGEST_SIDE {
        let (width, height) = size;
        return Err(Error::Draw(format!("a chart of {width} by {height} pixels: each side must have 1 to {LONGEST_SIDE}")));
    }
    use_bundled_font()?;
    let marks = Rc::new(RefCell::new(Vec::new()));
    let root = Recorder { size, marks: Rc::clone(&marks) }.into_drawing_area();
    draw(&root).map_err(draw_error)?;
    let drawing = Drawing { size, marks: marks.take() };
    Ok(Figure { drawing: Some(drawing), ..Figure::new(format!("a chart of {} by {} pixels", size.0, size.1)) })
}

const LONGEST_SIDE: u32 = 8192;

/// What was drawn, in its order.
#[derive(Clone)]
pub(super) struct Drawing {
    pub size: (u32, u32),
    marks: Vec<Mark>,
}

/// How a line is drawn.
#[derive(Clone, Copy)]
struct Stroke {
    color: BackendColor,
    width: u32,
}

impl Stroke {
    fn of(style: &impl BackendStyle) -> Self {
        Self { color: style.color(), width: style.stroke_width() }
    }
}

impl BackendStyle for Stroke {
    fn color(&self) -> BackendColor {
        self.color
    }

    fn stroke_width(&self) -> u32 {
        self.width
    }
}

#[derive(Clone)]
enum Mark {
    Pixel(BackendCoord, BackendColor),
    Line(BackendCoord, BackendCoord, Stroke),
    Rectangle { corners: (BackendCoord, BackendCoord), stroke: Stroke, is_filled: bool },
    Path(Vec<BackendCoord>, Stroke),
    Circle { center: BackendCoord, radius: u32, stroke: Stroke, is_filled: bool },
    Polygon(Vec<BackendCoord>, Stroke),
    Text { content: String, at: BackendCoord, style: Lettering },
    Picture { at: BackendCoord, size: (u32, u32), rgb: Vec<u8> },
}

#[derive(Clone)]
struct Lettering {
    color: BackendColor,
    family: String,
    size: f64,
    style: FontStyle,
    transform: FontTransform,
    anchor: Pos,
}

impl Lettering {
    fn as_plotters(&self) -> TextStyle<'_> {
        let font = FontDesc::new(FontFamily::from(self.family.as_str()), self.size, self.style).transform(self.transform.clone());
        TextStyle { font, color: self.color, pos: self.anchor }
    }
}

impl Drawing {
    /// `None` if it cannot be drawn.
    fn svg(&self) -> Option<String> {
        let mut svg = String::new();
        self.draw_on(SVGBackend::with_string(&mut svg, self.size)).ok()?;
        Some(svg)
    }

    pub fn draw_on<DB: DrawingBackend>(&self, mut backend: DB) -> Result<()> {
        backend.ensure_prepared().map_err(draw_error)?;
        for mark in &self.marks {
            match mark {
                Mark::Pixel(at, color) => backend.draw_pixel(*at, *color),
                Mark::Line(from, to, stroke) => backend.draw_line(*from, *to, stroke),
                Mark::Rectangle { corners, stroke, is_filled } => backend.draw_rect(corners.0, corners.1, stroke, *is_filled),
                Mark::Path(points, stroke) => backend.draw_path(points.iter().copied(), stroke),
                Mark::Circle { center, radius, stroke, is_filled } => backend.draw_circle(*center, *radius, stroke, *is_filled),
                Mark::Polygon(points, stroke) => backend.fill_polygon(points.iter().copied(), stroke),
                Mark::Text { content, at, style } => backend.draw_text(content, &style.as_plotters(), *at),
                Mark::Picture { at, size, rgb } => backend.blit_bitmap(*at, *size, rgb),
            }
            .map_err(draw_error)?;
        }
        backend.present().map_err(draw_error)
    }
}

impl fmt::Debug for Drawing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drawing").field("size", &self.size).field("marks", &self.marks.len()).finish()
    }
}

/// Two are the same if they are the same picture.
impl PartialEq for Drawing {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.svg() == other.svg()
    }
}

/// The plotters backend on which [`chart`] has its closure draw: it notes what is drawn.
pub struct Recorder {
    size: (u32, u32),
    marks: Rc<RefCell<Vec<Mark>>>,
}

type Noted = std::result::Result<(), DrawingErrorKind<Infallible>>;

impl Recorder {
    fn note(&mut self, mark: Mark) -> Noted {
        self.marks.borrow_mut().push(mark);
        Ok(())
    }
}

impl DrawingBackend for Recorder {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }

    fn ensure_prepared(&mut self) -> Noted {
        Ok(())
    }

    fn present(&mut self) -> Noted {
        Ok(())
    }

    fn draw_pixel(&mut self, point: BackendCoord, color: BackendColor) -> Noted {
        self.note(Mark::Pixel(point, color))
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Noted {
        self.note(Mark::Line(from, to, Stroke::of(style)))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Noted {
        self.note(Mark::Rectangle { corners: (upper_left, bottom_right), stroke: Stroke::of(style), is_filled: fill })
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Noted {
        self.note(Mark::Path(path.into_iter().collect(), Stroke::of(style)))
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, fill: bool) -> Noted {
        self.note(Mark::Circle { center, radius, stroke: Stroke::of(style), is_filled: fill })
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, corners: I, style: &S) -> Noted {
        self.note(Mark::Polygon(corners.into_iter().collect(), Stroke::of(style)))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Noted {
        let style = Lettering {
            color: style.color(),
            family: style.family().as_str().to_owned(),
            size: style.size(),
            style: style.style(),
            transform: style.transform(),
            anchor: style.anchor(),
        };
        self.note(Mark::Text { content: text.to_owned(), at, style })
    }

    fn blit_bitmap(&mut self, at: BackendCoord, size: (u32, u32), rgb: &[u8]) -> Noted {
        self.note(Mark::Picture { at, size, rgb: rgb.to_owned() })
    }
}
