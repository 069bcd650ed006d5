//! What processes have used, from `/proc` (proc(5)).

use std::time::Duration;

/// Clock ticks a second in `/proc/PID/stat`: USER_HZ, which is 100 on every Linux.
const TICKS: u32 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Memory in use, and the most that ever was.
    pub(crate) bytes: u64,
    pub(crate) bytes_most: u64,
}

impl Usage {
    /// Of a process; `None` where there is no such file.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let (stat, status) = (read("stat")?, read("status")?);
        Some(Self { cpu: cpu(&stat)?, bytes: kib(&status, "VmRSS:")?, ..Self::default() })
            .and_then(|usage| Some(Self { bytes_most: kib(&status, "VmHWM:")?, ..usage }))
    }
}

/// User and system time: the fields 14 and 15, counted behind the name, which may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
    Some(Duration::from_secs(1) * ticks / TICKS)
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_behind_any_name() {
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(kib("Name:\ta\nVmHWM:\t    12 kB\nVmRSS:\t 8 kB\n", "VmHWM:"), Some(12_288));
        let own = Usage::of(std::process::id()).expect("this process is there");
        assert!(own.bytes > 0 && own.bytes_most >= own.bytes);
    }
}
