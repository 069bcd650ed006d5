//! Where a gateway is: `http://host:port`, and nothing else.

use std::fmt;
use std::str::FromStr;

/// A text that is not a gateway's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a gateway; write it as http://127.0.0.1:7080")]
pub struct GatewayError(String);

/// One gateway's address: `host:port`, as a socket and a `Host` header want it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gateway(String);

impl Gateway {
    /// `host:port`.
    pub fn authority(&self) -> &str {
        &self.0
    }

    /// The address of a path there. `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.0)
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Gateway {
    type Err = GatewayError;

    fn from_str(text: &str) -> Result<Self, GatewayError> {
        let wrong = || GatewayError(text.chars().take(128).collect());
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        let plain = !host.is_empty() && !authority.contains(['/', '?', '#', '@', ' ']);
        if plain && port.parse::<u16>().is_ok_and(|port| port > 0) {
            Ok(Self(authority.to_owned()))
        } else {
            Err(wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port_and_no_path() {
        let gateway: Gateway = "http://127.0.0.1:7080/".parse().expect("valid");
        assert_eq!(gateway.url("/v1/session"), "http://127.0.0.1:7080/v1/session");
        assert_eq!(gateway.to_string(), "http://127.0.0.1:7080");
        for bad in ["127.0.0.1:7080", "https://a:1", "http://a", "http://a:0", "http://a:1/v1"] {
            assert!(bad.parse::<Gateway>().is_err(), "{bad}");
        }
    }
}
