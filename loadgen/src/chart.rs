//! A chart of milliseconds by records a second, both by powers of ten, as SVG.

use std::fmt::Write as _;

use crate::digits::grouped;

/// Lines by rate.
#[derive(Debug)]
pub struct Chart<'a> {
    pub title: &'a str,
    pub curves: &'a [Curve<'a>],
    /// A rate to be marked.
    pub limit: Option<f64>,
}

/// One line.
#[derive(Debug)]
pub struct Curve<'a> {
    pub name: &'a str,
    pub colour: &'a str,
    /// Records a second and milliseconds, by rate.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 30.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = HEIGHT - 40.0;
/// Nothing is drawn below.
const LEAST_MS: f64 = 1.0;

/// Powers of ten, from the one below the least value to the one above the greatest.
#[derive(Clone, Copy)]
struct Scale {
    first: i32,
    last: i32,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let powers = values.filter(|value| *value > 0.0).map(f64::log10);
        let least = powers.clone().reduce(f64::min).unwrap_or(0.0);
        let greatest = powers.reduce(f64::max).unwrap_or(1.0);
        let first = least.floor() as i32;
        Self { first, last: (greatest.ceil() as i32).max(first + 1) }
    }

    /// Where a value lies between the ends, 0 to 1.
    fn place(self, value: f64) -> f64 {
        (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first)
    }

    fn ticks(self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }
}

impl Chart<'_> {
    /// The chart.
    pub fn svg(&self) -> String {
        let points = || self.curves.iter().flat_map(|curve| curve.points.iter().copied());
        let rates = Scale::of(points().map(|(rate, _)| rate));
        let times = Scale::of(points().map(|(_, ms)| ms.max(LEAST_MS)));
        let x = |rate: f64| LEFT + rates.place(rate) * (RIGHT - LEFT);
        let y = |ms: f64| BOTTOM - times.place(ms.max(LEAST_MS)) * (BOTTOM - TOP);
        let mut lines = vec![
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
                 font-family=\"sans-serif\" font-size=\"11\">"
            ),
            "<title>Latency against rate</title>".to_owned(),
            format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>"),
            format!("<text x=\"{LEFT}\" y=\"16\" font-size=\"13\">{}</text>", escaped(self.title)),
        ];
        for ms in times.ticks() {
            let (y, baseline, label) = (y(ms), y(ms) + 4.0, time(ms));
            lines.push(format!("<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#ddd\"/>"));
            lines.push(format!(
                "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 8.0
            ));
        }
        for rate in rates.ticks() {
            let (x, y, label) = (x(rate), BOTTOM + 18.0, short(rate));
            lines.push(format!(
                "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>"
            ));
        }
        if let Some(limit) = self.limit {
            let (x, label) = (x(limit), grouped(limit.round() as u64));
            lines.push(format!(
                "<path d=\"M{x:.1} {TOP}V{BOTTOM}\" stroke=\"#555\" stroke-dasharray=\"4 3\"/>"
            ));
            lines.push(format!(
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"end\">limit {label}</text>",
                x - 4.0,
                TOP + 10.0
            ));
        }
        for curve in self.curves {
            lines.extend(curve.drawn(x, y));
        }
        lines.push("</svg>\n".to_owned());
        lines.join("\n")
    }
}

impl Curve<'_> {
    fn drawn(&self, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> Vec<String> {
        let Some(&(rate, ms)) = self.points.last() else { return Vec::new() };
        let colour = self.colour;
        let mut path = String::new();
        for &(rate, ms) in &self.points {
            let letter = if path.is_empty() { 'M' } else { 'L' };
            // Nothing fails in writing to a text.
            let _ = write!(path, "{letter}{:.1} {:.1}", x(rate), y(ms));
        }
        let (end_x, end_y, name) = (x(rate) + 4.0, y(ms), escaped(self.name));
        vec![
            format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"),
            format!("<text x=\"{end_x:.1}\" y=\"{end_y:.1}\" fill=\"{colour}\">{name}</text>"),
        ]
    }
}

/// A text for the inside of an element.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn time(ms: f64) -> String {
    if ms >= 1000.0 { format!("{} s", ms / 1000.0) } else { format!("{ms}") }
}

fn short(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{}M", rate / 1e6),
        rate if rate >= 1e3 => format!("{}k", rate / 1e3),
        rate => format!("{rate}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_lies_in_the_frame() {
        let points = vec![(12.0, 0.0), (900.0, 15.0), (1_000.0, 60_000.0)];
        let curves = [Curve { name: "a&b", colour: "red", points }];
        let svg = Chart { title: "x < y", curves: &curves, limit: Some(900.0) }.svg();
        assert!(svg.contains("M81.8 280.0L597.4 221.2L610.0 41.1"), "{svg}");
        assert!(svg.contains(">limit 900<") && svg.contains(">a&amp;b<"), "{svg}");
        assert!(
            [">10<", ">1k<", ">100 s<", "x &lt; y"].iter().all(|part| svg.contains(part)),
            "{svg}"
        );
    }

    #[test]
    fn a_chart_of_nothing_is_a_frame() {
        let svg = Chart { title: "", curves: &[], limit: None }.svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }
}
