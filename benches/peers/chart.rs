//! The rates as bars, in SVG.

use std::fmt::Write as _;

use loadgen::{chart::escaped, grouped};

/// One bar, and a dot in it for each round.
pub(crate) struct Bar {
    pub(crate) title: String,
    pub(crate) value: f64,
    pub(crate) rounds: Vec<f64>,
    pub(crate) is_ours: bool,
}

const WIDTH: f64 = 760.0;
/// Where the bars begin and how long the longest may be; its number stands behind it.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 470.0;
const TOP: f64 = 44.0;
const STEP: f64 = 34.0;
const THICKNESS: f64 = 22.0;

pub(crate) fn draw(heading: &str, bars: &[Bar]) -> String {
    let height = TOP + STEP * bars.len() as f64 + 10.0;
    let all = bars.iter().flat_map(|bar| bar.rounds.iter().copied().chain([bar.value]));
    let scale = LONGEST / all.fold(1.0, f64::max);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"26\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escaped(heading)
    );
    for (number, bar) in bars.iter().enumerate() {
        let y = TOP + STEP * number as f64;
        svg.push_str(&drawn(bar, y, scale));
    }
    svg.push_str("</svg>\n");
    svg
}

fn drawn(bar: &Bar, y: f64, scale: f64) -> String {
    let colour = if bar.is_ours { "#0b7285" } else { "#adb5bd" };
    let (middle, length) = (y + THICKNESS / 2.0, bar.value * scale);
    let baseline = middle + 5.0;
    let end = bar.rounds.iter().map(|value| value * scale).fold(length, f64::max);
    let mut svg = format!(
        "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{LEFT:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{THICKNESS}\" fill=\"{colour}\"/>\n",
        LEFT - 8.0,
        escaped(&bar.title)
    );
    for value in &bar.rounds {
        let x = LEFT + value * scale;
        // Writing to a String does not fail.
        let _ =
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{middle:.1}\" r=\"2.5\" fill=\"#212529\"/>");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{baseline:.1}\">{}</text>",
        LEFT + end + 8.0,
        grouped(bar.value.round() as u64)
    );
    svg
}
