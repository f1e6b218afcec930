//! `Figure`: a chart as data, drawn by plotters to SVG and PNG, the same bytes everywhere.

mod doubled;
mod drawing;
mod glyph;
mod label;
mod pixels;

use std::path::Path;
use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

use self::doubled::Doubled;
use self::drawing::Drawing;
pub use self::drawing::{Recorder, chart};
use self::glyph::Glyph;
use crate::error::{Error, Result};

/// Colours of the Okabe-Ito palette, which stay apart for every kind of colour vision.
/// Source: <https://jfly.uni-koeln.de/color/>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// For the data itself.
    Black,
    /// For aids: grids, diagonals, laws.
    Gray,
    /// First of the series.
    Blue,
    /// Second of the series.
    Vermillion,
    /// Third of the series.
    Green,
    /// Fourth of the series.
    Purple,
    /// Fifth of the series.
    Orange,
    /// Sixth of the series.
    SkyBlue,
}

impl Ink {
    /// The colour of the n-th series, from 0; they start over after six.
    pub fn of_series(index: usize) -> Self {
        [Self::Blue, Self::Vermillion, Self::Green, Self::Purple, Self::Orange, Self::SkyBlue][index % 6]
    }

    fn rgb(self) -> RGBColor {
        match self {
            Self::Black => RGBColor(0x22, 0x22, 0x22),
            Self::Gray => RGBColor(0x99, 0x99, 0x99),
            Self::Blue => RGBColor(0x00, 0x72, 0xB2),
            Self::Vermillion => RGBColor(0xD5, 0x5E, 0x00),
            Self::Green => RGBColor(0x00, 0x9E, 0x73),
            Self::Purple => RGBColor(0xCC, 0x79, 0xA7),
            Self::Orange => RGBColor(0xE6, 0x9F, 0x00),
            Self::SkyBlue => RGBColor(0x56, 0xB4, 0xE9),
        }
    }
}

/// The shape of a point, so that series differ in more than colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A filled disc.
    Disc,
    /// An open circle, larger, so that a disc shows inside it.
    Circle,
    /// A cross.
    Cross,
    /// An open square.
    Square,
    /// An open triangle.
    Triangle,
    /// A short upright line, as on a ruler.
    Tick,
}

impl Marker {
    /// The marker of the n-th series, from 0; they start over after four.
    pub fn of_series(index: usize) -> Self {
        [Self::Circle, Self::Cross, Self::Square, Self::Triangle][index % 4]
    }
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Points joined in order.
    Line,
    /// Points joined by a broken line.
    Dashed,
    /// A marker at each point.
    Points(Marker),
    /// A marker at each point, and a line from it to y = 0.
    Stems(Marker),
    /// A line across the whole figure at each point's y.
    Levels,
}

#[derive(Debug, Clone, PartialEq)]
struct Series {
    label: Option<String>,
    ink: Ink,
    style: Style,
    points: Vec<(f64, f64)>,
}

/// Where the numbers of an axis rise to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// A filled rectangle from one corner to the opposite one.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    corners: [(f64, f64); 2],
    color: RGBColor,
}

/// A chart: title, axes and series, drawn when it is asked for.
///
/// Fonts are bundled, so the bytes are the same on every machine. In a notebook it shows itself as SVG, PNG and text.
///
/// ```
/// # use quantlens::figure::{Figure, Ink, Style};
/// let figure = Figure::new("Squares grow")
///     .axes("side (m)", "area (m²)")
///     .series("area", Ink::Blue, Style::Line, (0..=10).map(|x| (f64::from(x), f64::from(x * x))));
/// assert!(figure.to_svg()?.starts_with("<svg"));
/// assert_eq!(&figure.to_png()?[1..4], b"PNG");
/// # Ok::<(), quantlens::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    title: String,
    subtitle: String,
    x_label: String,
    y_label: String,
    y_names: Vec<String>,
    y_direction: Direction,
    series: Vec<Series>,
    /// Below the series.
    areas: Vec<Area>,
    /// What colours of areas mean.
    keys: Vec<(String, Vec<RGBColor>)>,
    labels: Vec<((f64, f64), String)>,
    /// A drawing of one's own, instead of all of this.
    drawing: Option<Drawing>,
}

