//! One server process: started, paused, ended, by its pid.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending(ExitStatus);

impl Ending {
    /// Its exit code; nothing if a signal ended it.
    pub fn code(self) -> Option<i32> {
        self.0.code()
    }

    /// Whether the kernel killed it.
    pub fn is_killed(self) -> bool {
        self.0.signal() == Some(9)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "code {code}"),
            (_, Some(signal)) => write!(f, "signal {signal}"),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// A process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ending: Option<Ending>,
}

impl Server {
    /// Starts it, with its words at the end of a file.
    ///
    /// # Errors
    /// Those of the file and of starting.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(log)?;
        let words = out.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(words).spawn()?;
        Ok(Self { child, ending: None })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal; nothing if it has ended.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        match (self.ended(), pid) {
            (None, Some(pid)) => Ok(kill_process(pid, signal)?),
            _ => Ok(()),
        }
    }

    /// How it ended; nothing while it runs.
    pub fn ended(&mut self) -> Option<Ending> {
        if self.ending.is_none() {
            self.ending = self.child.try_wait().ok().flatten().map(Ending);
        }
        self.ending
    }

    /// Waits for its end, for so long at most.
    pub fn wait(&mut self, limit: Duration) -> Option<Ending> {
        let until = Instant::now() + limit;
        while self.ended().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.ending
    }

    /// Kills it, also when it is paused, and gives how it ended, which may be an end of its own.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn kill(&mut self) -> io::Result<Ending> {
        if let Some(ending) = self.ended() {
            return Ok(ending);
        }
        self.child.kill()?;
        let ending = Ending(self.child.wait()?);
        self.ending = Some(ending);
        Ok(ending)
    }

    /// Whether it is stopped by a signal.
    pub fn is_paused(&self) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let state = state.unwrap_or_default();
        // The name before the state is in brackets, and may have some itself.
        state.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_paused_and_ended_and_says_how() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let start = |script: &str| {
            Server::start(Command::new("sh").args(["-c", script]), &log).expect("sh is there")
        };
        let mut server = start("echo begun; exec sleep 600");
        assert_eq!(server.ended(), None);
        server.signal(Signal::STOP).expect("it runs");
        let until = Instant::now() + Duration::from_secs(30);
        while !server.is_paused() {
            assert!(Instant::now() < until, "it was not paused");
        }
        assert_eq!(server.kill().expect("it runs").to_string(), "signal 9");
        server.signal(Signal::CONT).expect("an ended process is left alone");
        let mut failed = start("echo more; exit 74");
        let ending = failed.wait(Duration::from_secs(30)).expect("it ends by itself");
        assert_eq!((ending.code(), &*ending.to_string()), (Some(74), "code 74"));
        let words = std::fs::read_to_string(&log).expect("it was written");
        assert!(words.contains("more\n"), "{words}");
    }
}
