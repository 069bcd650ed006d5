//! Typed ids: a number that cannot be mistaken for another number.
//!
//! Every id has two forms. In bytes (log, journal, wire) it is its numbers. In text (JSON, paths,
//! logs) it is a prefix and its numbers, so that an id pasted in the wrong place is refused by
//! name. Ids of queues, agents, skills, reasons and dispositions are local to a site; a
//! conversation's id carries its site and never changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}; write it as {example}")]
pub struct IdError {
    /// The text that was given, cut to 64 characters.
    pub text: String,
    /// What was expected there, e.g. "an agent id".
    pub expected: &'static str,
    /// One valid id of that kind.
    pub example: &'static str,
}

impl IdError {
    pub(crate) fn new(text: &str, expected: &'static str, example: &'static str) -> Self {
        Self { text: text.chars().take(64).collect(), expected, example }
    }
}

/// Reads a decimal without sign, spaces or leading zeros, so that every id has one text.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    let canonical = text == "0" || !text.starts_with('0');
    if plain && canonical && !text.is_empty() { text.parse().ok() } else { None }
}

/// Reads exactly 32 lower-case hexadecimal digits.
fn hex128(text: &str) -> Option<u128> {
    let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u128::from_str_radix(text, 16).ok() } else { None }
}

/// Text in JSON, `$raw` in bytes.
macro_rules! serde_by_form {
    ($id:ident, $raw:ty, $to:expr, $from:expr) => {
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    let to: fn(&$id) -> $raw = $to;
                    to(self).serialize(serializer)
                }
            }
        }
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    let from: fn($raw) -> $id = $from;
                    <$raw>::deserialize(deserializer).map(from)
                }
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $id:ident($raw:ty), $prefix:literal, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $id(pub $raw);

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl FromStr for $id {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(decimal)
                    .map($id)
                    .ok_or_else(|| IdError::new(text, $what, $example))
            }
        }
        serde_by_form!($id, $raw, |id| id.0, $id);
        #[cfg(feature = "schema")]
        crate::schema::text!($id, concat!("^", $prefix, "(0|[1-9][0-9]*)$"), $what, $example);
    };
}

macro_rules! unique_id {
    ($(#[$doc:meta])* $id:ident, $prefix:literal, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $id(pub u128);

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:032x}"), self.0)
            }
        }
        impl FromStr for $id {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(hex128)
                    .map($id)
                    .ok_or_else(|| IdError::new(text, $what, $example))
            }
        }
        serde_by_form!($id, u128, |id| id.0, $id);
        #[cfg(feature = "schema")]
        crate::schema::text!($id, concat!("^", $prefix, "[0-9a-f]{32}$"), $what, $example);
    };
}

number_id!(
    /// A member of the cluster. Never reused, not even by the same machine after a wipe.
    NodeId(u64), "nd_", "a node id", "nd_1"
);
number_id!(
    /// A Raft group. Shard 0 is the directory.
    ShardId(u32), "sh_", "a shard id", "sh_1"
);
number_id!(
    /// The boundary of isolation: nothing of one tenant is seen by another.
    TenantId(u32), "tn_", "a tenant id", "tn_1"
);
number_id!(
    /// A credential for programs: what comes before its secret in an API key.
    ApiKeyId(u32), "rk_", "an API key's id", "rk_1"
);
number_id!(
    /// What a new node's machine fetches its folder with.
    JoinTokenId(u32), "jt_", "a join token's id", "jt_1"
);
number_id!(
    /// Somebody who signs in with a password.
    UserId(u32), "us_", "a user id", "us_1"
);
number_id!(
    /// A line of waiting conversations, local to a site.
    QueueId(u32), "qu_", "a queue id", "qu_1"
);
number_id!(
    /// A person who serves customers, local to a site.
    AgentId(u32), "ag_", "an agent id", "ag_1"
);
number_id!(
    /// Something an agent can do, with a proficiency of 1 to 10; local to a site.
    SkillId(u32), "sk_", "a skill id", "sk_1"
);
number_id!(
    /// Why an agent is not ready, local to a site.
    ReasonId(u16), "nr_", "a not-ready reason id", "nr_1"
);
number_id!(
    /// How a conversation ended in the agent's judgement, local to a site.
    DispositionId(u16), "di_", "a disposition id", "di_1"
);
number_id!(
    /// A place outside that is told what happens, local to a site.
    WebhookId(u16), "wh_", "a webhook id", "wh_1"
);
number_id!(
    /// One proposal of a conversation to an agent, counted within a site.
    OfferId(u64), "of_", "an offer id", "of_1"
);
number_id!(
    /// Whoever holds a credential: a user or an API key of a tenant.
    PrincipalId(u32), "pr_", "a principal id", "pr_1"
);

