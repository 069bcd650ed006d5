//! Lets what a journal recorded long ago go.
//!
//! Segments are dropped whole, the oldest first, when their newest record is older than the
//! retention. A segment that grows slowly is ended after an eighth of that time, so no record
//! outlives the retention by more. Nothing is dropped that may yet be needed ([`Bounds`]). How old
//! a record is, is in its bytes, so whoever knows these says it.

use crate::journal::{Journal, JournalSegment};
use crate::journal_error::JournalError;
use crate::journal_frame::JournalRecord;

/// A segment is ended when its oldest record has this part of the retention behind it.
const ROLLS: u64 = 8;
/// What one read of a journal returns at most.
const PAGE_RECORDS: usize = 4_096;
const PAGE_BYTES: usize = 1024 * 1024;

/// Drops what is older than a time.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// How long a record is kept, in ms.
    pub keep_ms: u64,
    /// When a record was made, in ms since 1970.
    pub time_of: fn(&JournalRecord) -> u64,
}

/// Indexes of a group beyond which nothing is dropped, whatever its age.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The group's current snapshot: what it does not stand for would be told again by the log.
    pub snapshot: u64,
    /// Up to where those have read who must read everything.
    pub read: u64,
}

/// What one look at a group did, and what it lacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Segments that were dropped.
    pub segments: usize,
    /// What they held.
    pub bytes: u64,
    /// Whether more could be dropped if a newer snapshot stood for it.
    pub wants_snapshot: bool,
}

impl Retention {
    /// The present in ms since 1970: what the clock says, but no later than the newest record of
    /// these groups, since a clock that is set wrong may say anything. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn present(
        &self,
        journal: &Journal,
        groups: impl IntoIterator<Item = u32>,
        clock_ms: u64,
    ) -> Result<u64, JournalError> {
        let mut latest = 0;
        for group in groups {
            let (after, through) = (journal.first_index(group), journal.last_index(group));
            let newest = newest(journal, group, JournalSegment { after, through, bytes: 0 })?;
            latest = latest.max(newest.map_or(0, |record| (self.time_of)(&record)));
        }
        Ok(latest.min(clock_ms))
    }

    /// Drops what is old of a group, at the time that [`Retention::present`] gives, unless its
    /// history is being fetched. Blocks on the disk.
    ///
    /// # Errors
    /// `Io`, `Damaged`, `Failed`; what was not dropped then can be dropped the next time.
    pub fn sweep(
        &self,
        journal: &Journal,
        group: u32,
        now_ms: u64,
        bounds: Bounds,
    ) -> Result<Swept, JournalError> {
        if journal.missing(group).is_some() {
            return Ok(Swept::default());
        }
        self.roll(journal, group, now_ms)?;
        let old = self.old_through(journal, group, now_ms.saturating_sub(self.keep_ms))?;
        let needed = journal.durable_index(group).min(bounds.read);
        let through = old.min(needed).min(bounds.snapshot);
        let segments = journal.segments(group);
        let gone = segments.iter().filter(|segment| segment.through <= through);
        let bytes = gone.map(|segment| segment.bytes).sum();
        let segments = journal.retain(group, through.saturating_add(1))?;
        Ok(Swept { segments, bytes, wants_snapshot: old > bounds.snapshot })
    }

    /// Ends the segment that grows, if it has begun long ago.
    fn roll(&self, journal: &Journal, group: u32, now_ms: u64) -> Result<(), JournalError> {
        let closed = journal.segments(group);
        let after = closed.last().map_or(journal.first_index(group), |last| last.through);
        let oldest = journal.read_index(group, after, 1, 0)?.records.into_iter().next();
        let long_ago = now_ms.saturating_sub(self.keep_ms / ROLLS);
        if oldest.is_some_and(|record| (self.time_of)(&record) < long_ago) {
            journal.roll(group)?;
        }
        Ok(())
    }

    /// The index up to which the oldest segments have no record from `horizon` on; 0 if none is
    /// old.
    fn old_through(
        &self,
        journal: &Journal,
        group: u32,
        horizon: u64,
    ) -> Result<u64, JournalError> {
        let mut old = 0;
        for segment in journal.segments(group) {
            let newest = newest(journal, group, segment)?;
            if newest.is_some_and(|record| (self.time_of)(&record) >= horizon) {
                break;
            }
            old = segment.through;
        }
        Ok(old)
    }
}

