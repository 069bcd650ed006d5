//! Where commands go out: the ledger first, then the door, then the ledger again.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use rotary_client::{Acknowledged, Api, Commander, Method, Outcome as ApiOutcome};
use rotary_proto::frame::{CommandReply, CommandResult};
use rotary_proto::outcome::{Done, Outcome};
use rotary_proto::{Actor, Command, ConversationId, RequestId, SiteId};
use serde_json::{Value, json};

use super::ledger::{Ledger, Record};
use super::tally::Tally;

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It is done.
    Done(Option<Done>),
    /// It was refused, with that word.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

/// A request to be sent again at the end.
struct Doubt {
    op: u64,
    key: RequestId,
    api: Api,
    request: Request,
    /// Of an opening: what it opens, and who asked.
    opens: Option<(ConversationId, Actor)>,
}

/// A command in the form of HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub method: Method,
    pub path: String,
    pub body: Value,
}

/// Sends commands, with evidence.
pub(super) struct Desk {
    ledger: Arc<Ledger>,
    tally: Arc<Tally>,
    doubts: Mutex<Vec<Doubt>>,
}

impl Desk {
    pub(super) fn new(ledger: Arc<Ledger>, tally: Arc<Tally>) -> Self {
        Self { ledger, tally, doubts: Mutex::default() }
    }

    /// Writes a line. A ledger that cannot be written ends the run.
    pub(super) fn note(&self, record: &Record) -> bool {
        let written = self.ledger.write(record);
        self.sound(written)
    }

    fn sound(&self, written: io::Result<()>) -> bool {
        if let Err(error) = &written
            && !self.tally.broken.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%error, "the ledger cannot be written; the run ends");
        }
        written.is_ok()
    }

    /// A number for a stream.
    pub(super) fn stream(&self) -> u64 {
        self.ledger.stream()
    }

    fn invoke(&self, site: SiteId, actor: Actor, command: &Command) -> Option<u64> {
        let op = self.ledger.op();
        let command = Box::new(command.clone());
        self.note(&Record::Invoke { op, site, actor, command }).then_some(op)
    }

    /// Asks over HTTP.
    pub(super) async fn over_http(
        &self,
        api: &Api,
        site: SiteId,
        actor: Actor,
        command: Command,
    ) -> Told {
        let Some(op) = self.invoke(site, actor, &command) else {
            return Told::Refused("ledger".to_owned());
        };
        let Some(request) = request(site, &command) else {
            return self.refused(op, "no-route".to_owned());
        };
        let key = Api::key();
        self.tally.in_flight.move_by(1);
        let Request { method, path, body } = request.clone();
        let outcome = api.change_as(key, method, &path, &body).await;
        self.tally.in_flight.move_by(-1);
        match outcome {
            ApiOutcome::Acknowledged(acknowledged) => self.acknowledged(op, &acknowledged),
            ApiOutcome::Refused(refused) => self.refused(op, refused.code),
            ApiOutcome::Unknown(detail) => {
                let opens = match &command {
                    Command::Open { conversation, .. } => Some((*conversation, actor)),
                    _ => None,
                };
                let doubt = Doubt { op, key, api: api.clone(), request, opens };
                self.doubts.lock().unwrap_or_else(PoisonError::into_inner).push(doubt);
                self.tally.doubts.move_by(1);
                self.note(&Record::Unknown { op, detail });
                Told::Unknown
            }
        }
    }

    /// Asks over a session.
    pub(super) async fn over_session(
        &self,
        commander: &Commander,
        site: SiteId,
        actor: Actor,
        command: Command,
    ) -> Told {
        let Some(op) = self.invoke(site, actor, &command) else {
            return Told::Refused("ledger".to_owned());
        };
        self.tally.in_flight.move_by(1);
        let answer = commander.send(site, command).await;
        self.tally.in_flight.move_by(-1);
        match answer {
            Ok(CommandResult {
                repeated,
                position,
                result: CommandReply::Outcome(outcome),
                ..
            }) => match outcome {
                Outcome::Done(done) => {
                    let done = Some(done);
                    self.note(&Record::Ok { op, position, repeated, done });
                    Told::Done(done)
                }
                Outcome::Refused(refusal) => self.refused(op, refusal.word().to_owned()),
            },
            Ok(CommandResult { result, .. }) => self.in_doubt(op, format!("{result:?}")),
            Err(rotary_client::CommandError::NotSent) => self.refused(op, "not-sent".to_owned()),
            Err(error) => self.in_doubt(op, error.to_string()),
        }
    }

    fn in_doubt(&self, op: u64, detail: String) -> Told {
        self.tally.doubts.move_by(1);
        self.note(&Record::Unknown { op, detail });
        Told::Unknown
    }

    fn acknowledged(&self, op: u64, acknowledged: &Acknowledged) -> Told {
        let Acknowledged { position, repeated, .. } = *acknowledged;
        let ordinal = acknowledged.read::<Value>().ok();
        let ordinal = ordinal.and_then(|body| u32::try_from(body.get("ordinal")?.as_u64()?).ok());
        let done = ordinal.map(|ordinal| Done::Posted { ordinal });
        self.note(&Record::Ok { op, position, repeated, done });
        Told::Done(done)
    }

    fn refused(&self, op: u64, code: String) -> Told {
        self.tally.refused.add();
        self.note(&Record::Refused { op, code: code.clone() });
        Told::Refused(code)
    }

    /// Sends again, under the same keys, what nobody knew the outcome of. Whoever only now has a
    /// conversation has gone long ago, and leaves it.
    pub(super) async fn settle_doubts(&self) {
        let doubts = {
            let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *doubts)
        };
        for Doubt { op, key, api, request, opens } in doubts {
            let Request { method, path, body } = request;
            match api.change_as(key, method, &path, &body).await {
                ApiOutcome::Acknowledged(acknowledged) => {
                    self.acknowledged(op, &acknowledged);
                    if let Some((conversation, actor)) = opens {
                        let leaves = Command::Abandon { conversation };
                        self.over_http(&api, conversation.site, actor, leaves).await;
                    }
                }
                ApiOutcome::Refused(refused) => {
                    self.refused(op, refused.code);
                }
                ApiOutcome::Unknown(_) => continue,
            }
            self.tally.doubts.move_by(-1);
        }
    }
}

