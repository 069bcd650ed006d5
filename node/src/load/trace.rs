//! The two data files, read: counts per five minutes of a day, and handle times.

use std::path::Path;

use anyhow::{Context as _, ensure};

/// The arrivals that come with the binary; `node/data/README.md` names their source.
const ARRIVALS: &str = include_str!("../../data/bank-arrivals-2003.csv");
/// The handle times that come with the binary.
const HANDLE_TIMES: &str = include_str!("../../data/bank-handle-times.csv");

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The length of a counted interval.
pub(super) const INTERVAL_S: f64 = 300.0;

/// How many contacts arrived in one interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    /// Its begin, in seconds since midnight.
    pub start_s: f64,
    /// Contacts in it.
    pub count: u32,
}

/// The text of a file, or what comes with the binary.
fn text(path: Option<&Path>, own: &'static str) -> anyhow::Result<String> {
    let Some(path) = path else { return Ok(own.to_owned()) };
    let bytes = std::fs::metadata(path).with_context(|| path.display().to_string())?.len();
    let name = path.display();
    ensure!(bytes <= FILE_BYTES_MAX, "{name}: {bytes} bytes, more than {FILE_BYTES_MAX}");
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Where a line is, for people.
fn place(path: Option<&Path>, number: usize) -> String {
    let file = path.map_or_else(|| "own data".to_owned(), |path| path.display().to_string());
    format!("{file}, line {}", number + 1)
}

/// The intervals of `day` (`2003-03-03`), in their order.
pub(super) fn arrivals(path: Option<&Path>, day: &str) -> anyhow::Result<Vec<Interval>> {
    let text = text(path, ARRIVALS)?;
    let mut intervals = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let Some(rest) = line.strip_prefix(day) else { continue };
        let parsed = rest.strip_prefix('T').and_then(|rest| {
            let (time, count) = rest.split_once(',')?;
            Some(Interval { start_s: time_of_day(time)?, count: count.trim().parse().ok()? })
        });
        let interval = parsed.with_context(|| {
            let place = place(path, number);
            format!("{place}: {line:?} is not of the form {day}T07:05:00,111")
        })?;
        intervals.push(interval);
    }
    ensure!(
        !intervals.is_empty(),
        "there is no {day} among the arrivals; name a day of the file, whose lines are of the form \
        2003-03-03T07:05:00,111 (its first: {:?})",
        text.lines().nth(1).unwrap_or_default()
    );
    intervals.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    Ok(intervals)
}

/// The handle times, in seconds.
pub(super) fn handle_times(path: Option<&Path>) -> anyhow::Result<Vec<f64>> {
    let text = text(path, HANDLE_TIMES)?;
    let mut times = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let seconds = line.trim().parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0);
        times.push(seconds.with_context(|| {
            format!("{}: {line:?} is not a number of seconds", place(path, number))
        })?);
    }
    ensure!(!times.is_empty(), "there are no handle times");
    Ok(times)
}

/// Reads `07:05` or `07:05:00` as seconds since midnight.
pub(super) fn time_of_day(text: &str) -> Option<f64> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let valid = hours <= 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    valid.then(|| f64::from(hours * 3_600 + minutes * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_come_along_are_whole() {
        let day = arrivals(None, "2003-03-03").expect("a day of the file");
        assert_eq!(day.len(), 169);
        assert_eq!(day[0], Interval { start_s: 25_200.0, count: 111 });
        assert_eq!(day.iter().map(|interval| interval.count).sum::<u32>(), 41_257);
        let times = handle_times(None).expect("readable");
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((188.0..190.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_day_that_is_not_there_is_named() {
        let error = arrivals(None, "2003-03-01").expect_err("a Saturday");
        assert!(error.to_string().contains("2003-03-01"), "{error}");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_with_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mine.csv");
        std::fs::write(&path, "interval_start,calls\n2003-03-03T07:00,x\n").expect("written");
        let error = arrivals(Some(&path), "2003-03-03").expect_err("no count").to_string();
        assert!(error.contains("mine.csv, line 2: \"2003-03-03T07:00,x\""), "{error}");
        for wrong in ["abc", "-1", "inf"] {
            std::fs::write(&path, format!("seconds\n5\n{wrong}\n")).expect("written");
            let error = handle_times(Some(&path)).expect_err("no duration").to_string();
            assert!(error.contains("mine.csv, line 3"), "{error}");
        }
    }

    #[test]
    fn times_of_day_are_checked() {
        assert_eq!(time_of_day("07:05"), Some(25_500.0));
        assert_eq!(time_of_day("21:05:30"), Some(75_930.0));
        for bad in ["", "7", "25:00", "07:60", "07:00:00:00", "a:b"] {
            assert_eq!(time_of_day(bad), None, "{bad}");
        }
    }
}
