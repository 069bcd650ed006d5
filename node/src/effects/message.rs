//! A webhook's message: its body, and the headers that prove where it comes from.
//!
//! They follow Standard Webhooks (standardwebhooks.com, 1.0): the id is the effect's, the same for
//! every attempt, and the signature is HMAC-SHA256 under the webhook's secret over
//! `id.timestamp.body`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use rotary_proto::web::Secret;
use rotary_proto::{EffectId, EventRecord, Wall};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::gateway::events::EventJson;

/// What is posted to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: EffectId,
    pub(crate) body: String,
}

#[derive(Serialize)]
struct Body {
    r#type: &'static str,
    /// When it happened, as RFC 3339 has it.
    timestamp: String,
    data: EventJson,
}

impl Message {
    /// What is told of an event; `None` if webhooks are not told of such.
    pub(crate) fn of(id: EffectId, record: EventRecord) -> Option<Self> {
        let (topic, _) = record.event.topic()?;
        Some(Self::typed(id, topic.word(), record))
    }

    /// What a bot is told of a message of its customer's.
    pub(crate) fn turn(id: EffectId, record: EventRecord) -> Self {
        Self::typed(id, "bot.turn", record)
    }

    fn typed(id: EffectId, r#type: &'static str, record: EventRecord) -> Self {
        let timestamp = rfc3339(record.wall);
        let body = Body { r#type, timestamp, data: record.into() };
        let body = serde_json::to_string(&body).expect("an event has a form in JSON");
        Self { id, body }
    }

    /// The header `webhook-signature` of an attempt at that time, in seconds since 1970.
    pub(crate) fn signature(&self, secret: &Secret, unix_s: u64) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let signed = format!("{}.{unix_s}.{}", self.id, self.body);
        format!("v1,{}", BASE64.encode(hmac::sign(&key, signed.as_bytes())))
    }
}

/// A time for people; what no calendar has is shown as its beginning.
fn rfc3339(wall: Wall) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(wall.0) * 1_000_000);
    time.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::ShardId;

    #[test]
    fn times_are_those_of_a_calendar() {
        assert_eq!(rfc3339(Wall(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(Wall(u64::MAX)), "1970-01-01T00:00:00Z");
    }

    /// Made with OpenSSL: `openssl dgst -sha256 -mac HMAC -macopt hexkey:<00 to 1f> -binary`.
    #[test]
    fn a_signature_is_that_of_an_independent_implementation() {
        let id = EffectId { shard: ShardId(1), index: 600, ordinal: 0 };
        let message = Message { id, body: "{\"type\":\"conversation.opened\"}".to_owned() };
        let secret = Secret::new((0..32).collect()).expect("32 bytes");
        let signature = message.signature(&secret, 1_700_000_000);
        assert_eq!(signature, "v1,Y7kFG8eZkDZ1c1X1eqfnMSbtBL6D36+cVOCIOvfCk68=");
    }
}
