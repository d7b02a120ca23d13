//! The figures as a picture: one panel for each thing that grows, processor time upwards, both from 0.

use std::fmt::Write as _;

use super::growth::Growth;

const PANEL: f64 = 250.0;
const HIGH: f64 = 170.0;
const MARGIN: f64 = 46.0;

/// An SVG that needs no other file.
pub fn svg(growth: &[Growth]) -> String {
    let wide = (PANEL + MARGIN) * growth.len() as f64 + 20.0;
    let high = HIGH + 2.0 * MARGIN;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" width=\"{wide:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<title>Processor time over kernels, objects and size of a BTF\
         </title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (index, growth) in growth.iter().enumerate() {
        panel(&mut text, growth, MARGIN + index as f64 * (PANEL + MARGIN));
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, growth: &Growth, left: f64) {
    let points: Vec<(f64, f64)> =
        growth.points.iter().map(|(amount, cost)| (*amount, cost.cpu.as_secs_f64() * 1e3)).collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let (most_x, most_y) = (most(&mut points.iter().map(|p| p.0)), most(&mut points.iter().map(|p| p.1)));
    let place = |(x, y): (f64, f64)| (left + x / most_x * PANEL, MARGIN + HIGH - y / most_y * HIGH);
    let (bottom, top, right) = (MARGIN + HIGH, MARGIN, left + PANEL);
    let mut add = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    add(format!("<path d=\"M{left:.0} {top:.0}V{bottom:.0}H{right:.0}\" fill=\"none\" stroke=\"#888\"/>"));
    add(format!("<text x=\"{left:.0}\" y=\"{:.0}\">{most_y:.1} ms CPU</text>", top - 6.0));
    add(format!(
        "<text x=\"{right:.0}\" y=\"{:.0}\" text-anchor=\"end\">{most_x:.0} {}</text>",
        bottom + 16.0,
        growth.of
    ));
    let mut line = String::new();
    for (index, &point) in points.iter().enumerate() {
        let (x, y) = place(point);
        // Writing to a string can't fail.
        let _ = write!(line, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        add(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#06c\"/>"));
    }
    add(format!("<path d=\"{line}\" fill=\"none\" stroke=\"#06c\"/>"));
}
