//! The text of an event stream, as it comes in pieces: what each event says. Pure.
//!
//! The format is that of server-sent events in the HTML standard, section 9.2.6, of which only
//! `data` is kept: comments, ids and names of events are read over. Lines end with LF or CRLF.

/// An event stream that cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum EventsError {
    /// An event is longer than any frame.
    #[error("an event of more than {0} bytes")]
    TooLong(usize),
    /// It is not text.
    #[error("an event that is not UTF-8")]
    NotText,
}

/// What came and was not yet taken.
#[derive(Debug)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// Where the line begins that is read next.
    line: usize,
    /// Up to where the end of that line was looked for.
    searched: usize,
    /// What the event has said in the lines before.
    data: Vec<u8>,
    bytes_max: usize,
}

impl Events {
    /// Of at most so many bytes for each event.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), line: 0, searched: 0, data: Vec::new(), bytes_max }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.line);
        self.searched -= self.line;
        self.line = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// What the next event says, if it is there whole.
    ///
    /// # Errors
    /// [`EventsError`] for what can be no frame; the stream is of no more use then.
    pub(super) fn take(&mut self) -> Result<Option<String>, EventsError> {
        while let Some(length) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n')
        {
            let end = self.searched + length;
            let line = &self.bytes[self.line..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            (self.line, self.searched) = (end + 1, end + 1);
            if line.is_empty() {
                if !self.data.is_empty() {
                    let data = std::mem::take(&mut self.data);
                    return String::from_utf8(data).map(Some).map_err(|_| EventsError::NotText);
                }
            } else if let Some(said) = line.strip_prefix(b"data:") {
                if !self.data.is_empty() {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(said.strip_prefix(b" ").unwrap_or(said));
            }
            self.check(self.data.len())?;
        }
        self.searched = self.bytes.len();
        self.check(self.data.len() + self.bytes.len() - self.line)?;
        Ok(None)
    }

    fn check(&self, bytes: usize) -> Result<(), EventsError> {
        if bytes > self.bytes_max {
            return Err(EventsError::TooLong(self.bytes_max));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ":\n\ndata: {\"one\":1}\n\n\
        id: 7\r\nevent: x\r\ndata:two\r\ndata: lines\r\n\r\n\
        : nothing\n\ndata: ü\n\ndata: begun";

    fn all(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::new(64);
        let mut said = Vec::new();
        for piece in pieces {
            events.push(piece);
            while let Some(event) = events.take().expect("readable") {
                said.push(event);
            }
        }
        said
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let wanted = ["{\"one\":1}", "two\nlines", "ü"];
        let bytes = TEXT.as_bytes();
        assert_eq!(all(&[bytes]), wanted);
        let each: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(all(&each), wanted);
        for at in 0..bytes.len() {
            let (one, two) = bytes.split_at(at);
            assert_eq!(all(&[one, two]), wanted, "cut at {at}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_refused() {
        let mut events = Events::new(8);
        events.push(b"data: 12345678\n\n");
        assert_eq!(events.take(), Ok(Some("12345678".to_owned())));
        for long in [&b"data: 123456789\n\n"[..], b"data: 12\ndata: 456789\n\n", b"xxxxxxxxx"] {
            let mut events = Events::new(8);
            events.push(long);
            assert_eq!(events.take(), Err(EventsError::TooLong(8)), "{long:?}");
        }
        events.push(b"data: \xff\n\n");
        assert_eq!(events.take(), Err(EventsError::NotText));
    }
}
