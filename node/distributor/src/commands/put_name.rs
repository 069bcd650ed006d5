//! Names skills, not-ready reasons and dispositions.

use std::collections::BTreeMap;
use std::sync::Arc;

use rotary_proto::event::{Audience, Event};
use rotary_proto::ids::{DispositionId, ReasonId, SkillId};
use rotary_proto::values::Name;
use rotary_proto::{Actor, Done, Refusal, limits};

use crate::authority;
use crate::turn::Turn;

/// Names a skill.
pub(crate) fn skill(
    turn: &mut Turn,
    actor: Actor,
    skill: SkillId,
    name: Name,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    let (most, limit) = (limits::SKILLS_PER_SITE_MAX, "skills_per_site_max");
    put(&mut turn.site.skills, skill, &name, most, limit)?;
    turn.emit(Audience::default(), Event::SkillSet { skill, name });
    Ok(Done::Ok)
}

/// Names a not-ready reason.
pub(crate) fn reason(
    turn: &mut Turn,
    actor: Actor,
    reason: ReasonId,
    name: Name,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    let (most, limit) = (limits::REASONS_PER_SITE_MAX, "reasons_per_site_max");
    put(&mut turn.site.reasons, reason, &name, most, limit)?;
    turn.emit(Audience::default(), Event::ReasonSet { reason, name });
    Ok(Done::Ok)
}

/// Names a disposition.
pub(crate) fn disposition(
    turn: &mut Turn,
    actor: Actor,
    disposition: DispositionId,
    name: Name,
) -> Result<Done, Refusal> {
    authority::administrator(actor)?;
    let (most, limit) = (limits::REASONS_PER_SITE_MAX, "reasons_per_site_max");
    put(&mut turn.site.dispositions, disposition, &name, most, limit)?;
    turn.emit(Audience::default(), Event::DispositionSet { disposition, name });
    Ok(Done::Ok)
}

fn put<K: Ord + Clone>(
    names: &mut Arc<BTreeMap<K, Name>>,
    id: K,
    name: &Name,
    most: usize,
    limit: &str,
) -> Result<(), Refusal> {
    if names.len() >= most && !names.contains_key(&id) {
        return Err(Refusal::LimitReached { limit: limit.to_owned() });
    }
    Arc::make_mut(names).insert(id, name.clone());
    Ok(())
}
