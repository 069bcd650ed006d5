//! The program that is run: which build it is, as it says itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rotary_proto::planted::Planted;
use serde::Serialize;

use super::shell;

/// What a build for harnesses says of itself.
const CHAOS: &str = "(chaos build";
/// The command that makes one.
pub const BUILD: &str = "cargo build -p rotary --features chaos";
/// Characters of what a program says of itself.
const VERSION_CHARS_MAX: usize = 200;

/// A `rotary` that can be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What `--version` says.
    pub version: String,
}

impl Program {
    /// Asks a program which build it is.
    ///
    /// # Errors
    /// It is not there, cannot be run, or is not `rotary`.
    pub fn ask(path: &Path) -> Result<Self, String> {
        let path = path.canonicalize().map_err(|error| {
            format!("{}: {error}; build rotary, or name it with --rotary", path.display())
        })?;
        let said = shell::finish(Command::new(&path).arg("--version"));
        let said = said.map_err(|error| error.to_string())?;
        Self::of(path, &said)
    }

    fn of(path: PathBuf, said: &str) -> Result<Self, String> {
        let version: String =
            said.lines().next().unwrap_or_default().chars().take(VERSION_CHARS_MAX).collect();
        if !version.starts_with("rotary ") {
            let path = path.display();
            return Err(format!("{path} --version says {version:?}: it is not rotary"));
        }
        Ok(Self { path, version })
    }

    /// Whether it can plant bugs and fail on purpose.
    pub fn is_chaos(&self) -> bool {
        self.version.contains(CHAOS)
    }

    /// Refuses what only a build for harnesses can do.
    ///
    /// # Errors
    /// It is another build; the text says how to make the right one.
    pub fn must_be_chaos(&self, what: &str) -> Result<(), String> {
        if self.is_chaos() {
            return Ok(());
        }
        let path = self.path.display();
        Err(format!("{what} cannot be done with {path}, which is {self}: it takes `{BUILD}`"))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

/// What a program for harnesses is to do on purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Purpose {
    /// The bug that every node has.
    #[serde(serialize_with = "name")]
    pub bug: Option<Planted>,
    /// What the nemesis `failpoint` makes fail, instead of what chance draws.
    pub failpoint: Option<String>,
}

fn name<S: serde::Serializer>(bug: &Option<Planted>, to: S) -> Result<S::Ok, S::Error> {
    bug.map(Planted::name).serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_known_by_what_it_says() {
        let of = |said| Program::of("/x/rotary".into(), said);
        let plain = of("rotary 0.1.0\n").expect("it is rotary");
        let chaos = of("rotary 0.1.0 (chaos build: plants bugs on purpose)\n").expect("so is it");
        let simulated = of("rotary 0.1.0 (simulated build: never serve)\n").expect("so is it");
        assert_eq!([&plain, &chaos, &simulated].map(Program::is_chaos), [false, true, false]);
        assert_eq!(chaos.must_be_chaos("--bug"), Ok(()));
        let refused = plain.must_be_chaos("--bug").expect_err("it cannot");
        assert!(refused.contains("rotary 0.1.0: it takes `cargo build -p rotary --f"), "{refused}");
        assert!(of("coreutils 9").expect_err("another program").contains("it is not rotary"));
        let long = of(&format!("rotary {}", "x".repeat(1_000))).expect("cut short");
        assert_eq!(long.version.len(), VERSION_CHARS_MAX);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let absent = Program::ask(Path::new("/no/such/rotary")).expect_err("absent");
        assert!(absent.contains("/no/such/rotary") && absent.contains("--rotary"), "{absent}");
        let other = Program::ask(Path::new("/bin/true")).expect_err("not rotary");
        assert!(other.contains("not rotary"), "{other}");
    }
}
