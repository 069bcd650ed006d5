//! Keys: single characters from a terminal, lines from anything else.
//!
//! The terminal is switched with `stty`, which every system with a terminal has, and switched back
//! on the way out, whatever the way.

use std::io::{IsTerminal as _, Read as _};

use tokio::sync::mpsc;

use crate::terminal::stty;

/// Reads keys until dropped.
pub(crate) struct Keys {
    keys: mpsc::UnboundedReceiver<char>,
    /// How the terminal was, where there is one.
    saved: Option<String>,
}

impl Keys {
    /// Begins to read standard input.
    pub(crate) fn listen() -> Self {
        let saved = std::io::stdin().is_terminal().then(|| stty(&["-g"])).flatten();
        if saved.is_some() {
            stty(&["-icanon", "-echo", "min", "1"]);
        }
        let (send, keys) = mpsc::unbounded_channel();
        // A thread of its own: a read of standard input cannot be called off, and must not keep
        // the runtime from ending.
        std::thread::spawn(move || {
            for byte in std::io::stdin().lock().bytes() {
                let Ok(byte) = byte else { return };
                if send.send(char::from(byte)).is_err() {
                    return;
                }
            }
        });
        Self { keys, saved }
    }

    /// The next key; waits for ever once the input is over.
    pub(crate) async fn next(&mut self) -> char {
        loop {
            match self.keys.recv().await {
                Some(key) if key.is_whitespace() => {}
                Some(key) => return key,
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            stty(&[saved]);
        }
    }
}
