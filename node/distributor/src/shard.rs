//! A shard: the sites that one log orders, and the leases of the gateways that serve them.

mod moving;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rotary_proto::effect::View;
use rotary_proto::event::{Audience, Event, EventRecord};
use rotary_proto::ids::{GatewayId, NodeId, ReasonId, ShardId, SiteId};
use rotary_proto::outcome::Answer;
use rotary_proto::plan::{NOT_RESPONDING, SiteSettings};
use rotary_proto::values::Name;
use rotary_proto::{
    Command, Done, Envelope, FIRST_LOGIC, LogicVersions, Origin, Outcome, Refusal, ShardCommand,
    Stamp, UnfitBuild, Wall, limits, planted,
};

use crate::commands::attach;
use crate::marks::Marks;
use crate::moves::Moves;
use crate::session::SessionState;
use crate::site::Site;
use crate::turn::{Counters, Effort, Turn};
use crate::window::Known;
use crate::{apply, authority};

pub use moving::Forgotten;

/// Entities of a kind that a site leaves unhashed between entries: those that may be edited again
/// soon.
const UNSETTLED_MAX: usize = 64;

/// The whole replicated state of one shard.
#[derive(Debug, Clone)]
pub struct Shard {
    id: ShardId,
    last: Stamp,
    logic_version: u32,
    pub(crate) sites: BTreeMap<SiteId, Site>,
    leases: BTreeMap<GatewayId, Stamp>,
    marks: Marks,
    view: View,
    /// Sites on their way from and to here.
    pub(crate) moves: Moves,
    /// When each site is due, in order of time. Derived.
    due: BTreeSet<(Stamp, SiteId)>,
    due_of: BTreeMap<SiteId, Stamp>,
    /// Sites that have something to hash. Derived.
    unsettled: Vec<SiteId>,
    /// No part of the state.
    forgotten: moving::LastForgotten,
    effort: Effort,
}

/// What applying one entry gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// For whoever proposed it.
    pub answer: Answer,
    /// For the journal, in order.
    pub events: Vec<EventRecord>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
struct Entry {
    shard: ShardId,
    index: u64,
    now: Stamp,
    wall: Wall,
}

impl Shard {
    /// A shard without sites.
    pub fn new(id: ShardId) -> Self {
        Self {
            id,
            last: Stamp::ZERO,
            logic_version: FIRST_LOGIC,
            sites: BTreeMap::new(),
            leases: BTreeMap::new(),
            marks: Marks::default(),
            view: View::default(),
            moves: Moves::default(),
            due: BTreeSet::new(),
            due_of: BTreeMap::new(),
            unsettled: Vec::new(),
            forgotten: moving::LastForgotten::default(),
            effort: Effort::NONE,
        }
    }

    /// Which shard it is.
    pub const fn id(&self) -> ShardId {
        self.id
    }

    /// The stamp of the last applied entry.
    pub const fn last_stamp(&self) -> Stamp {
        self.last
    }

    /// Which behaviour is in force; raised by a logged command.
    pub const fn logic_version(&self) -> u32 {
        self.logic_version
    }

    /// Makes sure that a build that can apply those versions may apply an entry here: one that is
    /// applied by another version, or raises the shard to one, must not be.
    ///
    /// # Errors
    /// The version that the build would have to apply.
    pub const fn fits(
        &self,
        command: Option<&ShardCommand>,
        can: LogicVersions,
    ) -> Result<(), UnfitBuild> {
        let version = match command {
            Some(ShardCommand::RaiseVersion { version }) if *version > self.logic_version => {
                *version
            }
            _ => self.logic_version,
        };
        if can.include(version) { Ok(()) } else { Err(UnfitBuild { version, can }) }
    }

    /// Whether it acts by the version that upgrades are rehearsed with.
    const fn rehearses(&self) -> bool {
        planted::REHEARSES && self.logic_version >= crate::REHEARSED_LOGIC
    }

    /// Leases by gateway.
    pub(crate) const fn lease_table(&self) -> &BTreeMap<GatewayId, Stamp> {
        &self.leases
    }

    /// Every site, with when it is due.
    pub(crate) fn sites_with_due(&mut self) -> impl Iterator<Item = (&mut Site, Option<Stamp>)> {
        let due_of = &self.due_of;
        self.sites.iter_mut().map(|(id, site)| (site, due_of.get(id).copied()))
    }

