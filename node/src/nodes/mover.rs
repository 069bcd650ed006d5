//! Brings sites to the shards where the directory wants them, one at a time.
//!
//! The directory's leader takes the steps; each is an entry of one of the two shards' logs
//! (`rotary_distributor`, `moves`). It remembers nothing: how far a site has come is read from the
//! shards, so whoever leads next goes on from there. A site that cannot be taken where it is to
//! live goes on where it was, and the directory says why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use metrics::{counter, histogram};
use rotary_directory::{DirectoryAnswer, DirectoryCommand, DirectoryEntry};
use rotary_distributor::Leaving;
use rotary_proto::limits::PART_BYTES_MAX;
use rotary_proto::outcome::Answer;
use rotary_proto::{Outcome, Refusal, ShardCommand, ShardId, SiteId, SiteMove, SitePart};
use rotary_storage::JournalError;

use crate::gateway::doors::Doors;
use crate::replica::stays::last_stay_in;
use crate::replica::{DIRECTORY, ShardReplica};
use crate::spine::SpineError;
use crate::telemetry::names;

/// How often it is looked whether a site is to move.
const LOOK: Duration = Duration::from_millis(200);
/// The pause after a step: others have their turn.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// How long a step waits for its commit, and this node for having applied it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Parts that are on their way at once; fewer than may come before one that is missing.
const PARTS_AT_ONCE: usize = 16;
/// The pause before a step that could not be taken is tried again: others have their turn.
const STEP_AGAIN: Duration = Duration::from_millis(100);
/// How often a part is sent again before the site is given anew.
const ATTEMPTS: u32 = 20;
/// The pause before that.
const ATTEMPT_AGAIN: Duration = Duration::from_millis(100);
/// The bound of sites that a shard expects at a time.
const ARRIVALS: &str = "arrivals_per_shard_max";
/// How long the last step waits for this node to have put the site together.
const ASSEMBLY_PATIENCE: Duration = Duration::from_secs(5);

/// Moves sites as long as the node runs.
pub(crate) async fn keep(doors: Doors) {
    let mut changes = doors.replica.directory_changes();
    let mut waits = BTreeMap::new();
    loop {
        changes.borrow_and_update();
        let leads = doors.spine.status(DIRECTORY).is_some_and(|status| status.leads_here);
        waits.retain(|_, until| *until > Instant::now());
        let next = next(&doors, &waits);
        match next.filter(|_| leads) {
            Some(errand) => {
                if let Err(why) = Move::step(&doors, errand).await {
                    let site = errand.site;
                    tracing::debug!(%site, %why, "a step of a site's way is taken again");
                    waits.insert(site, Instant::now() + STEP_AGAIN);
                }
                tokio::time::sleep(STEP_PAUSE).await;
            }
            None => {
                // Who leads changes without an entry, too.
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
            }
        }
    }
}

/// What is to be done with a site.
#[derive(Debug, Clone, Copy)]
struct Errand {
    site: SiteId,
    /// Where it is, or has departed.
    from: ShardId,
    /// Where it is wanted, and the number of that order; nowhere else, if it is to stay.
    wanted: Option<(ShardId, u64)>,
}

/// The site whose turn it is: one that has departed and is not wanted elsewhere any more, or one
/// that is not where the directory has it, or else the first that was asked for, of those that need
/// not wait.
fn next(doors: &Doors, waits: &BTreeMap<SiteId, Instant>) -> Option<Errand> {
    let (mut departed, mut gone) = (Vec::new(), Vec::new());
    for shard in doors.replica.shards() {
        let state = shard.read();
        departed.extend(state.departures().map(|site| (site, shard.id)));
        gone.extend(state.gone().map(|(site, _)| (site, shard.id)));
    }
    let directory = doors.replica.directory();
    let is_wanted =
        |site: SiteId| directory.moving_of(site).is_some_and(|moving| moving.failed.is_none());
    let due = |site: &SiteId| !waits.contains_key(site);
    let stranded = departed.into_iter().find(|(site, _)| due(site) && !is_wanted(*site));
    // Whoever brought it there died before it told the directory.
    let untold = |(site, from): &(SiteId, ShardId)| directory.shard_of(*site) == Some(*from);
    let untold = || gone.into_iter().find(|at| due(&at.0) && !is_wanted(at.0) && untold(at));
    if let Some((site, from)) = stranded.or_else(untold) {
        return Some(Errand { site, from, wanted: None });
    }
    let wanted = directory.moving().filter(|(site, moving)| due(site) && moving.failed.is_none());
    let (site, moving) = wanted.min_by_key(|(_, moving)| moving.number)?;
    let wanted = Some((moving.to, moving.number));
    Some(Errand { site, from: directory.shard_of(site)?, wanted })
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Spine(#[from] SpineError),
    #[error("{shard} refuses: {refusal}")]
    Refused { shard: ShardId, refusal: Refusal },
    #[error("{0}")]
    Waits(String),
}

/// A site on its way.
struct Move<'a> {
    doors: &'a Doors,
    site: SiteId,
    from: Arc<ShardReplica>,
    to: Arc<ShardReplica>,
    /// Of the order, if it is wanted anywhere.
    number: Option<u64>,
}

