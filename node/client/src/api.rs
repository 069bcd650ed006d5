//! Requests over HTTP, retried until their outcome is known.
//!
//! The rules, in the order of their application:
//!
//! 1. No connection: certainly not done. The next gateway is tried.
//! 2. No answer, or an answer that says *unknown*: it is sent again under the same key. From there
//!    on only an acknowledgement or a refusal *from the log* ends the doubt; a door's refusal of
//!    the retry says nothing about the first attempt.
//! 3. *Definite* and worth waiting for (503, 429): it is sent again after a while, and not before
//!    the time that the answer names.
//! 4. Anything else is the answer.
//!
//! What was acknowledged is seen by every later read, through whichever gateway: a read names it,
//! and a gateway that has not applied as far waits, or says that another should be asked.
//!
//! What is sent again has a budget: where it is spent, the last answer stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use rotary_proto::{Position, RequestId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::gateway::Gateway;
use crate::http::{Answer, Http, HttpError, Outgoing};
use crate::network::Network;
use crate::retry::{Failed, Retries, RetryBudget};
use crate::trust::Trust;
use crate::written::Written;

/// How long an attempt at a connection may take.
const CONNECT: Duration = Duration::from_millis(500);

/// The longest wait that is asked for and believed.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long to try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For one attempt.
    pub attempt: Duration,
    /// For all attempts of one request.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(3), total: Duration::from_secs(30) }
    }
}

/// A definite yes.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    /// Where in which log it was decided; absent for what no log decided.
    pub position: Option<Position>,
    /// Whether this is the kept answer to an earlier attempt.
    pub repeated: bool,
    /// The body.
    pub body: Bytes,
}

impl Acknowledged {
    /// The body as `T`.
    ///
    /// # Errors
    /// [`ApiError::Unreadable`] for another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.body).map_err(|error| ApiError::Unreadable(error.to_string()))
    }
}

/// A definite no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The stable word.
    pub code: String,
    /// For people.
    pub detail: String,
    /// Where the log refused it; none where a door did, and no log knows of it.
    pub position: Option<Position>,
}

impl Refused {
    /// Nothing was asked of any gateway.
    fn unsent(code: &str, detail: String) -> Self {
        Self { status: 0, code: code.to_owned(), detail, position: None }
    }
}

/// How a request that changes something ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was done.
    Acknowledged(Acknowledged),
    /// It was certainly not done.
    Refused(Refused),
    /// Nobody knows. The same key may be sent again later.
    Unknown(String),
}

impl Outcome {
    /// The acknowledgement, for callers that need one.
    ///
    /// # Errors
    /// [`ApiError`] for the two other ends.
    pub fn acknowledged(self) -> Result<Acknowledged, ApiError> {
        match self {
            Self::Acknowledged(acknowledged) => Ok(acknowledged),
            Self::Refused(refused) => Err(ApiError::Refused(refused)),
            Self::Unknown(detail) => Err(ApiError::Unknown(detail)),
        }
    }
}

/// Why there is no answer to read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// A definite no.
    #[error("{}: {}", .0.code, .0.detail)]
    Refused(Refused),
    /// Nobody knows.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The answer has another shape than it should.
    #[error("an answer that cannot be read: {0}")]
    Unreadable(String),
    /// No gateway answered a reading request in time.
    #[error("no gateway answered: {0}")]
    Unreachable(String),
}

/// The problem document of a failed request (RFC 9457).
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    detail: String,
    outcome: String,
    retry_after_ms: Option<u64>,
}

/// Every gateway, as one credential sees it. Clones share connections, and read what any of them
/// has written.
#[derive(Clone)]
pub struct Api {
    http: Http,
    gateways: Arc<[Gateway]>,
    next: Arc<AtomicUsize>,
    token: Arc<str>,
    patience: Patience,
    written: Written,
    budget: RetryBudget,
}

/// What one attempt came to.
enum Attempt {
    Settled(Outcome),
    /// Certainly not done; the wait that was asked for.
    NotDone(Refused, Failed),
    /// Perhaps done.
    Doubt(String),
}

