//! Samples of every fact that a journal may hold.

use rotary_proto::command::Subject;
use rotary_proto::effect::{EffectOutcome, EffectTarget};
use rotary_proto::event::{
    Author, DeclaredWhy, EffectEnd, EndReason, OfferEnd, QueuedWhy, SessionLoss, Topic, Trigger,
    Viewer,
};
use rotary_proto::*;

use crate::page::{Page, samples};
use crate::shapes::{
    UNIQUE, attributes, body, bot_plan, conversation, effect_id, gateway, mail_party, name, plan,
    profile, sealed, settings, site, webhook_plan,
};

fn decision() -> Decision {
    Decision {
        trigger: Trigger::AgentFree,
        strategy: Strategy::LeastLoaded,
        plan_version: 2,
        key: [-17, 1_234_567],
        candidates: 3,
        waited_ms: 45_000,
    }
}

/// One event of each kind.
// long: a table with one row a variant.
pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let conversation = conversation();
    let (session, subject) = (SessionId(UNIQUE), Subject::Agent(AgentId(9)));
    let (agent, queue, offer) = (AgentId(9), QueueId(8), OfferId(31));
    let (since, until) = (Stamp(7_000_000), Stamp(88_000_000));
    samples!(Event {
        SiteSet => Event::SiteSet { settings: settings() },
        SkillSet => Event::SkillSet { skill: SkillId(4), name: name("French") },
        ReasonSet => Event::ReasonSet { reason: ReasonId(7), name: name("Lunch") },
        DispositionSet => Event::DispositionSet {
            disposition: DispositionId(6),
            name: name("Sold"),
        },
        QueueSet => Event::QueueSet { queue, version: 2, plan: plan() },
        AgentSet => Event::AgentSet { agent, version: 3, profile: profile() },
        WebhookSet => Event::WebhookSet {
            webhook: WebhookId(11),
            version: 4,
            plan: webhook_plan(),
        },
        BotSet => Event::BotSet { queue, version: 5, plan: Some(bot_plan()) },
        EffectEnded => Event::EffectEnded {
            effect: effect_id(),
            conversation,
            target: EffectTarget::Webhook(WebhookId(11)),
            sequence: 77,
            outcome: EffectOutcome::NotSent,
            why: EffectEnd::Expired,
            attempts: 3,
            status: Some(503),
        },
        SessionAttached => Event::SessionAttached { session, subject, gateway: gateway() },
        SessionLost => Event::SessionLost { session, subject, why: SessionLoss::Gateway },
        SessionEnded => Event::SessionEnded { session, subject },
        AgentDeclared => Event::AgentDeclared {
            agent,
            declared: Declared::NotReady { reason: ReasonId(7) },
            why: DeclaredWhy::Supervisor,
        },
        Opened => Event::Opened {
            conversation,
            channel: Channel::Chat,
            customer: Some(CustomerId(UNIQUE + 3)),
            attributes: attributes(),
            mail: Some(Box::new(mail_party())),
        },
        SelfServiceStarted => Event::SelfServiceStarted { conversation, queue },
        Queued => Event::Queued {
            conversation,
            queue,
            priority: Priority::default(),
            since,
            until,
            why: QueuedWhy::AgentLost,
        },
        Offered => Event::Offered {
            conversation,
            offer,
            agent,
            queue,
            channel: Channel::Voice,
            until,
            decision: decision(),
        },
        OfferEnded => Event::OfferEnded { conversation, offer, agent, why: OfferEnd::Expired },
        Assigned => Event::Assigned { conversation, offer, agent, leg: 2 },
        Held => Event::Held { conversation, agent },
        Retrieved => Event::Retrieved { conversation, agent, expired: true },
        Posted => Event::Posted {
            conversation,
            item: ItemId(UNIQUE + 1),
            ordinal: 5,
            author: Author::Agent(agent),
            note: true,
            body: body(),
            mail: Some(effect_id()),
        },
        Released => Event::Released { conversation, agent, why: QueuedWhy::Requeued },
        Ended => Event::Ended { conversation, why: EndReason::Idle },
        WrapUpStarted => Event::WrapUpStarted { conversation, agent, until },
        Closed => Event::Closed {
            conversation,
            agent: Some(agent),
            disposition: Some(DispositionId(6)),
            note: Some(sealed("call back on Monday")),
            expired: true,
        },
        SiteMoved => Event::SiteMoved { from: ShardId(2), to: ShardId(5) },
    })
}

