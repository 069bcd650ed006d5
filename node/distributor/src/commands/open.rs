//! A customer arrives.

use rotary_proto::MailParty;
use rotary_proto::event::{Author, Event, QueuedWhy};
use rotary_proto::ids::CustomerId;
use rotary_proto::plan::{RequiredSkill, check_required};
use rotary_proto::values::{Attributes, BadValue, Channel, Item, Priority};
use rotary_proto::{Actor, ConversationId, Done, QueueId, Refusal, limits};

use crate::authority;
use crate::conversation::{Conversation, MailThread, Stage};
use crate::site::Site;
use crate::turn::Turn;

/// The fields of [`rotary_proto::Command::Open`].
pub(crate) struct Arrival {
    pub(crate) conversation: ConversationId,
    pub(crate) queue: QueueId,
    pub(crate) channel: Channel,
    pub(crate) priority: Option<Priority>,
    pub(crate) skills: Vec<RequiredSkill>,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) attributes: Attributes,
    pub(crate) item: Option<Item>,
    pub(crate) mail: Option<Box<MailParty>>,
}

/// Opens a conversation, puts it in line and looks for an agent.
pub(crate) fn apply(turn: &mut Turn, actor: Actor, arrival: Arrival) -> Result<Done, Refusal> {
    check(turn, actor, &arrival)?;
    turn.reserve_class(arrival.queue, arrival.channel, &arrival.skills)?;
    let Arrival { conversation, queue, channel, customer, attributes, item, mail, .. } = arrival;
    let (now, unique) = (turn.now, conversation.unique);
    let plan = turn.queue(queue);
    let stage = match plan.begins_in_self_service(channel) {
        true => Stage::SelfService { until: now.plus_ms(plan.plan.idle_max_ms) },
        false => Stage::Waiting,
    };
    let priority = arrival.priority.unwrap_or(turn.queue(queue).plan.priority);
    let entity = Conversation {
        channel,
        customer,
        queue,
        priority,
        skills: arrival.skills,
        required: Vec::new(),
        class: u32::MAX,
        opened: now,
        since: now,
        entered: now,
        waited_us: 0,
        wait_until: now,
        stage,
        legs: 0,
        items: 0,
        recent: Vec::new(),
        answers: Vec::new(),
        declines: Vec::new(),
        last_offer: None,
        mail: mail.as_ref().map(|_| MailThread { opened: turn.site.sequence + 1, last: None }),
        turns: Vec::new(),
        alarm: None,
        declines_alarm: None,
    };
    turn.site.conversations.put(unique, entity);
    turn.count(queue, stage, |count| *count += 1);
    if let Some(customer) = customer {
        turn.site.by_customer.entry(customer).or_default().conversations.insert(unique);
    }
    turn.emit(
        turn.audience(unique, None, true),
        Event::Opened { conversation, channel, customer, attributes, mail },
    );
    let serves = stage != Stage::Waiting;
    if serves {
        turn.rearm(unique);
        turn.emit(
            turn.audience(unique, None, true),
            Event::SelfServiceStarted { conversation, queue },
        );
    }
    if let Some(Item { id: item, body }) = item {
        let (id, sequence) = (turn.next_effect_id(), turn.site.sequence + 1);
        let ordinal = turn.conversation_mut(unique).add_item(item, None);
        let (author, note, mail) = (Author::Customer, false, None);
        turn.emit(
            turn.audience(unique, None, true),
            Event::Posted { conversation, item, ordinal, author, note, body, mail },
        );
        if serves {
            turn.want_turn(id, conversation, sequence);
        }
    }
    if !serves {
        turn.enter_line(unique, now, QueuedWhy::Opened);
    }
    Ok(Done::Ok)
}

fn check(turn: &Turn, actor: Actor, arrival: &Arrival) -> Result<(), Refusal> {
    let site = &*turn.site;
    let allowed = match actor {
        // Else anybody could have mails sent to anybody.
        Actor::Customer(me) => arrival.customer == Some(me) && arrival.mail.is_none(),
        Actor::Agent(_) => false,
        _ => true,
    };
    if !allowed {
        return Err(authority::not_allowed(actor));
    }
    check_required("skills", &arrival.skills)?;
    arrival.attributes.check()?;
    arrival.item.as_ref().map_or(Ok(()), |item| item.body.check())?;
    check_mail(site, arrival)?;
    if arrival.conversation.site != site.id {
        return Err(Refusal::WrongSite);
    }
    let queue = site.queues.get(arrival.queue).ok_or(Refusal::QueueUnknown)?;
    if arrival.skills.iter().any(|need| !site.skills.contains_key(&need.skill)) {
        return Err(Refusal::SkillUnknown);
    }
    let unique = arrival.conversation.unique;
    if site.conversations.contains(unique) || site.tombstones.contains(unique) {
        return Err(Refusal::ConversationExists);
    }
    let limit = |limit: &str| Err(Refusal::LimitReached { limit: limit.to_owned() });
    if queue.requirement(&arrival.skills).len() > limits::REQUIRED_SKILLS_MAX {
        return limit("required_skills_max");
    }
    if site.conversations.len() >= limits::CONVERSATIONS_PER_SITE_MAX {
        return limit("conversations_per_site_max");
    }
    if site.tombstones.len() + site.conversations.len() >= limits::TOMBSTONES_PER_SITE_MAX {
        return limit("tombstones_per_site_max");
    }
    let customer = arrival.customer.and_then(|customer| site.by_customer.get(&customer));
    if customer.is_some_and(|c| c.conversations.len() >= limits::CONVERSATIONS_PER_CUSTOMER_MAX) {
        return limit("conversations_per_customer_max");
    }
    Ok(())
}

/// Refuses whom no mail could be sent to.
fn check_mail(site: &Site, arrival: &Arrival) -> Result<(), Refusal> {
    let Some(mail) = &arrival.mail else { return Ok(()) };
    mail.check()?;
    if arrival.channel != Channel::Email {
        return Err(BadValue::new("mail", "only on the channel email").into());
    }
    if site.settings.mail_from.is_none() {
        return Err(BadValue::new("mail", "the site's settings have no mail_from").into());
    }
    Ok(())
}
