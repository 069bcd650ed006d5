//! Every route, and what is answered where there is none.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use metrics::counter;
use rotary_proto::limits::HTTP_HEADER_BYTES_MAX;
use rotary_proto::{DispositionId, ReasonId, SkillId};

use crate::gateway::audit::{Attempt, RefusedWith};
use crate::gateway::conversations::{Abandon, Close, Hold, Retrieve, perform};
use crate::gateway::doors::Doors;
use crate::gateway::login::CameFrom;
use crate::gateway::openapi::Draft;
use crate::gateway::problem::Problem;
use crate::gateway::routes::{Routes, delete, get, post, put, text};
use crate::gateway::sites::{list_names, put_name};
use crate::gateway::{
    agents, api_keys, attachments, audit, backups, blobs, bots, closed, cluster, conversations,
    debug, events, health, joins, login, nodes, offers, openapi, pages, queues, runbook, session,
    shards, sites, tenants, tokens, upgrade, users, votes, webhooks,
};
use crate::telemetry::{names, trace};

const PLAIN: &str = "text/plain";

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
pub(crate) fn routes() -> Routes {
    let v1 = cluster_routes()
        .merge(node_routes())
        .merge(people_routes())
        .merge(Routes::new().nest("/sites/{site}", plan_routes().merge(site_routes())))
        .merge(conversation_routes());
    Routes::new().merge(pages::routes()).merge(health_routes()).nest("/v1", v1)
}

/// The door of those who run a node: nothing of the API of clients.
pub(crate) fn admin(doors: Doors) -> Router {
    use axum::routing;
    Router::new()
        .route("/livez", routing::get(health::livez))
        .route("/readyz", routing::get(health::readyz))
        .route("/metrics", routing::get(health::measured))
        .route("/debug", routing::get(debug::report))
        .route("/runbook/{code}", routing::get(runbook::show))
        .fallback(nothing_here)
        .with_state(doors)
}

fn health_routes() -> Routes {
    let not_ready = |draft: &mut Draft<'_>| draft.text(503, PLAIN, "Not ready, and why.");
    Routes::new()
        .route("/livez", text("live", "The process runs.", 200, PLAIN, health::livez))
        .route(
            "/readyz",
            text("ready", "This node serves.", 200, PLAIN, health::readyz).or(not_ready),
        )
        .route(
            "/metrics",
            text("metrics", "Measurements.", 200, PLAIN, health::metrics)
                .or(|draft| draft.refused(404, ["not-found"])),
        )
        .route(
            "/runbook/{code}",
            text("explain", "What a code means.", 200, "text/markdown", runbook::show)
                .or(|draft| draft.refused(404, ["not-found"])),
        )
}

fn cluster_routes() -> Routes {
    let session = "Begins or resumes a session of rotary.v1 (docs/api/session.md).";
    Routes::new()
        .route(
            "/openapi.json",
            text("describe", "This document.", 200, "application/json", openapi::show),
        )
        .route(
            "/cluster",
            get("show_cluster", "Nodes and shards as this node sees them.", cluster::show),
        )
        .route(
            "/cluster/votes",
            get("show_votes", "Votes by zone, and how they would be spread.", votes::show)
                .and(put("spread_votes", "Spreads the votes over the zones.", votes::spread)),
        )
        .route(
            "/cluster/shards",
            put("add_shards", "Has data shards made until there are so many.", shards::add),
        )
        .route(
            "/shards/{shard}/backup",
            get("back_up", "Everything that a shard is, as a file.", backups::show),
        )
        .route(
            "/shards/{shard}/entries",
            get("read_entries", "Entries of a shard's log, as a file.", backups::entries),
        )
        .route(
            "/backups",
            get("show_backups", "How the cluster's own backups are doing.", backups::standing),
        )
        .route("/audit", get("list_audit", "Who did what to the cluster.", audit::list))
        .route("/debug", get("debug", "What a node tells who looks for a fault.", debug::show))
        .route(
            "/tenants",
            get("list_tenants", "Tenants.", tenants::list).and(post(
                "create_tenant",
                "Makes a tenant.",
                tenants::create,
            )),
        )
        .route(
            "/sites",
            get("list_sites", "Sites, and the shards they are in.", sites::list).and(post(
                "create_site",
                "Makes a site.",
                sites::create,
            )),
        )
        .route(
            "/session",
            text("session", session, 101, "", session::upgrade)
                .or(|draft| draft.refused(400, ["malformed"])),
        )
        .route(
            "/session/stream",
            post("stream_session", "The same as a stream of server-sent events.", session::open)
                .or(|draft| {
                    draft.refused(429, ["busy"]);
                    draft.refused(503, ["unavailable"]);
                }),
        )
        .route(
            "/session/frames",
            post("post_frames", "What a session's client says, on any node.", session::post),
        )
}

