//! Descriptions of the vocabulary as JSON Schema, for the API's own description.
//!
//! Most types derive theirs from the same attributes that serde reads. This file has those whose
//! JSON is a text or number with rules of its own. All of it is behind the feature `schema`, which
//! only the gateway turns on: the crates that decide need no description.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::attachment::{BlobId, MediaType};
use crate::ids::{ConversationId, EffectId, GatewayId, SiteId};
use crate::limits;
use crate::mail::MailAddress;
use crate::refusal::Refusal;
use crate::values::{Name, Priority, Sealed};
use crate::web::{Secret, WebUrl};

/// Describes a type whose JSON is a text of that form.
macro_rules! text {
    ($id:ident, $pattern:expr, $what:literal, $example:literal) => {
        impl schemars::JsonSchema for $id {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($id).into()
            }
            fn schema_id() -> std::borrow::Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($id)).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $what,
                    "pattern": $pattern,
                    "examples": [$example],
                })
            }
        }
    };
}
pub(crate) use text;

text!(SiteId, r"^st_(0|[1-9]\d*)\.(0|[1-9]\d*)$", "a site id", "st_1.2");
text!(
    ConversationId,
    r"^cv_(0|[1-9]\d*)\.(0|[1-9]\d*)\.[0-9a-f]{32}$",
    "a conversation id",
    "cv_1.2.0190163d8694739baf5a1e1b57f02a01"
);
text!(
    BlobId,
    "^bl_[0-9a-f]{64}$",
    "a blob id",
    "bl_5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
);
text!(
    MediaType,
    r"^[0-9A-Za-z!#$%&'*+.^_`|~-]+/[0-9A-Za-z!#$%&'*+.^_`|~-]+$",
    "what kind of content it is",
    "image/png"
);
text!(GatewayId, r"^gw_(0|[1-9]\d*)\.(0|[1-9]\d*)$", "a gateway id", "gw_1.7");
text!(EffectId, r"^ef_(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$", "an effect id", "ef_1.600.0");
text!(
    Secret,
    r"^whsec_[A-Za-z0-9+/]+={0,2}$",
    "what messages are signed with: `whsec_` and 24 to 64 random bytes in base64",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
);
text!(
    WebUrl,
    r"^https?://[^/?#@:][!-~]*$",
    "an absolute http or https address of printable ASCII without user information",
    "https://example.com/hook"
);

impl JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": format!(
                "A name that reports and logs may read; not personal. 1 to {} bytes, no control \
                 characters, no surrounding spaces.",
                limits::NAME_BYTES_MAX
            ),
            "minLength": 1,
            "maxLength": limits::NAME_BYTES_MAX,
        })
    }
}

impl JsonSchema for MailAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MailAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An address of a mailbox, in ASCII and unquoted.",
            "pattern": "^[^@\\s]+@[^@\\s]+$",
            "maxLength": limits::MAIL_ADDRESS_BYTES_MAX,
            "examples": ["help@example.com"],
        })
    }
}

impl JsonSchema for Priority {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Priority".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "description": "How much sooner a conversation is served than others of its queue.",
            "minimum": 0,
            "maximum": Self::MAX,
        })
    }
}

impl JsonSchema for Sealed {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sealed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let most = limits::BODY_BYTES_MAX;
        json_schema!({
            "description": format!(
                "Something personal: a plain text, or bytes sealed under a key; at most {most} \
                 bytes."
            ),
            "oneOf": [
                {
                    "type": "object",
                    "properties": { "text": { "type": "string", "maxLength": most } },
                    "required": ["text"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": {
                        "key": { "type": "integer", "format": "uint64", "minimum": 1 },
                        "sealed": { "type": "string", "contentEncoding": "base64" },
                    },
                    "required": ["key", "sealed"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Refusal {
    /// One of each, in the order of their precedence.
    pub fn every() -> Vec<Self> {
        let text = String::new;
        vec![
            Self::Malformed,
            Self::SiteUnknown,
            Self::SiteFrozen,
            Self::OutcomeForgotten,
            Self::WindowFull,
            Self::SessionUnknown,
            Self::NotAllowed { actor: text() },
            Self::BadValue { field: text(), rule: text() },
            Self::WrongSite,
            Self::QueueUnknown,
            Self::AgentUnknown,
            Self::SkillUnknown,
            Self::ReasonUnknown,
            Self::DispositionUnknown,
            Self::SessionTaken,
            Self::ConversationExists,
            Self::ConversationClosed,
            Self::ConversationUnknown,
            Self::OfferGone { why: None },
            Self::NotYours,
            Self::AgentSignedOut,
            Self::AgentAway,
            Self::NotAssigned,
            Self::AlreadyHeld,
            Self::NotHeld,
            Self::NotInWrapUp,
            Self::DispositionRequired,
            Self::ItemExists,
            Self::AnswerUnseen { ordinal: 0 },
            Self::SeenToRequired,
            Self::NotInSelfService,
            Self::EffectFenced,
            Self::LimitReached { limit: text() },
            Self::SiteAway { shard: crate::ShardId(0) },
        ]
    }
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;
    use serde_json::{Value, json};

    use super::*;
    use crate::ids::AgentId;
    use crate::plan::{AgentProfile, QueuePlan};
    use crate::query::Stage;

    fn described<T: JsonSchema>() -> Value {
        schema_for!(T).to_value()
    }

    #[test]
    fn an_id_is_described_by_its_text() {
        let id = described::<AgentId>();
        assert_eq!(id["pattern"], "^ag_(0|[1-9][0-9]*)$");
        assert_eq!(id["type"], "string");
    }

    #[test]
    fn what_serde_refuses_and_defaults_is_described_so() {
        let plan = described::<QueuePlan>();
        assert_eq!(plan["required"], json!(["name"]));
        assert_eq!(plan["additionalProperties"], false);
        assert_eq!(plan["properties"]["offer_ms"]["default"], limits::OFFER_DEFAULT_MS);
    }

    #[test]
    fn a_map_by_ids_has_their_texts_for_keys() {
        let profile = described::<AgentProfile>();
        let keys = &profile["properties"]["skills"]["patternProperties"];
        assert!(keys.get("^sk_(0|[1-9][0-9]*)$").is_some(), "{profile}");
    }

    #[test]
    fn every_refusal_is_there_once() {
        let places: Vec<u8> = Refusal::every().iter().map(Refusal::precedence).collect();
        let last = Refusal::SiteAway { shard: crate::ShardId(0) };
        assert!(places.iter().copied().eq(0..=last.precedence()));
    }

    #[test]
    fn a_choice_is_described_as_it_is_written() {
        let stage = described::<Stage>();
        let forms = stage["oneOf"].as_array().expect("a choice");
        assert!(forms.iter().any(|form| form["properties"]["offered"].is_object()), "{stage}");
    }
}