/// Width and height at which a figure is shown, unless it has many rows or a long legend: then it is higher.
pub const SIZE: (u32, u32) = (900, 500);

impl Figure {
    /// A figure without series. The title should state what is to be seen.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            subtitle: String::new(),
            x_label: String::new(),
            y_label: String::new(),
            y_names: Vec::new(),
            y_direction: Direction::Up,
            series: Vec::new(),
            areas: Vec::new(),
            keys: Vec::new(),
            labels: Vec::new(),
            drawing: None,
        }
    }

    /// Another title.
    pub fn titled(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }

    /// A line under the title: what the data is.
    pub fn subtitle(self, subtitle: impl Into<String>) -> Self {
        Self { subtitle: subtitle.into(), ..self }
    }

    /// What the axes show, with the unit.
    pub fn axes(self, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self { x_label: x_label.into(), y_label: y_label.into(), ..self }
    }

    /// Rows instead of an axis of numbers: y = 0, 1, 2 and so on stand from the top down and have these names, for which there is
    /// as much room as they need, up to half of the figure.
    ///
    /// ```
    /// # use quantlens::figure::{Figure, Ink, Marker, Style};
    /// let figure = Figure::new("Halves stand closer than wholes").axes("value", "").rows(["wholes", "halves"]);
    /// let figure = figure.series("", Ink::Blue, Style::Points(Marker::Tick), (0..=4).map(|i| (f64::from(i), 0.0)));
    /// let figure = figure.series("", Ink::Blue, Style::Points(Marker::Tick), (0..=8).map(|i| (f64::from(i) / 2.0, 1.0)));
    /// assert!(figure.to_svg()?.contains("halves"));
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    pub fn rows(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { y_names: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// With y rising downwards, as the rows of a matrix are counted.
    pub fn y_downward(self) -> Self {
        Self { y_direction: Direction::Down, ..self }
    }

    /// Adds a text beside this point. It is left out where it would cover a marker or a text that was added before.
    pub fn label(mut self, at: (f64, f64), content: impl Into<String>) -> Self {
        self.labels.push((at, content.into()));
        self
    }

    /// Adds a series of (x, y) points, drawn over the ones before; points that are not finite are left out. The label stands
    /// in the legend; an empty one does not.
    pub fn series(
        mut self,
        label: impl Into<String>,
        ink: Ink,
        style: Style,
        points: impl IntoIterator<Item = (f64, f64)>,
    ) -> Self {
        let finite = |&(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
        let label = Some(label.into()).filter(|label| !label.is_empty());
        self.series.push(Series { label, ink, style, points: points.into_iter().filter(finite).collect() });
        self
    }

    /// Adds filled rectangles from one corner (x, y) to the opposite one, below all series; those with a corner that is not finite are left out. The label
    /// stands in the legend; an empty one does not.
    ///
    /// ```
    /// # use quantlens::figure::{Figure, Ink};
    /// let bars = [[(0.0, -0.3), (3.0, 0.3)], [(0.0, 0.7), (5.0, 1.3)]];
    /// let figure = Figure::new("The second is longer").rows(["first", "second"]).areas("length", Ink::Blue, bars);
    /// assert!(figure.to_svg()?.contains("length"));
    /// # Ok::<(), quantlens::Error>(())
    /// ```
    pub fn areas(mut self, label: impl Into<String>, ink: Ink, rectangles: impl IntoIterator<Item = [(f64, f64); 2]>) -> Self {
        let color = ink.rgb();
        self.add_areas(rectangles.into_iter().map(|corners| Area { corners, color }));
        let label = label.into();
        if !label.is_empty() {
            self.keys.push((label, vec![color]));
        }
        self
    }

    /// Adds filled rectangles whose colour says a share from 0 (light) to 1 (dark); the legend has both ends' meanings. One hue from light to dark, which is
    /// the same order for every kind of colour vision, and in print. There are 24 shades; neighbours in a row that have the same are one rectangle.
    pub fn shades(
        mut self,
        lightest: impl Into<String>,
        darkest: impl Into<String>,
        rectangles: impl IntoIterator<Item = ([(f64, f64); 2], f64)>,
    ) -> Self {
        const LAST: f64 = 23.0;
        let mut areas: Vec<Area> = Vec::new();
        for (corners, share) in rectangles {
            let color = shade((share * LAST).round() / LAST);
            match areas.last_mut() {
                Some(Area { corners: [(_, top), right], color: same })
                    if *same == color && (*top, *right) == (corners[0].1, (corners[0].0, corners[1].1)) =>
                {
                    *right = corners[1];
                }
                _ => areas.push(Area { corners, color }),
            }
        }
        self.add_areas(areas.into_iter());
        let colors = (0..=LAST as u32).map(|step| shade(f64::from(step) / LAST)).collect();
        self.keys.push((format!("{} (light) to {} (dark)", lightest.into(), darkest.into()), colors));
        self
    }

    fn add_areas(&mut self, areas: impl Iterator<Item = Area>) {
        let is_finite = |area: &Area| area.corners.iter().all(|(x, y)| x.is_finite() && y.is_finite());
        self.areas.extend(areas.filter(is_finite));
    }

    /// The title, which is also what a figure is called in text.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The figure as SVG text, 900 by 500 units (higher where rows or a long legend need the room), without scripts or fonts of its own. It is as wide as
    /// its place, up to 900 pixels.
    ///
    /// # Errors
    /// [`Error::Draw`] if it has no finite point.
    pub fn to_svg(&self) -> Result<String> {
        let size = self.size()?;
        let (width, height) = size;
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, size))?;
        // JupyterLab and the page show it as an image, whose size is this and nothing else.
        let fixed = format!("<svg width=\"{width}\" height=\"{height}\" ");
        Ok(svg.replacen(&fixed, &format!("<svg width=\"100%\" style=\"max-width:{width}px\" "), 1))
    }

    /// The figure as a PNG file of 1800 by 1000 pixels (higher likewise), 144 to the inch: to be shown at 900 by 500, as Jupyter does.
    ///
    /// # Errors
    /// [`Error::Draw`] if it has no finite point.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (width, height) = self.size()?;
        let (width, height) = (2 * width, 2 * height);
        let mut pixels = vec![0_u8; (width * height * 3) as usize];
        self.draw(Doubled(BitMapBackend::with_buffer(&mut pixels, (width, height))))?;
        pixels::png(&pixels, (width, height)).map_err(draw_error)
    }

    /// Writes the figure to a file, as PNG if its name ends in `.png`, as SVG if in `.svg`.
    ///
    /// # Errors
    /// [`Error::Draw`] for another ending or without a finite point; [`Error::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match path.extension().and_then(|extension| extension.to_str()) {
            Some("png") => self.to_png()?,
            Some("svg") => self.to_svg()?.into_bytes(),
            _ => return Err(Error::Draw(format!("`{}` must end in .png or .svg", path.display()))),
        };
        std::fs::write(path, bytes).map_err(|error| Error::Write { path: path.display().to_string(), source: error.into() })
    }

    fn draw<DB: DrawingBackend>(&self, backend: DB) -> Result<()> {
        use_bundled_font()?;
        if let Some(drawing) = &self.drawing {
            return drawing.draw_on(backend);
        }
        let root = backend.into_drawing_area();
        root.fill(&WHITE).map_err(draw_error)?;
        self.draw_on(&root).and_then(|()| root.present().map_err(draw_error))
    }

    fn draw_on<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Result<()> {
        let corners = || self.areas.iter().flat_map(|area| &area.corners);
        let points = || self.series.iter().flat_map(|series| &series.points).chain(corners());
        let Some(x_range) = padded_range(points().map(|point| point.0), 0.02) else {
            return Err(Error::Draw("it has no point to show".to_owned()));
        };
        let with_zero = self.series.iter().any(|series| matches!(series.style, Style::Stems(_)));
        let zero = with_zero.then_some(0.0);
        let y_range = match self.y_names.len() {
            0 => {
                let range = padded_range(points().map(|point| point.1).chain(zero), 0.06).unwrap_or(0.0..1.0);
                if self.y_direction == Direction::Up { range } else { range.end..range.start }
            }
            // The first row is the uppermost.
            rows => rows as f64 - 0.4..-0.6,
        };

        let header = self.draw_header(root)?;
        let (_, body) = root.split_vertically(header);
        let mut chart = ChartBuilder::on(&body)
            .margin_left(10)
            .margin_right(24)
            .margin_bottom(8)
            .x_label_area_size(48)
            .y_label_area_size(72.max(14 + self.names_width(root)?))
            .build_cartesian_2d(x_range.clone(), y_range.clone())
            .map_err(draw_error)?;
        let x_step = x_range.end - x_range.start;
        let y_step = (y_range.end - y_range.start).abs();
        let y_tick = |y: &f64| match self.y_names.len() {
            0 => tick(*y, y_step),
            _ if (y - y.round()).abs() > 1e-6 => String::new(),
            _ => self.y_names.get(y.round() as usize).map(|name| shortened(name)).unwrap_or_default(),
        };
        chart
            .configure_mesh()
            .x_labels(10)
            // One for each row; more would fall between them.
            .y_labels(if self.y_names.is_empty() { 8 } else { self.y_names.len().max(2) })
            .x_label_formatter(&|x| tick(*x, x_step))
            .y_label_formatter(&y_tick)
            .x_desc(self.x_label.as_str())
            .y_desc(self.y_label.as_str())
            .label_style(text(14))
            .axis_desc_style(text(15))
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(RGBColor(0xE6, 0xE6, 0xE6))
            .axis_style(RGBColor(0x66, 0x66, 0x66))
            .draw()
            .map_err(draw_error)?;
        chart.draw_series(self.areas.iter().map(|area| Rectangle::new(area.corners, area.color.filled()))).map_err(draw_error)?;
        for series in &self.series {
            let color = series.ink.rgb();
            let points = series.points.iter().copied();
            match series.style {
                Style::Line => chart.draw_series(LineSeries::new(points, color.stroke_width(2))).map(|_| ()),
                Style::Dashed => chart.draw_series(DashedLineSeries::new(points, 7, 5, color.stroke_width(2))).map(|_| ()),
                Style::Points(marker) => chart.draw_series(points.map(|at| Glyph { at, marker, color })).map(|_| ()),
                Style::Stems(marker) => chart
                    .draw_series(points.clone().map(|(x, y)| PathElement::new([(x, 0.0), (x, y)], color.stroke_width(2))))
                    .map(|_| ())
                    .and_then(|()| chart.draw_series(points.map(|at| Glyph { at, marker, color })).map(|_| ())),
                Style::Levels => chart
                    .draw_series(points.map(|(_, y)| PathElement::new([(x_range.start, y), (x_range.end, y)], color.mix(0.5))))
                    .map(|_| ()),
            }
            .map_err(draw_error)?;
        }
        let pixel = |at: &(f64, f64)| chart.backend_coord(at);
        let labels: Vec<_> = self.labels.iter().map(|(at, content)| (pixel(at), content.as_str())).collect();
        let marked = self.series.iter().filter(|series| matches!(series.style, Style::Points(_) | Style::Stems(_)));
        let marked: Vec<_> = marked.flat_map(|series| &series.points).map(pixel).collect();
        let (x, y) = chart.plotting_area().get_pixel_range();
        let area = |area: &Area| {
            let [(a, b), (c, d)] = [pixel(&area.corners[0]), pixel(&area.corners[1])];
            [a.min(c), b.min(d), a.max(c), b.max(d)]
        };
        let mut areas: Vec<label::Area> = Vec::new();
        if !labels.is_empty() {
            areas.extend(self.areas.iter().map(area));
            let lines = self.series.iter().filter(|series| matches!(series.style, Style::Line | Style::Dashed));
            for series in lines {
                let corners: Vec<(i32, i32)> = series.points.iter().map(pixel).collect();
                areas.extend(corners.windows(2).flat_map(|pair| label::along(pair[0], pair[1])));
            }
        }
        label::draw(root, &labels, &marked, &areas, [x.start, y.start, x.end, y.end])
    }

    /// The widest name of a row, in pixels.
    fn names_width<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Result<u32> {
        let mut widest = 0;
        for name in &self.y_names {
            widest = widest.max(root.estimate_text_size(&shortened(name), &text(14)).map_err(draw_error)?.0);
        }
        Ok(if self.y_label.is_empty() { widest } else { widest + 20 })
    }

    /// Width and height at which this figure is shown: [`SIZE`], but higher where rows or a long legend need more room.
    fn size(&self) -> Result<(u32, u32)> {
        if let Some(drawing) = &self.drawing {
            return Ok(drawing.size);
        }
        use_bundled_font()?;
        let mut scratch = String::new();
        let root = SVGBackend::with_string(&mut scratch, SIZE).into_drawing_area();
        let header = self.draw_header(&root)?.max(0) as u32;
        let (row, axis) = (24, 80);
        let body = (axis + row * self.y_names.len() as u32).max(320);
        Ok((SIZE.0, SIZE.1.max(header + body)))
    }

    /// Title, subtitle and legend, from the left edge; returns their height in pixels.
    fn draw_header<DB: DrawingBackend>(&self, root: &DrawingArea<DB, Shift>) -> Result<i32> {
        let left = 16;
        let room = SIZE.0.saturating_sub(2 * left as u32);
        let mut y = 12;
        for (content, size) in [(&self.title, 20_i32), (&self.subtitle, 14)] {
            for line in wrapped(root, content, size, room)? {
                root.draw(&Text::new(line, (left, y), text(size))).map_err(draw_error)?;
                y += size + 6;
            }
        }
        let labelled: Vec<_> = self.series.iter().filter_map(|series| Some((series.label.as_ref()?, series))).collect();
        if labelled.is_empty() && self.keys.is_empty() {
            return Ok(y + 6);
        }
        y += 4;
        let mut x = left;
        let next = |label: &str, x: &mut i32, y: &mut i32, swatch: i32| {
            let (width, _) = root.estimate_text_size(label, &text(14)).map_err(draw_error)?;
            let needed = swatch + 8 + width as i32;
            if *x > left && *x + needed > left + room as i32 {
                (*x, *y) = (left, *y + 22);
            }
            Ok::<i32, Error>(needed)
        };
        for (label, colors) in &self.keys {
            let each = if colors.len() == 1 { 24 } else { 6 };
            let swatch = each * colors.len() as i32;
            let needed = next(label, &mut x, &mut y, swatch)?;
            for (number, color) in (0..).zip(colors) {
                let corner = x + each * number;
                root.draw(&Rectangle::new([(corner, y + 2), (corner + each, y + 14)], color.filled())).map_err(draw_error)?;
            }
            root.draw(&Text::new(label.clone(), (x + swatch + 8, y), text(14))).map_err(draw_error)?;
            x += needed + 22;
        }
        for (label, series) in labelled {
            let style = text(14);
            let needed = next(label, &mut x, &mut y, 26)?;
            let (color, middle) = (series.ink.rgb(), y + 8);
            let line = |from: i32, to: i32| PathElement::new([(x + from, middle), (x + to, middle)], color.stroke_width(2));
            match series.style {
                Style::Line | Style::Levels => root.draw(&line(0, 24)),
                Style::Dashed => root.draw(&line(0, 9)).and_then(|()| root.draw(&line(15, 24))),
                Style::Points(marker) => root.draw(&Glyph { at: (x + 12, middle), marker, color }),
                Style::Stems(marker) => {
                    root.draw(&line(0, 24)).and_then(|()| root.draw(&Glyph { at: (x + 12, middle), marker, color }))
                }
            }
            .map_err(draw_error)?;
            root.draw(&Text::new(label.clone(), (x + 32, y), style)).map_err(draw_error)?;
            x += needed + 22;
        }
        Ok(y + 30)
    }
}

