//! Join tokens: new nodes' folders, put here sealed by administrators, and fetched by the machines
//! that they are for.
//!
//! Fetching takes no credential but the token's own proof. One that is wrong costs no entry of the
//! log and is counted by address, as wrong passwords are; one that is right costs one entry, once.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json as AxumJson;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rotary_directory::{
    Asked, Credential, Directory, DirectoryAnswer, DirectoryCommand, DirectoryDone, DirectoryEntry,
    DirectoryOutcome, DirectoryRefusal, JoinToken, NodeKind, Taken,
};
use rotary_proto::limits::{JOIN_FOLDER_BYTES_MAX, JOIN_TTL_DEFAULT_MS};
use rotary_proto::{JoinTokenId, NodeId, PrincipalId, Wall};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::authority::{Action, permit};
use crate::gateway::doors::{DIRECTORY_PATIENCE, Doors};
use crate::gateway::extract::{Caller, Ids, Json, Key};
use crate::gateway::identity::change;
use crate::gateway::list::{Changed, Made, Nothing, Page};
use crate::gateway::login::CameFrom;
use crate::gateway::openapi::Draft;
use crate::gateway::problem::Problem;
use crate::gateway::secret::{Secret, same};
use crate::gateway::token::unix_ms;
use crate::replica::DIRECTORY;

/// How long fetching waits for what was decided elsewhere.
const FRESH_PATIENCE: Duration = Duration::from_millis(500);
/// How long it waits for its entry.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It keeps replicas.
    Core,
    /// It has doors only.
    Gateway,
}

impl From<NodeKind> for Kind {
    fn from(kind: NodeKind) -> Self {
        match kind {
            NodeKind::Core => Self::Core,
            NodeKind::Gateway => Self::Gateway,
        }
    }
}

/// A folder that is to wait for its machine.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJoinToken {
    /// Whose folder it is; no core node has had the number.
    node: NodeId,
    /// What that node is to be.
    kind: Kind,
    /// What whoever fetches it is to show.
    proof: Secret,
    /// The folder in base64, sealed so that the cluster cannot open it.
    sealed: String,
    /// How long it waits, in seconds of shard time; a day if absent.
    #[serde(default)]
    ttl_s: Option<u64>,
}

/// A join token that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MadeJoinToken {
    join_token: JoinTokenId,
    /// When it ends, in milliseconds since 1970: later by as long as there is no majority.
    expires_at: u64,
}

/// A join token as lists show it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JoinToken")]
pub(crate) struct JoinTokenJson {
    join_token: JoinTokenId,
    node: NodeId,
    kind: Kind,
    /// Who made it.
    principal: PrincipalId,
    created: Wall,
    /// When it ends, in milliseconds since 1970: later by as long as there is no majority.
    expires_at: u64,
    /// When a machine fetched the folder, by the clock of the node that gave it; null if none has.
    taken: Option<Wall>,
    /// Where that came from.
    taken_from: Option<String>,
}

/// What a machine shows for its folder.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Take {
    /// What follows from the token.
    proof: Secret,
    /// A number that the machine made up for this folder: with the same it gets it again.
    nonce: Secret,
}

/// A node's folder.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SealedFolder {
    node: NodeId,
    kind: Kind,
    /// The folder in base64, as it was put here.
    sealed: String,
}

/// `POST /v1/join-tokens`
pub(crate) async fn create(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Key(key): Key,
    Json(body): Json<NewJoinToken>,
) -> Result<Made<MadeJoinToken>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    let NewJoinToken { node, kind, proof, sealed, ttl_s } = body;
    let sealed = BASE64.decode(sealed.as_bytes());
    let sealed = sealed.map_err(|error| Problem::bad_value(format!("sealed: {error}")))?;
    if sealed.len() > JOIN_FOLDER_BYTES_MAX {
        return Err(Problem::bad_value(format!("sealed: 1 to {JOIN_FOLDER_BYTES_MAX} bytes")));
    }
    let kind = match kind {
        Kind::Core => NodeKind::Core,
        Kind::Gateway => NodeKind::Gateway,
    };
    let ttl_ms = ttl_s.map_or(JOIN_TTL_DEFAULT_MS, |ttl_s| ttl_s.saturating_mul(1_000));
    let (hash, created) = (proof.hash(), Wall(unix_ms()));
    let command = DirectoryCommand::CreateJoinToken { node, kind, hash, sealed, ttl_ms, created };
    let decided = doors.ask_directory(&claims, key, command).await?;
    let DirectoryDone::JoinToken(join_token) = decided.done else {
        return Err(Problem::other_request());
    };
    // A repeated request gets what the first one made, whatever it says itself.
    let made = |directory: &Directory| match directory.join_token(join_token) {
        Some(token) => Some(Some(expires_at(token))),
        None => directory.is_join_over(join_token).then_some(None),
    };
    let known = doors.replica.find(DIRECTORY_PATIENCE, made).await.flatten();
    let expires_at = known.unwrap_or_else(|| created.0.saturating_add(ttl_ms));
    Ok(decided.answer(|_| MadeJoinToken { join_token, expires_at }))
}

