//! The two data files of a working day, and the mix of channels: what both a replayed load and a
//! simulated day begin with.
//!
//! Arrivals are counts per five minutes (`interval_start,calls`), handle times are seconds, one a
//! line. `node/data/README.md` names the source of those that come with the binary.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The arrivals that come with the binary.
const ARRIVALS: &str = include_str!("../data/bank-arrivals-2003.csv");
/// The handle times that come with the binary.
const HANDLE_TIMES: &str = include_str!("../data/bank-handle-times.csv");

/// What a line of each file looks like.
const ARRIVALS_FORM: &str = "2003-03-03T07:05:00,111";
const HANDLE_TIMES_FORM: &str = "211, seconds from 0 up";
/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The length of a counted interval, in seconds.
pub(crate) const INTERVAL_S: f64 = 300.0;

/// How many contacts arrived in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    /// Its begin, in seconds since midnight.
    pub(crate) start_s: u32,
    /// Contacts in it.
    pub(crate) count: u32,
}

/// Why a data file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line does not say what its file's header promises.
    #[error("{what}, line {line}: {text:?} is not of the form {form}")]
    Line {
        /// Which file.
        what: String,
        /// Which line, from 1.
        line: usize,
        /// The line.
        text: String,
        /// What it should look like.
        form: &'static str,
    },
    /// The file says nothing of that day.
    #[error("no arrivals on {day}; the file has {first} to {last}, weekdays only")]
    Day {
        /// The day that was asked for.
        day: String,
        /// The first day in the file.
        first: String,
        /// The last day in the file.
        last: String,
    },
    /// The file has no times.
    #[error("no handle times in the file")]
    Empty,
}

/// The text of a file, or what comes with the binary.
fn text(path: Option<&Path>, own: &str) -> Result<String, DataError> {
    match path {
        None => Ok(own.to_owned()),
        Some(path) => {
            let failed = |source| DataError::Io { path: path.to_owned(), source };
            let bytes = std::fs::metadata(path).map_err(failed)?.len();
            if bytes > FILE_BYTES_MAX {
                let reason = format!("{bytes} bytes, more than {FILE_BYTES_MAX}");
                return Err(failed(std::io::Error::other(reason)));
            }
            std::fs::read_to_string(path).map_err(failed)
        }
    }
}

/// The intervals of `day` (`2003-03-03`) in a file, or in the one that comes with the binary, in
/// order of time.
///
/// # Errors
/// [`DataError`], for a line of another day too.
pub(crate) fn arrivals(path: Option<&Path>, day: &str) -> Result<Vec<Interval>, DataError> {
    read_arrivals(&text(path, ARRIVALS)?, day, &name(path))
}

fn read_arrivals(csv: &str, day: &str, name: &str) -> Result<Vec<Interval>, DataError> {
    let (mut first, mut last) = (None, "");
    let mut intervals = Vec::new();
    for (number, text) in csv.lines().enumerate().skip(1) {
        let (date, interval) =
            arrivals_line(text).ok_or_else(|| wrong(name, number, text, ARRIVALS_FORM))?;
        last = date;
        first.get_or_insert(date);
        if date == day {
            intervals.push(interval);
        }
    }
    if intervals.is_empty() {
        let (first, last) = (first.unwrap_or_default().to_owned(), last.to_owned());
        return Err(DataError::Day { day: day.to_owned(), first, last });
    }
    intervals.sort_by_key(|interval| interval.start_s);
    Ok(intervals)
}

fn arrivals_line(text: &str) -> Option<(&str, Interval)> {
    let (start, count) = text.split_once(',')?;
    let (date, time) = start.split_once('T')?;
    let interval = Interval { start_s: time_of_day(time)?, count: count.trim().parse().ok()? };
    Some((date, interval))
}

fn wrong(what: &str, number: usize, text: &str, form: &'static str) -> DataError {
    DataError::Line { what: what.to_owned(), line: number + 1, text: text.to_owned(), form }
}

/// The file's name, for people.
fn name(path: Option<&Path>) -> String {
    path.map_or_else(|| "own data".to_owned(), |path| path.display().to_string())
}

/// The handle times of a file, or of the one that comes with the binary, in seconds.
///
/// # Errors
/// [`DataError`].
pub(crate) fn handle_times(path: Option<&Path>) -> Result<Vec<f64>, DataError> {
    read_handle_times(&text(path, HANDLE_TIMES)?, &name(path))
}

