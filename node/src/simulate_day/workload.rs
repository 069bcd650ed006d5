//! Who comes, when, with what patience, and how long serving them takes.
//!
//! Arrivals are a Poisson process whose rate is constant within an interval: an exponential gap
//! that reaches past the interval's end is drawn anew from there, which changes nothing because
//! the law has no memory. Patience is exponential. Handle times are drawn from a list of measured
//! ones, with replacement, or are exponential for calibration. What a customer brings is drawn
//! when they arrive, never when they are served, so that it is the same whoever serves them.

use std::str::FromStr;

use rotary_proto::Channel;

use super::random::Stream;

/// A customer before anything has happened to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Customer {
    /// When they arrive, in microseconds from the beginning of the day.
    pub(crate) arrives_us: u64,
    /// Which site they turn to, from 0.
    pub(crate) site: u32,
    /// How they come.
    pub(crate) channel: Channel,
    /// How long they wait for an agent at most.
    pub(crate) patience_us: u64,
    /// How long serving them takes, wrap-up left out.
    pub(crate) handle_us: u64,
}

/// A stretch of time at a constant rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// Where it begins, in seconds from the beginning of the day.
    pub(crate) start_s: f64,
    /// How long it lasts.
    pub(crate) length_s: f64,
    /// How many customers are expected in it.
    pub(crate) expected: f64,
}

/// How long serving a customer takes.
#[derive(Debug, Clone)]
pub(crate) enum HandleTimes {
    /// One of these, each as likely, in seconds.
    Measured(Vec<f64>),
    /// Exponential, with this mean in seconds.
    Exponential(f64),
}

/// The laws that customers follow.
#[derive(Debug, Clone)]
pub(crate) struct Laws {
    /// Sites that share the arrivals, each as likely.
    pub(crate) sites: u32,
    /// Shares of the channels.
    pub(crate) mix: Mix,
    /// Mean patience in seconds.
    pub(crate) patience_s: f64,
    /// Handle times.
    pub(crate) handle: HandleTimes,
}

/// Which share of the customers comes by which channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mix {
    /// Share that calls; the others chat.
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

/// Everybody who comes during `intervals`, in order of their coming.
pub(crate) fn customers(intervals: &[Interval], laws: &Laws, seed: u64) -> Vec<Customer> {
    let mut arrivals = Stream::new(seed, "arrivals");
    let [mut sites, mut channels, mut patience, mut handle] =
        ["sites", "channels", "patience", "handle"].map(|purpose| Stream::new(seed, purpose));
    let mut customers = Vec::new();
    for interval in intervals.iter().filter(|interval| interval.expected > 0.0) {
        let gap_s = interval.length_s / interval.expected;
        let mut at_s = arrivals.exponential(gap_s);
        while at_s < interval.length_s {
            let voice = channels.unit() < laws.mix.voice;
            customers.push(Customer {
                arrives_us: micros(interval.start_s + at_s),
                site: sites.below(laws.sites),
                channel: if voice { Channel::Voice } else { Channel::Chat },
                patience_us: micros(patience.exponential(laws.patience_s)),
                handle_us: micros(laws.handle.draw(&mut handle)),
            });
            at_s += arrivals.exponential(gap_s);
        }
    }
    customers
}

impl HandleTimes {
    fn draw(&self, stream: &mut Stream) -> f64 {
        match self {
            Self::Measured(seconds) => seconds[stream.below(seconds.len() as u32) as usize],
            Self::Exponential(mean) => stream.exponential(*mean),
        }
    }
}

