//! Who did what to the cluster: recorded by the directory, and read by its administrators.
//!
//! What the directory decides it records itself, with whoever asked ([`asked`]). What is done
//! elsewhere, or refused at the door, is noted from here ([`note`], [`note_refused`]): after the
//! fact, and as well as the directory can be reached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use rotary_directory::{
    Asked, AuditRecord, AuditTarget, Credential, DirectoryAnswer, DirectoryCommand, DirectoryEntry,
};
use rotary_proto::{ApiKeyId, NodeId, PrincipalId, ShardId, TenantId, UserId, Wall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::Doors;
use crate::gateway::extract::{Caller, Query, bearer};
use crate::gateway::identity::identify;
use crate::gateway::list::{Consistency, Page, limit};
use crate::gateway::problem::Problem;
use crate::gateway::throttle::Throttle;
use crate::gateway::token::{Claims, unix_ms};
use crate::replica::DIRECTORY;

/// How long a note waits for the directory.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reading waits for what was decided elsewhere.
const READ_PATIENCE: Duration = Duration::from_secs(2);
/// Refusals at the door that are noted of one principal at once.
const BURST: u64 = 10;
/// Pause after which one more is.
const PAUSE: Duration = Duration::from_secs(6);
/// Tokens of `cluster break-glass` that a node remembers to have noted.
const BROKEN_GLASS_MAX: usize = 64;

/// What a node has noted, so that it does not do so without end.
pub(crate) struct Notes {
    refused: Throttle,
    /// When the tokens end that were made without a credential: what they are told apart by.
    broken_glass: Mutex<BTreeSet<u64>>,
}

impl Notes {
    /// Nothing so far.
    pub(crate) fn new() -> Self {
        Self { refused: Throttle::new(BURST, PAUSE), broken_glass: Mutex::default() }
    }

    /// Whether a token that was made without a credential is a new one.
    fn is_new(&self, claims: &Claims) -> bool {
        let mut known = self.broken_glass.lock().unwrap_or_else(PoisonError::into_inner);
        let new = known.insert(claims.exp);
        if known.len() > BROKEN_GLASS_MAX {
            known.pop_first();
        }
        new
    }
}

/// Who asks, for the record.
pub(crate) fn asked(doors: &Doors, claims: &Claims) -> Asked {
    Asked {
        principal: claims.principal,
        credential: claims.by,
        tenant: claims.tenant,
        address: claims.address,
        node: doors.node,
        wall: Wall(unix_ms()),
    }
}

/// Records what somebody did or tried to do, beside the request: nobody waits for it.
pub(crate) fn note(
    doors: &Doors,
    claims: &Claims,
    (action, target): (&str, AuditTarget),
    outcome: &str,
) {
    let (asked, action, outcome) = (asked(doors, claims), action.to_owned(), outcome.to_owned());
    let command = DirectoryCommand::Note { action, target, outcome };
    let entry = DirectoryEntry { origin: None, asked: Some(asked), command };
    let doors = doors.clone();
    tokio::spawn(async move {
        let told = doors.propose::<_, DirectoryAnswer>(DIRECTORY, &entry, PATIENCE).await;
        if let Err(error) = told {
            tracing::warn!(
                code = "audit-unnoted",
                principal = %asked.principal, %error,
                "what somebody did is not in the record"
            );
        }
    });
}

/// Records the first use, on this node, of a token that was made from a node's own files.
pub(crate) fn note_broken_glass(doors: &Doors, claims: &Claims) {
    if claims.by.is_none() && doors.notes.is_new(claims) {
        note(doors, claims, ("break_glass", AuditTarget::Cluster), "done");
    }
}

/// The code of a refusal, beside the answer that tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RefusedWith(pub(crate) &'static str);

/// What is recorded of a request, if anything is: what it would do, and to what.
fn told(method: &Method, uri: &Uri) -> Option<(&'static str, AuditTarget)> {
    let path: Vec<&str> = uri.path().strip_prefix("/v1/")?.split('/').collect();
    let of_node = |id: &str| id.parse::<NodeId>().map_or(AuditTarget::Cluster, AuditTarget::Node);
    let of_user = |id: &str| id.parse::<UserId>().map_or(AuditTarget::Cluster, AuditTarget::User);
    let of_key =
        |id: &str| id.parse::<ApiKeyId>().map_or(AuditTarget::Cluster, AuditTarget::ApiKey);
    let of_shard =
        |id: &str| id.parse::<ShardId>().map_or(AuditTarget::Cluster, AuditTarget::Shard);
    Some(match (method.as_str(), path.as_slice()) {
        ("POST", ["nodes"]) => ("admit_node", AuditTarget::Cluster),
        ("POST", ["join-tokens"]) => ("create_join_token", AuditTarget::Cluster),
        ("GET", ["join-tokens"]) => ("list_join_tokens", AuditTarget::Cluster),
        ("DELETE", ["join-tokens", _]) => ("revoke_join_token", AuditTarget::Cluster),
        ("DELETE", ["nodes", node]) => ("forget_node", of_node(node)),
        ("POST", ["nodes", node, "decommission"]) => ("decommission_node", of_node(node)),
        ("PUT", ["nodes", node, "drain"]) => ("drain_node", of_node(node)),
        ("PUT", ["nodes", node, "vote"]) => ("set_vote", of_node(node)),
        ("GET", ["shards", shard, "backup" | "entries"]) => ("back_up", of_shard(shard)),
        ("GET", ["debug"]) => ("debug", AuditTarget::Cluster),
        ("GET", ["audit"]) => ("read_audit", AuditTarget::Cluster),
        ("POST", ["tenants"]) => ("create_tenant", AuditTarget::Cluster),
        ("POST", ["sites"]) => ("create_site", AuditTarget::Cluster),
        ("POST", ["tokens"]) => ("create_token", AuditTarget::Cluster),
        ("POST", ["users"]) => ("create_user", AuditTarget::Cluster),
        ("PUT", ["users", user, "password"]) => ("set_password", of_user(user)),
        ("PUT", ["users", user, "disabled"]) => ("disable_user", of_user(user)),
        ("POST", ["api-keys"]) => ("create_api_key", AuditTarget::Cluster),
        ("DELETE", ["api-keys", key]) => ("revoke_api_key", of_key(key)),
        _ => return None,
    })
}

/// What is looked at again if a request is refused.
pub(crate) struct Attempt {
    what: (&'static str, AuditTarget),
    credential: String,
    address: IpAddr,
}

impl Attempt {
    /// Of a request whose refusal would be recorded.
    pub(crate) fn of(request: &axum::extract::Request, address: IpAddr) -> Option<Self> {
        let what = told(request.method(), request.uri())?;
        let credential = bearer(request.headers()).ok()?.to_owned();
        Some(Self { what, credential, address })
    }

    /// Records that it was refused for who asked: so often for each.
    pub(crate) async fn note_refused(self, doors: &Doors, status: StatusCode, code: &str) {
        if status != StatusCode::FORBIDDEN {
            return;
        }
        let Ok(claims) = identify(doors, &self.credential).await else { return };
        if doors.notes.refused.take(&claims.principal).is_ok() {
            let claims = Claims { address: Some(self.address), ..claims };
            note(doors, &claims, self.what, code);
        }
    }
}

/// Which records are wanted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditQuery {
    /// Those behind that number.
    #[serde(default)]
    after: u64,
    /// At most so many.
    limit: Option<usize>,
    /// Those at or after that time, in milliseconds since 1970.
    since: Option<u64>,
    /// Those before that time.
    until: Option<u64>,
    /// Those of that holder of a credential.
    principal: Option<PrincipalId>,
    #[serde(default)]
    consistency: Consistency,
}

/// A record as the API shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditRecord")]
pub(crate) struct RecordJson {
    number: u64,
    wall: Wall,
    principal: PrincipalId,
    /// What was shown: an API key, a user, a join token, `first_user`, or `break_glass` for a token
    /// that was made from a node's own files.
    credential: String,
    /// Whose the principal is; null for those of the whole cluster.
    tenant: Option<TenantId>,
    /// Where the request came from.
    address: Option<String>,
    /// The node that took it.
    node: NodeId,
    action: String,
    /// What it was about: an id, or `cluster`.
    target: String,
    /// `done`, or the code of the refusal.
    outcome: String,
}

impl RecordJson {
    fn of(number: u64, record: &AuditRecord) -> Self {
        let AuditRecord { asked, action, target, outcome } = record;
        Self {
            number,
            wall: asked.wall,
            principal: asked.principal,
            credential: match asked.credential {
                Some(Credential::ApiKey(key)) => key.to_string(),
                Some(Credential::User { user, .. }) => user.to_string(),
                Some(Credential::FirstUser) => "first_user".to_owned(),
                Some(Credential::JoinToken(token)) => token.to_string(),
                None => "break_glass".to_owned(),
            },
            tenant: asked.tenant,
            address: asked.address.map(|address| address.to_string()),
            node: asked.node,
            action: action.clone(),
            target: match target {
                AuditTarget::Cluster => "cluster".to_owned(),
                AuditTarget::Node(id) => id.to_string(),
                AuditTarget::Shard(id) => id.to_string(),
                AuditTarget::Tenant(id) => id.to_string(),
                AuditTarget::Site(id) => id.to_string(),
                AuditTarget::ApiKey(id) => id.to_string(),
                AuditTarget::User(id) => id.to_string(),
                AuditTarget::Principal(id) => id.to_string(),
            },
            outcome: outcome.clone(),
        }
    }
}

/// `GET /v1/audit`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<RecordJson>>, Problem> {
    permit(&claims, Action::ReadAudit)?;
    let limit = limit(query.limit)?;
    if query.consistency == Consistency::Linearizable {
        doors.spine.read_index(DIRECTORY, READ_PATIENCE).await?;
    }
    let directory = doors.replica.directory();
    let wanted = |record: &AuditRecord| {
        let at = record.asked.wall.0;
        (claims.tenant.is_none() || record.asked.tenant == claims.tenant)
            && query.since.is_none_or(|since| at >= since)
            && query.until.is_none_or(|until| at < until)
            && query.principal.is_none_or(|principal| record.asked.principal == principal)
    };
    let mut found = directory.audit_after(query.after).filter(|(_, record)| wanted(record));
    let data: Vec<RecordJson> =
        found.by_ref().take(limit).map(|(number, record)| RecordJson::of(number, record)).collect();
    let more = found.next().is_some();
    let next = data.last().filter(|_| more).map(|last| last.number.to_string());
    Ok(Json(Page { data, next }))
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    #[test]
    fn what_is_recorded_of_a_refused_request_says_of_what() {
        let of = |method: &str, uri: &str| {
            let method = Method::from_str(method).expect("a method");
            told(&method, &uri.parse().expect("an address"))
        };
        let node = AuditTarget::Node(NodeId(3));
        assert_eq!(of("PUT", "/v1/nodes/nd_3/drain?x=1"), Some(("drain_node", node)));
        assert_eq!(of("DELETE", "/v1/nodes/nonsense"), Some(("forget_node", AuditTarget::Cluster)));
        assert_eq!(of("GET", "/v1/nodes/nd_3"), None);
        assert_eq!(of("POST", "/v1/sites/st_1.1/conversations"), None);
        assert_eq!(of("GET", "/metrics"), None);
    }
}