unique_id!(
    /// One message or note within a conversation, made by its author's client.
    ItemId, "it_", "an item id", "it_0190163d8694739baf5a1e1b57f02a01"
);
unique_id!(
    /// One client's signed-in connection, which survives the loss of its socket.
    SessionId, "se_", "a session id", "se_0190163d8694739baf5a1e1b57f02a01"
);
unique_id!(
    /// A command's id where there is no session: the `Idempotency-Key` of an HTTP request. It is
    /// a UUIDv7, because its time decides when a retry is too old to be known.
    RequestId, "rq_", "a request id", "rq_0190163d8694739baf5a1e1b57f02a01"
);
unique_id!(
    /// A customer of a tenant, by keyed hash of an identity; it says nothing about the person.
    CustomerId, "cu_", "a customer id", "cu_0190163d8694739baf5a1e1b57f02a01"
);

impl RequestId {
    /// Milliseconds since 1970 in the top 48 bits, as UUIDv7 (RFC 9562, 5.7) puts them there.
    pub const fn unix_ms(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The time that a retry is judged by; none of a [`RequestId::without_time`].
    pub const fn time_ms(self) -> Option<u64> {
        if (self.0 >> 76) & 0xf == 4 { None } else { Some(self.unix_ms()) }
    }

    /// An id for a request whose client gave none, from 122 random bits, laid out as a UUIDv4
    /// (RFC 9562, 5.4). Nobody can ask with it again, so no clock has a say in it.
    pub const fn without_time(random: u128) -> Self {
        Self(random & !(0xf << 76 | 0b11 << 62) | 4 << 76 | 0b10 << 62)
    }

    /// Whether version and variant are those of a UUIDv7. Doors refuse any other id from outside,
    /// because only a UUIDv7 tells its time.
    pub const fn is_uuid_v7(self) -> bool {
        (self.0 >> 76) & 0xf == 7 && (self.0 >> 62) & 0b11 == 0b10
    }
}

/// The unit of placement and of atomic routing: all of a site lives in one shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SiteId {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// Its number within the tenant.
    pub number: u32,
}

impl SiteId {
    /// The site of that number in that tenant.
    pub const fn new(tenant: u32, number: u32) -> Self {
        Self { tenant: TenantId(tenant), number }
    }

    /// Both numbers in one: the key of the site's stream in a journal.
    pub const fn key(self) -> u64 {
        (self.tenant.0 as u64) << 32 | self.number as u64
    }

    /// The site of that key.
    pub const fn from_key(key: u64) -> Self {
        Self::new((key >> 32) as u32, key as u32)
    }

    fn from_dotted(text: &str) -> Option<Self> {
        let (tenant, number) = text.split_once('.')?;
        Some(Self { tenant: TenantId(decimal(tenant)?), number: decimal(number)? })
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "st_{}.{}", self.tenant.0, self.number)
    }
}

impl FromStr for SiteId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        text.strip_prefix("st_")
            .and_then(Self::from_dotted)
            .ok_or_else(|| IdError::new(text, "a site id", "st_1.2"))
    }
}

serde_by_form!(SiteId, (u32, u32), |id| (id.tenant.0, id.number), |(t, n)| SiteId::new(t, n));

/// One customer's contact in one site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConversationId {
    /// Where it lives; part of the id, so that any node can route it.
    pub site: SiteId,
    /// A UUIDv7 made by the client, or by the gateway on its behalf.
    pub unique: u128,
}

impl ConversationId {
    /// The conversation of that unique part in that site.
    pub const fn new(site: SiteId, unique: u128) -> Self {
        Self { site, unique }
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cv_{}.{}.{:032x}", self.site.tenant.0, self.site.number, self.unique)
    }
}

impl FromStr for ConversationId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (site, unique) = text.strip_prefix("cv_")?.rsplit_once('.')?;
            Some(Self { site: SiteId::from_dotted(site)?, unique: hex128(unique)? })
        };
        let example = "cv_1.2.0190163d8694739baf5a1e1b57f02a01";
        parse().ok_or_else(|| IdError::new(text, "a conversation id", example))
    }
}

serde_by_form!(
    ConversationId,
    (u32, u32, u128),
    |id| (id.site.tenant.0, id.site.number, id.unique),
    |(t, n, unique)| ConversationId { site: SiteId::new(t, n), unique }
);

/// One run of one gateway process. A restarted gateway is another gateway, so that the lease of
/// the dead one runs out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GatewayId {
    /// The node it runs on.
    pub node: NodeId,
    /// A number that differs between any two runs on that node.
    pub run: u64,
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gw_{}.{}", self.node.0, self.run)
    }
}

