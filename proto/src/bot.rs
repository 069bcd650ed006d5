//! Bots: programs outside that serve a queue's customers before its agents do.

use serde::{Deserialize, Serialize};

use crate::attachment::Attachment;
use crate::ids::QueueId;
use crate::limits;
use crate::values::{BadValue, Item, check_attachments};
use crate::web::WebUrl;

/// The bot of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BotPlan {
    /// Where turns are posted to.
    pub url: WebUrl,
    /// How long one turn may take, attempts and all; then the conversation is handed over.
    #[serde(default = "turn_default")]
    pub turn_ms: u64,
}

const fn turn_default() -> u64 {
    limits::BOT_TURN_DEFAULT_MS
}

impl BotPlan {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the field.
    pub fn check(&self) -> Result<(), BadValue> {
        let allowed = limits::DEADLINE_MIN_MS..=limits::BOT_TURN_MAX_MS;
        if allowed.contains(&self.turn_ms) {
            return Ok(());
        }
        let (least, most) = (allowed.start(), allowed.end());
        let rule = format!("{} ms is not within {least} to {most} ms", self.turn_ms);
        Err(BadValue::new("turn_ms", rule))
    }
}

/// What follows a bot's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BotThen {
    /// The bot waits for what the customer says next.
    #[default]
    Wait,
    /// Agents take over.
    HandOver {
        /// In which queue of the site; the present one if absent, or if there is no such queue.
        #[serde(default)]
        queue: Option<QueueId>,
    },
    /// The conversation is over.
    Close,
}

/// What a bot made of a turn, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BotAnswer {
    /// What it says, in order; at most [`limits::BOT_MESSAGES_MAX`], and
    /// [`limits::BOT_WORDS_BYTES_MAX`] together.
    pub messages: Vec<Item>,
    /// What follows.
    pub then: BotThen,
}

impl BotAnswer {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] of `messages`.
    pub fn check(&self) -> Result<(), BadValue> {
        let sizes = self.messages.iter().map(|item| item.body.text.bytes.len());
        check_sizes(self.messages.len(), sizes.sum())?;
        check_count(self.messages.iter().map(|item| item.body.attachments.len()).sum())?;
        self.messages.iter().try_for_each(|item| item.body.check())
    }
}

/// What a whole answer names is bounded as what one message names is: it is one entry.
fn check_count(attachments: usize) -> Result<(), BadValue> {
    let most = limits::ATTACHMENTS_PER_ITEM_MAX;
    if attachments > most {
        return Err(BadValue::new("attachments", format!("at most {most} in one answer")));
    }
    Ok(())
}

fn check_sizes(count: usize, bytes: usize) -> Result<(), BadValue> {
    let (most, words) = (limits::BOT_MESSAGES_MAX, limits::BOT_WORDS_BYTES_MAX);
    if count > most || bytes > words {
        let rule = format!("at most {most} messages, {words} bytes together");
        return Err(BadValue::new("messages", rule));
    }
    Ok(())
}

/// What a bot answers over HTTP, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BotReply {
    /// What it says, in order.
    #[serde(default)]
    pub messages: Vec<BotMessage>,
    /// What follows.
    #[serde(default)]
    pub then: BotThen,
}

/// One message of a bot's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BotMessage {
    /// Its words: 1 to [`limits::BODY_BYTES_MAX`] bytes.
    pub text: String,
    /// Files that go with them; at most [`limits::ATTACHMENTS_PER_ITEM_MAX`] in one answer.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
}

impl BotReply {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] of `messages`.
    pub fn check(&self) -> Result<(), BadValue> {
        let sizes = self.messages.iter().map(|message| message.text.len());
        check_sizes(self.messages.len(), sizes.sum())?;
        check_count(self.messages.iter().map(|message| message.attachments.len()).sum())?;
        self.messages.iter().try_for_each(|message| check_attachments(&message.attachments))?;
        let sized =
            |message: &BotMessage| (1..=limits::BODY_BYTES_MAX).contains(&message.text.len());
        if self.messages.iter().all(sized) {
            return Ok(());
        }
        Err(BadValue::new("messages", format!("each has 1 to {} bytes", limits::BODY_BYTES_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BotReply, &'static str> {
        let reply: BotReply = serde_json::from_str(text).map_err(|_| "answer")?;
        reply.check().map_err(|bad| bad.field).map(|()| reply)
    }

    #[test]
    fn a_reply_says_what_it_may() {
        assert_eq!(parse("{}"), Ok(BotReply::default()));
        let reply =
            r#"{"messages": [{"text": "Hello"}], "then": {"hand_over": {"queue": "qu_2"}}}"#;
        let message = BotMessage { text: "Hello".to_owned(), attachments: Vec::new() };
        let then = BotThen::HandOver { queue: Some(QueueId(2)) };
        assert_eq!(parse(reply), Ok(BotReply { messages: vec![message], then }));
        let then = BotThen::HandOver { queue: None };
        assert_eq!(parse(r#"{"then": {"hand_over": {}}}"#).map(|reply| reply.then), Ok(then));
        assert_eq!(parse(r#"{"then": "close"}"#).map(|reply| reply.then), Ok(BotThen::Close));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in ["no", "{\"say\": 1}", "{\"then\": \"dance\"}", "{\"messages\": [{}]}"] {
            assert_eq!(parse(bad), Err("answer"), "{bad}");
        }
        let many = |count: usize, text: &str| {
            let messages = vec![serde_json::json!({"text": text}); count];
            parse(&serde_json::json!({"messages": messages}).to_string())
        };
        assert!(many(limits::BOT_MESSAGES_MAX, "x").is_ok());
        assert_eq!(many(limits::BOT_MESSAGES_MAX + 1, "x"), Err("messages"));
        assert_eq!(many(1, ""), Err("messages"));
        assert_eq!(many(1, &"x".repeat(limits::BODY_BYTES_MAX + 1)), Err("messages"));
        assert_eq!(many(3, &"x".repeat(limits::BODY_BYTES_MAX)), Err("messages"));
    }

    #[test]
    fn an_answer_names_so_many_files_and_no_more() {
        let with = |files: usize, bytes: u64| {
            let blob = crate::BlobId([7; 32]).to_string();
            let file = serde_json::json!({"blob": blob, "media_type": "a/b", "bytes": bytes});
            let message = serde_json::json!({"text": "x", "attachments": vec![file; files]});
            parse(&serde_json::json!({"messages": [message, {"text": "y"}]}).to_string())
        };
        let reply = with(limits::ATTACHMENTS_PER_ITEM_MAX, 1).expect("valid");
        assert_eq!(reply.messages[0].attachments.len(), limits::ATTACHMENTS_PER_ITEM_MAX);
        assert_eq!(with(limits::ATTACHMENTS_PER_ITEM_MAX + 1, 1), Err("attachments"));
        assert_eq!(with(1, 0), Err("attachments"));
    }

    #[test]
    fn a_plan_is_bounded() {
        let url = WebUrl::new("https://bot.example").expect("valid");
        let plan = |turn_ms| BotPlan { url: url.clone(), turn_ms };
        assert!(plan(limits::BOT_TURN_DEFAULT_MS).check().is_ok());
        assert!(plan(0).check().is_err() && plan(limits::BOT_TURN_MAX_MS + 1).check().is_err());
    }
}
