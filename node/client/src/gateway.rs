//! Where a gateway is: `http://host:port` or `https://host:port`, and nothing else.

use std::fmt;
use std::str::FromStr;

/// A text that is not a gateway's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a gateway; write it as http://127.0.0.1:7080 or https://…")]
pub struct GatewayError(String);

/// One gateway's address: `host:port`, as a socket and a `Host` header want it, and whether it is
/// reached over TLS.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gateway {
    authority: String,
    tls: bool,
}

impl Gateway {
    /// `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host, without the port.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or("", |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Whether it is reached over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The address of a path there. `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
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
        let (tls, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").ok_or_else(wrong)?),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        let plain = !host.is_empty() && !authority.contains(['/', '?', '#', '@', ' ']);
        if plain && port.parse::<u16>().is_ok_and(|port| port > 0) {
            Ok(Self { authority: authority.to_owned(), tls })
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
        let secret: Gateway = "https://[::1]:7080".parse().expect("valid");
        assert_eq!((secret.host(), secret.is_tls()), ("::1", true));
        assert_eq!(secret.url("/v1/session"), "https://[::1]:7080/v1/session");
        assert_eq!((gateway.host(), gateway.is_tls()), ("127.0.0.1", false));
        for bad in ["127.0.0.1:7080", "ftp://a:1", "http://a", "http://a:0", "http://a:1/v1"] {
            assert!(bad.parse::<Gateway>().is_err(), "{bad}");
        }
    }
}
