//! An address to listen on, or none.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where to listen; nowhere, if empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place(pub(crate) Option<SocketAddr>);

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let wrong = |_| format!("`{text}` is no address and port, as in \"10.0.0.1:7081\"");
        text.parse().map(|address| Self(Some(address))).map_err(wrong)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_nothing() {
        for text in ["", "127.0.0.1:7081", "[::1]:7081"] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), text);
        }
        let refused = "7081".parse::<Place>().expect_err("no address");
        assert!(refused.contains("`7081`") && refused.contains("10.0.0.1:7081"), "{refused}");
    }
}
