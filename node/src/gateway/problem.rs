//! How a door says no: `application/problem+json` (RFC 9457), one shape for every error.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use rotary_directory::DirectoryRefusal;
use rotary_proto::outcome::Position;
use rotary_proto::{Refusal, RequestId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admission::{Budget, Spent};
use crate::gateway::audit::RefusedWith;
use crate::gateway::token::TokenError;
use crate::runbook;
use crate::spine::SpineError;

/// A no, and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The stable word.
    pub(crate) code: &'static str,
    /// What was wrong and how to mend it.
    pub(crate) detail: String,
    /// Whether it may have been done all the same.
    pub(crate) unknown: bool,
    /// How long to wait, where waiting helps.
    pub(crate) retry_after_ms: Option<u64>,
    /// What the log said of it, and under which key.
    told: Option<Box<Told>>,
}

/// After how long it is worth asking again for a site that is on its way.
const AWAY_AFTER_MS: u64 = 500;

/// What the headers of an answer to a change say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Where in which log it was decided, if a log decided it.
    pub(crate) position: Option<Position>,
    /// The request's key, to send it again under.
    pub(crate) key: Option<RequestId>,
    /// Whether this is the kept answer to an earlier attempt.
    pub(crate) repeated: bool,
}

/// A problem as it is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemJson<'a> {
    /// The page of the code, on any node.
    r#type: String,
    /// The code, for people.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What was wrong and how to mend it.
    detail: &'a str,
    /// The stable word.
    code: &'a str,
    /// Whether it was certainly not done, or may have been done all the same.
    #[schemars(extend("enum" = ["definite", "unknown"]))]
    outcome: &'static str,
    /// How long to wait, where waiting helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Problem {
    /// A definite no.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (unknown, retry_after_ms, told) = (false, None, None);
        Self { status, code, detail: detail.into(), unknown, retry_after_ms, told }
    }

    /// The key was used for something else before, and this is what came of that.
    pub(crate) fn other_request() -> Self {
        Self::malformed("this key belongs to another request")
    }

    /// A request that cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// A value that breaks its bound.
    pub(crate) fn bad_value(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-value", detail)
    }

    /// Something that is not there.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// Something that the asker's role does not allow.
    pub(crate) fn not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-allowed", detail)
    }

    /// Something of somebody else.
    pub(crate) fn not_yours(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "not-yours", detail)
    }

    /// Something that this node cannot do at present.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).after(200)
    }

    /// Something that may have been done: nobody heard.
    pub(crate) fn lost(detail: &str) -> Self {
        Self::from(SpineError::Unknown(detail.to_owned()))
    }

    /// No session can begin here.
    pub(crate) fn all_sessions() -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        let detail = "this gateway has all the sessions it can serve; use another";
        Self::new(status, "busy", detail).after(1_000)
    }

    /// Waiting that long helps.
    #[must_use]
    pub(crate) fn after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// It was decided there, under that key.
    #[must_use]
    pub(crate) fn decided(
        mut self,
        position: Position,
        key: Option<RequestId>,
        repeated: bool,
    ) -> Self {
        self.told = Some(Box::new(Told { position: Some(position), key, repeated }));
        self
    }

    /// It was asked under that key.
    #[must_use]
    pub(crate) fn under(mut self, key: Option<RequestId>) -> Self {
        self.told.get_or_insert_default().key = key;
        self
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.word(), error.to_string())
    }
}

impl From<SpineError> for Problem {
    fn from(error: SpineError) -> Self {
        let detail = error.to_string();
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match error {
            SpineError::NoLeader { .. } => Self::new(unavailable, "no-leader", detail).after(300),
            SpineError::NotApplied(_) => Self::unavailable(detail),
            SpineError::Busy { .. } => Self::new(unavailable, "overloaded", detail).after(200),
            SpineError::OverBudget(spent) => over_budget(spent, detail),
            SpineError::StorageFull(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage-full", detail).after(5_000)
            }
            SpineError::Attachment(lack) => lack.into(),
            SpineError::Unknown(_) => {
                let detail = format!("{detail}; send it again with the same Idempotency-Key");
                let problem = Self::new(unavailable, "outcome-unknown", detail);
                Self { unknown: true, ..problem.after(200) }
            }
        }
    }
}

/// A budget is spent: the shard's, or the asker's own.
fn over_budget(Spent { budget, after_ms }: Spent, detail: String) -> Problem {
    let (shards, own) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS);
    let problem = match budget {
        Budget::Shard => Problem::new(shards, "overloaded", detail),
        Budget::Tenant => Problem::new(own, "tenant-over-budget", detail),
        Budget::Caller => Problem::new(own, "caller-over-budget", detail),
    };
    problem.after(after_ms)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Malformed | Refusal::BadValue { .. } | Refusal::WrongSite => {
                StatusCode::BAD_REQUEST
            }
            Refusal::NotAllowed { .. } | Refusal::NotYours => StatusCode::FORBIDDEN,
            Refusal::SiteUnknown
            | Refusal::QueueUnknown
            | Refusal::AgentUnknown
            | Refusal::SkillUnknown
            | Refusal::ReasonUnknown
            | Refusal::DispositionUnknown
            | Refusal::ConversationUnknown => StatusCode::NOT_FOUND,
            Refusal::LimitReached { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::SiteAway { .. } => {
                return Self::unavailable(refusal.to_string()).after(AWAY_AFTER_MS);
            }
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, refusal.word(), refusal.to_string())
    }
}

