//! Tools of the operating system, run as commands, with their words in the error.

use std::process::{Command, Output};

/// A command that could not be run, or ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// It is not installed, or may not be run.
    #[error("{command}: {source}; is it installed, and is this root?")]
    Start {
        /// The whole command line.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// It said no.
    #[error("{command}: {words}")]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended, and the end of what it said.
        words: String,
    },
}

/// Bytes of a command's words that an error repeats.
const WORDS_BYTES_MAX: usize = 400;

/// Runs a command line of words divided by spaces and gives what it printed.
///
/// # Errors
/// [`ShellError`], with the command's last words.
pub fn run(line: &str) -> Result<String, ShellError> {
    run_with(line, &[])
}

/// Runs a command line of words divided by spaces, followed by arguments that may have spaces.
///
/// # Errors
/// [`ShellError`], with the command's last words.
pub fn run_with(line: &str, more: &[&str]) -> Result<String, ShellError> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    finish(command.args(words).args(more))
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// [`ShellError`], with the command's last words.
pub fn finish(command: &mut Command) -> Result<String, ShellError> {
    let line = || {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    let line = line();
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Err(ShellError::Failed { command: line, words: last_words(&output) }),
        Err(source) => Err(ShellError::Start { command: line, source }),
    }
}

fn last_words(output: &Output) -> String {
    let spoken = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let from = spoken.len().saturating_sub(WORDS_BYTES_MAX);
    format!("{}, {}", output.status, String::from_utf8_lossy(&spoken[from..]).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gives_its_words_and_errors_repeat_them() {
        assert_eq!(run_with("echo a", &["b c"]).expect("echo"), "a b c\n");
        let failed = run("ls /no/such/path").expect_err("it is not there").to_string();
        assert!(failed.contains("/no/such/path") && failed.contains("exit status"), "{failed}");
        let absent = run("no-such-command-here x").expect_err("there is none").to_string();
        assert!(absent.starts_with("no-such-command-here x: "), "{absent}");
    }
}
