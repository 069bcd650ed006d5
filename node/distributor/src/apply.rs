//! The only `match` on [`Command`]: each arm calls one file in `commands/`.

use rotary_proto::{Actor, Command, Done, Refusal};

use crate::commands::{
    abandon, accept, attach, close, declare, decline, detach, end_effect, end_turn, hand_over,
    hold, open, post, put_agent, put_bot, put_name, put_queue, put_site, put_webhook, requeue,
    start_effect, wrap_up,
};
use crate::turn::Turn;

/// Carries one command out, or refuses it without changing anything.
// long: one arm a command, and nothing else.
pub(crate) fn command(turn: &mut Turn, actor: Actor, command: Command) -> Result<Done, Refusal> {
    match command {
        Command::PutSite { settings } => put_site::apply(turn, actor, settings),
        Command::PutSkill { skill, name } => put_name::skill(turn, actor, skill, name),
        Command::PutReason { reason, name } => put_name::reason(turn, actor, reason, name),
        Command::PutDisposition { disposition, name } => {
            put_name::disposition(turn, actor, disposition, name)
        }
        Command::PutQueue { queue, plan } => put_queue::apply(turn, actor, queue, plan),
        Command::PutAgent { agent, profile } => put_agent::apply(turn, actor, agent, profile),
        Command::PutWebhook { webhook, plan, secret } => {
            put_webhook::apply(turn, actor, webhook, plan, secret)
        }
        Command::PutBot { queue, plan, secret } => put_bot::apply(turn, actor, queue, plan, secret),
        Command::EndTurn { effect, attempts, status, answer } => {
            end_turn::apply(turn, actor, effect, attempts, status, *answer)
        }
        Command::HandOver { conversation, queue } => {
            hand_over::apply(turn, actor, conversation, queue)
        }
        Command::StartEffect { effect, start } => start_effect::apply(turn, actor, effect, start),
        Command::EndEffect { effect, outcome, attempts, status, start } => {
            end_effect::apply(turn, actor, effect, outcome, attempts, status, start)
        }
        Command::Attach { session, subject, gateway } => {
            attach::apply(turn, actor, session, subject, gateway)
        }
        Command::Detach { session, gateway, ended } => {
            detach::apply(turn, actor, session, gateway, ended)
        }
        Command::Declare { agent, declared } => declare::apply(turn, actor, agent, declared),
        Command::Open {
            conversation,
            queue,
            channel,
            priority,
            skills,
            customer,
            attributes,
            item,
            mail,
        } => {
            let arrival = open::Arrival {
                conversation,
                queue,
                channel,
                priority,
                skills,
                customer,
                attributes,
                item,
                mail,
            };
            open::apply(turn, actor, arrival)
        }
        Command::Accept { conversation, offer } => accept::apply(turn, actor, conversation, offer),
        Command::Decline { conversation, offer, reason } => {
            decline::apply(turn, actor, conversation, offer, reason)
        }
        Command::Post { conversation, item, note, seen_to } => {
            post::apply(turn, actor, conversation, item, note, seen_to)
        }
        Command::Hold { conversation } => hold::hold(turn, actor, conversation),
        Command::Retrieve { conversation } => hold::retrieve(turn, actor, conversation),
        Command::Requeue { conversation, queue, priority } => {
            requeue::apply(turn, actor, conversation, queue, priority)
        }
        Command::Close { conversation } => close::apply(turn, actor, conversation),
        Command::Abandon { conversation } => abandon::apply(turn, actor, conversation),
        Command::WrapUp { conversation, disposition, note } => {
            wrap_up::apply(turn, actor, conversation, disposition, note)
        }
    }
}