impl<'a> Move<'a> {
    /// Takes the next step of a site's way.
    async fn step(doors: &'a Doors, errand: Errand) -> Result<(), NotYet> {
        let Errand { site, from, wanted } = errand;
        let to = wanted.map(|(to, _)| to);
        let shard = |id: ShardId| {
            let unknown = || NotYet::Waits(format!("this node has no replica of {id}"));
            doors.replica.shard(id).ok_or_else(unknown)
        };
        let from = shard(from)?;
        // What was decided before is to be seen here.
        doors.spine.read_index(from.id, PATIENCE).await?;
        let departed = from.read().departure(site);
        // Where it departed to, it may live: that comes before what is wanted by now.
        let gone = from.read().gone_to(site);
        let Some(there) = gone.or(to) else { return Ok(()) };
        let there = shard(there)?;
        doors.spine.read_index(there.id, PATIENCE).await?;
        let this = Self { doors, site, from, to: there, number: wanted.map(|(_, number)| number) };
        if this.to.read().has(site) {
            return this.finish().await;
        }
        match departed {
            Some(left) if Some(left.to) == to => this.carry(left).await,
            Some(left) => this.bring_back(left).await,
            // It went on from there.
            None if gone.is_some() => this.follow().await,
            None => this.depart().await,
        }
    }

    async fn depart(&self) -> Result<(), NotYet> {
        if self.doors.backups.holds_moves() {
            return Err(NotYet::Waits("a backup is being made, and takes shards again".to_owned()));
        }
        // A shard takes one at a time.
        if let Some(other) = self.to.read().assembly() {
            let why = format!("{} comes to {} first", other.site(), self.to.id);
            return Err(NotYet::Waits(why));
        }
        let (ours, theirs) = (self.from.read().logic_version(), self.to.read().logic_version());
        if ours != theirs {
            let why = format!("{} and {} act by other versions", self.from.id, self.to.id);
            return Err(NotYet::Waits(why));
        }
        tracing::info!(site = %self.site, from = %self.from.id, to = %self.to.id, "a site departs");
        let departed = self.from.read().departures_of(self.site) + 1;
        let depart = SiteMove::Depart { site: self.site, to: self.to.id, departed };
        match self.ask(&self.from, depart).await {
            // Somebody else was first.
            Err(refused) if self.from.read().departures_of(self.site) >= departed => Err(refused),
            Err(NotYet::Refused { refusal, .. }) => self.give_up(&refusal.to_string()).await,
            asked => asked.map(drop),
        }
    }

