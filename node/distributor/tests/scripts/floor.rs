//! The floor that a script plays on: a shard, its clock, and names for ids.

use std::collections::{BTreeMap, BTreeSet};

use rotary_distributor::{Applied, Shard, invariants};
use rotary_proto::command::Subject;
use rotary_proto::ids::*;
use rotary_proto::{Actor, Command, Envelope, Origin, ShardCommand, Stamp, Wall};

use crate::trace;
use crate::words::{Words, milliseconds};

/// Names of one kind, with the ids they were given in order of their mention.
#[derive(Debug, Default, Clone)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl Names {
    /// The number of a name, from 1.
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        let place = self.0.iter().position(|known| known == name).unwrap_or_else(|| {
            self.0.push(name.to_owned());
            self.0.len() - 1
        });
        place as u32 + 1
    }

    /// The name of a number, or the number itself.
    pub(crate) fn name(&self, number: u64, prefix: &str) -> String {
        let place = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let known = place.and_then(|place| self.0.get(place)).cloned();
        known.unwrap_or_else(|| format!("{prefix}{number}"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

/// What a name stands for.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registry {
    pub(crate) sites: Names,
    pub(crate) queues: Names,
    pub(crate) agents: Names,
    pub(crate) customers: Names,
    pub(crate) skills: Names,
    pub(crate) reasons: Names,
    pub(crate) dispositions: Names,
    pub(crate) conversations: Names,
    pub(crate) items: Names,
    pub(crate) sessions: Names,
}

/// One script's world.
pub(crate) struct Floor {
    pub(crate) shard: Shard,
    pub(crate) names: Registry,
    pub(crate) site: SiteId,
    /// Script time.
    clock_ms: u64,
    index: u64,
    /// The trace of the paragraph so far.
    pub(crate) lines: Vec<String>,
    pub(crate) audiences: bool,
    /// Whether lines are swallowed.
    quiet: bool,
    /// The number of the last command of each session.
    sequences: BTreeMap<(SiteId, SessionId), u64>,
    acknowledged: BTreeMap<(SiteId, SessionId), u64>,
    pub(crate) subjects: BTreeMap<(SiteId, SessionId), Subject>,
    /// Gateways that renew their leases.
    pub(crate) gateways: BTreeSet<GatewayId>,
    pub(crate) last: Option<ShardCommand>,
    /// The origin and actor that a prefix asks for.
    pub(crate) origin: Option<Origin>,
    pub(crate) actor: Option<Actor>,
    /// The words of everything that happened.
    pub(crate) said: BTreeSet<String>,
}

impl Floor {
    /// An empty floor with one site.
    pub(crate) fn new() -> Self {
        let mut floor = Self {
            shard: Shard::new(ShardId(1)),
            names: Registry::default(),
            site: SiteId::new(1, 1),
            clock_ms: 0,
            index: 0,
            lines: Vec::new(),
            audiences: false,
            quiet: true,
            sequences: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            subjects: BTreeMap::new(),
            gateways: BTreeSet::new(),
            last: None,
            origin: None,
            actor: None,
            said: BTreeSet::new(),
        };
        floor.run("site main");
        floor.quiet = false;
        floor
    }

    /// Runs the commands of a paragraph; gives its trace.
    pub(crate) fn paragraph(&mut self, commands: &[String]) -> Result<Vec<String>, String> {
        self.lines.clear();
        for line in commands {
            if commands.len() > 1 && !line.starts_with("quietly") {
                self.lines.push(format!("> {line}"));
            }
            self.run(line);
            let found = invariants::check(&self.shard);
            if !found.is_empty() {
                return Err(format!("after {line:?}: {found:#?}\n{}", self.lines.join("\n")));
            }
        }
        Ok(self.lines.clone())
    }

    /// Runs one command line, prefixes first.
    pub(crate) fn run(&mut self, line: &str) {
        let prefix = line.split_once(": ").filter(|(head, _)| !head.contains('"'));
        if let Some((head, rest)) = prefix {
            return self.prefixed(&Words::read(head), rest);
        }
        let words = Words::read(line);
        let known = self.clockwork(&words) || self.set_up(&words);
        let known = known || self.serve(&words) || self.reach_out(&words);
        assert!(known, "{line:?} is no command");
        (self.origin, self.actor) = (None, None);
    }

    fn prefixed(&mut self, head: &Words, rest: &str) {
        match head.verb.as_str() {
            "as" => self.actor = Some(self.who(head.at(0))),
            "request" => {
                let number: u128 = head.at(0).trim_start_matches('r').parse().expect("r1");
                let ms = head.number("ms").map_or(number * 1_000, u128::from);
                let principal = PrincipalId(head.number("principal").unwrap_or(1) as u32);
                let request = RequestId(ms << 80 | number);
                self.origin = Some(Origin::Request { principal, request });
            }
            "session" => self.through_session(head),
            "at" => {
                let here = std::mem::replace(&mut self.site, head.at(0).parse().expect("st_1.9"));
                self.run(rest);
                self.site = here;
                return;
            }
            "quietly" => {
                self.quiet = true;
                self.run(rest);
                self.quiet = false;
                return;
            }
            "repeat" => {
                let times: u32 = head.at(0).parse().expect("a number");
                let (origin, actor) = (self.origin, self.actor);
                for number in 1..=times {
                    (self.origin, self.actor) = (origin, actor);
                    self.run(&rest.replace('$', &number.to_string()));
                }
                return;
            }
            other => panic!("{other:?} is no prefix"),
        }
        self.run(rest);
    }

    /// `session ana number=3 acknowledged=2: ...`
    fn through_session(&mut self, head: &Words) {
        let session = self.session(head.at(0));
        let key = (self.site, session);
        let next = self.sequences.get(&key).map_or(1, |last| last + 1);
        let sequence = head.number("number").unwrap_or(next);
        let known = self.acknowledged.get(&key).copied();
        let acknowledged = head.number("acknowledged").or(known).unwrap_or(0);
        self.acknowledged.insert(key, acknowledged);
        self.sequences.insert(key, sequence.max(next - 1));
        self.origin = Some(Origin::Session { session, sequence, acknowledged });
    }

    /// Time, retries, and what concerns the shard as a whole.
    fn clockwork(&mut self, words: &Words) -> bool {
        match words.verb.as_str() {
            "wait" => self.wait(milliseconds(words.at(0))),
            "late" => self.clock_ms += milliseconds(words.at(0)),
            "tick" => self.apply(ShardCommand::Tick),
            "raise" => {
                let version = words.at(1).parse().expect("raise version 2");
                self.apply(ShardCommand::RaiseVersion { version });
            }
            "members" => self.shard.set_members((1..=words.at(0).parse().expect("3")).map(NodeId)),
            "mark" => {
                let node = NodeId(words.at(0).parse().expect("mark 2 index=7"));
                let index = words.number("index").unwrap_or(self.index);
                self.apply(ShardCommand::JournalMark { node, index });
            }
            "lease" => {
                let gateway = gateway(words);
                self.apply(ShardCommand::RenewLease { gateway });
            }
            "stop" => {
                self.gateways.remove(&gateway(words));
                self.say(format!("{} renews its lease no more", gateway(words)));
            }
            "retry" => {
                let command = self.last.clone().expect("a command to retry");
                self.apply(command);
            }
            "malformed" => {
                let stamp = self.stamp();
                self.index += 1;
                let applied = self.shard.refuse_malformed(self.index, stamp);
                self.tell(&applied, false);
            }
            "audiences" => self.audiences = words.at(0) == "on",
            "_breakpoint" => panic!("{}\n{:#?}", self.lines.join("\n"), self.shard),
            _ => return false,
        }
        true
    }

    /// Lets time pass, with a tick at each deadline and leases renewed.
    fn wait(&mut self, ms: u64) {
        let target = Stamp::from_ms(self.clock_ms + ms).0 + 999;
        loop {
            let due = self.shard.next_deadline().map_or(u64::MAX, |at| at.0).min(target + 1);
            let lease = self.shard.leases().find(|(id, at)| {
                self.gateways.contains(id) && at.0 <= due.max(self.shard.last_stamp().0 + 1)
            });
            if let Some((gateway, at)) = lease {
                let renew = ShardCommand::RenewLease { gateway };
                let stamp = Stamp(at.0.saturating_sub(1));
                self.enter(stamp, renew);
            } else if due <= target {
                let applied = self.enter(Stamp(due), ShardCommand::Tick);
                self.tell(&applied, true);
            } else {
                break;
            }
        }
        self.clock_ms += ms;
    }

    fn stamp(&self) -> Stamp {
        Stamp::from_ms(self.clock_ms).after(self.shard.last_stamp())
    }

    fn enter(&mut self, stamp: Stamp, command: ShardCommand) -> Applied {
        self.index += 1;
        let wall = Wall(1_700_000_000_000 + stamp.0 / 1_000);
        let applied = self.shard.apply(self.index, stamp, wall, command);
        let found = invariants::check(&self.shard);
        assert!(found.is_empty(), "{found:#?}\n{}", self.lines.join("\n"));
        applied
    }

    /// Applies an entry, and ticks while work is left over.
    pub(crate) fn apply(&mut self, command: ShardCommand) {
        self.last = Some(command.clone());
        if let ShardCommand::Site(envelope) = &command {
            self.said.insert(envelope.command.word().to_owned());
        }
        let applied = self.enter(self.stamp(), command);
        self.tell(&applied, false);
        while self.shard.next_deadline().is_some_and(|at| at <= self.shard.last_stamp()) {
            let applied = self.enter(self.stamp(), ShardCommand::Tick);
            self.tell(&applied, true);
        }
    }

    /// Asks something of the site, from where and by whom the prefix or the default says.
    pub(crate) fn ask(&mut self, actor: Actor, command: Command) {
        let actor = self.actor.unwrap_or(actor);
        let origin = self.origin.unwrap_or_else(|| self.default_origin(actor));
        let site = self.site;
        self.apply(ShardCommand::Site(Envelope { site, origin, actor, command }));
    }

    /// The first session of the actor, if one was attached; else the cluster.
    fn default_origin(&mut self, actor: Actor) -> Origin {
        let subject = match actor {
            Actor::Agent(agent) => Subject::Agent(agent),
            Actor::Customer(customer) => Subject::Customer(customer),
            _ => return Origin::Internal,
        };
        let mut found = self.subjects.iter();
        let found = found.find(|((site, _), known)| *site == self.site && **known == subject);
        let Some((key, _)) = found else { return Origin::Internal };
        let sequence = self.sequences.entry(*key).or_insert(0);
        *sequence += 1;
        let acknowledged = self.acknowledged.get(key).copied().unwrap_or(0);
        Origin::Session { session: key.1, sequence: *sequence, acknowledged }
    }

    fn tell(&mut self, applied: &Applied, tick: bool) {
        let before = (self.quiet, self.lines.len());
        trace::tell(self, applied, tick);
        if before.0 {
            self.lines.truncate(before.1);
        }
    }

    pub(crate) fn say(&mut self, line: impl Into<String>) {
        if !self.quiet {
            self.lines.push(line.into());
        }
    }

    /// Who a word means, as an actor.
    pub(crate) fn who(&mut self, word: &str) -> Actor {
        match word {
            "system" => Actor::System,
            "admin" => Actor::Administrator(PrincipalId(1)),
            "supervisor" => Actor::Supervisor(PrincipalId(2)),
            name if self.names.agents.has(name) || name.starts_with("ag_") => {
                Actor::Agent(self.agent(name))
            }
            name => Actor::Customer(self.customer(name)),
        }
    }

    pub(crate) fn agent(&mut self, name: &str) -> AgentId {
        name.parse().unwrap_or_else(|_| AgentId(self.names.agents.number(name)))
    }

    pub(crate) fn customer(&mut self, name: &str) -> CustomerId {
        CustomerId(u128::from(self.names.customers.number(name)))
    }

    pub(crate) fn queue(&mut self, name: &str) -> QueueId {
        name.parse().unwrap_or_else(|_| QueueId(self.names.queues.number(name)))
    }

    pub(crate) fn session(&mut self, name: &str) -> SessionId {
        SessionId(u128::from(self.names.sessions.number(name)))
    }

    /// A conversation of this site; `west/c1` is of the site `west`.
    pub(crate) fn conversation(&mut self, name: &str) -> ConversationId {
        let site = name.split_once('/').map_or(self.site, |(site, _)| self.site_named(site));
        let name = name.rsplit('/').next().expect("a name");
        ConversationId::new(site, u128::from(self.names.conversations.number(name)))
    }

    pub(crate) fn site_named(&mut self, name: &str) -> SiteId {
        let known = name.parse().ok();
        known.unwrap_or_else(|| SiteId::new(1, self.names.sites.number(name)))
    }
}

/// The gateway that a command names; the first if it names none.
pub(crate) fn gateway(words: &Words) -> GatewayId {
    GatewayId { node: NodeId(words.number("gateway").unwrap_or(1)), run: 1 }
}
