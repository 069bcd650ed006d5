//! Samples of everything that can be asked of a shard.

use rotary_proto::bot::{BotAnswer, BotThen};
use rotary_proto::command::Subject;
use rotary_proto::effect::EffectOutcome;
use rotary_proto::*;

use crate::page::{Page, samples};
use crate::shapes::{
    UNIQUE, attributes, bot_plan, conversation, effect_id, effect_start, gateway, item, mail_party,
    name, plan, profile, required, sealed, secret, settings, site, webhook_plan,
};

/// One command of each kind.
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let conversation = conversation();
    let (session, gateway) = (SessionId(UNIQUE), gateway());
    let (queue, agent, offer) = (QueueId(8), AgentId(9), OfferId(31));
    samples!(Command {
        PutSite => Command::PutSite { settings: settings() },
        PutSkill => Command::PutSkill { skill: SkillId(4), name: name("French") },
        PutReason => Command::PutReason { reason: ReasonId(7), name: name("Lunch") },
        PutDisposition => Command::PutDisposition {
            disposition: DispositionId(6),
            name: name("Sold"),
        },
        PutQueue => Command::PutQueue { queue, plan: plan() },
        PutAgent => Command::PutAgent { agent, profile: profile() },
        PutWebhook => Command::PutWebhook {
            webhook: WebhookId(11),
            plan: webhook_plan(),
            secret: Some(secret()),
        },
        PutBot => Command::PutBot { queue, plan: Some(bot_plan()), secret: Some(secret()) },
        EndTurn => Command::EndTurn {
            effect: effect_id(),
            attempts: 2,
            status: 200,
            answer: Box::new(BotAnswer { messages: vec![item()], then: BotThen::Close }),
        },
        HandOver => Command::HandOver { conversation, queue: Some(queue) },
        StartEffect => Command::StartEffect { effect: effect_id(), start: effect_start() },
        EndEffect => Command::EndEffect {
            effect: effect_id(),
            outcome: EffectOutcome::Sent,
            attempts: 3,
            status: Some(204),
            start: Some(effect_start()),
        },
        Attach => Command::Attach { session, subject: Subject::Agent(agent), gateway },
        Detach => Command::Detach { session, gateway, ended: true },
        Declare => Command::Declare { agent, declared: Declared::Ready },
        Open => Command::Open {
            conversation,
            queue,
            channel: Channel::Chat,
            priority: Some(Priority::default()),
            skills: vec![required()],
            customer: Some(CustomerId(UNIQUE + 3)),
            attributes: attributes(),
            item: Some(item()),
            mail: Some(Box::new(mail_party())),
        },
        Accept => Command::Accept { conversation, offer },
        Decline => Command::Decline { conversation, offer, reason: Some(ReasonId(7)) },
        Post => Command::Post { conversation, item: item(), note: true, seen_to: Some(5) },
        Hold => Command::Hold { conversation },
        Retrieve => Command::Retrieve { conversation },
        Requeue => Command::Requeue { conversation, queue: Some(queue), priority: None },
        Close => Command::Close { conversation },
        Abandon => Command::Abandon { conversation },
        WrapUp => Command::WrapUp {
            conversation,
            disposition: Some(DispositionId(6)),
            note: Some(sealed("call back on Monday")),
        },
    })
}

/// One subject of each kind.
pub(crate) fn subjects() -> Vec<(&'static str, Subject)> {
    samples!(Subject {
        Agent => Subject::Agent(AgentId(9)),
        Customer => Subject::Customer(CustomerId(UNIQUE + 3)),
        Principal => Subject::Principal(PrincipalId(10)),
    })
}

fn origins() -> Vec<(&'static str, Origin)> {
    let session = SessionId(UNIQUE);
    samples!(Origin {
        Session => Origin::Session { session, sequence: 12, acknowledged: 11 },
        Request => Origin::Request { principal: PrincipalId(10), request: RequestId(UNIQUE) },
        Internal => Origin::Internal,
    })
}

fn envelope(origin: Origin, command: Command) -> Envelope {
    Envelope { site: site(), origin, actor: Actor::Agent(AgentId(9)), command }
}

/// One entry of each kind.
pub(crate) fn shard_commands() -> Vec<(&'static str, ShardCommand)> {
    let hold = Command::Hold { conversation: conversation() };
    samples!(ShardCommand {
        Site => ShardCommand::Site(envelope(Origin::Internal, hold)),
        CreateSite => ShardCommand::CreateSite { site: site(), settings: settings() },
        RenewLease => ShardCommand::RenewLease { gateway: gateway() },
        Tick => ShardCommand::Tick,
        RaiseVersion => ShardCommand::RaiseVersion { version: 2 },
        SetView => ShardCommand::SetView { replicas: vec![NodeId(1), NodeId(3)] },
        JournalMark => ShardCommand::JournalMark { node: NodeId(3), index: 4_096 },
        Move => ShardCommand::Move(SiteMove::Decline { site: site(), departed: 700 }),
    })
}

fn moves() -> Vec<(&'static str, SiteMove)> {
    let (site, departed) = (site(), 700);
    let (attempt, number, bytes) = (900, 3, vec![1, 2, 3]);
    samples!(SiteMove {
        Depart => SiteMove::Depart { site, to: ShardId(5), departed },
        Return => SiteMove::Return { site, departed },
        Forget => SiteMove::Forget { site, departed },
        Expect => SiteMove::Expect { site, from: ShardId(2), departed },
        Take => SiteMove::Take(SitePart { site, attempt, number, ends_chunk: true, bytes }),
        Decline => SiteMove::Decline { site, departed },
        Settle => SiteMove::Settle { site, departed },
        Arrive => SiteMove::Arrive { site, attempt, parts: 40 },
    })
}

#[test]
fn what_can_be_asked_of_a_shard() {
    let mut page = Page::new("commands");
    page.add_all("ShardCommand", shard_commands());
    page.add_all("SiteMove", moves());
    page.add_all("Origin", origins());
    page.add_all(
        "Actor",
        samples!(Actor {
            System => Actor::System,
            Administrator => Actor::Administrator(PrincipalId(10)),
            Supervisor => Actor::Supervisor(PrincipalId(11)),
            Agent => Actor::Agent(AgentId(9)),
            Customer => Actor::Customer(CustomerId(UNIQUE + 3)),
        }),
    );
    page.add_all("Subject", subjects());
    for (variant, origin) in origins() {
        let close = Command::Close { conversation: conversation() };
        page.add(&format!("Envelope of {variant}"), &envelope(origin, close));
    }
    page.add_all("Command", commands());
    page.settle();
}
