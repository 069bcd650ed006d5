//! What each route is tried with, and who is refused there how.

use serde_json::{Value, json};

use crate::house::{CUSTOMER, House};

/// How an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A refusal with that status and code.
    No(u16, &'static str),
    /// A yes that tells nothing of the house that is tried.
    Empty,
}

/// What happens at a route to those who are somebody, but not here.
pub(crate) struct Case {
    /// What is sent.
    pub(crate) body: Value,
    /// To an administrator of another tenant.
    pub(crate) other_tenant: Expected,
    /// To an administrator of another site of the tenant.
    pub(crate) other_site: Expected,
    /// To another customer of the site.
    pub(crate) customer: Expected,
    /// To a supervisor of the site, where they may not do what administrators may.
    pub(crate) supervisor: Option<Expected>,
    /// To another agent of the site.
    pub(crate) agent: Expected,
    /// To an agent of another tenant.
    pub(crate) other_agent: Expected,
}

use Expected::{Empty, No};

const NOT_ALLOWED: Expected = No(403, "not-allowed");
const NOT_YOURS: Expected = No(403, "not-yours");
const NOT_FOUND: Expected = No(404, "not-found");
const NOT_ASSIGNED: Expected = No(409, "not-assigned");

/// A route below a site, or of a conversation: whose site it is, decides.
fn of_site(body: Value, customer: Expected) -> Case {
    let (other_tenant, other_site) = (No(403, "other-tenant"), NOT_ALLOWED);
    // An agent of the site may no more than a customer of it, unless a route says otherwise.
    let (agent, other_agent) = (customer, other_tenant);
    Case { body, other_tenant, other_site, customer, supervisor: None, agent, other_agent }
}

/// The same, where administrators alone may.
fn set_up(body: Value) -> Case {
    Case { supervisor: Some(NOT_ALLOWED), ..of_site(body, NOT_ALLOWED) }
}

/// A list of which everybody who may see it gets what is theirs.
fn own_rows(supervisor: Option<Expected>) -> Case {
    let (customer, agent, other_agent) = (NOT_ALLOWED, NOT_ALLOWED, NOT_ALLOWED);
    let (other_tenant, other_site) = (Empty, Empty);
    Case { body: json!({}), other_tenant, other_site, customer, supervisor, agent, other_agent }
}

/// Routes that nobody needs a credential for, and that tell nothing of any tenant.
pub(crate) fn is_public(route: &str) -> bool {
    let open = ["GET /livez", "GET /metrics", "GET /readyz", "POST /v1/login"];
    // What it takes is in the body: the proof that follows from a join token.
    let proved = ["POST /v1/join-tokens/{token}/take"];
    // Their first frame has the credential.
    let sessions = ["GET /v1/session", "POST /v1/session/stream"];
    let page = ["GET /", "GET /favicon.ico", "GET /status.css", "GET /status.js", "GET /words.js"];
    let document = [
        "GET /docs",
        "GET /docs.css",
        "GET /docs.js",
        "GET /docs-words.js",
        "GET /v1/openapi.json",
    ];
    let documents = route.starts_with("GET /runbook/") || document.contains(&route);
    documents
        || proved.contains(&route)
        || open.contains(&route)
        || sessions.contains(&route)
        || page.contains(&route)
}

/// The route that takes the token of a session and no other credential. It is tried by itself.
pub(crate) fn is_of_sessions(route: &str) -> bool {
    route == "POST /v1/session/frames"
}

/// What a route is tried with.
///
/// # Panics
/// For a route that nobody has thought of: say here who is refused there how.
pub(crate) fn case(house: &House, route: &str) -> Case {
    let (method, path) = route.split_once(' ').expect("a method and a path");
    match path.strip_prefix("/v1/sites/{site}") {
        Some(below) => case_of_site(house, &format!("{method} {below}")),
        None => match path.strip_prefix("/v1/conversations/{id}") {
            Some(below) => case_of_conversation(&format!("{method} {below}")),
            None => case_of_cluster(house, route),
        },
    }
}

