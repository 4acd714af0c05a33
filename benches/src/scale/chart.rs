//! A chart with two logarithmic axes, as SVG on a ground of its own, so that it is read on light and on dark pages.

use std::fmt::Write as _;

/// A curve.
pub struct Curve {
    /// Beside its end.
    pub name: &'static str,
    /// From left to right, above zero.
    pub points: Vec<(f64, f64)>,
}

/// What is drawn.
pub struct Chart {
    /// Above it.
    pub title: &'static str,
    /// Under the horizontal axis.
    pub across: &'static str,
    /// Marks are powers of it, on both axes.
    pub base: f64,
    /// All of them, the highest first.
    pub curves: Vec<Curve>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
/// Room for the names.
const RIGHT: f64 = 216.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// Between two names.
const LINE: f64 = 15.0;
/// Told apart by people who do not see all colours, and by their order.
const COLOURS: [&str; 4] = ["#b3261e", "#c77700", "#1f6feb", "#1a7f37"];

/// A logarithmic axis: whole powers of its base.
struct Axis {
    base: f64,
    from: i32,
    to: i32,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone, base: f64) -> Axis {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        Axis { base, from: (least.log(base) + 1e-9).floor() as i32, to: (most.log(base) - 1e-9).ceil() as i32 }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        (value.log(self.base) - f64::from(self.from)) / f64::from(self.to - self.from)
    }

    fn marks(&self) -> impl Iterator<Item = f64> + '_ {
        (self.from..=self.to).map(|power| self.base.powi(power))
    }
}

impl Chart {
    /// The file.
    pub fn svg(&self) -> String {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let across = Axis::of(points.clone().map(|point| point.0), self.base);
        let up = Axis::of(points.map(|point| point.1), self.base);
        let x = |value: f64| LEFT + (WIDTH - LEFT - RIGHT) * across.place(value);
        let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up.place(value);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"14\" fill=\"#1f2328\">{}</text>\n",
            self.title
        );
        let mut put = |line: String| {
            // Writing to a text cannot fail.
            let _ = writeln!(out, "{line}");
        };
        for mark in across.marks() {
            let (at, end) = (x(mark), HEIGHT - BOTTOM);
            put(format!("<path d=\"M{at:.1} {TOP}V{end}\" stroke=\"#d8dee4\"/>"));
            put(format!(
                "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#57606a\">{}</text>",
                end + 17.0,
                short(mark)
            ));
        }
        for mark in up.marks() {
            let (at, end) = (y(mark), WIDTH - RIGHT);
            put(format!("<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#d8dee4\"/>"));
            put(format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#57606a\">{}</text>",
                LEFT - 7.0,
                at + 4.0,
                short(mark)
            ));
        }
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        put(format!(
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" fill=\"#1f2328\">{}</text>",
            HEIGHT - 12.0,
            self.across
        ));
        let mut free = 0.0_f64;
        for (curve, colour) in self.curves.iter().zip(COLOURS) {
            let line: Vec<String> =
                curve.points.iter().map(|point| format!("{:.1} {:.1}", x(point.0), y(point.1))).collect();
            put(format!("<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", line.join("L")));
            // Names do not lie on each other: the next one is lower.
            let end = curve.points.last().map_or(TOP, |point| y(point.1)) + 4.0;
            free = end.max(free);
            put(format!("<text x=\"{}\" y=\"{free:.1}\" fill=\"{colour}\">{}</text>", WIDTH - RIGHT + 8.0, curve.name));
            free += LINE;
        }
        out + "</svg>\n"
    }
}

/// `0.01`, `10`, `10 k`, `1 M`.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{} M", value / 1e6),
        1e4.. => format!("{} k", value / 1e3),
        _ => format!("{value}"),
    }
}
