//! A calibration shown: as a table, as JSON, and as a picture of theory's curves with the
//! simulated intervals on them.

use std::fmt::Write as _;

use serde_json::json;

use super::{Comparison, Trial};
use crate::report::picture::{self, LEFT, RIGHT};

/// The table for people.
pub(crate) fn table(comparisons: &[(&str, Comparison)]) -> String {
    let mut text = String::new();
    for (name, comparison) in comparisons {
        let Comparison { trial, counted, .. } = comparison;
        let Trial { seeds, seed, agents, offered, .. } = trial;
        let _ = writeln!(
            text,
            "{name}: {offered:.1} erlangs for {agents} agents; handle time {} s, patience {} s; \
             {seeds} seeds from {seed}, {} h each after {} h; {counted} customers",
            trial.handle_s,
            trial.patience_s,
            trial.counted_s / 3_600.0,
            trial.warm_up_s / 3_600.0,
        );
        let _ = writeln!(
            text,
            "{:>20} {:>10} {:>22} {:>10}",
            "", "Erlang A", "simulated, 95 %", "inside"
        );
        for (measure, theory, simulated) in comparison.rows() {
            let inside = if simulated.contains(theory) { "yes" } else { "NO" };
            let (scale, unit) = if measure == "wait" { (1.0, "s") } else { (100.0, "%") };
            let (value, half_width) = (simulated.value * scale, simulated.half_width * scale);
            let simulated = format!("{value:.3} +- {half_width:.3} {unit}");
            let theory = format!("{:.3} {unit}", theory * scale);
            let _ = writeln!(text, "{measure:>20} {theory:>10} {simulated:>22} {inside:>10}");
        }
    }
    text
}

/// The same for programs.
pub(crate) fn json(comparisons: &[(&str, Comparison)]) -> String {
    let loads: Vec<_> = comparisons
        .iter()
        .map(|(name, comparison)| {
            let measures: Vec<_> = comparison
                .rows()
                .iter()
                .map(|(measure, theory, simulated)| {
                    json!({
                        "measure": measure,
                        "erlang_a": theory,
                        "simulated": simulated.value,
                        "half_width": simulated.half_width,
                        "inside": simulated.contains(*theory),
                    })
                })
                .collect();
            let Trial { seeds, seed, agents, offered, .. } = comparison.trial;
            json!({
                "load": name,
                "offered_erlangs": offered,
                "agents": agents,
                "seeds": seeds,
                "first_seed": seed,
                "customers": comparison.counted,
                "measures": measures,
            })
        })
        .collect();
    format!("{:#}\n", json!(loads))
}

const HEIGHT: f64 = 480.0;
/// Top and bottom of the panel.
const PANEL: (f64, f64) = (60.0, 420.0);
/// The loads that the curves reach over, in erlangs per agent.
const REACH: [f64; 2] = [0.7, 1.3];
/// Points of a curve.
const POINTS: u32 = 120;
/// Measures drawn: their place among the rows, and the dashes that tell them apart.
const DRAWN: [(usize, &str); 3] = [(0, ""), (3, "9 5"), (1, "2 4")];

