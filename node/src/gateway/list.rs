//! The shapes that questions and answers share: how fresh the state must be that is read, lists
//! with a next page, and what was decided.

use axum::Json as AxumJson;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::gateway::doors::Decided;
use crate::gateway::problem::{Problem, Told, told_headers};

/// Rows of a list unless the asker says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Most rows of a list.
const LIMIT_MAX: usize = 1_000;

/// A page of a list.
#[derive(Debug, Serialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Consistency {
    /// This node's replica as it is; it may be behind.
    #[default]
    Local,
    /// With everything that was acknowledged, by any node, before the question.
    Linearizable,
}

/// How to read what has nothing else to be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    #[serde(default)]
    pub(crate) consistency: Consistency,
}

/// Which page is wanted.
#[derive(Debug, Deserialize)]
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

impl<T> Decided<T> {
    /// The answer to a change.
    pub(crate) fn answer<B: Serialize>(
        self,
        status: StatusCode,
        body: impl FnOnce(T) -> B,
    ) -> Response {
        let mut response = (status, AxumJson(body(self.done))).into_response();
        let (key, repeated) = (self.key, self.repeated);
        told_headers(&mut response, Told { position: Some(self.position), key, repeated });
        response
    }
}

/// `{}`: there is nothing to say beside that it is done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}
