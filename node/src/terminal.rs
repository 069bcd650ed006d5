//! The terminal of who runs this: keys, interrupts, and a screen that is drawn again and again.

mod interrupt;
mod keys;
mod screen;

pub(crate) use interrupt::interrupted;
pub(crate) use keys::Keys;
pub(crate) use screen::{Screen, Size};

use std::process::{Command, Stdio};

/// Runs `stty` on our terminal; what it printed.
fn stty(args: &[&str]) -> Option<String> {
    let output = Command::new("stty").args(args).stdin(Stdio::inherit()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
