//! Posting a message to an endpoint, and what its answer means.
//!
//! An endpoint is whatever address a tenant's administrator wrote down. So redirects are not
//! followed, only a bot's answers are read, and addresses inside a network are not called unless
//! the operator allows it: else a webhook could be used to reach what only this machine reaches.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client as Carrier;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Body, Client, Request, Response, StatusCode, Url, redirect};
use rotary_client::Network;
use rotary_client::network::Dialler;
use rotary_proto::limits;
use rotary_proto::web::{Secret, WebUrl};

use crate::effects::message::Message;
use crate::gateway::token::unix_s;

/// What an endpoint may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// What a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Connections kept open to one host.
const IDLE_MAX: usize = 4;
/// The longest pause that an endpoint may ask for.
const AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Posts messages.
#[derive(Debug)]
pub(crate) struct Endpoint {
    client: Client,
    /// What posts in the client's place, over a network that is not TCP.
    other: Option<Carrier<Dialler, Body>>,
    allow_private: bool,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It took the message.
    Took { status: u16 },
    /// It wants this message no more.
    Gone { status: u16 },
    /// It did not take the message, or did not answer; later it may. It may have said when.
    Failed { status: Option<u16>, after: Option<Duration> },
}

/// What came of an attempt whose answer matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It took the message, and said this.
    Answered { status: u16, body: Vec<u8> },
    /// It took the message, and said more than may be said.
    TooLong { status: u16 },
    /// It did not take the message.
    Said(Said),
}

impl Endpoint {
    /// A client of the web over `network`; `allow_private` says whether addresses inside a network
    /// may be called. Networks other than TCP look names up themselves, and carry no TLS.
    pub(crate) fn new(allow_private: bool, network: &Network) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("Rotary/", env!("CARGO_PKG_VERSION")))
            .timeout(ANSWER_MAX)
            .connect_timeout(CONNECT_MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(IDLE_MAX)
            .dns_resolver(Arc::new(Resolver { allow_private }))
            .build()?;
        let other = match network {
            Network::Tcp => None,
            Network::Other(dial) => {
                let mut builder = Carrier::builder(TokioExecutor::new());
                builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(IDLE_MAX);
                Some(builder.build(Dialler(dial.clone())))
            }
        };
        Ok(Self { client, other, allow_private })
    }

    /// Posts a message once.
    pub(crate) async fn post(&self, url: &WebUrl, message: &Message, secret: &Secret) -> Said {
        match self.send(url, message, secret).await {
            Ok(response) => said(response.status(), response.headers().get(RETRY_AFTER)),
            Err(failed) => failed,
        }
    }

    /// Posts a message once, and reads what is answered where it is taken.
    pub(crate) async fn ask(&self, url: &WebUrl, message: &Message, secret: &Secret) -> Asked {
        let mut response = match self.send(url, message, secret).await {
            Ok(response) => response,
            Err(failed) => return Asked::Said(failed),
        };
        let said = said(response.status(), response.headers().get(RETRY_AFTER));
        let Said::Took { status } = said else { return Asked::Said(said) };
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() <= limits::HTTP_BODY_BYTES_MAX => {
                    body.extend_from_slice(&piece);
                }
                Ok(Some(_)) => return Asked::TooLong { status },
                Ok(None) => return Asked::Answered { status, body },
                Err(_) => return Asked::Said(Said::Failed { status: Some(status), after: None }),
            }
        }
    }

    async fn send(
        &self,
        url: &WebUrl,
        message: &Message,
        secret: &Secret,
    ) -> Result<Response, Said> {
        let failed = Said::Failed { status: None, after: None };
        let Ok(parsed) = Url::parse(url.as_str()) else { return Err(failed) };
        if !self.may_call(&parsed) {
            tracing::warn!(
                code = "endpoint-private", %url,
                "an address inside a network is not called"
            );
            return Err(failed);
        }
        let now = unix_s();
        let request = self
            .client
            .post(parsed)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", message.id.to_string())
            .header("webhook-timestamp", now)
            .header("webhook-signature", message.signature(secret, now))
            .body(message.body.clone())
            .build();
        let posted = match (request, &self.other) {
            (Err(error), _) => Err(error.without_url().to_string()),
            (Ok(request), None) => {
                let posted = self.client.execute(request).await;
                posted.map_err(|error| error.without_url().to_string())
            }
            (Ok(request), Some(other)) => carried(other, request).await,
        };
        posted.map_err(|error| {
            tracing::debug!(%url, error, "no answer from an endpoint");
            failed
        })
    }

    /// Whether the host, if it is an address, may be called; names are judged when they are
    /// looked up.
    fn may_call(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        self.allow_private || address.map_or(true, is_public)
    }
}

