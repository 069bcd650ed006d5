//! Signing in: a login and a password for a token.
//!
//! Whether there is such a user, whether they are disabled and whether the password is wrong have
//! one answer, after the same work. Attempts are counted by login and by address, on this node;
//! those that succeed are not.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::Json as AxumJson;
use axum::extract::{ConnectInfo, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use rotary_directory::{AuditTarget, Credential};
use rotary_proto::{Name, TenantId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gateway::audit;
use crate::gateway::doors::Doors;
use crate::gateway::extract::Json;
use crate::gateway::identity::claims_of;
use crate::gateway::openapi::Draft;
use crate::gateway::password::Password;
use crate::gateway::problem::Problem;
use crate::gateway::throttle::Throttle;
use crate::gateway::token::{Claims, Role, unix_s};
use crate::replica::DIRECTORY;
use crate::server::Address;

/// How long a token is good for that somebody signs in for, unless they ask for less.
const TTL_S: u64 = 12 * 3_600;
/// Attempts that a login may fail at once.
const BURST_PER_LOGIN: u64 = 10;
/// Pause after which a login may fail once more.
const PAUSE_PER_LOGIN: Duration = Duration::from_secs(6);
/// Attempts that an address may fail at once.
const BURST_PER_ADDRESS: u64 = 30;
/// Pause after which an address may fail once more.
const PAUSE_PER_ADDRESS: Duration = Duration::from_secs(1);
/// How long signing in waits for what was decided elsewhere; without a leader it goes on with what
/// this node knows, and a token that is given wrongly ends when the node has caught up.
const FRESH_PATIENCE: Duration = Duration::from_millis(500);

/// Requests without a good credential that an address may make at once.
const BURST_OF_STRANGERS: u64 = 300;
/// Pause after which it may make one more.
const PAUSE_OF_STRANGERS: Duration = Duration::from_millis(100);

/// Who has tried to come in, and how often in vain.
pub(crate) struct Logins {
    strangers: Throttle,
    by_login: Throttle,
    by_address: Throttle,
}

impl Logins {
    /// Nobody has.
    pub(crate) fn new() -> Self {
        Self {
            strangers: Throttle::new(BURST_OF_STRANGERS, PAUSE_OF_STRANGERS),
            by_login: Throttle::new(BURST_PER_LOGIN, PAUSE_PER_LOGIN),
            by_address: Throttle::new(BURST_PER_ADDRESS, PAUSE_PER_ADDRESS),
        }
    }

    /// Counts an attempt at a secret from there.
    ///
    /// # Errors
    /// `too-many-attempts`.
    pub(crate) fn attempt_from(&self, address: IpAddr) -> Result<(), Problem> {
        self.by_address.take(&address).map_err(too_many)
    }

    /// The attempt was not in vain.
    pub(crate) fn forgive_from(&self, address: IpAddr) {
        self.by_address.give_back(&address);
    }

    /// Counts an attempt at somebody's password.
    ///
    /// # Errors
    /// `too-many-attempts`.
    pub(crate) fn allow(&self, whose: &impl Hash) -> Result<(), Problem> {
        self.by_login.take(whose).map_err(too_many)
    }

    /// Refuses addresses that have shown too many bad credentials, or none. This machine is not
    /// bounded: a proxy may be here, with everybody behind it.
    ///
    /// # Errors
    /// `too-many-attempts`.
    pub(crate) fn listen_to(&self, address: IpAddr) -> Result<(), Problem> {
        match self.strangers.spent(&address) {
            Some(retry_ms) if !address.is_loopback() => Err(too_many(retry_ms)),
            _ => Ok(()),
        }
    }

    /// A request from there had no good credential.
    pub(crate) fn note_stranger(&self, address: IpAddr) {
        // One that is refused already gets no further.
        let _ = self.strangers.take(&address);
    }

    /// The attempt was theirs.
    pub(crate) fn forgive(&self, whose: &impl Hash) {
        self.by_login.give_back(whose);
    }
}

fn too_many(retry_ms: u64) -> Problem {
    let detail = "too many attempts in vain; wait before the next one";
    let status = StatusCode::TOO_MANY_REQUESTS;
    Problem::new(status, "too-many-attempts", detail).after(retry_ms)
}

/// The one answer to whatever is wrong with a login or password.
pub(crate) fn wrong_password() -> Problem {
    let detail = "login or password is wrong, or the user may not sign in";
    Problem::new(StatusCode::UNAUTHORIZED, "login-failed", detail)
}

/// A login as it is kept and compared: in lower case.
///
/// # Errors
/// `bad-value` where that is too long.
pub(crate) fn folded(login: &Name) -> Result<Name, Problem> {
    Name::new(login.as_str().to_lowercase())
        .map_err(|error| Problem::bad_value(format!("login: {error}")))
}

/// The address that a request comes from, where that is known.
pub(crate) fn address_of(parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<ConnectInfo<Address>>();
    peer.map(|ConnectInfo(Address(peer))| peer.ip().to_canonical())
}

/// The address that a request comes from.
pub(crate) struct CameFrom(pub(crate) IpAddr);

impl<S: Sync> FromRequestParts<S> for CameFrom {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(address_of(parts).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    login: Name,
    password: Password,
    #[serde(default)]
    tenant: Option<TenantId>,
    #[serde(default)]
    ttl_s: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct SignedIn {
    token: String,
    expires_at: u64,
    user: UserId,
}

/// `POST /v1/login`
pub(crate) async fn login(
    State(doors): State<Doors>,
    CameFrom(address): CameFrom,
    Json(body): Json<Login>,
) -> Result<AxumJson<SignedIn>, Problem> {
    let Login { login, password, tenant, ttl_s } = body;
    let ttl_s = ttl_s.unwrap_or(TTL_S);
    if !(1..=TTL_S).contains(&ttl_s) {
        return Err(Problem::bad_value(format!("ttl_s: 1 to {TTL_S}")));
    }
    let whose = (tenant, folded(&login)?);
    doors.logins.attempt_from(address)?;
    doors.logins.allow(&whose)?;
    // An error leaves what this node knows.
    let _ = doors.spine.read_index(DIRECTORY, FRESH_PATIENCE).await;
    let user = {
        let directory = doors.replica.directory();
        directory.user_of(whose.0, &whose.1).map(|(id, user)| (id, user.clone()))
    };
    let hash = user.as_ref().map(|(_, user)| user.hash.clone());
    let right = doors.passwords.judge(password, hash).await?;
    let (id, user, good) = match user {
        Some((id, user)) => {
            let good = right && !user.disabled;
            (id, user, good)
        }
        None => return Err(wrong_password()),
    };
    let (expires_at, by) = (unix_s() + ttl_s, Credential::User { user: id, epoch: user.epoch });
    let claims = claims_of(&user.grant, user.principal, by, expires_at);
    if claims.role == Role::Administrator {
        let claims = Claims { address: Some(address), ..claims.clone() };
        let outcome = if good { "done" } else { "login-failed" };
        audit::note(&doors, &claims, ("sign_in", AuditTarget::User(id)), outcome);
    }
    if !good {
        return Err(wrong_password());
    }
    doors.logins.forgive_from(address);
    doors.logins.forgive(&whose);
    let token = doors.tokens.sign(&claims);
    Ok(AxumJson(SignedIn { token, expires_at, user: id }))
}

/// What else signing in may be refused with.
pub(crate) fn refusals(draft: &mut Draft<'_>) {
    draft.refused(401, ["login-failed"]);
    draft.refused(503, ["unavailable"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_bad_credentials_is_heard_no_more() {
        let logins = Logins::new();
        let (far, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        // Time goes on while they come, and grants a few more.
        let noted = (0..100_000).take_while(|_| {
            logins.note_stranger(far);
            logins.listen_to(far).is_ok()
        });
        let noted = noted.count() as u64;
        assert!((BURST_OF_STRANGERS - 1..100_000).contains(&noted), "{noted}");
        let refused = logins.listen_to(far).expect_err("too many");
        assert_eq!((refused.status.as_u16(), refused.code), (429, "too-many-attempts"));
        assert!(refused.retry_after_ms.is_some_and(|ms| ms > 0 && ms <= 100), "{refused:?}");
        assert!(logins.listen_to(other).is_ok());
    }

    #[test]
    fn this_machine_is_not_bounded() {
        let (logins, here) = (Logins::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        for _ in 0..2 * BURST_OF_STRANGERS {
            logins.note_stranger(here);
        }
        assert!(logins.listen_to(here).is_ok());
    }
}
