//! The pages that a browser shows: files of `ui/`, carried in the binary.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;

use crate::gateway::routes::{Methods, Routes, text};

/// Nothing of a page comes from elsewhere, and nobody else frames it.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The status page, and the page that shows the API's description.
pub(crate) fn routes() -> Routes {
    let icon = async || StatusCode::NO_CONTENT;
    Routes::new()
        .route("/", page("status_page", HTML, include_str!("../../../ui/status/index.html")))
        .route("/status.css", page("style", STYLE, include_str!("../../../ui/status/status.css")))
        .route("/status.js", page("script", SCRIPT, include_str!("../../../ui/status/status.js")))
        .route("/words.js", page("words", SCRIPT, include_str!("../../../ui/status/words.js")))
        .route("/favicon.ico", text("icon", "No icon.", 204, "", icon))
        .route("/docs", page("docs_page", HTML, include_str!("../../../ui/docs/index.html")))
        .route("/docs.css", page("docs_style", STYLE, include_str!("../../../ui/docs/docs.css")))
        .route(
            "/docs-words.js",
            page("docs_words", SCRIPT, include_str!("../../../ui/docs/docs-words.js")),
        )
        .route("/docs.js", page("docs_script", SCRIPT, include_str!("../../../ui/docs/docs.js")))
}

fn page(id: &'static str, media: &'static str, body: &'static str) -> Methods {
    let answer = async move || {
        ([(CONTENT_TYPE, media), (CONTENT_SECURITY_POLICY, POLICY)], body).into_response()
    };
    text(id, "A file of a page.", 200, media, answer)
}
