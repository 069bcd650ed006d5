//! The picture: an SVG of two panels, written by hand.
//!
//! Above, per half hour: bars of offered, answered and abandoned, and the service level as a line.
//! Below: the most that waited. Bars differ in lightness and outline as well as in colour, so that
//! the picture reads in greyscale too.

use std::fmt::Write as _;

use super::figures::{Figures, Report};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
/// Where panels begin.
pub(crate) const LEFT: f64 = 70.0;
/// Where they end.
pub(crate) const RIGHT: f64 = 890.0;
/// Top and bottom of the upper panel.
const UPPER: (f64, f64) = (80.0, 350.0);
/// Top and bottom of the lower panel.
const LOWER: (f64, f64) = (410.0, 510.0);
const OFFERED: &str = "#c9d3e0";
const ANSWERED: &str = "#2f6da8";
const ABANDONED: &str = "#b3261e";
const LEVEL: &str = "#111111";

impl Report {
    /// The day as an SVG document.
    pub(crate) fn picture(&self) -> String {
        let mut svg = head(&self.title, HEIGHT, (28.0, 17));
        self.legend(&mut svg);
        let mut rows: Vec<(u32, Figures)> = self.rows.iter().map(|(row, f)| (*row, *f)).collect();
        while rows.last().is_some_and(|(_, last)| last.offered == 0 && last.waiting_max == 0) {
            rows.pop();
        }
        if rows.is_empty() {
            let _ = writeln!(svg, r#"<text x="{LEFT}" y="120">nothing happened</text>"#);
        } else {
            Panels::new(&rows).draw(&mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn legend(&self, svg: &mut String) {
        let level = format!("service level, % within {:.0} s", self.service_level_s);
        let entries = [("offered", OFFERED), ("answered", ANSWERED), ("abandoned", ABANDONED)];
        for (place, (name, colour)) in (0..).map(f64::from).zip(entries) {
            let x = LEFT + place * 105.0;
            let _ = writeln!(
                svg,
                r##"<rect x="{x}" y="43" width="14" height="12" fill="{colour}"
                stroke="#444"/><text x="{}" y="53">{name}</text>"##,
                x + 20.0
            );
        }
        let x = LEFT + 330.0;
        let _ = writeln!(
            svg,
            r#"<path d="M{x} 49h26" stroke="{LEVEL}" stroke-width="2"/><circle cx="{}" cy="49"
            r="3" fill="{LEVEL}"/><text x="{}" y="53">{level}</text>"#,
            x + 13.0,
            x + 32.0
        );
    }
}

/// The beginning of a document of that height: a white ground, and the title at a height of its
/// own in a size of its own.
pub(crate) fn head(title: &str, height: f64, (y, size): (f64, u32)) -> String {
    let title = escape(title);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif" font-size="12" fill="#222">
<title>{title}</title>
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="{LEFT}" y="{y}" font-size="{size}" font-weight="600">{title}</text>
"##
    )
}

/// A round number at or above `value` whose quarters are round too, for the top of an axis.
fn round_up(value: f64) -> f64 {
    let value = value.max(4.0);
    let unit = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    steps.map(|step| step * unit).into_iter().find(|top| *top >= value).unwrap_or(value)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

struct Panels<'a> {
    rows: &'a [(u32, Figures)],
    first: u32,
    step: f64,
    contacts_top: f64,
    waiting_top: f64,
}

impl<'a> Panels<'a> {
    fn new(rows: &'a [(u32, Figures)]) -> Self {
        let (first, last) = (rows[0].0, rows[rows.len() - 1].0);
        let step = (RIGHT - LEFT) / f64::from(last - first + 1);
        let most = |of: fn(&Figures) -> u32| rows.iter().map(|(_, f)| of(f)).max().unwrap_or(0);
        let contacts_top = round_up(f64::from(most(|figures| figures.offered)));
        let waiting_top = round_up(f64::from(most(|figures| figures.waiting_max)));
        Self { rows, first, step, contacts_top, waiting_top }
    }

    fn x(&self, row: u32) -> f64 {
        LEFT + f64::from(row - self.first) * self.step
    }

    fn draw(&self, svg: &mut String) {
        axis(svg, UPPER, self.contacts_top, "contacts per half hour");
        axis(svg, LOWER, self.waiting_top, "most waiting at once");
        for share in [0, 25, 50, 75, 100] {
            let y = height(UPPER, f64::from(share), 100.0) + 4.0;
            let _ = writeln!(svg, r#"<text x="{}" y="{y:.1}">{share} %</text>"#, RIGHT + 8.0);
        }
        for (row, figures) in self.rows {
            self.bars(svg, *row, figures);
            self.hour(svg, *row);
        }
        self.level(svg);
        self.waiting(svg);
        let (x, y) = ((LEFT + RIGHT) / 2.0, HEIGHT - 12.0);
        let _ = writeln!(svg, r#"<text x="{x}" y="{y}" text-anchor="middle">time of day</text>"#);
    }

    fn bars(&self, svg: &mut String, row: u32, figures: &Figures) {
        let counts = [figures.offered, figures.answered, figures.abandoned];
        let width = self.step * 0.28;
        for ((place, count), colour) in
            (0..).map(f64::from).zip(counts).zip([OFFERED, ANSWERED, ABANDONED])
        {
            let x = self.x(row) + self.step * 0.08 + place * width;
            let y = height(UPPER, f64::from(count), self.contacts_top);
            let _ = writeln!(
                svg,
                r##"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{:.1}" fill="{colour}"
                stroke="#444" stroke-width=".4"/>"##,
                UPPER.1 - y
            );
        }
    }

    fn hour(&self, svg: &mut String, row: u32) {
        if row.is_multiple_of(2) {
            let (x, y) = (self.x(row), LOWER.1 + 18.0);
            let hour = row / 2;
            let _ = writeln!(
                svg,
                r##"<text x="{x:.1}" y="{y}" text-anchor="middle">{hour:02}:00</text><path
                d="M{x:.1} {}v5M{x:.1} {}v5" stroke="#444"/>"##,
                LOWER.1, UPPER.1
            );
        }
    }

    fn level(&self, svg: &mut String) {
        let points: Vec<(f64, f64)> = self
            .rows
            .iter()
            .filter_map(|(row, figures)| {
                let share = figures.service_level()?;
                Some((self.x(*row) + self.step / 2.0, height(UPPER, share, 1.0)))
            })
            .collect();
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let line = line.join(" ");
        let _ = writeln!(
            svg,
            r##"<polyline points="{line}" fill="none" stroke="#ffffff" stroke-width="4"/><polyline
            points="{line}" fill="none" stroke="{LEVEL}" stroke-width="2"/>"##
        );
        for (x, y) in points {
            let _ = writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{LEVEL}"/>"#);
        }
    }

    fn waiting(&self, svg: &mut String) {
        let mut path = format!("M{LEFT:.1} {:.1}", LOWER.1);
        for (row, figures) in self.rows {
            let y = height(LOWER, f64::from(figures.waiting_max), self.waiting_top);
            let x = self.x(*row);
            let _ = write!(path, "L{x:.1} {y:.1}L{:.1} {y:.1}", x + self.step);
        }
        let _ = write!(path, "L{RIGHT:.1} {:.1}Z", LOWER.1);
        let _ = writeln!(svg, r##"<path d="{path}" fill="#9aa7b5" stroke="#444"/>"##);
    }
}

/// Where a value lies in a panel of that top and bottom.
pub(crate) fn height((top, bottom): (f64, f64), value: f64, most: f64) -> f64 {
    bottom - (bottom - top) * (value / most).clamp(0.0, 1.0)
}

/// Lines and numbers at the left, and the panel's name.
fn axis(svg: &mut String, panel: (f64, f64), most: f64, name: &str) {
    let _ =
        writeln!(svg, r#"<text x="{LEFT}" y="{}" font-weight="600">{name}</text>"#, panel.0 - 8.0);
    for quarter in 0..=4 {
        let value = (most * f64::from(quarter) * 2.5).round() / 10.0;
        line(svg, height(panel, value, most), &value.to_string());
    }
}

/// A line across at a height, and what it stands for.
pub(crate) fn line(svg: &mut String, y: f64, name: &str) {
    let _ = writeln!(
        svg,
        r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#dddddd"/><text x="{}" y="{:.1}"
            text-anchor="end">{name}</text>"##,
        LEFT - 8.0,
        y + 4.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_titled_and_closed_whatever_the_day() {
        for rows in [0..0, 14..15, 14..42] {
            let figures =
                Figures { offered: 1_234, answered: 1_200, in_time: 900, ..Figures::default() };
            let title = "a < b & c".to_owned();
            let rows = rows.map(|row| (row, figures)).collect();
            let picture = Report { title, service_level_s: 20.0, rows }.picture();
            assert!(picture.contains("<title>a &lt; b &amp; c</title>"));
            assert!(picture.ends_with("</svg>\n"));
            assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        }
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let tops = [0.0, 3.0, 44.0, 465.0, 1_234.0, 2_316.0].map(round_up);
        assert_eq!(tops, [4.0, 4.0, 60.0, 600.0, 1_600.0, 2_400.0]);
    }
}
