//! A core node's stream of server-sent events, taken apart into frames.
//!
//! It is our own writing that is read here (`node/src/gateway/session/stream.rs`): an event has one
//! `data` line with one frame, perhaps an `id` before it, and a comment says that somebody is
//! there.

/// The largest event that is read of a core node: a supervisor's snapshot of a whole site.
pub(super) const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a core node said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A frame.
    Frame(String),
    /// That it is there.
    Nothing,
}

/// Bytes that are no whole event yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// How many of them are known to have no end of an event among them.
    looked: usize,
}

impl Events {
    /// Takes what came, once there is no whole event left to be taken out.
    ///
    /// # Errors
    /// That an event is larger than any frame.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > EVENT_BYTES_MAX {
            return Err(format!("an event of more than {EVENT_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// The next whole event.
    ///
    /// # Errors
    /// That it is no text.
    pub(super) fn next(&mut self) -> Result<Option<Said>, String> {
        let from = self.looked.saturating_sub(1);
        let end = self.bytes[from..].windows(2).position(|pair| pair == b"\n\n");
        let Some(end) = end.map(|end| from + end) else {
            self.looked = self.bytes.len();
            return Ok(None);
        };
        self.looked = 0;
        let event: Vec<u8> = self.bytes.drain(..end + 2).collect();
        let text = String::from_utf8(event).map_err(|error| error.to_string())?;
        let frame = text.lines().find_map(|line| line.strip_prefix("data: "));
        Ok(Some(frame.map_or(Said::Nothing, |frame| Said::Frame(frame.to_owned()))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(events: &mut Events) -> Vec<Said> {
        std::iter::from_fn(|| events.next().expect("texts")).collect()
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_events_are_the_same(
            cuts in proptest::collection::vec(1usize..9, 1..40),
        ) {
            let text = "data: {\"a\":1}\n\n:\n\nid: 7\ndata: {\"b\":\"x y\"}\n\ndata: {}";
            let mut events = Events::default();
            let (mut said, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.into_iter().chain([text.len()]) {
                let (piece, more) = rest.split_at(cut.min(rest.len()));
                events.take(piece).expect("short");
                said.extend(all(&mut events));
                rest = more;
            }
            let frame = |text: &str| Said::Frame(text.to_owned());
            prop_assert_eq!(said, [frame("{\"a\":1}"), Said::Nothing, frame("{\"b\":\"x y\"}")]);
        }
    }

    #[test]
    fn what_never_ends_or_is_no_text_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; EVENT_BYTES_MAX / 2];
        events.take(&piece).expect("room");
        assert_eq!(events.next(), Ok(None));
        events.take(&piece).expect("room");
        assert_eq!(events.next(), Ok(None));
        assert!(events.take(b"x").is_err());
        let mut events = Events::default();
        events.take(b"data: \xff\n\n").expect("short");
        assert!(events.next().is_err());
    }
}
