//! A data shard's machine: decodes its entries, applies them, and records what became true.
//!
//! The order within one entry matters: state, then journal, then dispatcher. A feed that has seen
//! an event can therefore read it, and everything before it, from the journal.

use std::sync::Arc;

use metrics::{Counter, counter};
use rotary_distributor::{Applied, Restore, RestoreError, Shard};
use rotary_log::{Chunks, Frozen, JournalRecords, Machine, Records, decode_base, encode_base};
use rotary_proto::codec::{self, Limit};
use rotary_proto::{EventRecord, NodeId, ShardCommand, ShardId, Stamp, Wall};
use rotary_storage::{EXIT_STORAGE, Fatal, JournalBase, JournalError, JournalRecord, LookupError};

use crate::feed::FeedEntry;
use crate::machine::fence::Fence;
use crate::machine::{Application, Witness};
use crate::replica::stays::last_stay_in;
use crate::replica::{Replica, ShardReplica};
use crate::telemetry::{names, trace};

/// Applies the log of one data shard.
pub(crate) struct SiteMachine {
    replica: Arc<Replica>,
    shard: Arc<ShardReplica>,
    feed: FeedEntry,
    fatal: Fatal,
    appended: Counter,
    fence: Fence,
    witness: Option<Arc<dyn Witness>>,
}

impl SiteMachine {
    /// A machine that changes that shard of `replica` and tells `feed` what became true.
    pub(crate) fn new(
        replica: Arc<Replica>,
        shard: Arc<ShardReplica>,
        feed: FeedEntry,
        fatal: Fatal,
        fence: Fence,
    ) -> Self {
        let appended = counter!(names::JOURNAL_APPENDED, "shard" => shard.id.to_string());
        Self { replica, shard, feed, fatal, appended, fence, witness: None }
    }

    /// The same machine, and somebody who sees what it does.
    pub(crate) fn seen_by(self, witness: Option<Arc<dyn Witness>>) -> Self {
        Self { witness, ..self }
    }

    fn show(&self, index: u64, payload: &[u8], applied: &Applied) {
        let Some(witness) = &self.witness else { return };
        let Applied { answer, events } = applied;
        let state = &*self.shard.read();
        witness.applied(&Application { index, payload, answer, events, state });
    }