    /// Gives a fresh shard the stamp, version, marks and view of a snapshot.
    pub(crate) fn restore_head(
        &mut self,
        last: Stamp,
        logic_version: u32,
        marks: Marks,
        view: View,
    ) {
        (self.last, self.logic_version, self.marks) = (last, logic_version, marks);
        self.view = view;
    }

    /// Puts a lease back; whether it is new and within the bound.
    pub(crate) fn restore_lease(&mut self, gateway: GatewayId, until: Stamp) -> bool {
        self.may_hold_lease(gateway) && self.leases.insert(gateway, until).is_none()
    }

    /// What the clock of a site says: shard time, unless it came from another shard or has
    /// departed.
    pub(crate) fn clock_of(&self, site: &Site) -> Stamp {
        let stands = self.moves.departure(site.id).map(|(_, departure)| departure.at);
        stands.unwrap_or_else(|| site.clock(self.last))
    }

    /// Puts a site back that is whole; whether it is new.
    pub(crate) fn restore_site(&mut self, site: Site, due: Option<Stamp>) -> bool {
        let id = site.id;
        if let Some(at) = due {
            self.due.insert((at, id));
            self.due_of.insert(id, at);
        }
        self.sites.insert(id, site).is_none()
    }

    /// The members that keep a replica of this shard, each with the log index up to which it has
    /// logged that its journal is on its disk; 0 before its first mark.
    pub const fn journal_marks(&self) -> &BTreeMap<NodeId, u64> {
        self.marks.all()
    }

    /// The index up to which a quorum of the members has logged such marks; [`u64::MAX`] for a
    /// shard that was told of no members.
    pub fn recorded(&self) -> u64 {
        self.marks.recorded()
    }

    /// The replicas that live and have caught up, as the last leader saw them.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// Takes in a view. Members only count, where it is known who they are.
    fn set_view(&mut self, replicas: Vec<NodeId>) {
        let members = self.marks.all();
        let known = |node: &NodeId| members.is_empty() || members.contains_key(node);
        let replicas: BTreeSet<NodeId> = replicas.into_iter().filter(known).collect();
        let replicas = replicas.into_iter().take(limits::MEMBERS_PER_SHARD_MAX).collect();
        if self.view.replicas != replicas {
            self.view = View { epoch: self.view.epoch + 1, replicas };
        }
    }

    /// Replaces the members, of whom the first [`limits::MEMBERS_PER_SHARD_MAX`] count. Who they
    /// are is said by an entry of the log itself, so this belongs to the order of entries.
    pub fn set_members(&mut self, members: impl IntoIterator<Item = NodeId>) {
        self.marks.set_members(members);
        self.note_recorded();
    }

    /// Tells every site how far a quorum's journals are.
    fn note_recorded(&mut self) {
        let recorded = self.marks.recorded();
        let told = self.sites.values_mut().filter_map(|site| {
            let before = site.forgets_tombstones_at();
            site.recorded = recorded;
            (site.forgets_tombstones_at() != before).then_some(site.id)
        });
        let told: Vec<SiteId> = told.collect();
        told.into_iter().for_each(|id| self.note_due(id));
    }

    /// Steps of work so far.
    pub const fn counters(&self) -> Counters {
        self.effort.counters
    }

    /// When the shard must be ticked, if nothing else comes before. The present stamp means: at
    /// once, because work is left over.
    pub fn next_deadline(&self) -> Option<Stamp> {
        let lease = self.leases.values().min().copied();
        let site = self.due.first().map(|(at, _)| *at);
        [lease, site].into_iter().flatten().min()
    }

