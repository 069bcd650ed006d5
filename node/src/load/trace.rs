//! The two data files, read: counts per five minutes of a day, and handle times.

use anyhow::{Context as _, bail, ensure};

/// The arrivals that come with the binary; `node/data/README.md` names their source.
const ARRIVALS: &str = include_str!("../../data/bank-arrivals-2003.csv");
/// The handle times that come with the binary.
const HANDLE_TIMES: &str = include_str!("../../data/bank-handle-times.csv");

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
fn text(path: Option<&std::path::Path>, own: &'static str) -> anyhow::Result<String> {
    match path {
        Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string()),
        None => Ok(own.to_owned()),
    }
}

/// The intervals of `day` (`2003-03-03`), in their order.
pub(super) fn arrivals(path: Option<&std::path::Path>, day: &str) -> anyhow::Result<Vec<Interval>> {
    let text = text(path, ARRIVALS)?;
    let mut intervals = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let Some(rest) = line.strip_prefix(day) else { continue };
        let parsed = rest.strip_prefix('T').and_then(|rest| {
            let (time, count) = rest.split_once(',')?;
            Some(Interval { start_s: time_of_day(time)?, count: count.trim().parse().ok()? })
        });
        let interval = parsed.with_context(|| format!("line {}: {line:?}", number + 1))?;
        intervals.push(interval);
    }
    ensure!(!intervals.is_empty(), "there is no {day} among the arrivals; name a day of the file");
    intervals.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    Ok(intervals)
}

/// The handle times, in seconds.
pub(super) fn handle_times(path: Option<&std::path::Path>) -> anyhow::Result<Vec<f64>> {
    let text = text(path, HANDLE_TIMES)?;
    let mut times = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1) {
        let seconds: f64 = line.trim().parse().with_context(|| format!("line {}", number + 1))?;
        if !(seconds.is_finite() && seconds >= 0.0) {
            bail!("line {}: {line:?} is not a duration", number + 1);
        }
        times.push(seconds);
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
    fn times_of_day_are_checked() {
        assert_eq!(time_of_day("07:05"), Some(25_500.0));
        assert_eq!(time_of_day("21:05:30"), Some(75_930.0));
        for bad in ["", "7", "25:00", "07:60", "07:00:00:00", "a:b"] {
            assert_eq!(time_of_day(bad), None, "{bad}");
        }
    }
}
