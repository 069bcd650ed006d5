//! Small values with bounds: channels, priorities, names, bodies, attributes.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::attachment::Attachment;
use crate::ids::ItemId;
use crate::limits;

/// A value outside of its bounds: which field, and what it may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct BadValue {
    /// The field, as the API spells it.
    pub field: &'static str,
    /// What is allowed, with units.
    pub rule: String,
}

impl BadValue {
    /// A value of `field` broke `rule`.
    pub fn new(field: &'static str, rule: impl Into<String>) -> Self {
        Self { field, rule: rule.into() }
    }
}

/// How a customer's words travel.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A call. An agent on a call has no other conversation.
    Voice,
    /// A live text conversation; silence ends it.
    #[default]
    Chat,
    /// A mail, answered within days.
    Email,
    /// A messaging app: answered soon, not at once.
    Message,
    /// Work without a customer on the line.
    Task,
}

impl Channel {
    /// Every channel, in the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Voice, Self::Chat, Self::Email, Self::Message, Self::Task];

    /// The channel's place in [`Channel::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word that JSON and scripts use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Chat => "chat",
            Self::Email => "email",
            Self::Message => "message",
            Self::Task => "task",
        }
    }

    /// Whether a post must, by default, have seen what other agents wrote.
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Email | Self::Task)
    }
}

/// How much sooner a conversation is served than others of its queue: higher is sooner. 0 to 9,
/// 5 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// The highest priority.
    pub const MAX: u8 = 9;

    /// That priority, if it is one.
    ///
    /// # Errors
    /// [`BadValue`] above [`Priority::MAX`].
    pub fn new(level: u8) -> Result<Self, BadValue> {
        if level <= Self::MAX {
            Ok(Self(level))
        } else {
            Err(BadValue::new("priority", format!("{level} is not within 0 to {}", Self::MAX)))
        }
    }

    /// The number, 0 to 9.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl<'de> Deserialize<'de> for Priority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u8::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A name that routing, reports and logs may read; not personal. 1 to 128 bytes, no control
/// characters, no surrounding spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// That name, if it is one.
    ///
    /// # Errors
    /// [`BadValue`] naming the rule that was broken.
    pub fn new(text: impl Into<String>) -> Result<Self, BadValue> {
        let text = text.into();
        let sized = (1..=limits::NAME_BYTES_MAX).contains(&text.len());
        if sized && text.trim() == text && !text.chars().any(char::is_control) {
            return Ok(Self(text));
        }
        let max = limits::NAME_BYTES_MAX;
        let rule = format!("1 to {max} bytes, no control characters, no surrounding spaces");
        Err(BadValue::new("name", rule))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Something personal, as log and journal hold it: bytes under a key.
///
/// Erasing a person is forgetting the key. Key 0 is the null key: the bytes are plain UTF-8. Hot
/// state never holds one.
///
/// In JSON the null key's form is `{"text": "..."}`; any other is `{"key": 7, "sealed": "base64"}`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Sealed {
    /// How `bytes` were made from the text: 0 is plain UTF-8, and the only format so far.
    pub format: u8,
    /// Which key sealed them; 0 is none.
    pub key: u64,
    /// At most [`limits::BODY_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// Seals `text` with the null key.
    ///
    /// # Errors
    /// [`BadValue`] for a text too long.
    pub fn plain(text: &str) -> Result<Self, BadValue> {
        let sealed = Self { format: 0, key: 0, bytes: text.as_bytes().to_vec() };
        sealed.check().map(|()| sealed)
    }

    /// The text, where the null key sealed it.
    pub fn text(&self) -> Option<&str> {
        if self.format == 0 && self.key == 0 { str::from_utf8(&self.bytes).ok() } else { None }
    }

    /// Whether it is short enough for a person's or a file's name.
    ///
    /// # Errors
    /// [`BadValue`] of `field`.
    pub fn check_name(&self, field: &'static str) -> Result<(), BadValue> {
        let (bytes, most) = (self.bytes.len(), limits::PERSONAL_NAME_BYTES_MAX);
        if bytes == 0 || bytes > most {
            return Err(BadValue::new(field, format!("{bytes} bytes are not within 1 to {most}")));
        }
        self.check()
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] for too many bytes, or a null key over bytes that are not UTF-8.
    pub fn check(&self) -> Result<(), BadValue> {
        if self.bytes.len() > limits::BODY_BYTES_MAX {
            let rule = format!(
                "{} bytes exceed the limit of {}; put the rest in an attachment",
                self.bytes.len(),
                limits::BODY_BYTES_MAX
            );
            return Err(BadValue::new("body", rule));
        }
        if self.format != 0 {
            return Err(BadValue::new("body", format!("format {} is not known", self.format)));
        }
        if self.key == 0 && str::from_utf8(&self.bytes).is_err() {
            return Err(BadValue::new("body", "text must be UTF-8"));
        }
        Ok(())
    }
}

