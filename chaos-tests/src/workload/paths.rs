//! Commands in the form of HTTP.

use rotary_client::Method;
use rotary_proto::{Command, SiteId};
use serde_json::{Value, json};

/// A request that changes something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
}

/// The request for a command; nothing for one that only sessions can give.
pub(super) fn request(site: SiteId, command: &Command) -> Option<Request> {
    let (method, path, body) = match command {
        Command::Open { .. } => {
            let body = serde_json::to_value(command).ok()?.get("open")?.clone();
            (Method::POST, format!("/v1/sites/{site}/conversations"), body)
        }
        Command::PutSkill { skill, name } => {
            (Method::PUT, format!("/v1/sites/{site}/skills/{skill}"), json!({ "name": name }))
        }
        Command::PutQueue { queue, plan } => {
            (Method::PUT, format!("/v1/sites/{site}/queues/{queue}"), json!(plan))
        }
        Command::PutAgent { agent, profile } => {
            (Method::PUT, format!("/v1/sites/{site}/agents/{agent}"), json!(profile))
        }
        Command::PutWebhook { webhook, plan, secret } => {
            let path = format!("/v1/sites/{site}/webhooks/{webhook}");
            (Method::PUT, path, json!({ "plan": plan, "secret": secret }))
        }
        Command::Declare { agent, declared } => {
            let path = format!("/v1/sites/{site}/agents/{agent}/state");
            (Method::PUT, path, json!({ "declared": declared }))
        }
        command => {
            let (rest, body) = of_conversation(command)?;
            let conversation = command.conversation()?;
            (Method::POST, format!("/v1/conversations/{conversation}/{rest}"), body)
        }
    };
    Some(Request { method, path, body })
}

fn of_conversation(command: &Command) -> Option<(String, Value)> {
    let plain = |word: &str| Some((word.to_owned(), json!({})));
    match command {
        Command::Accept { offer, .. } => plain(&format!("offers/{offer}/accept")),
        Command::Decline { offer, .. } => plain(&format!("offers/{offer}/decline")),
        Command::Hold { .. } => plain("hold"),
        Command::Retrieve { .. } => plain("retrieve"),
        Command::Close { .. } => plain("close"),
        Command::Abandon { .. } => plain("abandon"),
        Command::WrapUp { .. } => plain("wrap-up"),
        Command::Requeue { queue, priority, .. } => {
            let mut body = json!({});
            if let Some(queue) = queue {
                body["queue"] = json!(queue);
            }
            if let Some(priority) = priority {
                body["priority"] = json!(priority);
            }
            Some(("requeue".to_owned(), body))
        }
        Command::Post { item, note, seen_to, .. } => {
            let mut body = json!({ "item": item, "note": note });
            if let Some(seen_to) = seen_to {
                body["seen_to"] = json!(seen_to);
            }
            Some(("messages".to_owned(), body))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::ids::{OfferId, QueueId};
    use rotary_proto::{ConversationId, Priority};

    #[test]
    fn commands_have_the_paths_of_the_api() {
        let site = SiteId::new(1, 2);
        let conversation = ConversationId::new(site, 5);
        let accept = Command::Accept { conversation, offer: OfferId(7) };
        let path = request(site, &accept).expect("a route").path;
        assert_eq!(path, format!("/v1/conversations/{conversation}/offers/of_7/accept"));
        let priority = Some(Priority::new(3).expect("within bounds"));
        let moved = Command::Requeue { conversation, queue: Some(QueueId(2)), priority };
        let request = request(site, &moved).expect("a route");
        assert_eq!(request.body, json!({ "queue": "qu_2", "priority": 3 }));
    }
}
