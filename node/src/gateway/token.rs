//! Bearer and resume tokens: who somebody is, signed with the cluster's secret.
//!
//! Both are JSON web tokens (RFC 7519) under HS256, told apart by their `aud`, so that neither
//! passes for the other. Any node of the cluster can read them. One that was signed for an API key
//! or a user says so, and is good for as long as that is ([`crate::gateway::identity`]).

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rotary_directory::Credential;
use rotary_proto::command::{Actor, Subject};
use rotary_proto::limits::TOKEN_BYTES_MAX;
use rotary_proto::{AgentId, CustomerId, PrincipalId, SessionId, SiteId, TenantId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What somebody may be.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Sets up tenants, sites, queues and agents.
    Administrator,
    /// Oversees sites.
    Supervisor,
    /// Serves customers.
    Agent,
    /// Is served.
    Customer,
    /// Sees figures, and no person.
    Board,
}

impl Role {
    /// The word that metrics use for a session of this role.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Administrator | Self::Supervisor => "supervisor",
            Self::Agent => "agent",
            Self::Customer => "customer",
            Self::Board => "board",
        }
    }
}

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// What they are.
    pub(crate) role: Role,
    /// Whose they are; absent for administrators of the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<TenantId>,
    /// The one site they may see, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) site: Option<SiteId>,
    /// Which agent, for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<AgentId>,
    /// Which customer, for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) customer: Option<CustomerId>,
    /// Whose retries these are.
    pub(crate) principal: PrincipalId,
    /// What it was signed for, and ends with; absent for what `cluster break-glass` made, which is
    /// good for at most [`UNBOUND_TTL_MAX_S`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<Credential>,
    /// Seconds since 1970 at which it expires.
    pub(crate) exp: u64,
    /// Where they speak from, as far as is known; no token says so.
    #[serde(skip)]
    pub(crate) address: Option<IpAddr>,
}

impl Claims {
    /// As whom the distributor knows them; `None` for boards, which ask for nothing, and for claims
    /// that do not fit together.
    pub(crate) fn actor(&self) -> Option<Actor> {
        match self.role {
            Role::Administrator => Some(Actor::Administrator(self.principal)),
            Role::Supervisor => Some(Actor::Supervisor(self.principal)),
            Role::Agent => self.agent.map(Actor::Agent),
            Role::Customer => self.customer.map(Actor::Customer),
            Role::Board => None,
        }
    }

    /// Whom a session of theirs serves, as far as the log knows; `None` for boards, and for claims
    /// that do not fit together.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match self.role {
            Role::Administrator | Role::Supervisor => Some(Subject::Principal(self.principal)),
            Role::Agent => self.agent.map(Subject::Agent),
            Role::Customer => self.customer.map(Subject::Customer),
            Role::Board => None,
        }
    }

    /// Whether they may be taken, if the signature is right.
    fn taken(&self) -> Result<(), TokenError> {
        if !self.is_whole() {
            return Err(TokenError::Malformed);
        }
        // Nothing could end it: whoever has the secret makes such tokens for a short time alone.
        let longest = unix_s().saturating_add(UNBOUND_TTL_MAX_S + CLOCK_OFFSET_MAX_S);
        if self.by.is_none() && self.exp > longest {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }

    /// Whether they fit together: what the role needs is there.
    fn is_whole(&self) -> bool {
        let within = self.site.is_none_or(|site| self.tenant == Some(site.tenant));
        let placed = match self.role {
            Role::Administrator => true,
            Role::Supervisor | Role::Board => self.tenant.is_some(),
            Role::Agent | Role::Customer => self.site.is_some(),
        };
        within && placed && (self.role == Role::Board || self.actor().is_some())
    }
}

/// What a resume token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResumeClaims {
    /// Which session.
    pub(crate) session: SessionId,
    /// The sites it reads.
    pub(crate) sites: Vec<SiteId>,
    /// Whose it is.
    pub(crate) holder: Claims,
    /// Seconds since 1970 at which it expires; never after the holder's own token.
    pub(crate) exp: u64,
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// There is none.
    #[error("send `Authorization: Bearer <token>`; `rotary token create` makes one")]
    Missing,
    /// It is not a token, or not one for this purpose.
    #[error("this is not a token of this kind; copy it whole")]
    Malformed,
    /// Somebody else signed it.
    #[error("the signature is not this cluster's; ask its administrator for a token")]
    Forged,
    /// It was good once.
    #[error("the token has expired; ask for a new one")]
    Expired,
    /// Its API key was revoked, or its user's password or leave to sign in changed.
    #[error("what the token was made for was revoked; sign in again or ask for a new key")]
    Revoked,
}

impl TokenError {
    /// The stable word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Missing => "token-missing",
            Self::Malformed => "token-malformed",
            Self::Forged => "token-forged",
            Self::Expired => "token-expired",
            Self::Revoked => "token-revoked",
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Signed<T> {
    aud: String,
    #[serde(flatten)]
    claims: T,
}

/// How long a token may be good for that no credential ends: an hour.
pub(crate) const UNBOUND_TTL_MAX_S: u64 = 3_600;
/// How far the clock of who made it may be ahead of this one's.
const CLOCK_OFFSET_MAX_S: u64 = 300;

const BEARER: &str = "rotary";
const RESUME: &str = "rotary-resume";

/// Signs and checks tokens.
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Tokens {
    /// With the cluster's secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }

    /// A bearer token.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        self.encode(BEARER, claims)
    }

