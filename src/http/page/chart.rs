//! A small chart: one series as a line, drawn by the server, with its figures in words beside it.

use std::fmt::Write as _;

use maud::{Markup, html};

/// Size of the drawing, in units of its own.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 48.0;
/// Room for the width of the line.
const MARGIN: f64 = 2.0;

/// What a chart shows.
pub struct Chart<'a> {
    /// What it is about.
    pub title: &'a str,
    /// What its figures count.
    pub unit: &'a str,
    /// The values, oldest first; `None` where nothing was measured.
    pub values: &'a [Option<f64>],
    /// What the whole width stands for.
    pub span: &'a str,
}

impl Chart<'_> {
    /// The chart with its figures.
    pub fn draw(&self) -> Markup {
        let known = || self.values.iter().flatten().copied();
        let most = known().fold(0.0, f64::max);
        let last = known().next_back();
        let now = last.map_or_else(|| "no figure yet".to_owned(), |last| format!("{} {}", figure(last), self.unit));
        let told = format!("{}, {}: {now}, most {}", self.title, self.span, figure(most));
        html! {
            figure.chart {
                figcaption { span.title { (self.title) } span.now { (now) } }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(told) {
                    path d=(line(self.values, most)) {}
                }
                p.scale { span { (self.span) } span { "most " (figure(most)) } }
            }
        }
    }
}

/// The path of the line: a gap where nothing was measured.
fn line(values: &[Option<f64>], most: f64) -> String {
    let mut path = String::new();
    #[expect(clippy::cast_precision_loss, reason = "some hundred values")]
    let step = if values.len() > 1 { WIDTH / (values.len() - 1) as f64 } else { 0.0 };
    let (mut x, mut begun) = (0.0, false);
    for value in values {
        if let Some(value) = value {
            let part = if most > 0.0 { value / most } else { 0.0 };
            let y = HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN);
            // Writing into memory cannot fail.
            let _infallible = write!(path, "{}{x:.1} {y:.1}", if begun { 'L' } else { 'M' });
        }
        begun = value.is_some();
        x += step;
    }
    path
}

/// A figure for people: three digits that matter, large ones with their thousands apart.
pub fn figure(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts and rates, never negative"
        )]
        return whole(value.round() as u64);
    }
    let digits = if value >= 10.0 { 1 } else { 2 };
    format!("{value:.digits$}")
}

/// A whole number with its thousands apart.
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gaps_and_stays_in_its_frame() {
        let values = [Some(0.0), Some(10.0), None, Some(5.0)];
        assert_eq!(line(&values, 10.0), "M0.0 46.0L80.0 2.0M240.0 24.0");
        assert_eq!(line(&[], 0.0), "");
        assert_eq!(line(&[Some(0.0)], 0.0), "M0.0 46.0");
    }

    #[test]
    fn figures_are_for_people() {
        let told: Vec<String> = [0.0, 0.256, 12.34, 99.0, 1234.5, 1e6].iter().map(|value| figure(*value)).collect();
        assert_eq!(told, ["0", "0.26", "12.3", "99", "1\u{202f}235", "1\u{202f}000\u{202f}000"]);
    }

    #[test]
    fn a_chart_says_its_figures_in_words() {
        let chart =
            Chart { title: "Rows <received>", unit: "a second", values: &[Some(1.0), Some(3.0)], span: "last hour" };
        let drawn = chart.draw().into_string();
        assert!(drawn.contains("aria-label=\"Rows &lt;received&gt;, last hour: 3 a second, most 3\""), "{drawn}");
    }
}