/// Which nodes there are, and what they run.
fn node_routes() -> Routes {
    Routes::new()
        .route("/nodes", post("admit_node", "Takes in a core node.", nodes::admit))
        .route(
            "/nodes/{node}",
            delete("forget_node", "Forgets a node that is gone.", nodes::forget),
        )
        .route(
            "/nodes/{node}/decommission",
            post("decommission_node", "Lets a core node go.", nodes::decommission),
        )
        .route(
            "/nodes/{node}/drain",
            put("set_draining", "Has a node emptied, or lets it serve again.", nodes::drain),
        )
        .route(
            "/nodes/{node}/vote",
            put("set_vote", "Gives a core node a vote, or takes it away.", nodes::vote),
        )
        .route(
            "/join-tokens",
            get("list_join_tokens", "New nodes' folders that wait.", joins::list).and(
                post("create_join_token", "Has a new node's folder wait.", joins::create)
                    .or(joins::creation),
            ),
        )
        .route(
            "/join-tokens/{token}",
            delete("revoke_join_token", "Drops a new node's folder.", joins::revoke),
        )
        .route(
            "/join-tokens/{token}/take",
            post("take_join_token", "Gives a new node's folder to its machine.", joins::take)
                .or(joins::refusals),
        )
        .route(
            "/upgrade",
            get("show_upgrade", "Where an upgrade stands.", upgrade::show)
                .and(put(
                    "finalize_upgrade",
                    "Has the cluster act by another version of the logic.",
                    upgrade::finalize,
                ))
                .and(delete("abort_upgrade", "Takes that back.", upgrade::abort)),
        )
}

fn people_routes() -> Routes {
    Routes::new()
        .route("/login", post("login", "Signs a person in.", login::login).or(login::refusals))
        .route("/tokens", post("create_token", "Makes a token.", tokens::create))
        .route(
            "/api-keys",
            get("list_api_keys", "API keys, without secrets.", api_keys::list).and(post(
                "create_api_key",
                "Makes an API key.",
                api_keys::create,
            )),
        )
        .route("/api-keys/{key}", delete("revoke_api_key", "Revokes a key.", api_keys::revoke))
        .route(
            "/users",
            get("list_users", "People who sign in.", users::list).and(post(
                "create_user",
                "Makes a user.",
                users::create,
            )),
        )
        .route(
            "/users/{user}/password",
            put("set_password", "Sets a password.", users::set_password)
                .or(|draft| draft.refused(401, ["login-failed"])),
        )
        .route(
            "/users/{user}/disabled",
            put("set_disabled", "Shuts a user out, or lets them in.", users::set_disabled),
        )
}

/// What a site is made of.
fn plan_routes() -> Routes {
    Routes::new()
        .route("/", get("show_site", "A site at a glance.", sites::show))
        .route("/settings", put("put_settings", "Replaces a site's settings.", sites::put))
        .route(
            "/shard",
            put("move_site", "Has a site live in another shard.", sites::relocate).and(delete(
                "cancel_site_move",
                "Has a site stay where it is.",
                sites::stay,
            )),
        )
        .route("/skills", get("list_skills", "Skills.", list_names::<SkillId>))
        .route("/skills/{skill}", put("put_skill", "Names a skill.", put_name::<SkillId>))
        .route("/reasons", get("list_reasons", "Reasons for not ready.", list_names::<ReasonId>))
        .route("/reasons/{reason}", put("put_reason", "Names a reason.", put_name::<ReasonId>))
        .route(
            "/dispositions",
            get("list_dispositions", "How it may have gone.", list_names::<DispositionId>),
        )
        .route(
            "/dispositions/{disposition}",
            put("put_disposition", "Names a disposition.", put_name::<DispositionId>),
        )
        .route("/webhooks", get("list_webhooks", "Webhooks, without secrets.", webhooks::list))
        .route(
            "/webhooks/{webhook}",
            put("put_webhook", "Makes or replaces a webhook.", webhooks::put),
        )
}

