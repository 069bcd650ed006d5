//! The table, for terminals.

use std::fmt;

use super::figures::{Figures, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(
            f,
            "{:>11} {:>8} {:>8} {:>9} {:>7} {:>7} {:>7} {:>6} {:>8}",
            "half hour",
            "offered",
            "answered",
            "abandoned",
            format!("SL {:.0}s", self.service_level_s),
            "ASA s",
            "AHT s",
            "occ",
            "max wait",
        )?;
        for (row, figures) in &self.rows {
            let minutes = row * 30;
            line(f, &format!("{:02}:{:02}", minutes / 60, minutes % 60), figures)?;
        }
        line(f, "day", &self.total())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, figures: &Figures) -> fmt::Result {
    let percent = |share: Option<f64>| share.map_or("-".into(), |s| format!("{:.1}%", s * 100.0));
    let seconds = |value: Option<f64>| value.map_or("-".into(), |s| format!("{s:.1}"));
    writeln!(
        f,
        "{name:>11} {:>8} {:>8} {:>9} {:>7} {:>7} {:>7} {:>6} {:>8}",
        figures.offered,
        figures.answered,
        figures.abandoned,
        percent(figures.service_level()),
        seconds(figures.asa_s()),
        seconds(figures.aht_s()),
        percent(figures.occupancy()),
        figures.waiting_max,
    )
}