impl From<DirectoryRefusal> for Problem {
    fn from(refusal: DirectoryRefusal) -> Self {
        let status = match &refusal {
            DirectoryRefusal::OutcomeForgotten => StatusCode::CONFLICT,
            DirectoryRefusal::NotFounded | DirectoryRefusal::ShardNotFounded { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            DirectoryRefusal::LoginTaken
            | DirectoryRefusal::KeepsReplicas { .. }
            | DirectoryRefusal::KeepsNoReplicas { .. }
            | DirectoryRefusal::NodeNumberUsed { .. }
            | DirectoryRefusal::LastVoter { .. }
            | DirectoryRefusal::LastServing { .. }
            | DirectoryRefusal::BuildUnfit { .. }
            | DirectoryRefusal::UpgradeBlocked { .. }
            | DirectoryRefusal::UpgradeFinal { .. }
            | DirectoryRefusal::SiteMoving { .. }
            | DirectoryRefusal::JoinTokenTaken { .. } => StatusCode::CONFLICT,
            DirectoryRefusal::JoinTokenOver { .. } => StatusCode::GONE,
            DirectoryRefusal::TenantUnknown
            | DirectoryRefusal::SiteUnknown
            | DirectoryRefusal::ApiKeyUnknown
            | DirectoryRefusal::UserUnknown
            | DirectoryRefusal::NodeUnknown
            | DirectoryRefusal::JoinTokenUnknown => StatusCode::NOT_FOUND,
            DirectoryRefusal::LimitReached { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, refusal.word(), refusal.to_string())
    }
}

/// What every answer to a change carries.
pub(crate) fn told_headers(response: &mut Response, told: Told) {
    let Told { position, key, repeated } = told;
    let headers = response.headers_mut();
    let value = |text: String| HeaderValue::from_str(&text).expect("ids are plain ASCII");
    if let Some(position) = position {
        headers.insert("rotary-index", value(position.to_string()));
    }
    if let Some(key) = key {
        let key = uuid::Uuid::from_u128(key.0).hyphenated().to_string();
        headers.insert("idempotency-key", value(key));
    }
    if repeated {
        headers.insert("rotary-repeated", HeaderValue::from_static("true"));
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        debug_assert!(runbook::find(self.code).is_some(), "{} has no page", self.code);
        let body = ProblemJson {
            r#type: runbook::place(self.code),
            title: self.code.replace('-', " "),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            outcome: if self.unknown { "unknown" } else { "definite" },
            retry_after_ms: self.retry_after_ms,
        };
        let json = serde_json::to_vec(&body).expect("a problem is plain data");
        let content = [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, content, json).into_response();
        if let Some(ms) = self.retry_after_ms {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if let Some(told) = self.told {
            told_headers(&mut response, *told);
        }
        response.extensions_mut().insert(RefusedWith(self.code));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_statuses_of_the_contract() {
        let status = |refusal| Problem::from(refusal).status.as_u16();
        assert_eq!(status(Refusal::WrongSite), 400);
        assert_eq!(status(Refusal::NotYours), 403);
        assert_eq!(status(Refusal::ConversationUnknown), 404);
        assert_eq!(status(Refusal::OfferGone { why: None }), 409);
        assert_eq!(status(Refusal::OutcomeForgotten), 409);
        assert_eq!(status(Refusal::LimitReached { limit: String::new() }), 429);
    }

    #[test]
    fn only_an_unknown_outcome_is_called_unknown() {
        let shard = rotary_proto::ShardId(1);
        let errors = [
            SpineError::NoLeader { shard },
            SpineError::NotApplied(String::new()),
            SpineError::Busy { shard },
            SpineError::OverBudget(Spent { budget: Budget::Shard, after_ms: 1 }),
            SpineError::Unknown(String::new()),
        ];
        let unknown: Vec<bool> = errors.map(|error| Problem::from(error).unknown).to_vec();
        assert_eq!(unknown, [false, false, false, false, true]);
    }

    #[test]
    fn a_spent_budget_is_the_shards_or_the_callers_own_and_says_when_to_come_again() {
        let of = |budget| {
            let problem = Problem::from(SpineError::OverBudget(Spent { budget, after_ms: 1_234 }));
            assert_eq!(problem.retry_after_ms, Some(1_234));
            (problem.status.as_u16(), problem.code)
        };
        assert_eq!(of(Budget::Shard), (503, "overloaded"));
        assert_eq!(of(Budget::Tenant), (429, "tenant-over-budget"));
        assert_eq!(of(Budget::Caller), (429, "caller-over-budget"));
    }
}
