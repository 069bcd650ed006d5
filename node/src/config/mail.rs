//! Where mails to customers are handed over.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The relay that takes mails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// `host:port`; none, if empty.
    pub(crate) relay: String,
    pub(crate) tls: MailTls,
    /// What this node calls itself.
    pub(crate) hello: String,
    /// Nobody in particular, if empty.
    pub(crate) credentials_file: PathBuf,
    /// What the machine believes, if empty.
    pub(crate) ca_file: PathBuf,
}

/// How the connection to the relay is kept from strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    /// Not at all.
    Off,
    /// TLS after a plain beginning.
    Starttls,
    /// TLS from the first byte on.
    Tls,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            relay: String::new(),
            tls: MailTls::Starttls,
            hello: "localhost".to_owned(),
            credentials_file: PathBuf::new(),
            ca_file: PathBuf::new(),
        }
    }
}

impl Mail {
    /// Where the relay is, if there is one. An address of IPv6 stands in brackets.
    pub(crate) fn host_and_port(&self) -> Option<(String, u16)> {
        let (host, port) = self.relay.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let (host, port) = (bare.unwrap_or(host), port.parse().ok()?);
        (!host.is_empty() && port > 0).then(|| (host.to_owned(), port))
    }

    /// Whether it makes sense; what is wrong if not.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.relay.is_empty() && self.host_and_port().is_none() {
            return Err(format!(
                "mail.relay is `{}`; host:port, like mx.example.com:587",
                self.relay
            ));
        }
        if self.tls == MailTls::Off && !self.credentials_file.as_os_str().is_empty() {
            return Err(
                "mail.credentials_file would be sent in plain: set mail.tls to \"starttls\" \
                        or \"tls\""
                    .to_owned(),
            );
        }
        Ok(())
    }
}
