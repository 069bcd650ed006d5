//! A bot's turn: an attempt that may be repeated, and whose answer is its outcome.
//!
//! The answer is logged with what it says and wants, in one entry, so that a bot's words and its
//! wish to hand over are there together or not at all. What is no answer hands over.

use metrics::counter;
use rotary_proto::bot::{BotAnswer, BotMessage, BotReply};
use rotary_proto::effect::EffectOutcome;
use rotary_proto::values::Item;
use rotary_proto::{Body, Command, ItemId, Outcome as Said, QueueId};

use crate::blobs::Lack;
use crate::effects::endpoint::{Asked, Endpoint, Said as Posted};
use crate::effects::message::Message;
use crate::effects::performer::{Came, Job, is_still_mine};
use crate::effects::settle::{Outcome, Read, read, settle, tell};
use crate::gateway::doors::Doors;
use crate::telemetry::names;

/// Tries a turn once.
pub(super) async fn perform(doors: &Doors, endpoint: &Endpoint, queue: QueueId, job: &Job) -> Came {
    let effect = &job.waiting.effect;
    let Some(shard) = doors.replica.shard_of(job.site()) else { return Came::Postponed };
    let known = shard.read().bot(job.site(), queue).map(|(_, p, s)| (p.clone(), s.clone()));
    let Some((plan, secret)) = known else { return hand_over(doors, job, None).await };
    let message = match read(doors, job.site(), effect.id, effect.sequence).await {
        Read::Event(event) => Message::turn(effect.id, *event),
        Read::Later => return Came::Postponed,
        Read::Forgotten => return hand_over(doors, job, None).await,
    };
    // Turns have an order, which one that is asked late by a node that stood still would break.
    if !is_still_mine(doors, job).await {
        return Came::Postponed;
    }
    match endpoint.ask(&plan.url, &message, &secret).await {
        Asked::Answered { status, body } => match parse(&body) {
            Ok(answer) => answered(doors, job, status, answer).await,
            Err(why) => {
                tracing::warn!(%queue, why, "a bot's answer cannot be read");
                hand_over(doors, job, Some(status)).await
            }
        },
        Asked::TooLong { status } => hand_over(doors, job, Some(status)).await,
        Asked::Said(Posted::Failed { status, after }) if !is_final(status) => {
            if job.has_time(job.waiting.attempts + 1, after) {
                count("failed");
                return Came::Failed { status, after };
            }
            hand_over(doors, job, status).await
        }
        Asked::Said(Posted::Failed { status, .. }) => hand_over(doors, job, status).await,
        Asked::Said(Posted::Gone { status } | Posted::Took { status }) => {
            hand_over(doors, job, Some(status)).await
        }
    }
}

/// Whether asking again would be answered alike: the request is wrong, not the moment.
fn is_final(status: Option<u16>) -> bool {
    status.is_some_and(|status| status / 100 == 4 && ![408, 425, 429].contains(&status))
}

fn count(result: &'static str) {
    counter!(names::BOT_TURNS, "result" => result).increment(1);
}

/// What a bot says; why it says nothing that can be read, if so.
fn parse(body: &[u8]) -> Result<BotAnswer, String> {
    let reply: BotReply = match body.trim_ascii() {
        [] => BotReply::default(),
        body => serde_json::from_slice(body).map_err(|error| error.to_string())?,
    };
    reply.check().map_err(|bad| bad.to_string())?;
    let item = |message: BotMessage| {
        let body = Body::plain(&message.text).map_err(|bad| bad.to_string())?;
        let body = Body { attachments: message.attachments, ..body };
        Ok(Item { id: ItemId(rotary_client::unique()), body })
    };
    let messages = reply.messages.into_iter().map(item);
    let messages = messages.collect::<Result<_, String>>()?;
    Ok(BotAnswer { messages, then: reply.then })
}

/// The turn is over without an answer, and the conversation goes to agents.
async fn hand_over(doors: &Doors, job: &Job, status: Option<u16>) -> Came {
    count("handed_over");
    let (outcome, attempts) = (EffectOutcome::NotSent, job.waiting.attempts + 1);
    settle(doors, job, Outcome { outcome, attempts, status, start: None }).await
}

/// Has the answer logged. Where it is refused, the conversation goes to agents.
async fn answered(doors: &Doors, job: &Job, status: u16, answer: BotAnswer) -> Came {
    let (effect, attempts) = (job.waiting.effect.id, job.waiting.attempts + 1);
    let command = Command::EndTurn { effect, attempts, status, answer: Box::new(answer) };
    match doors.blobs.require(job.site(), command.attachments()).await {
        Ok(()) => {}
        Err(lack @ (Lack::Unknown(_) | Lack::OtherSize { .. })) => {
            tracing::warn!(%effect, %lack, "a bot's answer names what is not there");
            return hand_over(doors, job, Some(status)).await;
        }
        // The bot is asked again, under the same id.
        Err(_) => return Came::Postponed,
    }
    match tell(doors, job.site(), command).await.map(|answer| answer.outcome) {
        Some(Said::Done(_)) => {
            count("answered");
            Came::Over { took: true }
        }
        Some(Said::Refused(refusal)) => {
            tracing::warn!(%effect, %refusal, "a bot's answer is refused");
            hand_over(doors, job, Some(status)).await
        }
        // The bot is asked again, under the same id.
        None => Came::Postponed,
    }
}

#[cfg(test)]
mod tests {
    use rotary_proto::bot::BotThen;

    use super::*;

    #[test]
    fn an_answer_is_read_or_says_why_not() {
        let answer =
            parse(b"{\"messages\": [{\"text\": \"Hi\"}, {\"text\": \"there\"}]}").expect("valid");
        let words: Vec<_> =
            answer.messages.iter().filter_map(|item| item.body.text.text()).collect();
        assert_eq!((words, answer.then), (vec!["Hi", "there"], BotThen::Wait));
        assert_ne!(answer.messages[0].id, answer.messages[1].id);
        assert_eq!(parse(b" ").map(|answer| answer.messages.len()), Ok(0));
        assert!(parse(b"<html>").is_err() && parse(&[0xff]).is_err());
        assert!(is_final(Some(404)) && !is_final(Some(429)) && !is_final(Some(500)));
        assert!(!is_final(None));
    }
}
