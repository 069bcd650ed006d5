//! A day beside theory, shown: as a table, as JSON, and as a picture.

use std::fmt::Write as _;

use serde_json::json;

use super::{Answer, Row};
use crate::report::picture::{self, LEFT, RIGHT};

/// The table for people.
pub(in super::super) fn table(answer: &Answer) -> String {
    let mut text = format!(
        "{}\nserved within {} s, of all who arrive; left, of all who arrive; in per cent\n",
        answer.title, answer.within_s
    );
    let _ = writeln!(
        text,
        "{:>5} {:>8} {:>8} | {:>8} {:>8} {:>13} {:>13} | {:>8} {:>13} {:>13}",
        "",
        "arrivals",
        "erlangs",
        "Erlang C",
        "Erlang A",
        "exponential",
        "measured",
        "left, A",
        "exponential",
        "measured"
    );
    for row in &answer.rows {
        let share = |share: f64| format!("{:.1}", share * 100.0);
        let [level, measured, left, measured_left] = row.simulated.map(|estimate| {
            format!("{:.1} +- {:.1}", estimate.value * 100.0, estimate.half_width * 100.0)
        });
        let _ = writeln!(
            text,
            "{:>5} {:>8.0} {:>8.1} | {:>8} {:>8} {level:>13} {measured:>13} | {:>8} {left:>13} \
             {measured_left:>13}",
            time(row),
            row.expected,
            row.offered,
            share(row.erlang_c),
            share(row.erlang_a),
            share(row.abandoned_a),
        );
    }
    text
}

fn time(row: &Row) -> String {
    format!("{:02}:{:02}", row.number / 2, row.number % 2 * 30)
}

/// The same for programs.
pub(in super::super) fn json(answer: &Answer) -> String {
    let row = |row: &Row| {
        let [level, measured, left, measured_left] = row
            .simulated
            .map(|found| json!({"value": found.value, "half_width": found.half_width}));
        json!({
            "half_hour": time(row),
            "expected": row.expected,
            "offered_erlangs": row.offered,
            "service_level": {
                "erlang_c": row.erlang_c,
                "erlang_a": row.erlang_a,
                "exponential": level,
                "measured": measured,
            },
            "abandoned": {
                "erlang_a": row.abandoned_a,
                "exponential": left,
                "measured": measured_left,
            },
        })
    };
    let rows: Vec<_> = answer.rows.iter().map(row).collect();
    let document = json!({
        "title": answer.title,
        "service_level_s": answer.within_s,
        "half_hours": rows,
    });
    format!("{document:#}\n")
}

const HEIGHT: f64 = 480.0;
/// Top and bottom of the panel.
const PANEL: (f64, f64) = (90.0, 420.0);
/// What is drawn: its name, its colour and its dashes.
const LINES: [(&str, &str, &str); 4] = [
    ("Erlang C", "#b5542f", "3 4"),
    ("Erlang A", "#2f6da8", "9 5"),
    ("simulated, exponential", "#2f6da8", ""),
    ("simulated, measured", "#111111", ""),
];

/// Service levels over the day.
pub(in super::super) fn picture(answer: &Answer) -> String {
    let mut svg = picture::head(&answer.title, HEIGHT, (30.0, 14));
    for percent in [0, 20, 40, 60, 80, 100] {
        picture::line(&mut svg, height(f64::from(percent) / 100.0), &format!("{percent} %"));
    }
    let place = |number: usize| {
        LEFT + (RIGHT - LEFT) * (number as f64 + 0.5) / answer.rows.len().max(1) as f64
    };
    for (number, row) in answer.rows.iter().enumerate().filter(|(_, row)| row.number % 2 == 0) {
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
            place(number),
            PANEL.1 + 20.0,
            time(row)
        );
    }
    let levels =
        |row: &Row| [row.erlang_c, row.erlang_a, row.simulated[0].value, row.simulated[1].value];
    for (drawn, (name, colour, dashes)) in LINES.into_iter().enumerate() {
        let mut points = String::new();
        for (number, row) in answer.rows.iter().enumerate() {
            let _ = write!(points, "{:.1},{:.1} ", place(number), height(levels(row)[drawn]));
        }
        let x = LEFT + 215.0 * drawn as f64;
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"
            stroke-dasharray="{dashes}"/><path d="M{x:.1} 56h30" stroke="{colour}" stroke-width="2"
            stroke-dasharray="{dashes}"/><text x="{:.1}" y="60">{name}</text>"#,
            points.trim_end(),
            x + 36.0
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle"
>served within {} s, of all who arrived in the half hour</text>
</svg>"#,
        (LEFT + RIGHT) / 2.0,
        PANEL.1 + 45.0,
        answer.within_s
    );
    svg
}

fn height(share: f64) -> f64 {
    picture::height(PANEL, share, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate_day::calibration::Estimate;

    fn answer() -> Answer {
        let estimate = |value| Estimate { value, half_width: 0.01 };
        let simulated = [0.7, 0.6, 0.1, 0.2].map(estimate);
        let row = |number| Row {
            number,
            expected: 90.0,
            offered: 5.0,
            erlang_c: 0.0,
            erlang_a: 0.75,
            abandoned_a: 0.05,
            simulated,
        };
        Answer { title: "a day".to_owned(), within_s: 20.0, rows: vec![row(17), row(18)] }
    }

    #[test]
    fn every_half_hour_is_a_row() {
        let table = table(&answer());
        let rows: Vec<&str> = table
            .lines()
            .skip(3)
            .map(|line| line.trim().split(' ').next())
            .map(|first| first.expect("a time"))
            .collect();
        assert_eq!(rows, ["08:30", "09:00"]);
        assert!(table.contains("70.0 +- 1.0") && table.contains("75.0"), "{table}");
        let read: serde_json::Value = serde_json::from_str(&json(&answer())).expect("JSON");
        assert_eq!(read["half_hours"][1]["service_level"]["measured"]["value"], 0.6);
    }

    #[test]
    fn the_picture_is_whole() {
        let picture = picture(&answer());
        assert_eq!(picture.matches("<polyline").count(), LINES.len());
        assert!(picture.ends_with("</svg>\n") && !picture.contains("NaN"));
    }
}