/// From nearly white to dark blue by way of the palette's sky blue, each channel falling all the way.
fn shade(share: f64) -> RGBColor {
    const STOPS: [(u8, u8, u8); 4] = [(0xF3, 0xF8, 0xFC), (0x8F, 0xC7, 0xE8), (0x1F, 0x7F, 0xBC), (0x0A, 0x2C, 0x52)];
    let at = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (at as usize).min(STOPS.len() - 2);
    let between = |a: u8, b: u8| (f64::from(a) + (at - below as f64) * (f64::from(b) - f64::from(a))).round() as u8;
    let (a, b) = (STOPS[below], STOPS[below + 1]);
    RGBColor(between(a.0, b.0), between(a.1, b.1), between(a.2, b.2))
}

/// A name of a row, without its middle where it is very long: both ends of a tensor's name tell it apart.
fn shortened(name: &str) -> String {
    const SHOWN: usize = 44;
    let characters: Vec<char> = name.chars().collect();
    if characters.len() <= SHOWN {
        return name.to_owned();
    }
    let (head, tail) = ((SHOWN - 1) / 2, SHOWN / 2);
    characters[..head].iter().chain(&['…']).chain(&characters[characters.len() - tail..]).collect()
}

fn text(size: i32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(&RGBColor(0x22, 0x22, 0x22)).pos(Pos::new(HPos::Left, VPos::Top))
}