    /// Who holds a bearer token.
    pub(crate) fn check(&self, token: &str) -> Result<Claims, TokenError> {
        let claims: Claims = self.decode(BEARER, token)?;
        claims.taken().map(|()| claims)
    }

    /// A resume token.
    pub(crate) fn sign_resume(&self, claims: &ResumeClaims) -> String {
        self.encode(RESUME, claims)
    }

    /// What a resume token says.
    pub(crate) fn check_resume(&self, token: &str) -> Result<ResumeClaims, TokenError> {
        let claims: ResumeClaims = self.decode(RESUME, token)?;
        claims.holder.taken().map(|()| claims)
    }

    fn encode<T: Serialize>(&self, audience: &str, claims: &T) -> String {
        let signed = Signed { aud: audience.to_owned(), claims };
        let header = Header::new(Algorithm::HS256);
        jsonwebtoken::encode(&header, &signed, &self.encoding)
            .expect("claims are plain data and HMAC takes any key")
    }

    fn decode<T: DeserializeOwned>(&self, audience: &str, token: &str) -> Result<T, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        match jsonwebtoken::decode::<Signed<T>>(token, &self.decoding, &validation) {
            Ok(data) => Ok(data.claims.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::Forged,
                ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Malformed,
            }),
        }
    }
}

/// Seconds since 1970 on this machine's clock: what tokens expire by.
pub(crate) fn unix_s() -> u64 {
    since_1970().as_secs()
}

/// Milliseconds since 1970 on this machine's clock.
pub(crate) fn unix_ms() -> u64 {
    since_1970().as_millis() as u64
}

/// Nanoseconds since 1970 on this machine's clock: what spans are measured by.
pub(crate) fn unix_ns() -> u64 {
    since_1970().as_nanos() as u64
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rotary_proto::UserId;

    use super::*;

    fn claims() -> Claims {
        Claims {
            role: Role::Agent,
            tenant: Some(TenantId(1)),
            site: Some(SiteId::new(1, 2)),
            agent: Some(AgentId(7)),
            customer: None,
            principal: PrincipalId(4),
            by: Some(Credential::User { user: UserId(3), epoch: 2 }),
            exp: unix_s() + 60,
            address: None,
        }
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let tokens = Tokens::new(b"secret");
        assert_eq!(tokens.check(&tokens.sign(&claims())), Ok(claims()));
    }

    #[test]
    fn every_bad_token_has_its_name() {
        let (tokens, other) = (Tokens::new(b"secret"), Tokens::new(b"other"));
        assert_eq!(tokens.check(&other.sign(&claims())), Err(TokenError::Forged));
        let expired = Claims { exp: 1, ..claims() };
        assert_eq!(tokens.check(&tokens.sign(&expired)), Err(TokenError::Expired));
        for text in ["", "a.b.c", "x", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(tokens.check(text), Err(TokenError::Malformed), "{text}");
        }
        let unsigned = "eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW5pc3RyYXRvciJ9.";
        assert!(tokens.check(unsigned).is_err());
    }

    #[test]
    fn a_resume_token_is_not_a_bearer_token_nor_the_other_way() {
        let tokens = Tokens::new(b"secret");
        let sites = vec![SiteId::new(1, 2)];
        let (session, holder, exp) = (SessionId(3), claims(), claims().exp);
        let resume = ResumeClaims { session, sites, holder, exp };
        let token = tokens.sign_resume(&resume);
        assert_eq!(tokens.check_resume(&token), Ok(resume));
        assert_eq!(tokens.check(&token), Err(TokenError::Malformed));
        let bearer = tokens.sign(&claims());
        assert_eq!(tokens.check_resume(&bearer), Err(TokenError::Malformed));
    }

    #[test]
    fn what_nothing_ends_is_good_for_a_short_time_alone() {
        let tokens = Tokens::new(b"secret");
        let of = |by, ttl_s| Claims { by, exp: unix_s() + ttl_s, ..claims() };
        let (hour, year) = (UNBOUND_TTL_MAX_S, 366 * 24 * 3_600);
        assert!(tokens.check(&tokens.sign(&of(None, hour))).is_ok());
        assert!(tokens.check(&tokens.sign(&of(claims().by, year))).is_ok());
        let long = of(None, year);
        assert_eq!(tokens.check(&tokens.sign(&long)), Err(TokenError::Revoked));
        let (session, sites, exp) = (SessionId(3), vec![SiteId::new(1, 2)], long.exp);
        let resume = tokens.sign_resume(&ResumeClaims { session, sites, holder: long, exp });
        assert_eq!(tokens.check_resume(&resume), Err(TokenError::Revoked));
    }

    #[test]
    fn claims_that_do_not_fit_together_are_not_taken() {
        let tokens = Tokens::new(b"secret");
        let broken = [
            Claims { agent: None, ..claims() },
            Claims { site: None, ..claims() },
            Claims { tenant: Some(TenantId(2)), ..claims() },
            Claims { role: Role::Customer, ..claims() },
            Claims { role: Role::Supervisor, tenant: None, site: None, ..claims() },
            Claims { role: Role::Board, tenant: None, site: None, ..claims() },
        ];
        for claims in broken {
            let token = tokens.sign(&claims);
            assert_eq!(tokens.check(&token), Err(TokenError::Malformed), "{claims:?}");
        }
    }
}