fn audience() -> Audience {
    Audience {
        agents: vec![AgentId(9), AgentId(10)],
        customer: Some(CustomerId(UNIQUE + 3)),
        queue: Some(QueueId(8)),
    }
}

pub(crate) fn record(event: Event) -> EventRecord {
    EventRecord {
        site: site(),
        sequence: 77,
        index: 600,
        stamp: Stamp(7_000_000),
        wall: Wall(1_700_000_000_000),
        audience: audience(),
        event,
    }
}

#[test]
fn what_a_journal_holds() {
    let mut page = Page::new("events");
    let held = Event::Held { conversation: conversation(), agent: AgentId(9) };
    page.add("EventRecord", &record(held));
    page.add("Cursor", &Cursor { site: site(), sequence: 77 });
    page.add("Audience", &audience());
    page.add("Decision", &decision());
    page.add_all("Event", events());
    page.settle();
}

#[test]
fn whoever_takes_part() {
    let mut page = Page::new("parties");
    page.add_all(
        "Viewer",
        samples!(Viewer {
            Supervisor => Viewer::Supervisor,
            Agent => Viewer::Agent(AgentId(9)),
            Customer => Viewer::Customer(CustomerId(UNIQUE + 3)),
        }),
    );
    page.add_all(
        "Author",
        samples!(Author {
            Customer => Author::Customer,
            Agent => Author::Agent(AgentId(9)),
            System => Author::System,
            Bot => Author::Bot,
        }),
    );
    page.settle();
}

fn ends() -> Vec<(&'static str, EndReason)> {
    samples!(EndReason {
        Abandoned => EndReason::Abandoned,
        Customer => EndReason::Customer,
        Agent => EndReason::Agent,
        Supervisor => EndReason::Supervisor,
        Bot => EndReason::Bot,
        WaitExpired => EndReason::WaitExpired,
        Idle => EndReason::Idle,
        TooLong => EndReason::TooLong,
        CustomerLost => EndReason::CustomerLost,
    })
}

pub(crate) fn offer_ends() -> Vec<(&'static str, OfferEnd)> {
    samples!(OfferEnd {
        Declined => OfferEnd::Declined,
        Expired => OfferEnd::Expired,
        AgentNotReady => OfferEnd::AgentNotReady,
        AgentLost => OfferEnd::AgentLost,
        CustomerLeft => OfferEnd::CustomerLeft,
        Withdrawn => OfferEnd::Withdrawn,
    })
}

fn declared_whys() -> Vec<(&'static str, DeclaredWhy)> {
    samples!(DeclaredWhy {
        Agent => DeclaredWhy::Agent,
        Supervisor => DeclaredWhy::Supervisor,
        NotResponding => DeclaredWhy::NotResponding,
        SessionLost => DeclaredWhy::SessionLost,
    })
}

fn queued_whys() -> Vec<(&'static str, QueuedWhy)> {
    samples!(QueuedWhy {
        Opened => QueuedWhy::Opened,
        Requeued => QueuedWhy::Requeued,
        AgentLost => QueuedWhy::AgentLost,
        AgentSignedOut => QueuedWhy::AgentSignedOut,
        HandedOver => QueuedWhy::HandedOver,
    })
}

fn topics() -> Vec<(&'static str, Topic)> {
    samples!(Topic {
        Opened => Topic::Opened,
        Queued => Topic::Queued,
        Offered => Topic::Offered,
        OfferEnded => Topic::OfferEnded,
        Assigned => Topic::Assigned,
        Released => Topic::Released,
        Posted => Topic::Posted,
        Ended => Topic::Ended,
        Closed => Topic::Closed,
    })
}

#[test]
fn why_something_happened() {
    let mut page = Page::new("reasons");
    let losses = samples!(SessionLoss {
        Socket => SessionLoss::Socket,
        Gateway => SessionLoss::Gateway,
    });
    page.add_all("SessionLoss", losses);
    page.add_all("DeclaredWhy", declared_whys());
    page.add_all("QueuedWhy", queued_whys());
    page.add_all("OfferEnd", offer_ends());
    page.add_all("EndReason", ends());
    let triggers = samples!(Trigger {
        Arrival => Trigger::Arrival,
        AgentFree => Trigger::AgentFree,
    });
    page.add_all("Trigger", triggers);
    let effect_ends = samples!(EffectEnd {
        Performed => EffectEnd::Performed,
        Expired => EffectEnd::Expired,
        Overflow => EffectEnd::Overflow,
        Withdrawn => EffectEnd::Withdrawn,
    });
    page.add_all("EffectEnd", effect_ends);
    page.add_all("Topic", topics());
    page.settle();
}