/// Posts over a network that is not TCP, within the same time.
async fn carried(carrier: &Carrier<Dialler, Body>, request: Request) -> Result<Response, String> {
    let request = hyper::Request::try_from(request).map_err(|error| error.to_string())?;
    match tokio::time::timeout(ANSWER_MAX, carrier.request(request)).await {
        Ok(Ok(response)) => Ok(response.map(Body::wrap).into()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

fn said(status: StatusCode, after: Option<&reqwest::header::HeaderValue>) -> Said {
    let number = status.as_u16();
    if status.is_success() {
        return Said::Took { status: number };
    }
    if status == StatusCode::GONE {
        return Said::Gone { status: number };
    }
    let seconds = after.and_then(|after| after.to_str().ok()?.parse::<u64>().ok());
    let after = seconds.map(|seconds| Duration::from_secs(seconds).min(AFTER_MAX));
    Said::Failed { status: Some(number), after }
}

/// Looks names up, and leaves addresses out that may not be called.
#[derive(Debug)]
struct Resolver {
    allow_private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let may: Vec<SocketAddr> =
                found.filter(|address| allow_private || is_public(address.ip())).collect();
            if may.is_empty() {
                let reason =
                    "the name has no address that may be called: see webhooks.allow_private";
                tracing::warn!(code = "endpoint-private", name = name.as_str(), reason);
                return Err(io::Error::other(reason).into());
            }
            let addresses: Addrs = Box::new(may.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether an address is one of the public internet, as far as IANA's special-purpose registries
/// go (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local();
            let nobody = v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast();
            !(special || nobody || shared || a == 0 || a >= 240)
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public(IpAddr::V4(v4)),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let nobody = v6.is_unspecified() || v6.is_loopback() || v6.is_multicast();
    !(nobody || v6.is_unique_local() || v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_a_network_are_told_from_public_ones() {
        let public = ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"];
        for address in public {
            assert!(is_public(address.parse().expect("an address")), "{address}");
        }
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
        ];
        for address in inside {
            assert!(!is_public(address.parse().expect("an address")), "{address}");
        }
    }

    #[test]
    fn only_what_is_allowed_is_called() {
        let over = |allow_private| Endpoint::new(allow_private, &Network::Tcp);
        let (strict, open) = (over(false), over(true));
        let (strict, open) = (strict.expect("a client"), open.expect("a client"));
        for (url, public) in [
            ("http://127.0.0.1:9/x", false),
            ("http://[::1]/", false),
            ("http://2130706433/", false),
            ("https://1.1.1.1/", true),
            ("https://example.com/", true),
        ] {
            let url = Url::parse(url).expect("an address");
            assert_eq!((strict.may_call(&url), open.may_call(&url)), (public, true), "{url}");
        }
    }

    #[test]
    fn an_answer_means_what_its_status_says() {
        let after = reqwest::header::HeaderValue::from_static("90");
        assert_eq!(said(StatusCode::NO_CONTENT, None), Said::Took { status: 204 });
        assert_eq!(said(StatusCode::GONE, None), Said::Gone { status: 410 });
        let busy = said(StatusCode::SERVICE_UNAVAILABLE, Some(&after));
        let seconds = Some(Duration::from_secs(90));
        assert_eq!(busy, Said::Failed { status: Some(503), after: seconds });
        let moved = said(StatusCode::MOVED_PERMANENTLY, None);
        assert_eq!(moved, Said::Failed { status: Some(301), after: None });
    }
}
