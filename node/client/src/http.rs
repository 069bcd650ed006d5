//! One HTTP request to one gateway, and how it failed.
//!
//! The failure says what the caller must know: whether the request can have been executed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::gateway::Gateway;
use crate::network::{Dialler, Network};
use crate::trust::Trust;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An answer, whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// How a request failed to get an answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// It cannot have been executed: there was no connection to send it on.
    #[error("{gateway}: no connection: {cause}")]
    Connect {
        /// Which gateway.
        gateway: Gateway,
        /// What the socket said.
        cause: String,
    },
    /// It may have been executed.
    #[error("{gateway}: {cause}")]
    Broken {
        /// Which gateway.
        gateway: Gateway,
        /// What happened.
        cause: String,
    },
    /// It is not a request that can be sent.
    #[error("not a request: {0}")]
    Malformed(String),
}

/// A pool of kept-alive connections to every gateway.
#[derive(Clone)]
pub struct Http(Pool);

#[derive(Clone)]
enum Pool {
    Tcp(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    Other(Client<Dialler, Full<Bytes>>),
}

impl Http {
    /// A pool over `network` whose connection attempts end after `connect`, and that believes
    /// `trust`. Networks other than TCP carry neither TLS nor a limit of their own.
    pub fn new(connect: Duration, trust: &Trust, network: &Network) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(20));
        if let Network::Other(dial) = network {
            return Self(Pool::Other(builder.build(Dialler(dial.clone()))));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(trust.config()))
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self(Pool::Tcp(builder.build(connector)))
    }

    fn request(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        match &self.0 {
            Pool::Tcp(client) => client.request(request),
            Pool::Other(client) => client.request(request),
        }
    }

    /// Sends a request and reads its answer, within `limit`.
    ///
    /// # Errors
    /// [`HttpError::Connect`] if it was certainly not sent, [`HttpError::Broken`] if it may have
    /// been.
    pub async fn send(
        &self,
        gateway: &Gateway,
        request: Outgoing<'_>,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let request = request.build(gateway)?;
        let broken = |cause: String| HttpError::Broken { gateway: gateway.clone(), cause };
        match tokio::time::timeout(limit, self.exchange(gateway, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(broken(format!("no answer within {} ms", limit.as_millis()))),
        }
    }

    /// Sends a request whose answer goes on, and gives its status and its body once the first is
    /// there.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn open(
        &self,
        gateway: &Gateway,
        request: Outgoing<'_>,
    ) -> Result<(StatusCode, Incoming), HttpError> {
        let response = self.request(request.build(gateway)?).await;
        let response = response.map_err(|error| failed(gateway, &error))?;
        let (parts, body) = response.into_parts();
        Ok((parts.status, body))
    }

    async fn exchange(
        &self,
        gateway: &Gateway,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, HttpError> {
        let response = self.request(request).await;
        let response = response.map_err(|error| failed(gateway, &error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
            let too_large = error.downcast_ref::<LengthLimitError>().is_some();
            let cause =
                if too_large { "an answer too large".to_owned() } else { error.to_string() };
            HttpError::Broken { gateway: gateway.clone(), cause }
        })?;
        Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }
}

/// What to send.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    /// The method.
    pub method: Method,
    /// The path with its query, from the slash.
    pub path: &'a str,
    /// The bearer token.
    pub token: &'a str,
    /// The idempotency key, for what changes something.
    pub key: Option<&'a str>,
    /// What the gateway must have applied before it answers.
    pub min_index: Option<&'a str>,
    /// The body: JSON, or nothing.
    pub body: Bytes,
}

impl Outgoing<'_> {
    fn build(self, gateway: &Gateway) -> Result<Request<Full<Bytes>>, HttpError> {
        let mut builder = Request::builder().method(self.method).uri(gateway.url(self.path));
        if !self.token.is_empty() {
            let bearer = HeaderValue::try_from(format!("Bearer {}", self.token));
            let mut bearer = bearer.map_err(|error| HttpError::Malformed(error.to_string()))?;
            bearer.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, bearer);
        }
        if let Some(key) = self.key {
            builder = builder.header("idempotency-key", key);
        }
        if let Some(min_index) = self.min_index {
            builder = builder.header("rotary-min-index", min_index);
        }
        if !self.body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        builder.body(Full::new(self.body)).map_err(|error| HttpError::Malformed(error.to_string()))
    }
}

fn failed(gateway: &Gateway, error: &hyper_util::client::legacy::Error) -> HttpError {
    let (gateway, cause) = (gateway.clone(), chain(error));
    match error.is_connect() {
        true => HttpError::Connect { gateway, cause },
        false => HttpError::Broken { gateway, cause },
    }
}

/// An error with its causes, which is where a socket says what happened.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