    /// Applies an entry, if this build can.
    fn decide(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Option<Applied> {
        let command = codec::decode::<ShardCommand>(payload, Limit::Entry);
        let mut shard = self.shard.write();
        if let Err(error) = shard.fits(command.as_ref().ok(), self.fence.can) {
            self.fence.stop(error);
            return None;
        }
        let moves = matches!(command, Ok(ShardCommand::Move(_)));
        let applied = match command {
            Ok(command) => shard.apply(index, stamp, wall, command),
            Err(error) => {
                tracing::warn!(
                    code = "entry-unreadable",
                    shard = %self.shard.id, index, %error,
                    "an entry cannot be read"
                );
                shard.refuse_malformed(index, stamp)
            }
        };
        if moves {
            let forgotten = shard.take_forgotten();
            drop(shard);
            self.replica.note_moved();
            // Freeing it takes longer than an entry may. Where no thread is to be had, it is freed
            // here.
            if let Some(site) = forgotten {
                let _ = std::thread::Builder::new().spawn(move || drop(site));
            }
        }
        Some(applied)
    }

    /// Writes events to the journal. A journal that refuses them has lost its place, and a replica
    /// without a journal cannot keep its promises.
    fn record(&self, events: &[EventRecord]) {
        let group = self.shard.id.0;
        let records = records(&self.shard.read(), events);
        if let Err(error) = self.replica.journal().append(group, records) {
            let reason = format!("journal of {}: {error}", ShardId(group));
            self.fatal.end(EXIT_STORAGE, &reason);
        }
        self.appended.increment(events.len() as u64);
    }

    /// Forgets a journal that tells another story than a snapshot does: what this replica recorded
    /// was wrong, and is fetched from the others.
    fn agree(&self, base: &JournalBase) -> Result<(), LookupError> {
        let (journal, group) = (self.replica.journal(), self.shard.id.0);
        if journal.last_index(group) < base.head.index {
            return Ok(());
        }
        match journal.head_at(group, base.head.index) {
            Ok(head) if head != base.head => {
                let (index, shard) = (base.head.index, self.shard.id);
                tracing::error!(
                    code = "journal-behind",
                    %shard, index,
                    "the journal is not the snapshot's; it is fetched"
                );
                self.discard()
            }
            Ok(_) | Err(JournalError::IndexForgotten { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn discard(&self) -> Result<(), LookupError> {
        self.replica.journal().discard(self.shard.id.0)?;
        self.replica.lookup().forget(self.shard.id.0)
    }
}

impl Machine for SiteMachine {
    fn apply(&mut self, index: u64, stamp: Stamp, wall: Wall, payload: &[u8]) -> Vec<u8> {
        let begun = trace::clock();
        let applied = self.decide(index, stamp, wall, payload);
        let Some(applied) = applied else { return Vec::new() };
        self.show(index, payload, &applied);
        let Applied { answer, events } = applied;
        if !events.is_empty() {
            self.record(&events);
            trace::applied(begun, self.shard.id, &events);
            self.feed.hand_over(events);
        }
        codec::encode(&answer, Limit::Entry).expect("an answer fits an entry")
    }

    fn unfit(&self) -> Option<String> {
        self.fence.unfit()
    }

    fn applied(&mut self, through: u64) {
        let advanced = self.replica.journal().advance(self.shard.id.0, through);
        if let Err(error) = advanced {
            self.fatal.end(EXIT_STORAGE, &format!("journal of {}: {error}", self.shard.id));
        }
        self.replica.note_applied(self.shard.id, through);
    }

    fn set_members(&mut self, members: &[NodeId]) {
        self.shard.write().set_members(members.iter().copied());
    }

    fn note_checkpoint(&mut self, index: u64) {
        if let Err(error) = self.replica.journal().mark_head(self.shard.id.0, index) {
            self.fatal.end(EXIT_STORAGE, &format!("journal of {}: {error}", self.shard.id));
        }
    }

    fn records(&self) -> Arc<dyn Records> {
        let (journal, group) = (self.replica.journal().clone(), self.shard.id.0);
        Arc::new(JournalRecords { journal, group })
    }

    fn begin_again(&mut self) -> std::io::Result<()> {
        self.discard().map_err(std::io::Error::other)
    }

    fn refuse_poisoned(&mut self, index: u64, stamp: Stamp, payload: &[u8]) -> Vec<u8> {
        let command = codec::decode::<ShardCommand>(payload, Limit::Entry).ok();
        let applied = self.shard.write().refuse_poisoned(index, stamp, command.as_ref());
        self.replica.note_moved();
        tracing::error!(
            code = "entry-poisoned",
            shard = %self.shard.id, index,
            "a poisoned entry freezes its site"
        );
        codec::encode(&applied.answer, Limit::Entry).expect("an answer fits an entry")
    }

    fn next_deadline(&self) -> Option<Stamp> {
        self.shard.read().next_deadline()
    }

    fn tick(&self) -> Vec<u8> {
        codec::encode(&ShardCommand::Tick, Limit::Entry).expect("a tick fits an entry")
    }

    fn last_stamp(&self) -> Stamp {
        self.shard.read().last_stamp()
    }

    fn digest(&self) -> u64 {
        let mut shard = self.shard.write();
        shard.settle_all();
        fold(shard.digest())
    }

    fn recorded(&self) -> u64 {
        self.replica.journal().durable_index(self.shard.id.0)
    }

    fn freeze(&mut self) -> Box<dyn Frozen> {
        let base = self.replica.journal().tip(self.shard.id.0);
        Box::new(FrozenShard { base: encode_base(base), shard: self.shard.write().freeze() })
    }

    fn install(&mut self, index: u64, chunks: &mut Chunks<'_>) -> Result<(), String> {
        let base = chunks.next().ok_or_else(|| "it has no chunks".to_owned())?;
        let base = decode_base(&base.map_err(|error| error.to_string())?)?;
        let mut restore = Restore::fitting(self.shard.id, self.fence.can);
        for chunk in chunks {
            let chunk = chunk.map_err(|error| error.to_string())?;
            restore = restore.chunk(&chunk).map_err(|error| {
                if let RestoreError::Unfit(error) = error {
                    self.fence.stop(error);
                }
                error.to_string()
            })?;
        }
        let shard = restore.finish().map_err(|error| error.to_string())?;
        self.agree(&base).map_err(|error| error.to_string())?;
        let journal = self.replica.journal();
        journal.rebase(self.shard.id.0, base).map_err(|error| error.to_string())?;
        if let Some(witness) = &self.witness {
            witness.installed(self.shard.id, index, shard.digest());
        }
        *self.shard.write() = shard;
        self.replica.note_moved();
        self.applied(index);
        Ok(())
    }
}

/// The events of one entry as the journal of a shard has them, which has applied it.
pub(crate) fn records(shard: &Shard, events: &[EventRecord]) -> Vec<JournalRecord> {
    let record = |(ordinal, record): (u32, &EventRecord)| {
        let stay = last_stay_in(shard, record.site);
        JournalRecord {
            stream: stay.stream,
            sequence: stay.in_stream(record.sequence),
            index: record.index,
            ordinal,
            bytes: codec::encode(record, Limit::Entry).expect("an event fits an entry"),
        }
    };
    (0..).zip(events).map(record).collect()
}

/// A shard's state on its way into a snapshot, behind where its journal stands.
struct FrozenShard {
    base: Vec<u8>,
    shard: rotary_distributor::Frozen,
}

impl Frozen for FrozenShard {
    fn chunks(&self) -> Box<dyn Iterator<Item = Vec<u8>> + '_> {
        Box::new(std::iter::once(self.base.clone()).chain(self.shard.chunks()))
    }
}

/// Half the digest is enough to tell states apart.
pub(crate) fn fold(digest: u128) -> u64 {
    (digest ^ (digest >> 64)) as u64
}