    /// Applies one entry. The same entries in the same order give the same state, answers and
    /// events on every replica. A stamp that does not rise is moved just after the last one.
    pub fn apply(
        &mut self,
        index: u64,
        stamp: Stamp,
        wall: Wall,
        command: ShardCommand,
    ) -> Applied {
        let entry = Entry { shard: self.id, index, now: stamp.after(self.last), wall };
        self.last = entry.now;
        self.effort.begin();
        let mut events = Vec::new();
        self.expire_leases(entry.now);
        let answer = match command {
            ShardCommand::Site(envelope) => self.site_command(entry, envelope, &mut events),
            ShardCommand::CreateSite { site, settings } => {
                self.create_site(entry, site, settings, &mut events)
            }
            ShardCommand::RenewLease { gateway } => {
                let renewed = self.renew_lease(gateway, entry.now);
                answer(renewed.map(|()| Done::Ok), 0, index)
            }
            ShardCommand::Tick => {
                self.tick(entry, &mut events);
                answer(Ok(Done::Ok), 0, index)
            }
            ShardCommand::RaiseVersion { version } => {
                self.raise_version(version);
                answer(Ok(Done::Stored { version: self.logic_version }), 0, index)
            }
            ShardCommand::SetView { replicas } => {
                self.set_view(replicas);
                answer(Ok(Done::Ok), 0, index)
            }
            ShardCommand::JournalMark { node, index: mark } => {
                let raised = self.marks.raise(node, mark, index);
                self.note_recorded();
                answer(raised.map(|()| Done::Ok), 0, index)
            }
            ShardCommand::Move(step) => {
                let id = step.site();
                let moved = self.move_site(entry, step, &mut events);
                let sequence = self.sites.get(&id).map_or(0, |site| site.sequence);
                answer(moved, sequence, index)
            }
        };
        self.effort.end();
        Applied { answer, events }
    }

    /// Applies an entry whose bytes are not a command of this build: a no-op with an answer.
    pub fn refuse_malformed(&mut self, index: u64, stamp: Stamp) -> Applied {
        self.last = stamp.after(self.last);
        Applied { answer: answer(Err(Refusal::Malformed), 0, index), events: Vec::new() }
    }

    /// Applies an entry that made this logic panic: it is not carried out, the sites that it would
    /// have touched are frozen, and a site that it would have taken is declined. Frozen ones refuse
    /// every command until the logic version is raised; the other sites go on.
    pub fn refuse_poisoned(
        &mut self,
        index: u64,
        stamp: Stamp,
        command: Option<&ShardCommand>,
    ) -> Applied {
        self.last = stamp.after(self.last);
        let touched: Vec<SiteId> = match command {
            Some(ShardCommand::Site(envelope)) => vec![envelope.site],
            Some(ShardCommand::Tick) => {
                let due = self.due.iter().take_while(|(at, _)| *at <= self.last);
                due.map(|(_, id)| *id).collect()
            }
            // What cannot be taken must not be offered again.
            Some(ShardCommand::Move(step)) => {
                self.moves.abandon(step.site());
                Vec::new()
            }
            _ => Vec::new(),
        };
        for id in touched {
            if let Some(site) = self.sites.get_mut(&id) {
                site.frozen = true;
                self.note_due(id);
            }
        }
        Applied { answer: answer(Err(Refusal::SiteFrozen), 0, index), events: Vec::new() }
    }

    /// Raises the logic version, which lets frozen sites go on.
    fn raise_version(&mut self, version: u32) {
        if version <= self.logic_version {
            return;
        }
        self.logic_version = version;
        let frozen = self.sites.values_mut().filter(|site| site.frozen);
        let lifted: Vec<SiteId> = frozen
            .map(|site| {
                site.frozen = false;
                site.id
            })
            .collect();
        lifted.into_iter().for_each(|id| self.note_due(id));
    }

    /// Hashes what was edited and not hashed yet, for the digests that follow.
    pub fn settle_all(&mut self) {
        for id in std::mem::take(&mut self.unsettled) {
            if let Some(site) = self.sites.get_mut(&id) {
                site.settle(0);
            }
        }
    }

    /// A digest of everything that later entries can depend on. Equal on every replica at equal
    /// (index, logic version). It is quicker after [`Shard::settle_all`].
    pub fn digest(&self) -> u128 {
        let leases = self.leases.iter().collect::<Vec<_>>();
        let head = (self.id, self.last, self.logic_version, leases, self.marks.all(), &self.view);
        let head = crate::digest::hash_of(105, &head, &mut Vec::new());
        let moves = self.moves.digest();
        self.sites.values().map(Site::digest).fold(head, u128::wrapping_add).wrapping_add(moves)
    }

