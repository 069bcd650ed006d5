//! Addresses on the web, and the secrets that prove who calls them.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::limits;
use crate::values::BadValue;

/// An absolute `http` or `https` address, at most [`limits::URL_BYTES_MAX`] bytes of printable
/// ASCII, without user information: a password in an address ends up in logs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct WebUrl(String);

impl WebUrl {
    /// That address, if it is one.
    ///
    /// # Errors
    /// [`BadValue`] naming the rule that was broken.
    pub fn new(text: impl Into<String>) -> Result<Self, BadValue> {
        let text = text.into();
        let bad = |rule: &str| Err(BadValue::new("url", rule));
        if text.len() > limits::URL_BYTES_MAX {
            return bad(&format!("at most {} bytes", limits::URL_BYTES_MAX));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return bad("printable ASCII without spaces; percent-encode the rest");
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let Some(rest) = rest else { return bad("it begins with https:// or http://") };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || authority.starts_with(':') {
            return bad("a host, like https://example.com/hook");
        }
        if authority.contains('@') {
            return bad("no user information before the host; messages are signed instead");
        }
        Ok(Self(text))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WebUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// What messages are signed with, as Standard Webhooks has it: `whsec_` and
/// [`limits::SECRET_BYTES_MIN`] to [`limits::SECRET_BYTES_MAX`] random bytes in base64. It is never
/// shown in a log.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Vec<u8>);

const SECRET_PREFIX: &str = "whsec_";

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Errors
    /// [`BadValue`] for too few or too many.
    pub fn new(bytes: Vec<u8>) -> Result<Self, BadValue> {
        let (min, max) = (limits::SECRET_BYTES_MIN, limits::SECRET_BYTES_MAX);
        if (min..=max).contains(&bytes.len()) {
            return Ok(Self(bytes));
        }
        Err(BadValue::new("secret", format!("whsec_ and {min} to {max} bytes in base64")))
    }

    /// The bytes that a signature is made with.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text that its receiver is given.
    pub fn reveal(&self) -> String {
        format!("{SECRET_PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl FromStr for Secret {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let bytes = text.strip_prefix(SECRET_PREFIX).and_then(|rest| BASE64.decode(rest).ok());
        Self::new(bytes.unwrap_or_default())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.reveal())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse()
        } else {
            Self::new(Vec::deserialize(deserializer)?)
        };
        secret.map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_absolute_and_keeps_its_secrets_elsewhere() {
        for good in ["https://example.com", "http://127.0.0.1:8080/hook?a=b", "https://[::1]/x"] {
            assert_eq!(WebUrl::new(good).expect(good).as_str(), good);
        }
        let long = format!("https://example.com/{}", "x".repeat(limits::URL_BYTES_MAX));
        let bad =
            ["", "/hook", "ftp://example.com", "https://", "https:///x", "http://:80/", &long];
        for bad in bad.into_iter().chain([
            "https://me:pw@example.com",
            "https://ex ample.com",
            "https://é.fr",
        ]) {
            assert!(WebUrl::new(bad).is_err(), "{bad}");
            let json = serde_json::to_string(bad).expect("plain");
            assert!(serde_json::from_str::<WebUrl>(&json).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_has_one_text_and_is_not_shown() {
        let secret = Secret::new((0..32).collect()).expect("32 bytes");
        let text = secret.reveal();
        assert_eq!(text, "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        assert_eq!(text.parse::<Secret>(), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
        for bad in ["", "whsec_", "whsec_AAEC", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="] {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
        assert!(Secret::new(vec![0; limits::SECRET_BYTES_MAX + 1]).is_err());
    }
}