impl Api {
    /// Speaks to `gateways` with `token`.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] for an empty list.
    pub fn new(gateways: Vec<Gateway>, token: &str, patience: Patience) -> Result<Self, ApiError> {
        if gateways.is_empty() {
            return Err(ApiError::Unreachable("the list of gateways is empty".to_owned()));
        }
        let http = Http::new(CONNECT, &Trust::default(), &Network::Tcp);
        let next = Arc::new(AtomicUsize::new(0));
        let (gateways, token, written) = (gateways.into(), token.into(), Written::default());
        let budget = RetryBudget::of_requests();
        Ok(Self { http, gateways, next, token, patience, written, budget })
    }

    /// The same gateways and connections, with another credential and a budget of its own for what
    /// is sent again.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.into(), budget: RetryBudget::of_requests(), ..self.clone() }
    }

    /// The same gateways, as far as they are whom `trust` believes; connections are made anew.
    #[must_use]
    pub fn trusting(&self, trust: &Trust) -> Self {
        Self { http: Http::new(CONNECT, trust, &Network::Tcp), ..self.clone() }
    }

    /// The same gateways, reached over another network; connections are made anew.
    #[must_use]
    pub fn over(&self, network: &Network) -> Self {
        Self { http: Http::new(CONNECT, &Trust::default(), network), ..self.clone() }
    }

    /// One gateway only, with the same connections.
    #[must_use]
    pub fn only(&self, gateway: &Gateway) -> Self {
        Self { gateways: Arc::from([gateway.clone()]), ..self.clone() }
    }

    /// Some of these gateways, with the same connections; all of them if none is chosen.
    #[must_use]
    pub fn among(&self, chosen: impl Fn(&Gateway) -> bool) -> Self {
        let gateways: Vec<Gateway> = self.gateways.iter().filter(|g| chosen(g)).cloned().collect();
        if gateways.is_empty() {
            return self.clone();
        }
        Self { gateways: gateways.into(), ..self.clone() }
    }

    /// The same, with other patience.
    #[must_use]
    pub fn patient(&self, patience: Patience) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The gateways.
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// A key for one request that changes something.
    pub fn key() -> RequestId {
        RequestId(crate::unique())
    }

    /// Asks for a change under a new key.
    pub async fn change<B: Serialize>(&self, method: Method, path: &str, body: &B) -> Outcome {
        self.change_as(Self::key(), method, path, body).await
    }

    /// Asks for a change under `key`, which may have been sent before.
    pub async fn change_as<B: Serialize>(
        &self,
        key: RequestId,
        method: Method,
        path: &str,
        body: &B,
    ) -> Outcome {
        let body = match serde_json::to_vec(body) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                return Outcome::Refused(Refused::unsent("malformed", error.to_string()));
            }
        };
        let key = uuid::Uuid::from_u128(key.0).to_string();
        let request =
            Outgoing { method, path, token: &self.token, key: Some(&key), min_index: None, body };
        let outcome = self.settle(request).await;
        if let Outcome::Acknowledged(Acknowledged { position: Some(position), .. }) = &outcome {
            self.written.note(*position);
        }
        outcome
    }

    async fn settle(&self, request: Outgoing<'_>) -> Outcome {
        let mut retries = Retries::within(self.patience.total, &self.budget);
        let mut doubt: Option<String> = None;
        let mut place = self.next.load(Ordering::Relaxed);
        loop {
            let gateway = &self.gateways[place % self.gateways.len()];
            let answer = self.http.send(gateway, request.clone(), self.patience.attempt).await;
            let (failed, refused) = match judge(answer, doubt.is_some()) {
                Attempt::Settled(outcome) => {
                    self.budget.earn();
                    return outcome;
                }
                Attempt::NotDone(refused, failed) => (failed, Some(refused)),
                Attempt::Doubt(detail) => {
                    doubt = Some(detail);
                    (Failed::Reached(None), None)
                }
            };
            place = self.turn_from(place);
            if !retries.wait(failed).await {
                return match (doubt, refused) {
                    (None, Some(refused)) => Outcome::Refused(refused),
                    (doubt, _) => Outcome::Unknown(doubt.unwrap_or_default()),
                };
            }
        }
    }

    /// Moves on from a gateway that failed, for this request and those to come.
    fn turn_from(&self, place: usize) -> usize {
        let next = place.wrapping_add(1);
        let _ = self.next.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
        next
    }

    /// Reads, from whichever gateway answers.
    ///
    /// # Errors
    /// [`ApiError`] if it is refused, cannot be read, or nobody answers in time.
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let answer = self.fetch(path).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| ApiError::Unreadable(format!("{path}: {error}")))
    }

    /// Reads, and gives the whole answer.
    ///
    /// # Errors
    /// [`ApiError`] if it is refused or nobody answers in time.
    pub async fn fetch(&self, path: &str) -> Result<Answer, ApiError> {
        let mut retries = Retries::within(self.patience.total, &self.budget);
        let mut place = self.next.load(Ordering::Relaxed);
        let written = self.written.text();
        loop {
            let gateway = &self.gateways[place % self.gateways.len()];
            let request = Outgoing {
                method: Method::GET,
                path,
                token: &self.token,
                key: None,
                min_index: written.as_deref(),
                body: Bytes::new(),
            };
            let answer = self.http.send(gateway, request, self.patience.attempt).await;
            let (why, failed) = match answer {
                Ok(answer) if answer.status.is_success() => {
                    self.budget.earn();
                    return Ok(answer);
                }
                Ok(answer)
                    if answer.status.is_server_error()
                        || answer.status == StatusCode::TOO_MANY_REQUESTS =>
                {
                    (problem(&answer).detail, Failed::Reached(asked_wait(&answer)))
                }
                Ok(answer) => return Err(ApiError::Refused(refused(&answer))),
                Err(error @ HttpError::Connect { .. }) => (error.to_string(), Failed::Unreached),
                Err(error) => (error.to_string(), Failed::Reached(None)),
            };
            place = self.turn_from(place);
            if !retries.wait(failed).await {
                return Err(ApiError::Unreachable(format!("{path}: {why}")));
            }
        }
    }
}