    /// Gives the site to the other shard.
    async fn carry(&self, left: Leaving) -> Result<(), NotYet> {
        let begun = Instant::now();
        let (site, from, departed) = (self.site, self.from.id, left.number);
        let attempt = match self.ask(&self.to, SiteMove::Expect { site, from, departed }).await {
            Err(NotYet::Refused { refusal, .. }) => return self.refused(&refusal).await,
            asked => asked?.index,
        };
        if self.to.read().expects(site) != Some(attempt) {
            return Err(NotYet::Waits("somebody else goes on".to_owned()));
        }
        let from = self.from.clone();
        let frozen = crate::blocking::run(move || from.write().freeze_departed(site)).await;
        let frozen = frozen.map_err(|error| NotYet::Waits(error.to_string()))?;
        let frozen = frozen.ok_or_else(|| NotYet::Waits("it has not departed".to_owned()))?;
        let (mut bytes, mut count) = (0, 0);
        let parts = parts(site, attempt, frozen.chunks());
        let sent = stream::iter(parts).map(|part| self.send(part)).buffered(PARTS_AT_ONCE);
        tokio::pin!(sent);
        while let Some(sent) = sent.next().await {
            match sent {
                Err(NotYet::Refused { refusal, .. }) if self.is_over(&refusal) => {
                    return self.refused(&refusal).await;
                }
                sent => (bytes, count) = (bytes + sent?, count + 1),
            }
        }
        self.to.assembled(attempt, ASSEMBLY_PATIENCE).await;
        match self.insist(SiteMove::Arrive { site, attempt, parts: count }).await {
            // It came to life, and the answer was lost.
            Err(NotYet::Refused { .. }) if self.to.read().has(site) => {}
            Err(NotYet::Refused { refusal, .. }) if self.is_over(&refusal) => {
                return self.refused(&refusal).await;
            }
            arrived => drop(arrived?),
        }
        let took = begun.elapsed();
        histogram!(names::SITE_MOVE_SECONDS).record(took.as_secs_f64());
        counter!(names::SITE_MOVES, "result" => "moved").increment(1);
        let took_ms = took.as_millis() as u64;
        tracing::info!(%site, to = %self.to.id, bytes, took_ms, "a site lives in another shard");
        Ok(())
    }

    /// Whether a refusal ends the attempt: it is not expected any more, or is too large.
    fn is_over(&self, refusal: &Refusal) -> bool {
        let too_much = matches!(refusal, Refusal::LimitReached { .. });
        too_much || self.to.read().expects(self.site).is_none()
    }

    /// The other shard refuses. That is no failure where the site has come there after all, by
    /// somebody else's steps or by one whose answer was lost; nor where another comes first.
    async fn refused(&self, refusal: &Refusal) -> Result<(), NotYet> {
        let (has, gone) = {
            let there = self.to.read();
            (there.has(self.site), there.gone_to(self.site).is_some())
        };
        let full = matches!(refusal, Refusal::LimitReached { limit } if limit == ARRIVALS);
        if has || gone || full {
            return Err(NotYet::Refused { shard: self.to.id, refusal: refusal.clone() });
        }
        self.give_up(&refusal.to_string()).await
    }

    /// The directory is told of a site that went on from where it came to; where it is then is seen
    /// the next time.
    async fn follow(&self) -> Result<(), NotYet> {
        if self.to.read().gone_to(self.site).is_none() {
            let why = format!("it is in none of {} and {}", self.from.id, self.to.id);
            return Err(NotYet::Waits(why));
        }
        self.tell(DirectoryCommand::SiteMoved { site: self.site, to: self.to.id }).await
    }

    /// Sends a part until it is taken; how many bytes it has.
    async fn send(&self, part: SitePart) -> Result<usize, NotYet> {
        let bytes = part.bytes.len();
        self.insist(SiteMove::Take(part)).await.map(|_| bytes)
    }

    /// Asks the other shard for a step until there is an answer.
    async fn insist(&self, step: SiteMove) -> Result<Answer, NotYet> {
        let mut attempts = 0;
        loop {
            match self.ask(&self.to, step.clone()).await {
                Err(NotYet::Spine(error)) if attempts < ATTEMPTS => {
                    tracing::debug!(site = %self.site, %error, "a step is asked for again");
                    attempts += 1;
                    tokio::time::sleep(ATTEMPT_AGAIN).await;
                }
                asked => return asked,
            }
        }
    }

    /// The site lives there: the shard where it was forgets it, once a quorum of that shard has
    /// what happened there on its disks.
    async fn finish(&self) -> Result<(), NotYet> {
        let site = self.site;
        let departed = self.from.read().departure(site);
        if departed.is_some() {
            let (last, recorded) = (self.last_index().await?, self.from.read().recorded());
            if recorded < last {
                let why = format!("journals of {} have {recorded} of {last}", self.from.id);
                return Err(NotYet::Waits(why));
            }
        }
        if self.to.read().is_unsettled(site) {
            let departed = self.to.read().departures_of(site);
            self.ask(&self.to, SiteMove::Settle { site, departed }).await?;
        }
        if let Some(left) = departed {
            self.ask(&self.from, SiteMove::Forget { site, departed: left.number }).await?;
        }
        self.tell(DirectoryCommand::SiteMoved { site, to: self.to.id }).await
    }

