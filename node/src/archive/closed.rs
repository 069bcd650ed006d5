//! Conversations that are over, by queue, agent, customer and time.

use std::fmt;
use std::str::FromStr;

use rotary_proto::query::{ConversationView, Stage};
use rotary_proto::{
    AgentId, ConversationId, CustomerId, Event, EventRecord, QueueId, SiteId, Wall,
};
use rotary_storage::{Found, LookupPosition};

use crate::archive::keys::{self, By, Parts};
use crate::replica::stays::Stay;
use crate::replica::{ReadError, Replica};

/// Conversations that one question may look through.
const LOOK_MAX: usize = 1_000;

/// Which conversations are wanted: those to which everything that is given applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClosedFilter {
    pub(crate) queue: Option<QueueId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) customer: Option<CustomerId>,
    /// Closed at or after.
    pub(crate) from: Wall,
    /// Closed before.
    pub(crate) to: Option<Wall>,
}

impl ClosedFilter {
    /// The narrowest list that holds them all.
    fn by(&self) -> By {
        let customer = self.customer.map(By::Customer);
        let agent = self.agent.map(By::Agent);
        customer.or(agent).or(self.queue.map(By::Queue)).unwrap_or(By::Time)
    }

    fn admits(&self, parts: &Parts) -> bool {
        self.queue.is_none_or(|queue| parts.queues.contains(&queue))
            && self.agent.is_none_or(|agent| parts.agents.contains(&agent))
            && (self.customer.is_none() || self.customer == parts.customer)
    }
}

/// A place in a list of conversations that are over: the same on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClosedCursor {
    wall: Wall,
    index: u64,
    ordinal: u32,
    /// In which of the shards that the site lived in, counted from 0.
    stay: u32,
}

impl fmt::Display for ClosedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.wall.0, self.index, self.ordinal)?;
        if self.stay == 0 { Ok(()) } else { write!(f, ".{}", self.stay) }
    }
}

impl FromStr for ClosedCursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no cursor; give back the `next` of the page before");
        let read = |part: &str| part.parse::<u64>().map_err(|_| wrong());
        let parts: Vec<&str> = text.split('.').collect();
        let (wall, index, ordinal, stay) = match parts[..] {
            [wall, index, ordinal] => (wall, index, ordinal, "0"),
            [wall, index, ordinal, stay] => (wall, index, ordinal, stay),
            _ => return Err(wrong()),
        };
        let small = |part: &str| u32::try_from(read(part)?).map_err(|_| wrong());
        let (ordinal, stay) = (small(ordinal)?, small(stay)?);
        Ok(Self { wall: Wall(read(wall)?), index: read(index)?, ordinal, stay })
    }
}

/// A conversation that is over.
#[derive(Debug)]
pub(crate) struct ClosedRow {
    /// When it closed.
    pub(crate) closed: Wall,
    pub(crate) view: ConversationView,
}

/// Some of them, oldest first.
#[derive(Debug)]
pub(crate) struct ClosedPage {
    pub(crate) rows: Vec<ClosedRow>,
    /// Where the next page begins, if this one may not be the last.
    pub(crate) next: Option<ClosedCursor>,
}

impl Replica {
    /// Conversations of a site that are over, in the order in which they closed, those of one
    /// shard that it lived in after those of another. May read the disk, and so blocks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn closed(
        &self,
        site: SiteId,
        filter: &ClosedFilter,
        after: Option<ClosedCursor>,
        limit: usize,
    ) -> Result<ClosedPage, ReadError> {
        let mut page = ClosedPage { rows: Vec::new(), next: None };
        if filter.to == Some(Wall(0)) {
            return Ok(page);
        }
        let begun = after.map_or(0, |after| after.stay);
        for (number, stay) in (0..).zip(self.stays(site)).skip(begun as usize) {
            self.indexed(stay.shard)?;
            let after = after.filter(|after| after.stay == number);
            if !self.closed_in(site, (number, &stay), filter, after, (limit, &mut page))? {
                return Ok(page);
            }
        }
        page.next = None;
        Ok(page)
    }

    /// Adds those of one stay to a page; whether those were all.
    fn closed_in(
        &self,
        site: SiteId,
        (number, stay): (u32, &Stay),
        filter: &ClosedFilter,
        after: Option<ClosedCursor>,
        (limit, page): (usize, &mut ClosedPage),
    ) -> Result<bool, ReadError> {
        let by = filter.by();
        let before = filter.to.map_or(u64::MAX, |to| to.0.saturating_sub(1));
        let from = keys::closed(site, by, filter.from);
        let to = keys::closed(site, by, Wall(before));
        let after = after.map(|after| Found {
            key: keys::closed(site, by, after.wall),
            at: LookupPosition {
                index: after.index,
                ordinal: after.ordinal,
                stream: stay.stream,
                sequence: 0,
            },
        });
        let found = self.found_in(site, stay, (&from, &to), after.as_ref(), LOOK_MAX)?;
        for found in &found {
            if page.rows.len() == limit {
                return Ok(false);
            }
            let Some(end) = self.found(stay.shard, site, std::slice::from_ref(found))?.pop() else {
                continue;
            };
            let LookupPosition { index, ordinal, .. } = found.at;
            page.next = Some(ClosedCursor { wall: end.wall, index, ordinal, stay: number });
            let Some(conversation) = end.event.conversation() else { continue };
            let parts = self.records_under(site, &keys::parts(conversation), usize::MAX)?;
            if !filter.admits(&Parts::of(&parts)) {
                continue;
            }
            let story = self.story(conversation, usize::MAX)?;
            if let Some(view) = over(conversation, &story) {
                page.rows.push(ClosedRow { closed: end.wall, view });
            }
        }
        Ok(found.len() < LOOK_MAX)
    }
}

/// A conversation that is over, as its story tells it.
pub(crate) fn over(id: ConversationId, story: &[EventRecord]) -> Option<ConversationView> {
    let customer = story.iter().find_map(|record| match &record.event {
        Event::Opened { customer, .. } => Some(*customer),
        _ => None,
    })?;
    let mut view = ConversationView {
        conversation: id,
        stage: Stage::Closed,
        queue: None,
        channel: None,
        priority: None,
        customer,
        items: 0,
        legs: 0,
        waited_ms: 0,
    };
    let mut waits_since = None;
    for record in story {
        match &record.event {
            Event::Queued { .. } => waits_since = Some(record.stamp),
            Event::Assigned { leg, .. } => {
                view.legs = *leg;
                let since = waits_since.take().unwrap_or(record.stamp);
                view.waited_ms += record.stamp.ms_since(since);
            }
            Event::Ended { .. } => {
                let since = waits_since.take().unwrap_or(record.stamp);
                view.waited_ms += record.stamp.ms_since(since);
            }
            Event::Posted { ordinal, .. } => view.items = *ordinal,
            _ => {}
        }
    }
    Some(view)
}
