//! What this process takes of its machine, as Linux tells it under `/proc/self`.
//!
//! Elsewhere, and where a file cannot be read, a figure is absent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Ticks of the processor's time in a second, as `/proc` counts them: 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// What this process takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(crate) struct Process {
    /// Processor's time since the start, in seconds.
    pub(crate) cpu_s: Option<f64>,
    /// Memory that is in use and not swapped out, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Open files and sockets.
    pub(crate) open_files: Option<u64>,
    /// How many it may have.
    pub(crate) open_files_max: Option<u64>,
    /// Threads.
    pub(crate) threads: Option<u64>,
    /// When it began, in seconds since 1970.
    pub(crate) started_s: Option<f64>,
}

impl Process {
    /// As it is.
    pub(crate) fn look() -> Self {
        let text = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
        let (stat, status) = (text("stat"), text("status"));
        let uptime = std::fs::read_to_string("/proc/uptime").ok();
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|open| open.count() as u64);
        Self {
            cpu_s: stat.as_deref().and_then(cpu_s),
            resident_bytes: status.as_deref().and_then(|text| of_kib(text, "VmRSS:")),
            // The one that lists them is one of them.
            open_files: open.map(|open| open.saturating_sub(1)),
            open_files_max: text("limits").as_deref().and_then(open_files_max),
            threads: status.as_deref().and_then(|text| first_number(text, "Threads:")),
            started_s: stat.zip(uptime).and_then(|(stat, up)| started_s(&stat, &up, now_s())),
        }
    }
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

/// The fields of `stat` behind the name of the program, which may have any character: the first is
/// the state, the third field of proc(5).
fn fields(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

fn cpu_s(stat: &str) -> Option<f64> {
    let fields = fields(stat)?;
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn started_s(stat: &str, uptime: &str, now_s: f64) -> Option<f64> {
    let began: f64 = fields(stat)?.get(19)?.parse().ok()?;
    let up_s: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(now_s - (up_s - began / TICKS_PER_SECOND))
}

/// The first number of the line that begins with that.
fn first_number(text: &str, begins: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(begins))?;
    line.split_whitespace().next()?.parse().ok()
}

fn of_kib(text: &str, begins: &str) -> Option<u64> {
    first_number(text, begins)?.checked_mul(1024)
}

fn open_files_max(limits: &str) -> Option<u64> {
    first_number(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_where_they_are() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 9 0 1000 1 2 3";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert_eq!(started_s(stat, "110.00 1.00\n", 5_000.0), Some(4_900.0));
        let status = "Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t9\n";
        assert_eq!(of_kib(status, "VmRSS:"), Some(2_097_152));
        assert_eq!(first_number(status, "Threads:"), Some(9));
        let limits =
            "Limit  Soft  Hard\nMax open files            1024                 4096  files\n";
        assert_eq!(open_files_max(limits), Some(1_024));
        for text in ["", "42 (x", "42 (x) S", "VmRSS:"] {
            assert_eq!((cpu_s(text), of_kib(text, "VmRSS:")), (None, None), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_them_all() {
        let ours = Process::look();
        assert!(ours.cpu_s.is_some() && ours.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(ours.open_files.is_some_and(|open| open > 0), "{ours:?}");
        assert!(ours.open_files_max >= ours.open_files && ours.threads > Some(0), "{ours:?}");
        let age_s = now_s() - ours.started_s.expect("it began");
        assert!((-1.0..86_400.0).contains(&age_s), "{age_s}");
    }
}
