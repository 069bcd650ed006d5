//! The order of a session's events, checked. Pure.
//!
//! `seq` is dense over the session; a site's cursor rises, with gaps where others' events are.
//! Anything else is a fault of the server, and is never smoothed over.

use std::collections::BTreeMap;

use rotary_proto::SiteId;
use rotary_proto::board::BoardFrame;
use rotary_proto::event::Cursor;
use rotary_proto::frame::{EventFrame, Mode};

/// How a stream broke its promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    /// An event is missing, or was numbered twice.
    #[error("event {got} came where {expected} was due")]
    Sequence {
        /// The dense number that was due.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// An event at or below the cursor came again.
    #[error("event {got} of {site} came after {seen}")]
    Repeated {
        /// Where.
        site: SiteId,
        /// The cursor.
        seen: u64,
        /// The event's place.
        got: u64,
    },
    /// A resume was answered from another place than the one it gave.
    #[error("replayed from {got} instead of {expected}")]
    Resumed {
        /// The dense number that the client had seen.
        expected: u64,
        /// The one that the gateway named.
        got: u64,
    },
    /// A snapshot is older than what has been seen.
    #[error("a snapshot of {site} at {got}, older than {seen}")]
    Backward {
        /// Where.
        site: SiteId,
        /// The cursor.
        seen: u64,
        /// The snapshot's place.
        got: u64,
    },
}

/// A place in a session's stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stream {
    seq: u64,
    cursors: BTreeMap<SiteId, u64>,
}

impl Stream {
    /// At the beginning, with the cursors that the client starts from.
    pub(crate) fn new(cursors: &[Cursor]) -> Self {
        let cursors = cursors.iter().map(|cursor| (cursor.site, cursor.sequence)).collect();
        Self { seq: 0, cursors }
    }

    /// The last dense number seen.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// The last place seen in each site.
    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        let cursor =
            |(site, sequence): (&SiteId, &u64)| Cursor { site: *site, sequence: *sequence };
        self.cursors.iter().map(cursor).collect()
    }

    /// A gateway says from where it goes on.
    pub(crate) fn welcomed(&mut self, mode: Mode, seq: u64) -> Result<(), StreamFault> {
        if mode == Mode::Replayed && seq != self.seq {
            return Err(StreamFault::Resumed { expected: self.seq, got: seq });
        }
        self.seq = seq;
        Ok(())
    }

    /// State as of `cursor` replaces what led there.
    pub(crate) fn snapshot(&mut self, cursor: Cursor) -> Result<(), StreamFault> {
        let seen = self.cursors.entry(cursor.site).or_default();
        if cursor.sequence < *seen {
            let (site, got) = (cursor.site, cursor.sequence);
            return Err(StreamFault::Backward { site, seen: *seen, got });
        }
        *seen = cursor.sequence;
        Ok(())
    }

    /// The next figures of a site; several may be of the same place.
    pub(crate) fn board(&mut self, frame: &BoardFrame) -> Result<(), StreamFault> {
        if frame.seq != self.seq + 1 {
            return Err(StreamFault::Sequence { expected: self.seq + 1, got: frame.seq });
        }
        self.snapshot(frame.cursor)?;
        self.seq = frame.seq;
        Ok(())
    }

    /// The next event.
    pub(crate) fn event(&mut self, frame: &EventFrame) -> Result<(), StreamFault> {
        let Cursor { site, sequence } = frame.cursor;
        let seen = self.cursors.entry(site).or_default();
        if sequence <= *seen {
            return Err(StreamFault::Repeated { site, seen: *seen, got: sequence });
        }
        if frame.seq != self.seq + 1 {
            return Err(StreamFault::Sequence { expected: self.seq + 1, got: frame.seq });
        }
        self.seq = frame.seq;
        *seen = sequence;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::{AgentId, Declared, Event, Stamp, Wall};

    const SITE: SiteId = SiteId::new(1, 1);

    fn event(seq: u64, sequence: u64) -> EventFrame {
        let why = rotary_proto::event::DeclaredWhy::Agent;
        let event = Event::AgentDeclared { agent: AgentId(1), declared: Declared::Ready, why };
        let cursor = Cursor { site: SITE, sequence };
        EventFrame { seq, cursor, index: 1, stamp: Stamp(1), wall: Wall(1), event }
    }

    #[test]
    fn cursors_rise_with_gaps_and_numbers_without() {
        let mut stream = Stream::new(&[]);
        assert_eq!(stream.welcomed(Mode::New, 0), Ok(()));
        assert_eq!(stream.snapshot(Cursor { site: SITE, sequence: 10 }), Ok(()));
        assert_eq!(stream.event(&event(1, 12)), Ok(()));
        assert_eq!(stream.event(&event(2, 30)), Ok(()));
        assert_eq!(stream.seq(), 2);
        assert_eq!(stream.cursors(), [Cursor { site: SITE, sequence: 30 }]);
        let gap = StreamFault::Sequence { expected: 3, got: 4 };
        assert_eq!(stream.event(&event(4, 31)), Err(gap));
        let repeated = StreamFault::Repeated { site: SITE, seen: 30, got: 30 };
        assert_eq!(stream.event(&event(3, 30)), Err(repeated));
    }

    #[test]
    fn a_resume_goes_on_where_it_was_or_takes_a_snapshot_ahead() {
        let mut stream = Stream::new(&[Cursor { site: SITE, sequence: 5 }]);
        assert_eq!(stream.event(&event(1, 6)), Ok(()));
        assert_eq!(stream.welcomed(Mode::Replayed, 1), Ok(()));
        let fault = StreamFault::Resumed { expected: 1, got: 0 };
        assert_eq!(stream.welcomed(Mode::Replayed, 0), Err(fault));
        assert_eq!(stream.welcomed(Mode::Snapshot, 9), Ok(()));
        let backward = StreamFault::Backward { site: SITE, seen: 6, got: 5 };
        assert_eq!(stream.snapshot(Cursor { site: SITE, sequence: 5 }), Err(backward));
        assert_eq!(stream.snapshot(Cursor { site: SITE, sequence: 90 }), Ok(()));
        assert_eq!(stream.event(&event(10, 91)), Ok(()));
    }
}