    /// The index of the last entry that told something of the site where it was; 0 if nothing of
    /// that is kept.
    async fn last_index(&self) -> Result<u64, NotYet> {
        let stay = last_stay_in(&self.from.read(), self.site);
        let replica = self.doors.replica.clone();
        let read = move || {
            let last = replica.journal().last_sequence(stay.shard.0, stay.stream);
            replica.journal().read(stay.shard.0, stay.stream, last, 1, 0)
        };
        let read = crate::blocking::run(read).await;
        let read = read.map_err(|error| NotYet::Waits(error.to_string()))?;
        match read {
            Ok(last) => Ok(last.last().map_or(0, |record| record.index)),
            Err(JournalError::Forgotten { .. }) if self.doors.replica.is_whole(stay.shard) => Ok(0),
            Err(error) => Err(NotYet::Waits(error.to_string())),
        }
    }

    /// It is not taken there: it lives on where it was.
    async fn bring_back(&self, left: Leaving) -> Result<(), NotYet> {
        let site = self.site;
        let departed = left.number;
        self.ask(&self.to, SiteMove::Decline { site, departed }).await?;
        self.ask(&self.from, SiteMove::Return { site, departed }).await?;
        Ok(())
    }

    async fn give_up(&self, why: &str) -> Result<(), NotYet> {
        tracing::warn!(
            code = "site-not-moved",
            site = %self.site, to = %self.to.id, why,
            "a site lives on where it was"
        );
        counter!(names::SITE_MOVES, "result" => "failed").increment(1);
        let Some(number) = self.number else { return Ok(()) };
        let (site, why) = (self.site, why.to_owned());
        self.tell(DirectoryCommand::MoveFailed { site, number, why }).await
    }

    /// Asks a shard for a step, and waits until this node has applied it.
    async fn ask(&self, shard: &ShardReplica, step: SiteMove) -> Result<Answer, NotYet> {
        let command = ShardCommand::Move(step);
        let answer: Answer = self.doors.propose(shard.id, &command, PATIENCE).await?;
        self.doors.replica.reach(shard.id, answer.index, PATIENCE).await;
        match answer.outcome {
            Outcome::Done(_) => Ok(answer),
            Outcome::Refused(refusal) => Err(NotYet::Refused { shard: shard.id, refusal }),
        }
    }

    async fn tell(&self, command: DirectoryCommand) -> Result<(), NotYet> {
        let entry = DirectoryEntry { origin: None, asked: None, command };
        let answer: DirectoryAnswer = self.doors.propose(DIRECTORY, &entry, PATIENCE).await?;
        self.doors.replica.reach(DIRECTORY, answer.index, PATIENCE).await;
        Ok(())
    }
}

/// The chunks of a site's state in parts that fit an entry each.
fn parts(
    site: SiteId,
    attempt: u64,
    chunks: impl Iterator<Item = Vec<u8>>,
) -> impl Iterator<Item = SitePart> {
    let pieces = chunks.flat_map(|chunk| {
        let last = chunk.len().div_ceil(PART_BYTES_MAX).saturating_sub(1);
        let pieces: Vec<_> = chunk.chunks(PART_BYTES_MAX).map(<[u8]>::to_vec).collect();
        pieces.into_iter().enumerate().map(move |(at, bytes)| (at == last, bytes))
    });
    (0..).zip(pieces).map(move |(number, (ends_chunk, bytes))| SitePart {
        site,
        attempt,
        number,
        ends_chunk,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_chunks_again() {
        let chunks: Vec<Vec<u8>> = [1, PART_BYTES_MAX, PART_BYTES_MAX * 2 + 5]
            .into_iter()
            .map(|length| (0..length).map(|at| at as u8).collect())
            .collect();
        let parts: Vec<_> = parts(SiteId::new(1, 1), 9, chunks.iter().cloned()).collect();
        assert!(parts.iter().zip(0..).all(|(part, number)| part.number == number));
        let mut again = vec![Vec::new()];
        for part in &parts {
            assert!((1..=PART_BYTES_MAX).contains(&part.bytes.len()));
            again.last_mut().expect("never empty").extend_from_slice(&part.bytes);
            if part.ends_chunk {
                again.push(Vec::new());
            }
        }
        again.pop();
        assert_eq!(again, chunks);
    }
}