    fn site_command(
        &mut self,
        entry: Entry,
        envelope: Envelope,
        events: &mut Vec<EventRecord>,
    ) -> Answer {
        let Envelope { site: id, origin, actor, command } = envelope;
        let gateway = gateway_of(&command);
        let no_lease = gateway.is_some_and(|gateway| !self.may_hold_lease(gateway));
        if let Some(away) = self.moves.refusal(id) {
            return answer(Err(away), 0, entry.index);
        }
        let Some(site) = self.sites.get_mut(&id) else {
            return answer(Err(Refusal::SiteUnknown), 0, entry.index);
        };
        if site.frozen {
            return answer(Err(Refusal::SiteFrozen), site.sequence, entry.index);
        }
        let mut turn = turn(site, &self.view, entry, events, &mut self.effort);
        turn.run_due();
        let given = match known(&mut turn, origin, actor) {
            Ok(Known::Repeated(first)) => {
                turn.run_work();
                Answer { repeated: true, ..first }
            }
            Ok(_) => {
                let result = match command {
                    Command::Attach { session, subject, .. } if no_lease => {
                        Err(attach::without_lease(&turn, actor, session, subject))
                    }
                    command => apply::command(&mut turn, actor, command),
                };
                turn.run_work();
                let given = answer(result, turn.site.sequence, entry.index);
                keep(&mut turn, origin, &given);
                given
            }
            Err(refusal) => {
                turn.run_work();
                answer(Err(refusal), turn.site.sequence, entry.index)
            }
        };
        self.settle(id);
        if let (Some(gateway), Outcome::Done(_), false) = (gateway, &given.outcome, given.repeated)
        {
            self.leases.insert(gateway, entry.now.plus_ms(limits::LEASE_MS));
        }
        given
    }

    fn create_site(
        &mut self,
        entry: Entry,
        id: SiteId,
        settings: SiteSettings,
        events: &mut Vec<EventRecord>,
    ) -> Answer {
        if let Err(bad) = settings.check() {
            return answer(Err(bad.into()), 0, entry.index);
        }
        if let Some(away) = self.moves.refusal(id) {
            return answer(Err(away), 0, entry.index);
        }
        if let Some(site) = self.sites.get(&id) {
            return answer(Ok(Done::Ok), site.sequence, entry.index);
        }
        if self.sites.len() + self.moves.arriving.len() >= limits::SITES_PER_SHARD_MAX {
            let limit = "sites_per_shard_max".to_owned();
            return answer(Err(Refusal::LimitReached { limit }), 0, entry.index);
        }
        let mut site = Site::new(id, settings.clone());
        site.recorded = self.marks.recorded();
        let name = if self.rehearses() { "no answer" } else { "not responding" };
        let name = Name::new(name).expect("a short plain name");
        Arc::make_mut(&mut site.reasons).insert(NOT_RESPONDING, name.clone());
        let mut turn = turn(&mut site, &self.view, entry, events, &mut self.effort);
        turn.emit(Audience::default(), Event::SiteSet { settings });
        let reason: ReasonId = NOT_RESPONDING;
        turn.emit(Audience::default(), Event::ReasonSet { reason, name });
        let sequence = site.sequence;
        self.sites.insert(id, site);
        self.settle(id);
        answer(Ok(Done::Ok), sequence, entry.index)
    }

    fn may_hold_lease(&self, gateway: GatewayId) -> bool {
        self.leases.len() < limits::GATEWAYS_PER_SHARD_MAX || self.leases.contains_key(&gateway)
    }

    fn renew_lease(&mut self, gateway: GatewayId, now: Stamp) -> Result<(), Refusal> {
        if !self.may_hold_lease(gateway) {
            return Err(Refusal::LimitReached { limit: "gateways_per_shard_max".to_owned() });
        }
        self.leases.insert(gateway, now.plus_ms(limits::LEASE_MS));
        Ok(())
    }

    /// Takes the sessions of gateways whose lease ran out off the books: at once for matching,
    /// session by session for everything else.
    fn expire_leases(&mut self, now: Stamp) {
        if self.leases.values().all(|until| *until > now) {
            return;
        }
        let gone: Vec<GatewayId> =
            self.leases.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        for gateway in gone {
            self.leases.remove(&gateway);
            let moves = &self.moves;
            let here = self.sites.values_mut().filter(|site| !moves.is_departed(site.id));
            here.for_each(|site| moving::lose(site, gateway));
        }
        let ids: Vec<SiteId> = self.sites.keys().copied().collect();
        ids.into_iter().for_each(|id| self.note_due(id));
    }

