//! Every route, and what is answered where there is none.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use metrics::counter;
use rotary_proto::limits::HTTP_HEADER_BYTES_MAX;
use rotary_proto::{DispositionId, ReasonId, SkillId};

use crate::gateway::conversations::{Abandon, Close, Hold, Retrieve, perform};
use crate::gateway::doors::Doors;
use crate::gateway::login::CameFrom;
use crate::gateway::problem::Problem;
use crate::gateway::routes::Routes;
use crate::gateway::sites::{list_names, put_name};
use crate::gateway::{
    agents, api_keys, bots, closed, cluster, conversations, events, health, login, offers, queues,
    runbook, session, sites, tenants, tokens, users, webhooks,
};
use crate::telemetry::names;

/// The doors of a node.
pub(crate) fn router(doors: Doors) -> Router {
    routes()
        .into_router()
        .fallback(nothing_here)
        .method_not_allowed_fallback(another_method)
        .layer(middleware::from_fn_with_state(doors.clone(), observe))
        .with_state(doors)
}

/// Every route. `docs/api/routes.txt` lists them, and a test tries each with credentials that must
/// not do there (`node/tests/isolation.rs`).
fn routes() -> Routes {
    Routes::new()
        .merge(status_page())
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/runbook/{code}", get(runbook::show))
        .nest("/v1", cluster_routes().merge(site_routes()).merge(conversation_routes()))
}

fn cluster_routes() -> Routes {
    Routes::new()
        .route("/cluster", get(cluster::show))
        .route("/tenants", get(tenants::list).post(tenants::create))
        .route("/sites", get(sites::list).post(sites::create))
        .route("/tokens", post(tokens::create))
        .route("/api-keys", get(api_keys::list).post(api_keys::create))
        .route("/api-keys/{key}", delete(api_keys::revoke))
        .route("/users", get(users::list).post(users::create))
        .route("/users/{user}/password", put(users::set_password))
        .route("/users/{user}/disabled", put(users::set_disabled))
        .route("/login", post(login::login))
        .route("/session", get(session::upgrade))
}

fn site_routes() -> Routes {
    let routes = Routes::new()
        .route("/", get(sites::show))
        .route("/settings", put(sites::put))
        .route("/skills", get(list_names::<SkillId>))
        .route("/skills/{skill}", put(put_name::<SkillId>))
        .route("/reasons", get(list_names::<ReasonId>))
        .route("/reasons/{reason}", put(put_name::<ReasonId>))
        .route("/dispositions", get(list_names::<DispositionId>))
        .route("/dispositions/{disposition}", put(put_name::<DispositionId>))
        .route("/queues", get(queues::list))
        .route("/queues/{queue}", get(queues::show).put(queues::put))
        .route("/queues/{queue}/bot", put(bots::put))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/{webhook}", put(webhooks::put))
        .route("/effects", get(webhooks::effects))
        .route("/agents", get(agents::list))
        .route("/agents/{agent}", get(agents::show).put(agents::put))
        .route("/agents/{agent}/state", put(agents::declare))
        .route("/conversations", get(conversations::list).post(conversations::open))
        .route("/events", get(events::list));
    Routes::new().nest("/sites/{site}", routes)
}

fn conversation_routes() -> Routes {
    let routes = Routes::new()
        .route("/", get(conversations::show))
        .route("/messages", get(events::messages).post(conversations::post))
        .route("/trace", get(events::trace))
        .route("/offers/{offer}/accept", post(offers::accept))
        .route("/offers/{offer}/decline", post(offers::decline))
        .route("/hold", post(perform::<Hold>))
        .route("/retrieve", post(perform::<Retrieve>))
        .route("/close", post(perform::<Close>))
        .route("/abandon", post(perform::<Abandon>))
        .route("/hand-over", post(bots::hand_over))
        .route("/requeue", post(conversations::requeue))
        .route("/wrap-up", post(conversations::wrap_up));
    Routes::new().route("/conversations", get(closed::list)).nest("/conversations/{id}", routes)
}

/// The status page: files of `ui/status`, carried in the binary.
fn status_page() -> Routes {
    let file = |media: &'static str, text: &'static str| {
        get(move || async move {
            let policy = "default-src 'self'; frame-ancestors 'none'";
            ([(CONTENT_TYPE, media), (CONTENT_SECURITY_POLICY, policy)], text)
        })
    };
    let html = include_str!("../../../ui/status/index.html");
    let style = include_str!("../../../ui/status/status.css");
    let script = include_str!("../../../ui/status/status.js");
    let words = include_str!("../../../ui/status/words.js");
    Routes::new()
        .route("/", file("text/html; charset=utf-8", html))
        .route("/status.css", file("text/css; charset=utf-8", style))
        .route("/status.js", file("text/javascript; charset=utf-8", script))
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/words.js", file("text/javascript; charset=utf-8", words))
}

async fn nothing_here(request: Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}

async fn another_method(method: Method) -> Problem {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(status, "method-not-allowed", format!("{method} is not for this route"))
}

/// The method as a label: a client may make up any number of others.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Whether somebody is heard at all: one address has only so many bad credentials, and one request
/// only so many bytes of headers.
fn admit(doors: &Doors, address: IpAddr, request: &Request) -> Result<(), Problem> {
    doors.logins.listen_to(address)?;
    let headers = request.headers().iter();
    let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if headers + target > HTTP_HEADER_BYTES_MAX {
        let detail = format!("address and headers have at most {HTTP_HEADER_BYTES_MAX} bytes");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "too-large", detail));
    }
    Ok(())
}

/// Admits and counts, and turns what the framework itself refuses into problems.
async fn observe(
    State(doors): State<Doors>,
    CameFrom(address): CameFrom,
    request: Request,
    next: Next,
) -> Response {
    let method = method_word(request.method());
    let response = match admit(&doors, address, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let status = response.status();
    if status == StatusCode::UNAUTHORIZED {
        doors.logins.note_stranger(address);
    }
    counter!(names::HTTP_REQUESTS, "method" => method, "status" => status.as_str().to_owned())
        .increment(1);
    let media = response.headers().get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    let is_ours = media.is_some_and(|media| media.starts_with("application/problem+json"));
    if is_ours || status == StatusCode::SERVICE_UNAVAILABLE {
        return response;
    }
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let detail = "another method is for this route; see the Allow header";
            let problem = Problem::new(status, "method-not-allowed", detail);
            let allow = response.headers().get(axum::http::header::ALLOW).cloned();
            let mut problem = problem.into_response();
            if let Some(allow) = allow {
                problem.headers_mut().insert(axum::http::header::ALLOW, allow);
            }
            problem
        }
        StatusCode::UPGRADE_REQUIRED | StatusCode::BAD_REQUEST => {
            Problem::malformed("this is a WebSocket's address; upgrade with sub-protocol rotary.v1")
                .into_response()
        }
        _ => response,
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
