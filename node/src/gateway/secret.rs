//! API keys as texts: `rk_<number>_<secret>`, the secret 32 random bytes in base64url.
//!
//! The prefix tells a key from a token, and lets whoever finds one in a log know what it is. The
//! secret is random, so one SHA-256 of it is as good as any slower hash
//! (`docs/decisions/0016-two-kinds-of-hashes.md`).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rotary_proto::ApiKeyId;
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Why a text is not the secret of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is 32 random bytes in base64url without padding: 43 characters")]
pub(crate) struct SecretError;

/// The secret of an API key. It shows itself only where it is asked to.
#[derive(Clone, PartialEq, Eq, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Secret(
    #[schemars(with = "String", regex(pattern = "^[A-Za-z0-9_-]{43}$"))] [u8; 32],
);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// That of the operating system where it has no randomness.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// One that follows from another secret.
    pub(crate) fn of(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the directory keeps of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// Its text, for the one who is to keep it.
    pub(crate) fn reveal(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(32) => Ok(Self(bytes)),
            _ => Err(SecretError),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The whole key, for the one who is to keep it.
pub(crate) fn key_text(id: ApiKeyId, secret: &Secret) -> String {
    format!("{id}_{}", secret.reveal())
}

/// The id and the secret of a key, if the text has the form of one.
pub(crate) fn read_key(text: &str) -> Option<(ApiKeyId, Secret)> {
    let (number, secret) = text.strip_prefix("rk_")?.split_once('_')?;
    Some((format!("rk_{number}").parse().ok()?, secret.parse().ok()?))
}

/// Whether a text is meant to be a key, be it a good one or not.
pub(crate) fn is_key(text: &str) -> bool {
    text.starts_with("rk_")
}

/// Whether two hashes are the same, in a time that does not tell where they differ.
pub(crate) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let secret = Secret::random().expect("randomness");
        let text = key_text(ApiKeyId(7), &secret);
        assert!(text.starts_with("rk_7_") && text.len() == 48, "{text}");
        assert_eq!(read_key(&text), Some((ApiKeyId(7), secret.clone())));
        assert_ne!(Secret::random().expect("randomness"), secret);
        assert_eq!(format!("{secret:?}"), "Secret");
    }

    #[test]
    fn anything_else_is_no_key() {
        let secret = Secret([0xff; 32]).reveal();
        let (short, long) = (&secret[..42], format!("{secret}A"));
        for text in [
            String::new(),
            "rk_".to_owned(),
            "rk_7".to_owned(),
            "rk_7_".to_owned(),
            format!("rk_07_{secret}"),
            format!("rk_x_{secret}"),
            format!("rk_99999999999_{secret}"),
            format!("rk_7_{short}"),
            format!("rk_7_{long}"),
            format!("rk_7_{short}="),
            format!("us_7_{secret}"),
            format!("rk_7_{}", "é".repeat(22)),
        ] {
            assert_eq!(read_key(&text), None, "{text}");
        }
    }

    #[test]
    fn hashes_are_the_same_only_if_every_byte_is() {
        let one = Secret([1; 32]).hash();
        assert!(same(&one, &Secret([1; 32]).hash()));
        for at in 0..32 {
            let mut other = one;
            other[at] ^= 0x80;
            assert!(!same(&one, &other), "byte {at}");
        }
    }
}
