//! The world in virtual time: customers and agents who do what their numbers say, and a shard.
//!
//! The world is the log. It stamps each command with the time at which somebody acts and applies
//! it at once; what the events say is seen by those concerned at that same time. It proposes
//! `Tick` exactly at [`Shard::next_deadline`], before whatever else happens at that time, as the
//! ticker of a leader does. Two entries cannot have one stamp, so what happens at one instant is
//! spread over some microseconds.
//!
//! Agents send their commands over sessions, numbered, each acknowledging the ones before;
//! customers' commands come as HTTP requests. So the windows that make retries safe are filled and
//! emptied as they would be.
//!
//! A refusal, or an event that nothing in this world can cause, ends the run with an error.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rotary_distributor::{Applied, Shard};
use rotary_proto::command::{Actor, Envelope, Origin, Subject};
use rotary_proto::event::{EndReason, OfferEnd};
use rotary_proto::values::{Attributes, BadValue};
use rotary_proto::{
    Command, ConversationId, CustomerId, Event, EventRecord, OfferId, Outcome, Refusal, RequestId,
    ShardCommand, ShardId, Stamp, Wall, limits,
};

use super::floor::{self, Floor, PRINCIPAL, QUEUE, Seat};
use super::workload::Customer;

/// Shard time at which the day begins; before it the floor is set up.
const BEGIN_US: u64 = 10_000_000;

/// What became of a customer. Times are microseconds from the beginning of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Story {
    /// When the conversation was opened.
    pub(crate) opened_us: u64,
    /// When an agent took it, and which one by number on the floor.
    pub(crate) answered: Option<(u64, u32)>,
    /// When the customer left without being served.
    pub(crate) abandoned_us: Option<u64>,
    /// When the customer's part ended after being served.
    pub(crate) ended_us: Option<u64>,
    /// When nothing more would happen to it: after wrap-up, if there was any.
    pub(crate) closed_us: u64,
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    /// One story a customer, in the order of the customers.
    pub(crate) stories: Vec<Story>,
    /// How many entries were applied.
    pub(crate) entries: Entries,
    /// The time of the last one, from the beginning of the day.
    pub(crate) until_us: u64,
    /// The digest of the shard at the end.
    pub(crate) digest: u128,
}

/// Applied entries by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entries {
    /// Commands of customers and agents, and of setting up.
    pub(crate) commands: u64,
    /// `Tick`.
    pub(crate) ticks: u64,
    /// `RenewLease`.
    pub(crate) renewals: u64,
}

impl Entries {
    /// All of them.
    pub(crate) const fn all(&self) -> u64 {
        self.commands + self.ticks + self.renewals
    }
}

/// Why a run ended early. Each is a fault of the distributor or of this world.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorldError {
    /// A command that had to be done was not.
    #[error("entry {index}: {command} was refused: {refusal}")]
    Refused {
        /// The log index.
        index: u64,
        /// The command.
        command: &'static str,
        /// Why.
        refusal: Refusal,
    },
    /// Something happened that nobody caused.
    #[error("entry {index}: nobody caused {event:?}")]
    Unexpected {
        /// The log index.
        index: u64,
        /// What happened.
        event: Box<Event>,
    },
    /// Someone neither got an agent nor left.
    #[error("{0} conversations are left, and nothing is due")]
    Stuck(usize),
    /// The floor cannot be set up like that.
    #[error(transparent)]
    Floor(#[from] BadValue),
}

/// Somebody's next act. The number is a customer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Renew,
    Leave(u32),
    Accept(u32, OfferId),
    Close(u32),
    WrapUp(u32),
}

/// A conversation as those concerned see it.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    story: Story,
    /// The offer that rings, and for whom.
    offer: Option<(OfferId, u32)>,
}

struct World<'a> {
    floor: Floor,
    wall_ms: u64,
    customers: &'a [Customer],
    shard: Shard,
    index: u64,
    /// Acts to come; equal times in the order of their planning.
    agenda: BinaryHeap<Reverse<(u64, u64, Act)>>,
    planned: u64,
    arrived: usize,
    live: usize,
    progress: Vec<Progress>,
    seats: Vec<Seat>,
    /// Commands sent so far, by session.
    sent: Vec<u64>,
    requests: u64,
    entries: Entries,
    watch: Option<fn(&Shard)>,
}

