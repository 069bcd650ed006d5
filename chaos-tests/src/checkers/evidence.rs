//! A history put in order once, for all checkers.

use std::collections::BTreeMap;

use rotary_proto::ids::ShardId;
use rotary_proto::plan::RequiredSkill;
use rotary_proto::{Command, ConversationId, Position, SiteId};

use super::verdict::Check;
use crate::history::{End, Event, Fact, History, Operation, Record};

/// An event or operation with the line that has it.
#[derive(Debug)]
pub struct Placed<'a, T> {
    /// The number of the line, from 1.
    pub line: usize,
    /// What it has.
    pub of: &'a T,
}

impl<T> Clone for Placed<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Placed<'_, T> {}

/// Everything that happened at one site, in order of sequences, as readers of its feed tell.
#[derive(Debug, Clone, Default)]
pub struct Story<'a> {
    /// The first telling of each event.
    pub events: Vec<Placed<'a, Event>>,
    /// How far some gateway told all of it after the drain.
    pub through: Option<u64>,
    /// The first sequence that nobody tells, if one below the last is missing.
    pub hole: Option<u64>,
    /// The shards that it was in, in order, each with the index of its first entry there.
    stays: Vec<(ShardId, u64)>,
}

/// Where an entry stands among all that concern a site: which of its stays in shards it belongs
/// to, counted from 0, and its index in that shard's log.
pub(super) type Place = (usize, u64);

impl<'a> Story<'a> {
    /// What entries told, in order, each with its place.
    pub fn entries(&self) -> impl Iterator<Item = (Place, &[Placed<'a, Event>])> {
        let moves = |event: &Event| matches!(event.fact, Fact::SiteMoved { .. });
        let same = move |one: &Placed<'_, Event>, next: &Placed<'_, Event>| {
            one.of.index == next.of.index && !moves(next.of)
        };
        let mut stay = 0;
        self.events.chunk_by(same).map(move |entry| {
            stay += usize::from(moves(entry[0].of));
            ((stay, entry[0].of.index), entry)
        })
    }

    /// The place of what a client was told. The entries of its own shard rise.
    pub fn place(&self, at: Position) -> Place {
        let stays = self.stays.iter().enumerate();
        let mut stay = stays.filter(|(_, (shard, first))| *shard == at.shard && *first <= at.index);
        (stay.next_back().map_or(0, |(stay, _)| stay), at.index)
    }

    /// Whether it has everything from the beginning to the end of the run.
    pub fn is_whole(&self) -> bool {
        let last = self.events.last().map_or(0, |event| event.of.sequence);
        self.hole.is_none() && self.through.is_some_and(|through| through <= last)
    }
}

/// A history in order.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The history itself.
    pub history: &'a History,
    /// Every operation, in order of their ends.
    pub operations: Vec<Placed<'a, Operation>>,
    /// What happened at each site.
    pub stories: BTreeMap<SiteId, Story<'a>>,
    /// The log that each site was made in.
    pub shards: BTreeMap<SiteId, ShardId>,
    /// When each phase began, by its word; the first time.
    pub marks: BTreeMap<&'a str, u64>,
    /// The first operation that opens each conversation, whatever came of it.
    pub opens: BTreeMap<ConversationId, Placed<'a, Operation>>,
}

impl<'a> Evidence<'a> {
    /// Puts a history in order.
    pub fn of(history: &'a History) -> Self {
        let mut evidence = Self {
            history,
            operations: Vec::new(),
            stories: BTreeMap::new(),
            shards: BTreeMap::new(),
            marks: BTreeMap::new(),
            opens: BTreeMap::new(),
        };
        for line in &history.lines {
            evidence.add(line.number, &line.record);
        }
        for (site, story) in &mut evidence.stories {
            settle(story);
            story.stays.extend(evidence.shards.get(site).map(|shard| (*shard, 0)));
            story.stays.extend(story.events.iter().filter_map(|event| match event.of.fact {
                Fact::SiteMoved { to, .. } => Some((to, event.of.index)),
                _ => None,
            }));
        }
        evidence
    }

    fn add(&mut self, line: usize, record: &'a Record) {
        match record {
            Record::Operation(of) => {
                if let Command::Open { conversation, .. } = &*of.command {
                    self.opens.entry(*conversation).or_insert(Placed { line, of });
                }
                self.operations.push(Placed { line, of });
            }
            Record::Fed { event: of, .. } => {
                self.stories.entry(of.site).or_default().events.push(Placed { line, of });
            }
            Record::FedThrough { site, sequence, .. } => {
                let story = self.stories.entry(*site).or_default();
                story.through = story.through.max(Some(*sequence));
            }
            Record::Site { site, shard } => {
                self.shards.insert(*site, *shard);
                self.stories.entry(*site).or_default();
            }
            Record::Mark { name, at_ms } => {
                self.marks.entry(name).or_insert(*at_ms);
            }
            _ => {}
        }
    }

    /// What a conversation requires beyond its queue, if an operation opened it.
    pub fn extra_skills(&self, conversation: ConversationId) -> Option<&'a [RequiredSkill]> {
        match &*self.opens.get(&conversation)?.of.command {
            Command::Open { skills, .. } => Some(skills),
            _ => None,
        }
    }

    /// Whether the run was drained: everybody finished, and nothing was left waiting.
    pub fn is_drained(&self) -> bool {
        self.marks.contains_key("read-back")
    }

    /// Doubts a check for every site whose story is not whole.
    pub fn doubt_stories(&self, check: &mut Check) {
        for (site, story) in &self.stories {
            if let Some(hole) = story.hole {
                check.doubt(format!("event {hole} of {site} was told by no reader"));
            } else if !story.is_whole() {
                check.doubt(format!("the feed of {site} was not read to its end"));
            }
        }
        if self.stories.is_empty() {
            check.doubt("no site was read back");
        }
    }
}

impl Operation {
    /// Whether it certainly took effect.
    pub const fn is_ok(&self) -> bool {
        matches!(self.end, End::Ok { .. })
    }

    /// Whether it may have taken effect.
    pub const fn may_be(&self) -> bool {
        !matches!(self.end, End::Fail { .. })
    }
}

/// Sorts a story, keeps the first telling of each event and finds the first hole.
fn settle(story: &mut Story<'_>) {
    story.events.sort_by_key(|event| (event.of.sequence, event.line));
    story.events.dedup_by_key(|event| event.of.sequence);
    let expected = (1..).zip(&story.events);
    let hole = expected.into_iter().find(|(expected, event)| event.of.sequence != *expected);
    story.hole = hole.map(|(expected, _)| expected);
}
