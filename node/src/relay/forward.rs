//! Requests on their way to a core node.
//!
//! A request is read whole, bounded, and sent through a tunnel of its own; its answer streams back.
//! Uploads may be larger and are passed on as they come ([`upload`]).
//! When a core node is lost before it has answered, the request goes to another one if that cannot
//! do anything twice: it only reads, it replaces, or it carries its key. Otherwise nobody knows
//! what came of it, and that is what the client is told.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use metrics::counter;
use rotary_proto::NodeId;
use rotary_proto::limits::HTTP_BODY_BYTES_MAX;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::gateway::problem::Problem;
use crate::relay::{Relay, upload};
use crate::server::Address;
use crate::telemetry::names;

/// How long core nodes are tried.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Pause while there is none, and between attempts.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Headers that are about one connection and not about the request.
const OF_CONNECTION: [HeaderName; 3] = [CONNECTION, TRANSFER_ENCODING, UPGRADE];

/// Why a core node gave no answer.
enum Failure {
    /// It cannot have seen the request.
    NotSent(String),
    /// It may have acted on it.
    Unknown(String),
}

/// Passes a request on, and its answer back.
pub(super) async fn forward(
    State(relay): State<Relay>,
    ConnectInfo(Address(client)): ConnectInfo<Address>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if upload::is_upload(&parts) {
        clean(&mut parts.headers);
        parts.headers.entry(HOST).or_insert(HeaderValue::from_static("rotary"));
        return told(upload::pass_on(&relay, client, parts, body).await);
    }
    let Ok(body) = to_bytes(body, HTTP_BODY_BYTES_MAX).await else { return too_large() };
    clean(&mut parts.headers);
    parts.headers.entry(HOST).or_insert(HeaderValue::from_static("rotary"));
    told(pass_on(&relay, client, &parts, &body).await)
}

/// Counts what came of a request.
fn told(answer: Result<Response, Problem>) -> Response {
    let result = match &answer {
        Ok(_) => "answered",
        Err(problem) if problem.unknown => "unknown",
        Err(_) => "unavailable",
    };
    counter!(names::RELAY_REQUESTS, "result" => result).increment(1);
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// Says that a body is too long, or broke off.
pub(super) fn too_large() -> Response {
    let detail = format!("a body has at most {HTTP_BODY_BYTES_MAX} bytes, and comes whole");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail).into_response()
}

async fn pass_on(
    relay: &Relay,
    client: SocketAddr,
    parts: &Parts,
    body: &Bytes,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + PATIENCE;
    let (client_key, mut avoid) = (key_of(client, parts), None);
    loop {
        let why = match relay.cores.pick_for(client_key, avoid) {
            None => Failure::NotSent("no core node answers this gateway".to_owned()),
            Some(core) => match attempt(relay, core, client, parts, body).await {
                Ok(response) => return Ok(response),
                Err(failure) => {
                    avoid = Some(core);
                    failure
                }
            },
        };
        let again = Instant::now() + TRY_AGAIN < deadline;
        match why {
            Failure::NotSent(_) if again => {}
            Failure::Unknown(_) if again && is_repeatable(parts) => {}
            Failure::NotSent(detail) => return Err(Problem::unavailable(detail)),
            Failure::Unknown(detail) => return Err(Problem::lost(&detail)),
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Whose request it is, as far as that can be told from here: a credential's, or an address's.
pub(super) fn key_of(client: SocketAddr, parts: &Parts) -> u64 {
    match parts.headers.get(AUTHORIZATION) {
        Some(credential) => xxh3_64(credential.as_bytes()),
        None => xxh3_64(client.ip().to_string().as_bytes()),
    }
}

/// Whether a request does nothing more when it comes twice.
fn is_repeatable(parts: &Parts) -> bool {
    // What a session says is done once by its numbers, and who begins twice is served once.
    let of_session = parts.uri.path().starts_with("/v1/session/");
    of_session || parts.method != Method::POST || parts.headers.contains_key("idempotency-key")
}

async fn attempt(
    relay: &Relay,
    core: NodeId,
    client: SocketAddr,
    parts: &Parts,
    body: &Bytes,
) -> Result<Response, Failure> {
    let tunnel = relay.tunnel(core, client).await.map_err(Failure::NotSent)?;
    let not_sent = |error: hyper::Error| Failure::NotSent(error.to_string());
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(tunnel)).await;
    let (mut sender, connection) = shaken.map_err(not_sent)?;
    // It ends with the answer, or says there why not.
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.headers_mut() = parts.headers.clone();
    let answer = sender.send_request(request).await;
    let mut answer = answer.map_err(|error| Failure::Unknown(error.to_string()))?;
    clean(answer.headers_mut());
    Ok(answer.map(Body::new))
}

/// Removes what is about one connection only.
pub(super) fn clean(headers: &mut HeaderMap) {
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}