/// Lets customers come to a floor until all are gone. `wall_ms` is the wall time of the day's
/// beginning.
pub(crate) fn run(
    floor: Floor,
    customers: &[Customer],
    wall_ms: u64,
    watch: Option<fn(&Shard)>,
) -> Result<Run, WorldError> {
    let mut world = World {
        floor,
        wall_ms,
        customers,
        shard: Shard::new(ShardId(1)),
        index: 0,
        agenda: BinaryHeap::new(),
        planned: 0,
        arrived: 0,
        live: 0,
        progress: vec![Progress::default(); customers.len()],
        seats: floor.seats(),
        sent: vec![0; floor.agents as usize],
        requests: 0,
        entries: Entries::default(),
        watch,
    };
    world.open_floor()?;
    while world.step()? {}
    Ok(Run {
        stories: world.progress.iter().map(|progress| progress.story).collect(),
        entries: world.entries,
        until_us: since_begin(world.shard.last_stamp()),
        digest: world.shard.digest(),
    })
}

impl World<'_> {
    /// Makes the sites; everybody signs in.
    fn open_floor(&mut self) -> Result<(), WorldError> {
        for number in 0..self.floor.sites {
            let site = floor::site(number);
            let settings = self.floor.settings(site)?;
            self.put(0, "create_site", ShardCommand::CreateSite { site, settings })?;
            let queue = Command::PutQueue { queue: QUEUE, plan: self.floor.queue()? };
            self.send(0, number, Actor::System, Origin::Internal, queue)?;
        }
        for (number, seat) in (0..).zip(self.seats.clone()) {
            let profile = self.floor.agent(seat)?;
            self.send(0, seat.site, Actor::System, Origin::Internal, profile)?;
            let (session, subject) = (floor::session(number), Subject::Agent(seat.agent));
            let attach = Command::Attach { session, subject, gateway: floor::gateway() };
            self.send(0, seat.site, Actor::Agent(seat.agent), Origin::Internal, attach)?;
            self.say(0, number, floor::ready(seat))?;
        }
        self.plan(0, Act::Renew);
        Ok(())
    }

    /// Does what comes next; false when everybody is gone.
    fn step(&mut self) -> Result<bool, WorldError> {
        let arrival = self.customers.get(self.arrived).map(|c| BEGIN_US + c.arrives_us);
        if arrival.is_none() && self.live == 0 {
            return Ok(false);
        }
        let act = self.agenda.peek().map(|Reverse((at, ..))| *at);
        let next = [arrival, act].into_iter().flatten().min();
        let deadline = self.shard.next_deadline().map(|deadline| deadline.0);
        if let Some(due) = deadline.filter(|due| next.is_none_or(|next| *due <= next)) {
            self.entries.ticks += 1;
            self.put(due, "tick", ShardCommand::Tick)?;
        } else if let Some(at) = arrival.filter(|at| act.is_none_or(|act| *at < act)) {
            self.arrive(at)?;
        } else if let Some(Reverse((at, _, act))) = self.agenda.pop() {
            self.act(at, act)?;
        } else {
            return Err(WorldError::Stuck(self.live));
        }
        Ok(true)
    }

    fn arrive(&mut self, at: u64) -> Result<(), WorldError> {
        let number = self.arrived as u32;
        let customer = self.customers[self.arrived];
        self.arrived += 1;
        self.live += 1;
        self.plan(at + customer.patience_us, Act::Leave(number));
        let open = Command::Open {
            conversation: conversation(&customer, number),
            queue: QUEUE,
            channel: customer.channel,
            priority: None,
            skills: Vec::new(),
            customer: Some(CustomerId(number.into())),
            attributes: Attributes::default(),
            item: None,
            mail: None,
        };
        self.ask(at, number, open)
    }

    fn act(&mut self, at: u64, act: Act) -> Result<(), WorldError> {
        match act {
            Act::Renew => {
                self.entries.renewals += 1;
                self.plan(at + limits::LEASE_RENEWAL_MS * 1_000, Act::Renew);
                let gateway = floor::gateway();
                self.put(at, "renew_lease", ShardCommand::RenewLease { gateway }).map(|_| ())
            }
            Act::Leave(number) => {
                let Progress { story, .. } = self.progress[number as usize];
                if story.answered.is_some() {
                    return Ok(());
                }
                let conversation = conversation(&self.customers[number as usize], number);
                self.ask(at, number, Command::Abandon { conversation })
            }
            Act::Accept(number, offer) => match self.progress[number as usize].offer {
                Some((rings, agent)) if rings == offer => {
                    let conversation = conversation(&self.customers[number as usize], number);
                    self.say(at, agent, Command::Accept { conversation, offer })
                }
                _ => Ok(()),
            },
            Act::Close(number) => {
                let conversation = conversation(&self.customers[number as usize], number);
                self.say(at, self.server(number), Command::Close { conversation })
            }
            Act::WrapUp(number) => {
                let conversation = conversation(&self.customers[number as usize], number);
                let command = Command::WrapUp { conversation, disposition: None, note: None };
                self.say(at, self.server(number), command)
            }
        }
    }

    /// Who serves a customer.
    fn server(&self, number: u32) -> u32 {
        let answered = self.progress[number as usize].story.answered;
        answered.expect("only who was answered is closed and wrapped up").1
    }

    fn plan(&mut self, at: u64, act: Act) {
        self.planned += 1;
        self.agenda.push(Reverse((at, self.planned, act)));
    }

    /// A customer's command, as an HTTP request.
    fn ask(&mut self, at: u64, number: u32, command: Command) -> Result<(), WorldError> {
        self.requests += 1;
        let unix_ms = u128::from(self.wall(at).0);
        let request = RequestId(unix_ms << 80 | 7 << 76 | 2 << 62 | u128::from(self.requests));
        let origin = Origin::Request { principal: PRINCIPAL, request };
        let actor = Actor::Customer(CustomerId(number.into()));
        self.send(at, self.customers[number as usize].site, actor, origin, command)
    }

    /// An agent's command, over their session.
    fn say(&mut self, at: u64, number: u32, command: Command) -> Result<(), WorldError> {
        let seat = self.seats[number as usize];
        let acknowledged = self.sent[number as usize];
        self.sent[number as usize] += 1;
        let session = floor::session(number);
        let origin = Origin::Session { session, sequence: acknowledged + 1, acknowledged };
        self.send(at, seat.site, Actor::Agent(seat.agent), origin, command)
    }

    fn send(
        &mut self,
        at: u64,
        site: u32,
        actor: Actor,
        origin: Origin,
        command: Command,
    ) -> Result<(), WorldError> {
        self.entries.commands += 1;
        let word = command.word();
        let envelope = Envelope { site: floor::site(site), origin, actor, command };
        self.put(at, word, ShardCommand::Site(envelope))
    }

    /// Applies an entry and shows what happened to those concerned.
    fn put(
        &mut self,
        at: u64,
        word: &'static str,
        command: ShardCommand,
    ) -> Result<(), WorldError> {
        self.index += 1;
        let (index, wall) = (self.index, self.wall(at));
        let Applied { answer, events } = self.shard.apply(index, Stamp(at), wall, command);
        if let Some(watch) = self.watch {
            watch(&self.shard);
        }
        for event in events {
            self.see(event)?;
        }
        match answer.outcome {
            Outcome::Done(_) if !answer.repeated => Ok(()),
            Outcome::Done(_) => Err(WorldError::Refused {
                index,
                command: word,
                refusal: Refusal::OutcomeForgotten,
            }),
            Outcome::Refused(refusal) => Err(WorldError::Refused { index, command: word, refusal }),
        }
    }

    fn see(&mut self, record: EventRecord) -> Result<(), WorldError> {
        let Some(conversation) = record.event.conversation() else { return Ok(()) };
        let (stamp, at_us) = (record.stamp.0, since_begin(record.stamp));
        let number = conversation.unique as u32;
        let progress = &mut self.progress[number as usize];
        match record.event {
            Event::Opened { .. } => progress.story.opened_us = at_us,
            Event::Queued { .. } => {}
            Event::Offered { offer, agent, .. } => {
                progress.offer = Some((offer, self.floor.number(conversation.site, agent)));
                self.plan(stamp + self.floor.accept_after_us, Act::Accept(number, offer));
            }
            Event::OfferEnded { why: OfferEnd::CustomerLeft, .. } => progress.offer = None,
            Event::Assigned { leg: 1, .. } if progress.story.answered.is_none() => {
                progress.story.answered = progress.offer.take().map(|(_, agent)| (at_us, agent));
                self.plan(stamp + self.customers[number as usize].handle_us, Act::Close(number));
            }
            Event::Ended { why: EndReason::Abandoned, .. } => {
                progress.story.abandoned_us = Some(at_us);
            }
            Event::Ended { why: EndReason::Agent, .. } => progress.story.ended_us = Some(at_us),
            Event::WrapUpStarted { .. } => {
                self.plan(stamp + self.floor.wrap_up_us, Act::WrapUp(number));
            }
            Event::Closed { expired: false, .. } => {
                progress.story.closed_us = at_us;
                self.live -= 1;
            }
            event => {
                let (index, event) = (record.index, Box::new(event));
                return Err(WorldError::Unexpected { index, event });
            }
        }
        Ok(())
    }

    fn wall(&self, at: u64) -> Wall {
        Wall(self.wall_ms + at / 1_000)
    }
}