impl FromStr for GatewayId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (node, run) = text.strip_prefix("gw_")?.split_once('.')?;
            Some(Self { node: NodeId(decimal(node)?), run: decimal(run)? })
        };
        parse().ok_or_else(|| IdError::new(text, "a gateway id", "gw_1.7"))
    }
}

serde_by_form!(GatewayId, (u64, u64), |id| (id.node.0, id.run), |(node, run)| GatewayId {
    node: NodeId(node),
    run
});

/// Something that must be done outside: the entry that wanted it, and which of that entry's
/// effects it is. Message ids outside derive from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EffectId {
    /// Which log.
    pub shard: ShardId,
    /// Which entry.
    pub index: u64,
    /// Which effect of that entry; they rise, and may leave numbers out.
    pub ordinal: u32,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ef_{}.{}.{}", self.shard.0, self.index, self.ordinal)
    }
}

impl FromStr for EffectId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let parse = || {
            let (shard, rest) = text.strip_prefix("ef_")?.split_once('.')?;
            let (index, ordinal) = rest.split_once('.')?;
            let shard = ShardId(decimal(shard)?);
            Some(Self { shard, index: decimal(index)?, ordinal: decimal(ordinal)? })
        };
        parse().ok_or_else(|| IdError::new(text, "an effect id", "ef_1.600.0"))
    }
}

serde_by_form!(EffectId, (u32, u64, u32), |id| (id.shard.0, id.index, id.ordinal), |(
    shard,
    index,
    ordinal,
)| EffectId {
    shard: ShardId(shard),
    index,
    ordinal
});

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: FromStr<Err = IdError> + fmt::Display + PartialEq + fmt::Debug>(text: &str) {
        assert_eq!(text.parse::<T>().map(|id| id.to_string()), Ok(text.to_owned()));
    }

    #[test]
    fn every_id_has_one_text() {
        round_trip::<NodeId>("nd_0");
        round_trip::<AgentId>("ag_4294967295");
        round_trip::<SiteId>("st_1.20");
        round_trip::<GatewayId>("gw_3.18446744073709551615");
        round_trip::<EffectId>("ef_5.18446744073709551615.31");
        round_trip::<SessionId>("se_0190163d8694739baf5a1e1b57f02a01");
        round_trip::<ConversationId>("cv_1.2.0190163d8694739baf5a1e1b57f02a01");
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in ["", "ag_", "ag_01", "ag_-1", "ag_+1", "ag_4294967296", "qu_1", "ag_1 ", "1"] {
            let error = text.parse::<AgentId>().expect_err(text);
            assert_eq!(error.to_string(), format!("{text:?} is not an agent id; write it as ag_1"));
        }
        for text in ["cv_1.2.0190", "cv_1.0190163d8694739baf5a1e1b57f02a01", "cv_1.2.", "st_1"] {
            assert!(text.parse::<ConversationId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_wrong_text_is_cut_in_its_error() {
        let error = "x".repeat(10_000).parse::<SiteId>().expect_err("not an id");
        assert_eq!(error.text.len(), 64);
    }

    #[test]
    fn a_uuid_v7_tells_its_time() {
        let id: RequestId = "rq_0190163d8694739baf5a1e1b57f02a01".parse().expect("valid");
        assert_eq!(id.unix_ms(), 0x0190_163d_8694);
        assert!(id.is_uuid_v7());
        let v4: RequestId = "rq_0190163d8694439baf5a1e1b57f02a01".parse().expect("an id");
        assert!(!v4.is_uuid_v7());
        assert_eq!((id.time_ms(), v4.time_ms()), (Some(0x0190_163d_8694), None));
    }

    #[test]
    fn an_id_without_a_time_is_a_uuid_v4() {
        for random in [0, u128::MAX, 0x0190_163d_8694_739b_af5a_1e1b_57f0_2a01] {
            let uuid = RequestId::without_time(random);
            assert_eq!((uuid.0 >> 76 & 0xf, uuid.0 >> 62 & 0b11), (4, 0b10));
            assert_eq!(uuid.time_ms(), None);
        }
        assert_ne!(RequestId::without_time(1), RequestId::without_time(2));
    }

    #[test]
    fn a_sites_key_is_the_site() {
        for site in [SiteId::default(), SiteId::new(1, 2), SiteId::new(u32::MAX, u32::MAX - 1)] {
            assert_eq!(SiteId::from_key(site.key()), site);
        }
    }

    #[test]
    fn json_has_the_text_form() {
        let json = serde_json::to_string(&SiteId::new(1, 2)).expect("plain");
        assert_eq!(json, "\"st_1.2\"");
        assert_eq!(serde_json::from_str::<SiteId>(&json).expect("round trip"), SiteId::new(1, 2));
    }
}
