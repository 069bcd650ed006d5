//! A screen of its own beside what the terminal shows, given back on the way out.

use std::io::{self, Write};

use crate::terminal::stty;

/// How much fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Size {
    /// That of the terminal, or what every terminal has.
    pub(crate) fn of_terminal() -> Self {
        stty(&["size"]).and_then(|said| Self::read(&said)).unwrap_or(Self { rows: 24, columns: 80 })
    }

    /// Reads `24 80`; a terminal that does not know its size says 0.
    fn read(said: &str) -> Option<Self> {
        let (rows, columns) = said.split_once(' ')?;
        let size = Self { rows: rows.parse().ok()?, columns: columns.trim().parse().ok()? };
        (size.rows > 0 && size.columns > 0).then_some(size)
    }
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K";
const BELOW: &str = "\x1b[J";

/// The other screen of a terminal, without a cursor, until dropped.
#[derive(Debug)]
pub(crate) struct Screen<W: Write>(W);

impl<W: Write> Screen<W> {
    /// Turns to the other screen.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub(crate) fn enter(mut to: W) -> io::Result<Self> {
        to.write_all(ENTER.as_bytes())?;
        Ok(Self(to))
    }

    /// Draws a text over what is there, as much of it as fits.
    ///
    /// # Errors
    /// A terminal that is gone.
    pub(crate) fn draw(&mut self, text: &str, size: Size) -> io::Result<()> {
        let mut drawn = HOME.to_owned();
        for line in text.lines().take(size.rows.saturating_sub(1)) {
            // What comes from elsewhere must not speak to the terminal.
            let plain = line.chars().filter(|letter| !letter.is_control());
            drawn.extend(plain.take(size.columns));
            drawn.push_str(END_OF_LINE);
            drawn.push('\n');
        }
        drawn.push_str(BELOW);
        self.0.write_all(drawn.as_bytes())?;
        self.0.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to give back.
        let _ = self.0.write_all(LEAVE.as_bytes()).and_then(|()| self.0.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_the_terminal_is_given_back() {
        let mut written = Vec::new();
        let mut screen = Screen::enter(&mut written).expect("a vector");
        let size = Size { rows: 3, columns: 4 };
        screen.draw("one two\nthree\nfour\n", size).expect("a vector");
        drop(screen);
        let expected = format!("{ENTER}{HOME}one {END_OF_LINE}\nthre{END_OF_LINE}\n{BELOW}{LEAVE}");
        assert_eq!(String::from_utf8(written).expect("text"), expected);
    }

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        let mut written = Vec::new();
        let mut screen = Screen::enter(&mut written).expect("a vector");
        screen.draw("a\x1b[2Jb\u{9b}c", Size { rows: 9, columns: 80 }).expect("a vector");
        drop(screen);
        let written = String::from_utf8(written).expect("text");
        assert!(written.contains("a[2Jbc"), "{written:?}");
    }

    #[test]
    fn a_size_is_read_or_guessed() {
        assert_eq!(Size::read("50 132\n"), Some(Size { rows: 50, columns: 132 }));
        assert_eq!(Size::read("0 0"), None);
        assert_eq!(Size::read("what"), None);
    }
}