/// A customer's conversation; its number is in the id's last bits.
fn conversation(customer: &Customer, number: u32) -> ConversationId {
    let unique = u128::from(customer.arrives_us / 1_000) << 80 | 7 << 76 | 2 << 62;
    ConversationId::new(floor::site(customer.site), unique | u128::from(number))
}

const fn since_begin(stamp: Stamp) -> u64 {
    stamp.0.saturating_sub(BEGIN_US)
}

#[cfg(test)]
mod tests {
    use rotary_distributor::invariants;
    use rotary_proto::Channel;

    use super::*;
    use crate::bank::Mix;
    use crate::simulate_day::workload::{HandleTimes, Interval, Laws, customers};

    const SECOND: u64 = 1_000_000;

    fn floor(agents: u32) -> Floor {
        Floor { sites: 1, agents, accept_after_us: 2 * SECOND, wrap_up_us: 10 * SECOND }
    }

    fn call(arrives_s: u64, patience_s: u64, handle_s: u64) -> Customer {
        let [arrives_us, patience_us, handle_us] =
            [arrives_s, patience_s, handle_s].map(|seconds| seconds * SECOND);
        Customer { arrives_us, site: 0, channel: Channel::Voice, patience_us, handle_us }
    }

    /// Times in whole seconds: opened, answered, abandoned, ended, closed.
    type Told = (u64, Option<u64>, Option<u64>, Option<u64>, u64);