fn case_of_cluster(house: &House, route: &str) -> Case {
    let tenant = &house.tenant;
    match route {
        // It shows nodes and shards, and of sites how many there are in each.
        "GET /v1/cluster" | "GET /v1/cluster/votes" | "GET /v1/sites" => own_rows(None),
        "DELETE /v1/nodes/{node}" | "POST /v1/nodes/{node}/decommission" => of_nodes(),
        "GET /v1/shards/{shard}/backup" | "GET /v1/shards/{shard}/entries" => of_nodes(),
        "GET /v1/debug" | "GET /v1/backups" => of_nodes(),
        // Administrators of another tenant read what their own people did.
        "GET /v1/audit" => Case { other_tenant: Empty, other_site: NOT_ALLOWED, ..of_nodes() },
        "PUT /v1/cluster/shards" => of_nodes().with(json!({"shards": 9})),
        "PUT /v1/cluster/votes" => of_nodes().with(json!({"count": 1})),
        "GET /v1/upgrade" => own_rows(None),
        "PUT /v1/upgrade" => of_nodes().with(json!({"version": 2})),
        "DELETE /v1/upgrade" => of_nodes(),
        "GET /v1/join-tokens" | "DELETE /v1/join-tokens/{token}" => of_nodes(),
        "POST /v1/join-tokens" => of_nodes().with(json!({"node": "nd_9", "kind": "core",
            "proof": "A".repeat(43), "sealed": "AAAA"})),
        "PUT /v1/nodes/{node}/drain" => of_nodes().with(json!({"drains": true})),
        "PUT /v1/nodes/{node}/vote" => of_nodes().with(json!({"votes": false})),
        "POST /v1/nodes" => of_nodes()
            .with(json!({"node": "nd_9", "peer": "127.0.0.1:1", "url": "http://127.0.0.1:2"})),
        // The tenant itself is no secret to an administrator of one of its sites.
        "GET /v1/tenants" => Case { other_site: Empty, ..own_rows(None) },
        "POST /v1/tenants" => Case {
            other_tenant: NOT_ALLOWED,
            other_site: NOT_ALLOWED,
            supervisor: Some(NOT_ALLOWED),
            ..own_rows(None)
        }
        .with(json!({"name": "intruder"})),
        "POST /v1/sites" => Case {
            other_tenant: No(403, "other-tenant"),
            other_agent: No(403, "other-tenant"),
            other_site: NOT_ALLOWED,
            supervisor: Some(NOT_ALLOWED),
            ..own_rows(None)
        }
        .with(json!({"tenant": tenant, "settings": {"name": "intruder"}})),
        "POST /v1/tokens" => {
            let body = json!({"role": "administrator", "tenant": tenant, "ttl_s": 60});
            granting(body)
        }
        "POST /v1/api-keys" => {
            granting(json!({"name": "intruder", "role": "administrator", "tenant": tenant}))
        }
        "POST /v1/users" => granting(json!({"login": "intruder", "role": "administrator",
            "password": "long enough", "tenant": tenant})),
        "GET /v1/api-keys" | "GET /v1/users" => own_rows(Some(NOT_ALLOWED)),
        "DELETE /v1/api-keys/{key}" => handling(json!({})),
        "PUT /v1/users/{user}/disabled" => handling(json!({"disabled": true})),
        "PUT /v1/users/{user}/password" => handling(json!({"password": "long enough"})),
        "GET /v1/conversations" => of_site(json!({}), Empty),
        _ => panic!("{route}: nobody has said in node/tests/isolation/cases.rs who is refused"),
    }
}

/// Changing the list of nodes, which only administrators of the whole cluster do.
fn of_nodes() -> Case {
    let no = NOT_ALLOWED;
    Case { other_tenant: no, other_site: no, supervisor: Some(no), ..own_rows(None) }
}

/// Giving somebody what the asker has not.
fn granting(body: Value) -> Case {
    let (other_tenant, other_site) = (No(403, "other-tenant"), NOT_ALLOWED);
    Case { body, other_tenant, other_site, ..own_rows(Some(NOT_ALLOWED)) }
}

