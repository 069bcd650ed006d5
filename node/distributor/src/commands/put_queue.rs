//! Makes or replaces a queue.

use rotary_proto::event::{Audience, Event};
use rotary_proto::plan::QueuePlan;
use rotary_proto::{Actor, Done, QueueId, Refusal, limits};

use crate::authority;
use crate::queue::{Counts, Queue};
use crate::site::Work;
use crate::turn::Turn;

/// Stores a plan under the queue's next version.
///
/// Items that wait keep their deadlines and their order. Where skills or strategy change, they
/// move to the classes of the new plan one by one; until an item has moved it requires what it did.
pub(crate) fn apply(
    turn: &mut Turn,
    actor: Actor,
    id: QueueId,
    plan: QueuePlan,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    plan.check()?;
    if plan.skills.iter().any(|need| !turn.site.skills.contains_key(&need.skill)) {
        return Err(Refusal::SkillUnknown);
    }
    let known = turn.site.queues.get(id);
    if known.is_none() && turn.site.queues.len() >= limits::QUEUES_PER_SITE_MAX {
        return Err(Refusal::LimitReached { limit: "queues_per_site_max".to_owned() });
    }
    let moves = known.is_some_and(|queue| {
        queue.plan.skills != plan.skills || queue.plan.strategy != plan.strategy
    });
    let version = known.map_or(1, |queue| queue.version + 1);
    match turn.site.queues.edit(id) {
        Some(queue) => (queue.version, queue.plan) = (version, plan.clone()),
        None => {
            let counts = Counts::default();
            let queue =
                Queue { version, plan: plan.clone(), last_offered: None, bot: None, counts };
            turn.site.queues.put(id, queue);
        }
    }
    if moves {
        retire_classes(turn, id);
    }
    let audience = Audience { queue: Some(id), ..Audience::default() };
    turn.emit(audience, Event::QueueSet { queue: id, version, plan });
    Ok(Done::Stored { version })
}

/// Lets no more items into the queue's present classes, and moves those that are there.
fn retire_classes(turn: &mut Turn, id: QueueId) {
    let slots: Vec<u32> = turn.site.classes.of_queue(id).collect();
    for slot in slots {
        turn.effort.spend(1);
        let class = turn.site.classes.class(slot);
        let (stale, members) = (class.stale, class.members);
        if !stale {
            turn.site.classes.mark_stale(slot);
            turn.later(Work::MoveItems(slot));
        }
        if members == 0 {
            turn.site.classes.remove(slot);
        }
    }
}