    fn told(story: &Story) -> Told {
        let seconds = |us: u64| (us + SECOND / 2) / SECOND;
        let answered = story.answered.map(|(at, _)| seconds(at));
        let [abandoned, ended] = [story.abandoned_us, story.ended_us].map(|at| at.map(seconds));
        (seconds(story.opened_us), answered, abandoned, ended, seconds(story.closed_us))
    }

    fn play(floor: Floor, customers: &[Customer]) -> Vec<Told> {
        let check = |shard: &Shard| assert_eq!(invariants::check(shard), []);
        let run = run(floor, customers, 0, Some(check)).expect("nothing is refused");
        run.stories.iter().map(told).collect()
    }

    #[test]
    fn one_agent_serves_one_call_after_the_other() {
        let stories = play(floor(1), &[call(0, 60, 100), call(10, 600, 50)]);
        let first = (0, Some(2), None, Some(102), 112);
        assert_eq!(stories, [first, (10, Some(114), None, Some(164), 174)]);
    }

    #[test]
    fn who_loses_patience_leaves_also_while_it_rings() {
        let stories = play(floor(1), &[call(0, 60, 100), call(10, 20, 50), call(120, 1, 50)]);
        let first = (0, Some(2), None, Some(102), 112);
        assert_eq!(
            stories,
            [first, (10, None, Some(30), None, 30), (120, None, Some(121), None, 121)]
        );
    }

    #[test]
    fn an_agent_chats_with_three_at_once() {
        let chat = |at| Customer { channel: Channel::Chat, ..call(at, 30, 100) };
        let stories = play(floor(1), &[chat(0), chat(0), chat(0), chat(1)]);
        let answered: Vec<_> = stories.iter().map(|story| story.1).collect();
        assert_eq!(answered, [Some(2), Some(2), Some(2), None]);
    }

    #[test]
    fn without_wrap_up_a_call_is_over_at_once() {
        let floor = Floor { accept_after_us: 0, wrap_up_us: 0, ..floor(1) };
        let stories = play(floor, &[call(0, 60, 100), call(0, 600, 50)]);
        assert_eq!(
            stories,
            [(0, Some(0), None, Some(100), 100), (0, Some(100), None, Some(150), 150)]
        );
    }

    /// A busy quarter of an hour with every promise checked after every entry, twice.
    #[test]
    fn a_seed_is_one_history_and_every_promise_holds() {
        let handle = HandleTimes::Exponential(60.0);
        let laws = Laws { sites: 2, mix: Mix { voice: 0.7 }, patience_s: 60.0, handle };
        let intervals = [Interval { start_s: 0.0, length_s: 900.0, expected: 150.0 }];
        let floor = Floor { sites: 2, ..floor(11) };
        let check: fn(&Shard) = |shard| assert_eq!(invariants::check(shard), []);
        let play = |seed, watch| {
            run(floor, &customers(&intervals, &laws, seed), 0, watch).expect("nothing is refused")
        };
        let (one, other) = (play(1, Some(check)), play(1, None));
        assert_eq!(
            (one.digest, &one.stories, one.entries),
            (other.digest, &other.stories, other.entries)
        );
        assert_ne!(one.digest, play(2, None).digest);
        let served = one.stories.iter().filter(|story| story.answered.is_some()).count();
        let left = one.stories.iter().filter(|story| story.abandoned_us.is_some()).count();
        assert_eq!(served + left, one.stories.len());
        assert!(served > 50 && left > 5, "{served} served, {left} left");
        let renewals = one.until_us / 500_000;
        assert!(one.entries.renewals.abs_diff(renewals) < 30, "{:?}", one.entries);
    }
}
