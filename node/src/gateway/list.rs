//! The shapes that questions and answers share: how fresh the state must be that is read, lists
//! with a next page, and what was decided.

use axum::Json as AxumJson;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::doors::Decided;
use crate::gateway::problem::{Problem, Told, told_headers};

/// Rows of a list unless the asker says otherwise.
pub(crate) const LIMIT_DEFAULT: usize = 100;
/// Most rows of a list.
pub(crate) const LIMIT_MAX: usize = 1_000;

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct Page<T, N = String> {
    pub(crate) data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<N>,
}

impl<T> Page<T> {
    /// A list that is whole.
    pub(crate) fn whole(data: Vec<T>) -> Self {
        Self { data, next: None }
    }
}

/// How fresh the state must be that an answer is read from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Consistency {
    /// This node's replica as it is; it may be behind.
    #[default]
    Local,
    /// With everything that was acknowledged, by any node, before the question.
    Linearizable,
}

/// How to read what has nothing else to be asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    #[serde(default)]
    pub(crate) consistency: Consistency,
}

/// Which page is wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    #[serde(default)]
    pub(crate) consistency: Consistency,
    pub(crate) after: Option<String>,
    pub(crate) limit: Option<usize>,
}

/// How many rows are wanted.
pub(crate) fn limit(wanted: Option<usize>) -> Result<usize, Problem> {
    match wanted.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        other => Err(Problem::bad_value(format!("limit: {other} is not within 1 to {LIMIT_MAX}"))),
    }
}

/// The answer to a change, and what the log said of it.
#[derive(Debug)]
pub(crate) struct Changed<B, const STATUS: u16 = 200> {
    body: B,
    told: Told,
}

/// The answer to a request that made something.
pub(crate) type Made<B> = Changed<B, 201>;

impl<B: Serialize, const STATUS: u16> IntoResponse for Changed<B, STATUS> {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(STATUS).expect("200 and 201 are statuses");
        let mut response = (status, AxumJson(self.body)).into_response();
        told_headers(&mut response, self.told);
        response
    }
}

impl<T> Decided<T> {
    /// The answer to a change.
    pub(crate) fn answer<B, const STATUS: u16>(
        self,
        body: impl FnOnce(T) -> B,
    ) -> Changed<B, STATUS> {
        let (key, repeated) = (self.key, self.repeated);
        let told = Told { position: Some(self.position), key, repeated };
        Changed { body: body(self.done), told }
    }
}

/// `{}`: there is nothing to say beside that it is done.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}