/// What an attempt came to, given whether an earlier one of the same key is in doubt.
fn judge(answer: Result<Answer, HttpError>, in_doubt: bool) -> Attempt {
    let answer = match answer {
        Ok(answer) => answer,
        Err(HttpError::Connect { gateway, cause }) => {
            let refused = Refused::unsent("unreachable", format!("{gateway}: {cause}"));
            return Attempt::NotDone(refused, Failed::Unreached);
        }
        Err(HttpError::Malformed(detail)) => {
            return Attempt::Settled(Outcome::Refused(Refused::unsent("malformed", detail)));
        }
        Err(error @ HttpError::Broken { .. }) => return Attempt::Doubt(error.to_string()),
    };
    if answer.status.is_success() {
        let position = position(&answer);
        let repeated = answer.header("rotary-repeated") == Some("true");
        let body = answer.body;
        return Attempt::Settled(Outcome::Acknowledged(Acknowledged { position, repeated, body }));
    }
    let problem = problem(&answer);
    let refused = refused(&answer);
    // What no log decided says nothing of an attempt before, which may have been done.
    let at_the_door = answer.header("rotary-index").is_none();
    let waits = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS];
    if problem.outcome == "unknown" || (problem.code.is_empty() && answer.status.is_server_error())
    {
        Attempt::Doubt(format!("{}: {}", refused.code, refused.detail))
    } else if waits.contains(&answer.status) && refused.code != "limit-reached" {
        Attempt::NotDone(refused, Failed::Reached(asked_wait(&answer)))
    } else if refused.code == "outcome-forgotten" || (in_doubt && at_the_door) {
        Attempt::Settled(Outcome::Unknown(format!("{}: {}", refused.code, refused.detail)))
    } else {
        Attempt::Settled(Outcome::Refused(refused))
    }
}

/// How long the answer asks to wait: to the millisecond in its body, or else to the second in its
/// header, as a proxy in between would say it.
fn asked_wait(answer: &Answer) -> Option<Duration> {
    let header = || answer.header("retry-after")?.trim().parse().ok().map(Duration::from_secs);
    let wait = problem(answer).retry_after_ms.map(Duration::from_millis).or_else(header);
    wait.map(|wait| wait.min(WAIT_MAX))
}

fn position(answer: &Answer) -> Option<Position> {
    answer.header("rotary-index").and_then(|text| text.parse().ok())
}

fn problem(answer: &Answer) -> Problem {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn refused(answer: &Answer) -> Refused {
    let problem = problem(answer);
    let status = answer.status.as_u16();
    let code = if problem.code.is_empty() { format!("http-{status}") } else { problem.code };
    Refused { status, code, detail: problem.detail, position: position(answer) }
}

#[cfg(test)]
#[path = "api_tests.rs"]
mod tests;