/// A command as an HTTP request, where it has a route.
pub(super) fn request(site: SiteId, command: &Command) -> Option<Request> {
    let post = |path: String, body: Value| Some(Request { method: Method::POST, path, body });
    match command {
        Command::Open { .. } => {
            let body = serde_json::to_value(command).ok()?.get("open")?.clone();
            post(format!("/v1/sites/{site}/conversations"), body)
        }
        Command::Post { conversation, item, note, seen_to } => {
            let mut body = json!({ "item": item, "note": note });
            if let Some(seen_to) = seen_to {
                body["seen_to"] = json!(seen_to);
            }
            post(format!("/v1/conversations/{conversation}/messages"), body)
        }
        Command::Abandon { conversation } => {
            post(format!("/v1/conversations/{conversation}/abandon"), json!({}))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::{Attributes, Channel, ConversationId, QueueId};

    #[test]
    fn an_open_is_the_fields_of_its_command() {
        let site = SiteId::new(1, 2);
        let conversation = ConversationId::new(site, 5);
        let open = Command::Open {
            conversation,
            queue: QueueId(1),
            channel: Channel::Chat,
            priority: None,
            skills: Vec::new(),
            customer: None,
            attributes: Attributes::default(),
            item: None,
            mail: None,
        };
        let request = request(site, &open).expect("a route");
        assert_eq!(request.path, "/v1/sites/st_1.2/conversations");
        assert_eq!(request.body["conversation"], conversation.to_string());
        assert_eq!(request.body["queue"], "qu_1");
    }

    #[test]
    fn what_has_no_route_is_not_made_up() {
        let conversation = ConversationId::new(SiteId::new(1, 2), 5);
        assert_eq!(request(SiteId::new(1, 2), &Command::Hold { conversation }), None);
    }
}
