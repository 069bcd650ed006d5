//! A process's wall clock, which can be moved while it runs.
//!
//! libfaketime answers a dynamically linked process's questions for the time of day from a file.
//! The monotonic clock stays real: faking it makes waits of Rust's standard library hang.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds after which a process looks at the file again.
const LOOKS_AGAIN_S: &str = "1";

/// One process's wall clock.
#[derive(Debug, Clone)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that goes right. `file` is where it is set from; nothing if the library is not
    /// installed.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn new(file: PathBuf) -> io::Result<Option<Self>> {
        let Some(library) = library() else { return Ok(None) };
        let clock = Self { library, file };
        clock.set(0)?;
        Ok(Some(clock))
    }

    /// Moves it so many seconds from the right time.
    ///
    /// # Errors
    /// Those of writing the file.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        let fresh = self.file.with_extension("fresh");
        std::fs::write(&fresh, format!("{seconds:+}s\n"))?;
        std::fs::rename(&fresh, &self.file)
    }

    /// Gives a command's process this clock.
    pub fn wear(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", LOOKS_AGAIN_S)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
}

/// The library for programs with threads, wherever this machine's architecture keeps it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let paths = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    paths.chain([Path::new("/usr/lib/faketime/libfaketimeMT.so.1").into()]).find(|p| p.exists())
}

/// Seconds since 1970 of an HTTP `Date` header (RFC 9110, 5.6.7).
pub fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split([' ', ':']).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| (0..=9_999).contains(n));
    let days = days_since_1970(number(year)?, month, number(day)?);
    Some(((days * 24 + number(hour)?) * 60 + number(minute)?) * 60 + number(second)?)
}

/// Days of the Gregorian calendar, with years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

/// Seconds since 1970 by this process's own clock.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for wrong in ["", "Sun, 06 Nov 1994", "Sun, 06 Nox 1994 08:49:37 GMT", "a b c d e f g GMT"]
        {
            assert_eq!(http_date(wrong), None, "{wrong}");
        }
    }
}