/// The lines of a text that is broken at spaces to fit.
fn wrapped<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, content: &str, size: i32, room: u32) -> Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for word in content.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match longer {
            Some(longer) if root.estimate_text_size(&longer, &text(size)).map_err(draw_error)?.0 <= room => {
                lines.pop();
                lines.push(longer);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    Ok(lines)
}

/// Smallest and largest of the numbers, with a margin of this share to both sides; `None` of none.
fn padded_range(numbers: impl Iterator<Item = f64>, margin: f64) -> Option<std::ops::Range<f64>> {
    let (min, max) = numbers.map(|x| (x, x)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    // Halves, so that the width of the widest range does not overflow.
    let half = max / 2.0 - min / 2.0;
    let pad = if half > 0.0 { 2.0 * margin * half } else { (min.abs() * 0.1).max(1e-6) };
    Some((min - pad).max(f64::MIN / 4.0)..(max + pad).min(f64::MAX / 4.0))
}

/// A number on an axis whose visible part is this wide: as many digits as it needs to tell neighbours apart.
fn tick(value: f64, width: f64) -> String {
    let step = width / 10.0;
    if step == 0.0 || !step.is_finite() {
        return format!("{value:.1e}");
    }
    let place = step.log10().floor();
    // Small differences of numbers of ordinary size are written out, too.
    let is_ordinary = (1e-3..1e6).contains(&value.abs()) && step >= 1e-9;
    if !(1e-4..1e6).contains(&step) && !is_ordinary {
        if value == 0.0 {
            return "0".to_owned();
        }
        let digits = (value.abs().log10().floor() - place).clamp(1.0, 15.0) as usize;
        return format!("{value:.digits$e}");
    }
    let is_whole = value == value.round() && step >= 0.5;
    let decimals = if is_whole { 0 } else { (-place).max(0.0) as usize };
    let text = format!("{value:.decimals$}");
    // -0.0 is 0.
    if text.trim_matches(['-', '0', '.']).is_empty() { text.trim_start_matches('-').to_owned() } else { text }
}

fn draw_error(error: impl std::fmt::Display) -> Error {
    Error::Draw(error.to_string())
}

/// The families that charts name most, for all of which the bundled font stands in.
const FAMILIES: [&str; 10] = [
    "sans-serif",
    "serif",
    "monospace",
    "Arial",
    "Calibri",
    "Courier New",
    "DejaVu Sans",
    "Helvetica",
    "Times New Roman",
    "Verdana",
];

/// Makes plotters measure and draw text with the bundled font, which holds Latin, Greek and the signs of formulas. Every [`Figure`] does
/// so itself; charts that are drawn with plotters alone need it once. It stands in for the families sans-serif, serif, monospace, Arial,
/// Calibri, Courier New, DejaVu Sans, Helvetica, Times New Roman and Verdana, in every style. A font that is registered afterwards for
/// one of them takes its place.
///
/// # Errors
/// [`Error::Draw`] if plotters cannot read the font.
pub fn use_bundled_font() -> Result<()> {
    static FONT: &[u8] = include_bytes!("../assets/DejaVuSans-subset.ttf");
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let register = || FAMILIES.iter().all(|family| register_font(family, FontStyle::Normal, FONT).is_ok());
    if *REGISTERED.get_or_init(register) { Ok(()) } else { Err(Error::Draw("the bundled font cannot be read".to_owned())) }
}