fn read_handle_times(csv: &str, name: &str) -> Result<Vec<f64>, DataError> {
    let seconds = csv.lines().enumerate().skip(1).map(|(number, text)| {
        let read = text.trim().parse::<f64>().ok();
        let read = read.filter(|time| time.is_finite() && *time >= 0.0);
        read.ok_or_else(|| wrong(name, number, text, HANDLE_TIMES_FORM))
    });
    let seconds: Vec<f64> = seconds.collect::<Result<_, _>>()?;
    if seconds.is_empty() { Err(DataError::Empty) } else { Ok(seconds) }
}

/// Reads `07:05` or `07:05:00` as seconds since midnight.
pub(crate) fn time_of_day(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().unwrap_or(Some(0))?;
    let valid = hours <= 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    valid.then_some(hours * 3_600 + minutes * 60 + seconds)
}

/// Which share of the contacts comes by which channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mix {
    /// Share that calls, 0 to 1; the others chat.
    pub(crate) voice: f64,
}

/// Why a text is not a mix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a mix; write weights, for instance voice=0.7,chat=0.3")]
pub(crate) struct MixError(String);

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let wrong = || MixError(text.to_owned());
        let (mut voice, mut chat) = (0.0, 0.0);
        for part in text.split(',') {
            let (channel, weight) = part.split_once('=').ok_or_else(wrong)?;
            let weight: f64 = weight.parse().map_err(|_| wrong())?;
            match channel {
                "voice" if weight.is_finite() && weight >= 0.0 => voice = weight,
                "chat" if weight.is_finite() && weight >= 0.0 => chat = weight,
                _ => return Err(wrong()),
            }
        }
        if voice + chat > 0.0 { Ok(Self { voice: voice / (voice + chat) }) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "interval_start,calls\n2003-03-03T07:05:00,400\n2003-03-03T07:00:00,10\n\
                       2003-03-04T07:00:00,7\n";

    #[test]
    fn the_files_that_come_along_are_whole() {
        let day = arrivals(None, "2003-03-03").expect("a day of the file");
        assert_eq!(day.len(), 169);
        assert_eq!(day[0], Interval { start_s: 25_200, count: 111 });
        assert_eq!(day.iter().map(|interval| interval.count).sum::<u32>(), 41_257);
        let times = handle_times(None).expect("readable");
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        assert!((188.0..190.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_day_is_read_in_order_of_time() {
        let day = read_arrivals(CSV, "2003-03-03", "mine.csv").expect("present");
        let expected = [(25_200, 10), (25_500, 400)];
        assert_eq!(day, expected.map(|(start_s, count)| Interval { start_s, count }));
    }

    #[test]
    fn what_a_file_does_not_say_is_named() {
        let error =
            read_arrivals(CSV, "2003-03-02", "mine.csv").expect_err("not there").to_string();
        let days = "the file has 2003-03-03 to 2003-03-04, weekdays only";
        assert_eq!(error, format!("no arrivals on 2003-03-02; {days}"));
        let broken =
            read_arrivals("interval_start,calls\n2003-03-03,10\n", "2003-03-03", "mine.csv");
        let broken = broken.expect_err("no time").to_string();
        assert_eq!(
            broken,
            "mine.csv, line 2: \"2003-03-03,10\" is not of the form 2003-03-03T07:05:00,111"
        );
        assert!(matches!(read_handle_times("seconds\n", "mine.csv"), Err(DataError::Empty)));
        let negative =
            read_handle_times("seconds\n12\n-1\n", "mine.csv").expect_err("no time").to_string();
        assert_eq!(negative, "mine.csv, line 3: \"-1\" is not of the form 211, seconds from 0 up");
        let nowhere = handle_times(Some(Path::new("/nowhere.csv"))).expect_err("no file");
        assert!(nowhere.to_string().starts_with("/nowhere.csv: "), "{nowhere}");
    }

    #[test]
    fn times_of_day_are_checked() {
        assert_eq!(time_of_day("07:05"), Some(25_500));
        assert_eq!(time_of_day("21:05:30"), Some(75_930));
        for bad in ["", "7", "25:00", "07:60", "07:00:00:00", "a:b"] {
            assert_eq!(time_of_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mix_is_the_weights_of_two_channels() {
        let voice = |text: &str| text.parse::<Mix>().map(|mix| mix.voice);
        assert_eq!(voice("voice=0.7,chat=0.3"), Ok(0.7));
        assert_eq!((voice("voice=3,chat=1"), voice("chat=1")), (Ok(0.75), Ok(0.0)));
        for text in ["", "voice", "voice=0", "fax=1", "voice=2,chat=-1", "voice=inf"] {
            assert!(voice(text).is_err(), "{text}");
        }
    }
}