/// The last record of a segment, sought from its end.
fn newest(
    journal: &Journal,
    group: u32,
    segment: JournalSegment,
) -> Result<Option<JournalRecord>, JournalError> {
    let JournalSegment { after, through, .. } = segment;
    let mut back = 1;
    loop {
        let from = through.saturating_sub(back).max(after);
        let found = last_between(journal, group, from, through)?;
        if found.is_some() || from == after {
            return Ok(found);
        }
        back = back.saturating_mul(8);
    }
}

fn last_between(
    journal: &Journal,
    group: u32,
    mut after: u64,
    through: u64,
) -> Result<Option<JournalRecord>, JournalError> {
    let mut last: Option<JournalRecord> = None;
    while after < through {
        let page = journal.read_index(group, after, PAGE_RECORDS, PAGE_BYTES)?;
        let within = page.records.into_iter().take_while(|record| record.index <= through);
        let Some(found) = within.last() else { break };
        after = found.index;
        last = Some(found);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::{Drive, JournalOptions, SimulatedDisk};

    const GROUP: u32 = 3;
    const NO_BOUNDS: Bounds = Bounds { snapshot: u64::MAX, read: u64::MAX };

    /// A journal of so many entries, 1 ms apart.
    fn journal(entries: u64) -> Journal {
        let drive = Drive::Manual(Arc::new(|| ()));
        let options =
            JournalOptions { segment_bytes_max: 1_024, drive, ..JournalOptions::default() };
        let disk = SimulatedDisk::new(1).process();
        let journal = Journal::open(disk, Path::new("/journal"), options).expect("opens");
        for index in 1..=entries {
            let bytes = index.to_le_bytes().to_vec();
            let record = JournalRecord { stream: 1, sequence: index, index, ordinal: 0, bytes };
            journal.append(GROUP, vec![record]).expect("in sequence");
            journal.flush().expect("written");
        }
        journal
    }

    fn retention(keep_ms: u64) -> Retention {
        let time_of = |record: &JournalRecord| {
            let bytes = record.bytes.as_slice().try_into().expect("eight bytes");
            u64::from_le_bytes(bytes)
        };
        Retention { keep_ms, time_of }
    }

    #[test]
    fn what_is_old_goes_as_far_as_the_bounds() {
        let (journal, retention) = (journal(400), retention(100));
        let now = retention.present(&journal, [GROUP], u64::MAX).expect("readable");
        assert_eq!(now, 400, "the newest record says how late it is");
        let sweep = |bounds| retention.sweep(&journal, GROUP, now, bounds).expect("works");
        let none = sweep(Bounds { snapshot: 0, ..NO_BOUNDS });
        assert_eq!(none, Swept { wants_snapshot: true, ..Swept::default() });
        assert_eq!(sweep(Bounds { read: 0, ..NO_BOUNDS }), Swept::default());
        let some = sweep(Bounds { snapshot: 150, ..NO_BOUNDS });
        assert!(some.segments > 0 && some.bytes > 0 && some.wants_snapshot, "{some:?}");
        assert!((1..=150).contains(&journal.first_index(GROUP)));
        assert!(!sweep(NO_BOUNDS).wants_snapshot);
        assert!((151..300).contains(&journal.first_index(GROUP)), "within the retention it stays");
        assert_eq!(sweep(NO_BOUNDS), Swept::default(), "once is enough");
    }

    #[test]
    fn a_clock_that_is_behind_drops_nothing() {
        let (journal, retention) = (journal(400), retention(100));
        let now = retention.present(&journal, [GROUP], 90).expect("readable");
        assert_eq!(now, 90);
        assert_eq!(
            retention.sweep(&journal, GROUP, now, NO_BOUNDS).expect("works"),
            Swept::default()
        );
        assert_eq!(journal.first_index(GROUP), 0);
    }
}