fn site_routes() -> Routes {
    Routes::new()
        .route("/queues", get("list_queues", "Queues and what is in them.", queues::list))
        .route(
            "/queues/{queue}",
            get("show_queue", "A queue and what is in it.", queues::show).and(put(
                "put_queue",
                "Makes or replaces a queue.",
                queues::put,
            )),
        )
        .route(
            "/queues/{queue}/bot",
            put("put_bot", "Sets or removes the bot that serves before agents do.", bots::put),
        )
        .route("/effects", get("list_effects", "What waits to happen.", webhooks::effects))
        .route("/agents", get("list_agents", "Agents and what they do.", agents::list))
        .route(
            "/agents/{agent}",
            get("show_agent", "An agent and what they do.", agents::show).and(put(
                "put_agent",
                "Makes or replaces an agent.",
                agents::put,
            )),
        )
        .route(
            "/agents/{agent}/state",
            put("declare", "Says whether an agent wants conversations.", agents::declare),
        )
        .route(
            "/conversations",
            get("list_live", "Live conversations.", conversations::list).and(post(
                "open",
                "A customer arrives.",
                conversations::open,
            )),
        )
        .route("/blobs", post("upload", "Stores a file for a message.", blobs::upload))
        .route(
            "/events",
            get("list_events", "What happened.", events::list)
                .or(|draft| draft.refused(410, ["forgotten"])),
        )
}

fn conversation_routes() -> Routes {
    let routes = Routes::new()
        .route("/", get("show", "A conversation, live or over.", conversations::show))
        .route(
            "/messages",
            get("list_messages", "What was said.", events::messages).and(post(
                "post",
                "Adds a message or note.",
                conversations::post,
            )),
        )
        .route(
            "/attachments/{blob}",
            get("show_attachment", "A file that a message names.", attachments::show),
        )
        .route("/trace", get("trace", "Every event of a conversation.", events::trace))
        .route("/offers/{offer}/accept", post("accept", "Takes an offer.", offers::accept))
        .route("/offers/{offer}/decline", post("decline", "Turns it down.", offers::decline))
        .route("/hold", post("hold", "Puts the customer on hold.", perform::<Hold>))
        .route("/retrieve", post("retrieve", "Ends the hold.", perform::<Retrieve>))
        .route("/close", post("close", "Ends it for the agent.", perform::<Close>))
        .route("/abandon", post("abandon", "Ends it for the customer.", perform::<Abandon>))
        .route("/hand-over", post("hand_over", "From the bot to the queue.", bots::hand_over))
        .route("/requeue", post("requeue", "Back to a queue.", conversations::requeue))
        .route("/wrap-up", post("wrap_up", "Finishes it.", conversations::wrap_up));
    let over = get("list_closed", "Conversations that are over.", closed::list);
    Routes::new().route("/conversations", over).nest("/conversations/{id}", routes)
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
    let attempt = Attempt::of(&request, address);
    let response = match admit(&doors, address, &request) {
        Ok(()) => {
            let caller = request.headers().get("traceparent").cloned();
            let caller = caller.as_ref().and_then(|value| value.to_str().ok());
            trace::within(caller, next.run(request)).await
        }
        Err(problem) => problem.into_response(),
    };
    let status = response.status();
    if let (Some(attempt), Some(RefusedWith(code))) = (attempt, response.extensions().get()) {
        attempt.note_refused(&doors, status, code).await;
    }
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
