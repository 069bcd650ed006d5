//! What a message carries beside its words: names of blobs, and what they are to people.
//!
//! A blob is content too large for an entry. It is named by what it is, within one site, and knows
//! neither a file name nor a media type: those are said by each message that names it. The log has
//! names only; the bytes are on a quorum's disks before a command may name them.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ids::IdError;
use crate::limits;
use crate::values::{BadValue, Sealed};

const PREFIX: &str = "bl_";
const EXAMPLE: &str = "bl_5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";

/// A blob of a site, by a digest over the site and the bytes: `bl_` and 64 hexadecimal digits. The
/// same bytes have another name in another site, so that no name says what others have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlobId(pub [u8; 32]);

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = String::with_capacity(64);
        let digits = self
            .0
            .iter()
            .try_fold(digits, |mut digits, byte| write!(digits, "{byte:02x}").map(|()| digits))?;
        write!(f, "{PREFIX}{digits}")
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BlobId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.strip_prefix(PREFIX).map(str::as_bytes).unwrap_or_default();
        let wrong = || IdError::new(text, "a blob id", EXAMPLE);
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0]).ok_or_else(wrong)? << 4 | digit(pair[1]).ok_or_else(wrong)?;
        }
        Ok(Self(digest))
    }
}

/// The value of a lower-case hexadecimal digit, so that every id has one text.
const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

/// What kind of content bytes are: `type/subtype` without parameters, at most
/// [`limits::NAME_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MediaType(String);

impl MediaType {
    /// That media type, if it is one.
    ///
    /// # Errors
    /// [`BadValue`] naming the rule that was broken.
    pub fn new(text: impl Into<String>) -> Result<Self, BadValue> {
        let text = text.into();
        let parts = text.split_once('/');
        let whole = parts.is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
        if whole && text.len() <= limits::NAME_BYTES_MAX {
            return Ok(Self(text));
        }
        let rule = format!("type/subtype, like image/png, of {} bytes", limits::NAME_BYTES_MAX);
        Err(BadValue::new("media_type", rule))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether it is a token of HTTP (RFC 9110, 5.6.2).
fn is_token(text: &str) -> bool {
    let marks = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || marks.contains(&b))
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A blob with what it is to people, as a message names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Which blob of the site.
    pub blob: BlobId,
    /// The file name that its author gave, which may be personal; no control characters.
    #[serde(default)]
    pub name: Option<Sealed>,
    /// What kind of content it is.
    pub media_type: MediaType,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Attachment {
    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// [`BadValue`] naming the bound.
    pub fn check(&self) -> Result<(), BadValue> {
        let (bytes, most) = (self.bytes, limits::BLOB_BYTES_MAX);
        if !(1..=most).contains(&bytes) {
            let rule = format!("{bytes} bytes are not within 1 to {most}");
            return Err(BadValue::new("attachments", rule));
        }
        let Some(name) = &self.name else { return Ok(()) };
        if name.text().is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(BadValue::new("name", "a file name has no control characters"));
        }
        name.check_name("name")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_one_text() {
        let id: BlobId = EXAMPLE.parse().expect("valid");
        assert_eq!(id.to_string(), EXAMPLE);
        let upper = EXAMPLE.to_uppercase().replace("BL_", PREFIX);
        for bad in ["", "bl_", &EXAMPLE[..66], &upper, &EXAMPLE[3..], "bl_é", "it_00"] {
            assert!(bad.parse::<BlobId>().is_err(), "{bad}");
        }
        let json = serde_json::to_string(&id).expect("plain");
        assert_eq!(serde_json::from_str::<BlobId>(&json).expect("round trip"), id);
    }

    #[test]
    fn a_media_type_fits_a_header() {
        for good in ["image/png", "text/plain", "application/vnd.x+json", "a/b"] {
            assert!(MediaType::new(good).is_ok(), "{good}");
        }
        let long = format!("a/{}", "b".repeat(limits::NAME_BYTES_MAX));
        for bad in ["", "image", "image/", "/png", "a/b/c", "a/b; c=d", "a/b\r\nx: y", "ä/b", &long]
        {
            assert!(MediaType::new(bad).is_err(), "{bad:?}");
            let json = serde_json::to_string(bad).expect("plain");
            assert!(serde_json::from_str::<MediaType>(&json).is_err());
        }
    }

    #[test]
    fn an_attachment_is_bounded() {
        let of = |bytes, name: Option<&str>| {
            let media_type = MediaType::new("image/png").expect("valid");
            let name = name.map(|name| Sealed::plain(name).expect("short"));
            let attachment = Attachment { blob: BlobId([1; 32]), name, media_type, bytes };
            attachment.check().map_err(|bad| bad.field)
        };
        assert_eq!(of(limits::BLOB_BYTES_MAX, Some("收据.png")), Ok(()));
        assert_eq!(of(0, None), Err("attachments"));
        assert_eq!(of(limits::BLOB_BYTES_MAX + 1, None), Err("attachments"));
        assert_eq!(of(1, Some("a\r\nb")), Err("name"));
        assert_eq!(of(1, Some("")), Err("name"));
        assert_eq!(of(1, Some(&"x".repeat(limits::PERSONAL_NAME_BYTES_MAX + 1))), Err("name"));
    }
}