/// Seconds to whole microseconds.
pub(crate) fn micros(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

/// Why a file of the workload cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkloadError {
    /// A line does not say what its file's header promises.
    #[error("{what}, line {line}: {text:?} cannot be read")]
    Line {
        /// Which file.
        what: &'static str,
        /// Which line, from 1.
        line: usize,
        /// The line.
        text: String,
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

/// A day's counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Day {
    /// The time of day at which it begins, in seconds from midnight.
    pub(crate) opens_s: u32,
    /// Its intervals.
    pub(crate) intervals: Vec<Interval>,
}

impl Day {
    /// Seconds from the beginning to the end of the last interval.
    pub(crate) fn length_s(&self) -> f64 {
        self.intervals.last().map_or(0.0, |last| last.start_s + last.length_s)
    }

    /// The wall time at which it begins. People and ids read it, nothing else: it is the time of
    /// day on the first day that wall time counts.
    pub(crate) fn wall_ms(&self) -> u64 {
        u64::from(self.opens_s) * 1_000
    }
}

/// Length of an interval of the arrivals file.
const INTERVAL_S: f64 = 300.0;

/// Reads one day of an arrivals file (`interval_start,calls`, five minutes each, in order).
pub(crate) fn read_day(csv: &str, day: &str) -> Result<Day, WorkloadError> {
    let (mut first, mut last) = (None, "");
    let (mut opens_s, mut intervals) = (None, Vec::new());
    for (number, text) in csv.lines().enumerate().skip(1) {
        let wrong =
            || WorkloadError::Line { what: "arrivals", line: number + 1, text: text.to_owned() };
        let (date, time_s, calls) = arrivals_line(text).ok_or_else(wrong)?;
        last = date;
        first.get_or_insert(date);
        if date == day {
            let from_s = *opens_s.get_or_insert(time_s);
            let start_s = f64::from(time_s.checked_sub(from_s).ok_or_else(wrong)?);
            intervals.push(Interval { start_s, length_s: INTERVAL_S, expected: calls });
        }
    }
    let (first, last) = (first.unwrap_or_default().to_owned(), last.to_owned());
    let opens_s = opens_s.ok_or(WorkloadError::Day { day: day.to_owned(), first, last })?;
    Ok(Day { opens_s, intervals })
}

fn arrivals_line(text: &str) -> Option<(&str, u32, f64)> {
    let (start, calls) = text.split_once(',')?;
    let (date, time) = start.split_once('T')?;
    let mut parts = time.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some((date, hours * 3_600 + minutes * 60 + seconds, f64::from(calls.parse::<u32>().ok()?)))
}

/// Reads a file of handle times (`seconds`).
pub(crate) fn read_handle_times(csv: &str) -> Result<Vec<f64>, WorkloadError> {
    let lines = csv.lines().enumerate().skip(1);
    let seconds = lines.map(|(number, text)| {
        let read = text.parse::<f64>().ok().filter(|time| time.is_finite() && *time >= 0.0);
        let wrong = || WorkloadError::Line {
            what: "handle times",
            line: number + 1,
            text: text.to_owned(),
        };
        read.ok_or_else(wrong)
    });
    let seconds: Vec<f64> = seconds.collect::<Result<_, _>>()?;
    if seconds.is_empty() { Err(WorkloadError::Empty) } else { Ok(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "interval_start,calls\n2003-03-03T07:00:00,10\n2003-03-03T07:05:00,400\n\
                       2003-03-04T07:00:00,7\n";

    fn laws() -> Laws {
        let handle = HandleTimes::Measured(vec![60.0, 120.0]);
        Laws { sites: 4, mix: Mix { voice: 0.7 }, patience_s: 180.0, handle }
    }

    #[test]
    fn a_day_is_read_from_its_first_interval_on() {
        let day = read_day(CSV, "2003-03-03").expect("present");
        let expected = [(0.0, 10.0), (300.0, 400.0)];
        let intervals =
            expected.map(|(start_s, expected)| Interval { start_s, length_s: 300.0, expected });
        assert_eq!(day, Day { opens_s: 25_200, intervals: intervals.to_vec() });
        assert_eq!(day.length_s(), 600.0);
    }

    #[test]
    fn what_a_file_does_not_say_is_named() {
        let day = |day| read_day(CSV, day).expect_err("not there").to_string();
        let days = "the file has 2003-03-03 to 2003-03-04, weekdays only";
        assert_eq!(day("2003-03-02"), format!("no arrivals on 2003-03-02; {days}"));
        let broken = read_day("interval_start,calls\n2003-03-03,10\n", "2003-03-03");
        let broken = broken.expect_err("no time").to_string();
        assert_eq!(broken, "arrivals, line 2: \"2003-03-03,10\" cannot be read");
        assert_eq!(read_handle_times("seconds\n"), Err(WorkloadError::Empty));
        assert!(read_handle_times("seconds\n12\n-1\n").is_err());
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

    #[test]
    fn arrivals_keep_to_their_interval_and_its_rate() {
        let day = read_day(CSV, "2003-03-03").expect("present");
        let (mut first, mut second) = (0_u32, 0_u32);
        for seed in 0..100 {
            let customers = customers(&day.intervals, &laws(), seed);
            assert!(customers.is_sorted_by_key(|customer| customer.arrives_us));
            first += customers.iter().filter(|c| c.arrives_us < 300_000_000).count() as u32;
            second += customers.iter().filter(|c| c.arrives_us >= 300_000_000).count() as u32;
        }
        assert!(first.abs_diff(1_000) < 100 && second.abs_diff(40_000) < 600, "{first} {second}");
    }

    #[test]
    fn one_law_changed_leaves_the_others_as_they_were() {
        let day = read_day(CSV, "2003-03-03").expect("present");
        let one = customers(&day.intervals, &laws(), 1);
        let other = customers(&day.intervals, &Laws { patience_s: 60.0, ..laws() }, 1);
        let strip = |customer: &Customer| Customer { patience_us: 0, ..*customer };
        assert_ne!(one, other);
        assert!(one.iter().map(strip).eq(other.iter().map(strip)));
    }
}
