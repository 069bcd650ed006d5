//! The page of a code, where the `type` of a problem points.

use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::gateway::problem::Problem;
use crate::runbook;

/// `GET /runbook/{code}`
pub(crate) async fn show(Path(code): Path<String>) -> Result<impl IntoResponse, Problem> {
    let page = runbook::find(&code).ok_or_else(|| {
        Problem::not_found("there is no such code; `rotary explain` lists every one")
    })?;
    Ok(([(CONTENT_TYPE, "text/markdown; charset=utf-8")], page.text()))
}