/// Changing a credential, which is not there for those whose it is not.
fn handling(body: Value) -> Case {
    let (other_tenant, other_site) = (NOT_FOUND, NOT_FOUND);
    Case { body, other_tenant, other_site, ..own_rows(Some(NOT_ALLOWED)) }
}

impl Case {
    fn with(self, body: Value) -> Self {
        Self { body, ..self }
    }
}

fn case_of_site(house: &House, route: &str) -> Case {
    let named = || set_up(json!({"name": "intruder"}));
    match route {
        "GET "
        | "GET /queues"
        | "GET /queues/{queue}"
        | "GET /agents"
        | "GET /agents/{agent}"
        | "GET /webhooks"
        | "GET /effects" => of_site(json!({}), NOT_ALLOWED),
        // Names are for everybody in the site, a customer's own conversations and events for them.
        "GET /events" | "GET /skills" | "GET /reasons" | "GET /dispositions" => {
            of_site(json!({}), Empty)
        }
        // An agent's own come to their session.
        "GET /conversations" => Case { agent: NOT_ALLOWED, ..of_site(json!({}), Empty) },
        // A customer of the site may bring a file for a conversation of their own.
        "POST /blobs" => of_site(json!({}), Empty),
        "PUT /shard" => of_nodes().with(json!({"shard": "sh_1"})),
        "DELETE /shard" => of_nodes(),
        "PUT /settings"
        | "PUT /skills/{skill}"
        | "PUT /reasons/{reason}"
        | "PUT /dispositions/{disposition}"
        | "PUT /queues/{queue}" => named(),
        "PUT /agents/{agent}" => set_up(json!({"name": {"text": "intruder"}})),
        "PUT /queues/{queue}/bot" => set_up(json!({"plan": {"url": "https://intruder.example"}})),
        "PUT /webhooks/{webhook}" => set_up(json!({"plan": {"name": "intruder",
            "url": "https://intruder.example", "topics": ["conversation.opened"],
            "give_up_ms": 60_000, "enabled": true}})),
        "PUT /agents/{agent}/state" => {
            Case { agent: NOT_YOURS, ..of_site(json!({"declared": "ready"}), NOT_ALLOWED) }
        }
        "POST /conversations" => {
            let body = json!({"queue": "qu_1", "channel": "chat", "customer": CUSTOMER});
            Case { agent: NOT_ALLOWED, ..of_site(body, NOT_YOURS) }
        }
        _ => panic!(
            "{route} of a site {}: say in node/tests/isolation/cases.rs who is refused",
            house.site
        ),
    }
}

fn case_of_conversation(route: &str) -> Case {
    let of = |customer, agent| Case { agent, ..of_site(json!({}), customer) };
    match route {
        // Who waits in a queue is no secret to agents of the site; what was said is.
        "GET " => of(NOT_YOURS, Empty),
        "GET /messages" | "GET /attachments/{blob}" => of(NOT_YOURS, NOT_YOURS),
        "POST /hand-over" | "POST /abandon" => of(NOT_YOURS, NOT_ALLOWED),
        "POST /messages" => {
            let item = json!({"id": format!("it_{:032x}", 9), "body": {"text": {"text": "hello"}}});
            of(NOT_YOURS, NOT_ASSIGNED).with(json!({"item": item}))
        }
        "GET /trace" => of(NOT_ALLOWED, NOT_ALLOWED),
        "POST /close" | "POST /hold" | "POST /retrieve" | "POST /requeue" => {
            of(NOT_ALLOWED, NOT_ASSIGNED)
        }
        "POST /wrap-up" => of(NOT_ALLOWED, No(409, "not-in-wrap-up")),
        "POST /offers/{offer}/accept" | "POST /offers/{offer}/decline" => {
            of(NOT_ALLOWED, No(409, "offer-gone"))
        }
        _ => {
            panic!("{route} of a conversation: say in node/tests/isolation/cases.rs who is refused")
        }
    }
}