    /// Does what is due in any site, as far as one entry may, the longest due first.
    fn tick(&mut self, entry: Entry, events: &mut Vec<EventRecord>) {
        while self.effort.remains() {
            let Some((at, id)) = self.due.first().copied() else { return };
            if at > entry.now {
                return;
            }
            let site = self.sites.get_mut(&id).expect("sites that are due exist");
            let mut turn = turn(site, &self.view, entry, events, &mut self.effort);
            turn.run_due();
            turn.run_work();
            self.settle(id);
        }
    }

    fn settle(&mut self, id: SiteId) {
        if let Some(site) = self.sites.get_mut(&id) {
            if !site.unsettled {
                self.unsettled.push(id);
            }
            site.settle(UNSETTLED_MAX);
        }
        self.note_due(id);
    }

    fn note_due(&mut self, id: SiteId) {
        let served = self.sites.get(&id).filter(|site| !site.frozen && !self.moves.is_departed(id));
        let next = served.and_then(|site| Some(site.shard_time(site.due(site.clock(self.last))?)));
        let before = match next {
            Some(at) => self.due_of.insert(id, at),
            None => self.due_of.remove(&id),
        };
        if before != next {
            if let Some(at) = before {
                self.due.remove(&(at, id));
            }
            if let Some(at) = next {
                self.due.insert((at, id));
            }
        }
    }
}

/// The gateway that an attachment proves to live.
const fn gateway_of(command: &Command) -> Option<GatewayId> {
    match command {
        Command::Attach { gateway, .. } => Some(*gateway),
        _ => None,
    }
}

fn turn<'a>(
    site: &'a mut Site,
    view: &'a View,
    entry: Entry,
    events: &'a mut Vec<EventRecord>,
    effort: &'a mut Effort,
) -> Turn<'a> {
    let Entry { shard, index, now, wall } = entry;
    let now = site.clock(now);
    Turn { site, view, now, wall, shard, index, events, effort }
}

fn answer(result: Result<Done, Refusal>, sequence: u64, index: u64) -> Answer {
    let outcome = match result {
        Ok(done) => Outcome::Done(done),
        Err(refusal) => Outcome::Refused(refusal),
    };
    Answer { outcome, repeated: false, sequence, index }
}

/// Looks the command up in the window of where it came from.
fn known(
    turn: &mut Turn,
    origin: Origin,
    actor: rotary_proto::Actor,
) -> Result<Known<Answer>, Refusal> {
    let known = match origin {
        Origin::Internal => return Ok(Known::New),
        Origin::Request { principal, request } => turn.site.requests.look(principal, request),
        Origin::Session { session, sequence, acknowledged } => {
            let entry = turn.site.sessions.edit(session).ok_or(Refusal::SessionUnknown)?;
            if !authority::matches(entry.subject, actor) {
                return Err(match entry.state {
                    SessionState::Ended { .. } => Refusal::SessionUnknown,
                    _ => authority::not_allowed(actor),
                });
            }
            entry.window.acknowledge(acknowledged);
            match entry.window.look(sequence, acknowledged) {
                Known::New if matches!(entry.state, SessionState::Ended { .. }) => {
                    return Err(Refusal::SessionUnknown);
                }
                known => known,
            }
        }
    };
    match known {
        Known::Forgotten => Err(Refusal::OutcomeForgotten),
        Known::Full => Err(Refusal::WindowFull),
        known => Ok(known),
    }
}

/// Keeps an outcome for retries.
fn keep(turn: &mut Turn, origin: Origin, given: &Answer) {
    match origin {
        Origin::Internal => {}
        Origin::Request { principal, request } => {
            let now = turn.now;
            let (requests, buffer) = turn.site.requests_mut();
            requests.keep(now, principal, request, given.clone(), buffer);
        }
        Origin::Session { session, sequence, .. } => {
            if let Some(entry) = turn.site.sessions.edit(session) {
                entry.window.keep(sequence, given.clone());
            }
        }
    }
}