/// Shows its size only: a log line must not show a person's words.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(key {}, {} bytes)", self.key, self.bytes.len())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return (self.format, self.key, &self.bytes).serialize(serializer);
        }
        let form = match self.text() {
            Some(text) => SealedJson { text: Some(text.to_owned()), key: None, sealed: None },
            None => {
                let sealed = Some(BASE64.encode(&self.bytes));
                SealedJson { text: None, key: Some(self.key), sealed }
            }
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let (format, key, bytes) = Deserialize::deserialize(deserializer)?;
            return Ok(Self { format, key, bytes });
        }
        let sealed = match SealedJson::deserialize(deserializer)? {
            SealedJson { text: Some(text), key: None, sealed: None } => {
                Self { format: 0, key: 0, bytes: text.into_bytes() }
            }
            SealedJson { text: None, key: Some(key), sealed: Some(sealed) } => {
                let bytes = BASE64.decode(sealed).map_err(de::Error::custom)?;
                Self { format: 0, key, bytes }
            }
            _ => {
                return Err(de::Error::custom(
                    "write either {\"text\": \"...\"} or {\"key\": 7, \"sealed\": \"base64\"}",
                ));
            }
        };
        sealed.check().map_err(de::Error::custom)?;
        Ok(sealed)
    }
}

/// What a message or note says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The words.
    pub text: Sealed,
    /// Files that go with them.
    #[serde(default)]
    pub attachments: Vec<Attachment>,
}

impl Body {
    /// A body of words alone.
    ///
    /// # Errors
    /// [`BadValue`] for a text too long.
    pub fn plain(text: &str) -> Result<Self, BadValue> {
        Ok(Self { text: Sealed::plain(text)?, attachments: Vec::new() })
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the bound.
    pub fn check(&self) -> Result<(), BadValue> {
        self.text.check()?;
        check_attachments(&self.attachments)
    }
}

/// Whether what one message, or one answer of a bot, names is within its bounds.
pub(crate) fn check_attachments(attachments: &[Attachment]) -> Result<(), BadValue> {
    if attachments.len() > limits::ATTACHMENTS_PER_ITEM_MAX {
        let rule = format!("at most {} per item", limits::ATTACHMENTS_PER_ITEM_MAX);
        return Err(BadValue::new("attachments", rule));
    }
    attachments.iter().try_for_each(Attachment::check)
}

/// A message or note with its id, as a command carries it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Made by the author's client, so that a repeated one is known.
    pub id: ItemId,
    /// What it says.
    pub body: Body,
}

/// Declared, non-personal facts that routing may read, in order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Attributes(pub BTreeMap<String, String>);

impl Attributes {
    /// Whether they are within their bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the bound.
    pub fn check(&self) -> Result<(), BadValue> {
        let rule = if self.0.len() > limits::ATTRIBUTES_MAX {
            format!("at most {} attributes", limits::ATTRIBUTES_MAX)
        } else if self.0.keys().any(|k| k.is_empty() || k.len() > limits::ATTRIBUTE_KEY_BYTES_MAX) {
            format!("keys of 1 to {} bytes", limits::ATTRIBUTE_KEY_BYTES_MAX)
        } else if self.0.values().any(|v| v.len() > limits::ATTRIBUTE_VALUE_BYTES_MAX) {
            format!("values of at most {} bytes", limits::ATTRIBUTE_VALUE_BYTES_MAX)
        } else {
            return Ok(());
        };
        Err(BadValue::new("attributes", rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{self, Limit};

    #[test]
    fn a_name_keeps_its_rules_when_read() {
        assert!(Name::new("Sales, north").is_ok());
        for bad in ["", " x", "x ", "a\nb", &"x".repeat(129)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
            let json = serde_json::to_string(bad).expect("plain");
            assert!(serde_json::from_str::<Name>(&json).is_err());
            let bytes = codec::encode(bad, Limit::Entry).expect("small");
            assert!(codec::decode::<Name>(&bytes, Limit::Entry).is_err());
        }
    }

    #[test]
    fn a_priority_is_checked_when_read() {
        assert_eq!(serde_json::from_str::<Priority>("9").expect("valid").level(), 9);
        assert!(serde_json::from_str::<Priority>("10").is_err());
    }

    #[test]
    fn sealed_has_two_json_forms_and_no_third() {
        let plain = Sealed::plain("你好").expect("short");
        assert_eq!(serde_json::to_string(&plain).expect("plain"), "{\"text\":\"你好\"}");
        let secret = Sealed { format: 0, key: 7, bytes: vec![0xff, 1] };
        let json = serde_json::to_string(&secret).expect("plain");
        assert_eq!(json, "{\"key\":7,\"sealed\":\"/wE=\"}");
        assert_eq!(serde_json::from_str::<Sealed>(&json).expect("round trip"), secret);
        for bad in ["{}", "{\"text\":\"a\",\"key\":1}", "{\"words\":\"a\"}", "\"a\""] {
            assert!(serde_json::from_str::<Sealed>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sealed_never_shows_words_in_a_log() {
        let sealed = Sealed::plain("my card is 1234").expect("short");
        assert_eq!(format!("{sealed:?}"), "Sealed(key 0, 15 bytes)");
    }

    #[test]
    fn a_body_too_long_says_where_the_rest_goes() {
        let error = Sealed::plain(&"x".repeat(limits::BODY_BYTES_MAX + 1)).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "body: 16385 bytes exceed the limit of 16384; put the rest in an attachment"
        );
    }
}