/// Erlang A's curves over the load, and what was simulated.
pub(crate) fn picture(comparisons: &[(&str, Comparison)]) -> String {
    let Some((_, first)) = comparisons.first() else { return String::new() };
    let Trial { agents, handle_s, patience_s, within_s, seeds, .. } = first.trial;
    let title = format!(
        "Erlang A (lines) and {seeds} simulated seeds (95 % intervals): {agents} agents, handle \
         time {handle_s} s, patience {patience_s} s"
    );
    let mut svg = picture::head(&title, HEIGHT, (30.0, 14));
    let _ = write!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle"
>offered load, erlangs per agent (service level within {within_s} s)</text>
"#,
        (LEFT + RIGHT) / 2.0,
        PANEL.1 + 42.0
    );
    grid(&mut svg);
    for (measure, dashes) in DRAWN {
        curve(&mut svg, &first.trial, measure, dashes);
        for (_, comparison) in comparisons {
            interval(&mut svg, comparison, measure);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn grid(svg: &mut String) {
    let (top, bottom) = PANEL;
    for percent in [0, 20, 40, 60, 80, 100] {
        picture::line(svg, height(f64::from(percent) / 100.0), &format!("{percent} %"));
    }
    for tenths in 7..=13 {
        let load = f64::from(tenths) / 10.0;
        let x = place(load);
        let _ = writeln!(
            svg,
            r##"<path d="M{x:.1} {top}V{bottom}" stroke="#eeeeee"/><text x="{x:.1}" y="{}"
            text-anchor="middle">{load:.1}</text>"##,
            bottom + 20.0
        );
    }
}

fn curve(svg: &mut String, trial: &Trial, measure: usize, dashes: &str) {
    let mut points = String::new();
    for point in 0..=POINTS {
        let load = REACH[0] + (REACH[1] - REACH[0]) * f64::from(point) / f64::from(POINTS);
        let (_, theory) = at(trial, load)[measure];
        let _ = write!(points, "{:.1},{:.1} ", place(load), height(theory));
    }
    // Where the curves begin they are far apart; the name keeps clear of the one that rises.
    let (name, theory) = at(trial, REACH[0])[measure];
    let y = height(theory) + if theory < 0.1 { -8.0 } else { 18.0 };
    let _ = writeln!(
        svg,
        r##"<polyline points="{}" fill="none" stroke="#2f6da8" stroke-width="2"
        stroke-dasharray="{dashes}"/><text x="{}" y="{y:.1}" font-weight="600">{name}</text>"##,
        points.trim_end(),
        LEFT + 6.0,
    );
}

/// What theory says of a load in erlangs per agent.
fn at(trial: &Trial, load: f64) -> [(&'static str, f64); 4] {
    Trial { offered: load * f64::from(trial.agents), ..*trial }.theory()
}

fn interval(svg: &mut String, comparison: &Comparison, measure: usize) {
    let (_, _, simulated) = comparison.rows()[measure];
    let x = place(comparison.trial.offered / f64::from(comparison.trial.agents));
    let [low, high] = [-1.0, 1.0].map(|side| height(simulated.value + side * simulated.half_width));
    let _ = writeln!(
        svg,
        r##"<path d="M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h12M{:.1} {high:.1}h12"
        stroke="#111111" stroke-width="1.5"/><circle cx="{x:.1}" cy="{:.1}" r="3" fill="none"
        stroke="#111111" stroke-width="1.5"/>"##,
        x - 6.0,
        x - 6.0,
        height(simulated.value)
    );
}

fn place(load: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * (load - REACH[0]) / (REACH[1] - REACH[0])
}

fn height(share: f64) -> f64 {
    picture::height(PANEL, share, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate_day::calibration::Estimate;

    fn comparisons() -> [(&'static str, Comparison); 1] {
        let trial = Trial::full(1, 30, 1.0);
        let theory = trial.theory();
        let simulated = theory.map(|(_, value)| Estimate { value, half_width: 0.01 });
        let off = Estimate { value: theory[1].1 + 0.02, half_width: 0.01 };
        let simulated = [simulated[0], off, simulated[2], simulated[3]];
        [("critically loaded", Comparison { trial, simulated, counted: 1, entries: 2 })]
    }

    #[test]
    fn a_measure_outside_its_interval_stands_out() {
        let table = table(&comparisons());
        let last: Vec<_> = table.lines().filter_map(|line| line.split(' ').next_back()).collect();
        assert_eq!(last, ["customers", "inside", "yes", "NO", "yes", "yes"]);
        let read: serde_json::Value = serde_json::from_str(&json(&comparisons())).expect("JSON");
        let inside = |measure: usize| &read[0]["measures"][measure]["inside"];
        assert_eq!((inside(0), inside(1)), (&true.into(), &false.into()));
    }

    #[test]
    fn the_picture_is_whole() {
        let picture = picture(&comparisons());
        assert_eq!(picture.matches("<polyline").count(), DRAWN.len());
        assert_eq!(picture.matches("<circle").count(), DRAWN.len());
        assert!(picture.ends_with("</svg>\n") && !picture.contains("NaN"));
    }
}