/// `GET /v1/join-tokens`
pub(crate) async fn list(
    State(doors): State<Doors>,
    Caller(claims): Caller,
) -> Result<AxumJson<Page<JoinTokenJson>>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    let directory = doors.replica.directory();
    Ok(AxumJson(Page::whole(directory.join_tokens().map(row).collect())))
}

/// When a token ends, in milliseconds since 1970, by the clock of the node that it was asked of.
fn expires_at(token: &JoinToken) -> u64 {
    token.created.0.saturating_add(token.ttl_ms)
}

fn row((join_token, token): (JoinTokenId, &JoinToken)) -> JoinTokenJson {
    JoinTokenJson {
        join_token,
        node: token.node,
        kind: token.kind.into(),
        principal: token.principal,
        created: token.created,
        expires_at: expires_at(token),
        taken: token.taken.map(|taken| taken.wall),
        taken_from: token.taken.and_then(|taken| taken.address).map(|from| from.to_string()),
    }
}

/// `DELETE /v1/join-tokens/{token}`
pub(crate) async fn revoke(
    State(doors): State<Doors>,
    Caller(claims): Caller,
    Ids(token): Ids<JoinTokenId>,
    Key(key): Key,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Changed<Nothing>, Problem> {
    permit(&claims, Action::ChangeNodes)?;
    let look = |directory: &Directory| match directory.join_token(token) {
        Some(token) => Some(token.node),
        None => directory.is_join_over(token).then_some(NodeId(0)),
    };
    let node = doors.replica.find(DIRECTORY_PATIENCE, look).await;
    let node = node.ok_or_else(|| Problem::not_found(format!("there is no join token {token}")))?;
    change(&doors, &claims, key, DirectoryCommand::RevokeJoinToken { token, node }).await
}

/// `POST /v1/join-tokens/{token}/take`
pub(crate) async fn take(
    State(doors): State<Doors>,
    CameFrom(address): CameFrom,
    Ids(id): Ids<JoinTokenId>,
    Json(Take { proof, nonce }): Json<Take>,
) -> Result<AxumJson<SealedFolder>, Problem> {
    doors.logins.attempt_from(address)?;
    // An error leaves what this node knows.
    let _ = doors.spine.read_index(DIRECTORY, FRESH_PATIENCE).await;
    let (hash, by) = (proof.hash(), nonce.hash());
    let token = proved(&doors, id, &hash)?;
    // Whoever has it already is given it again without an entry.
    if !token.taken.is_some_and(|taken| same(&taken.by, &by)) {
        let taken = Taken { by, address: Some(address), wall: Wall(unix_ms()) };
        note_taken(&doors, (id, &token), hash, taken).await?;
    }
    doors.logins.forgive_from(address);
    let sealed = BASE64.encode(&token.sealed);
    Ok(AxumJson(SealedFolder { node: token.node, kind: token.kind.into(), sealed }))
}

/// The token that this is the proof of.
fn proved(doors: &Doors, id: JoinTokenId, hash: &[u8; 32]) -> Result<JoinToken, Problem> {
    let directory = doors.replica.directory();
    if directory.is_join_over(id) {
        return Err(DirectoryRefusal::JoinTokenOver { token: id }.into());
    }
    let token = directory.join_token(id).filter(|token| same(&token.hash, hash));
    token.cloned().ok_or_else(|| DirectoryRefusal::JoinTokenUnknown.into())
}

/// Has the log decide whether that machine may have it.
async fn note_taken(
    doors: &Doors,
    (id, token): (JoinTokenId, &JoinToken),
    hash: [u8; 32],
    taken: Taken,
) -> Result<(), Problem> {
    let (node, wall) = (token.node, taken.wall);
    let asked = Asked {
        principal: token.principal,
        credential: Some(Credential::JoinToken(id)),
        tenant: None,
        address: taken.address.filter(|address| *address != IpAddr::from([0, 0, 0, 0])),
        node: doors.node,
        wall,
    };
    let command = DirectoryCommand::TakeJoinToken { token: id, node, hash, taken };
    let entry = DirectoryEntry { origin: None, asked: Some(asked), command };
    let answer = doors.propose::<_, DirectoryAnswer>(DIRECTORY, &entry, PATIENCE).await?;
    match answer.outcome {
        DirectoryOutcome::Done(_) => Ok(()),
        DirectoryOutcome::Refused(refusal) => Err(refusal.into()),
    }
}

/// What else fetching may be refused with.
pub(crate) fn refusals(draft: &mut Draft<'_>) {
    draft.refused(404, ["join-token-unknown"]);
    draft.refused(409, ["join-token-taken"]);
    draft.refused(410, ["join-token-over"]);
    draft.refused(429, ["too-many-attempts"]);
    draft.refused(503, ["no-leader", "overloaded", "unavailable", "outcome-unknown"]);
}

/// What else putting a folder here may be refused with.
pub(crate) fn creation(draft: &mut Draft<'_>) {
    draft.refused(409, ["join-token-taken", "node-number-used"]);
}
