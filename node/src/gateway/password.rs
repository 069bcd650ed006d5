//! Passwords: what they may be, how they are hashed and judged, and how many at a time.
//!
//! argon2id as OWASP advises at least (19 MiB, two passes, one lane), in PHC strings, which name
//! their parameters: hashes of other parameters go on being judged by theirs. Each takes tens of
//! milliseconds of a core, so they are made on threads that may block, few at a time, and who would
//! wait behind many others is sent away.

use std::sync::{Arc, LazyLock};

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::gateway::problem::Problem;

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over it.
const PASSES: u32 = 2;
/// Lanes in it.
const LANES: u32 = 1;
/// Bytes of salt.
const SALT_BYTES: usize = 16;
/// Fewest bytes of a password that is set.
const BYTES_MIN: usize = 10;
/// Most bytes of a password.
const BYTES_MAX: usize = 256;
/// Hashes made at a time.
const AT_A_TIME: usize = 2;
/// Hashes made or waited for.
const WAITING_MAX: usize = 64;

/// What is judged where there is no user, so that it takes as long as if there were.
static NOBODYS: LazyLock<String> = LazyLock::new(|| {
    let hash =
        hash("nobody signs in with this").expect("a fixed password fits, randomness is there");
    assert!(judge("nobody signs in with this", &hash), "a hash judges its own password right");
    hash
});

/// A password on its way to be hashed or judged. It never shows itself.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(crate) struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

impl Password {
    /// That password.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it may be set.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub(crate) fn check(&self) -> Result<(), String> {
        if (BYTES_MIN..=BYTES_MAX).contains(&self.0.len()) {
            return Ok(());
        }
        Err(format!("password: {BYTES_MIN} to {BYTES_MAX} bytes"))
    }

    /// Its hash, made here and now.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) fn hash_here(&self) -> Result<String, String> {
        self.check()?;
        hash(&self.0)
    }
}

/// Hashes and judges passwords, few at a time.
pub(crate) struct Passwords {
    waiting: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Passwords {
    /// Nothing to do yet.
    pub(crate) fn new() -> Self {
        LazyLock::force(&NOBODYS);
        let (waiting, working) = (Semaphore::new(WAITING_MAX), Semaphore::new(AT_A_TIME));
        Self { waiting: Arc::new(waiting), working: Arc::new(working) }
    }

    /// The hash of a password that is to be set.
    ///
    /// # Errors
    /// `bad-value`, or `busy` where too many are waiting.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Problem> {
        password.check().map_err(Problem::bad_value)?;
        self.work(move || hash(&password.0)).await?.map_err(Problem::unavailable)
    }

    /// Whether a password is the one of that hash; without one it takes as long, and is not.
    ///
    /// # Errors
    /// `busy` where too many are waiting.
    pub(crate) async fn judge(
        &self,
        password: Password,
        hash: Option<String>,
    ) -> Result<bool, Problem> {
        if password.0.len() > BYTES_MAX {
            return Err(Problem::bad_value(format!("password: at most {BYTES_MAX} bytes")));
        }
        let judged = self.work(move || match hash {
            Some(hash) => judge(&password.0, &hash),
            None => {
                std::hint::black_box(judge(&password.0, &NOBODYS));
                false
            }
        });
        judged.await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = self.working.clone().acquire_owned().await;
        let turn = turn.map_err(|error| Problem::unavailable(error.to_string()))?;
        // Whoever asked may be gone before it is done: the places go with the work.
        let done = crate::blocking::run(move || {
            let done = work();
            drop((place, turn));
            done
        });
        done.await.map_err(|error| Problem::unavailable(error.to_string()))
    }
}

fn busy() -> Problem {
    let detail = "too many sign in at this moment; try again";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).after(1_000)
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None);
    let params = params.expect("the parameters are within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &str) -> Result<String, String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| format!("no randomness for a salt: {error}"))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hash = argon2().hash_password(password.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// A hash that cannot be read judges every password wrong.
fn judge(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use rotary_proto::limits::PASSWORD_HASH_BYTES_MAX;

    use super::*;

    #[tokio::test]
    async fn a_password_is_judged_by_its_hash() {
        let passwords = Passwords::new();
        let right = Password::new("correct horse");
        let hash = passwords.hash(right.clone()).await.expect("it fits");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hash.len() <= PASSWORD_HASH_BYTES_MAX);
        assert_ne!(passwords.hash(right.clone()).await.expect("it fits"), hash, "salted");
        let judged = async |password: &str, hash: Option<&str>| {
            let (password, hash) = (Password::new(password), hash.map(str::to_owned));
            passwords.judge(password, hash).await.expect("there is room")
        };
        assert!(judged("correct horse", Some(&hash)).await);
        assert!(!judged("correct horsf", Some(&hash)).await);
        assert!(!judged("correct horse", None).await);
        assert!(!judged("nobody signs in with this", None).await);
        assert!(!judged("correct horse", Some("$argon2id$nonsense")).await);
    }

    #[test]
    fn a_password_has_bounds_and_never_shows_itself() {
        for (bytes, fits) in [(0, false), (9, false), (10, true), (256, true), (257, false)] {
            assert_eq!(Password::new("x".repeat(bytes)).check().is_ok(), fits, "{bytes}");
        }
        assert_eq!(format!("{:?}", Password::new("secret secret")), "Password");
    }

    #[tokio::test]
    async fn who_would_wait_behind_too_many_is_sent_away() {
        let passwords = Passwords::new();
        let all = passwords.working.clone().acquire_many_owned(AT_A_TIME as u32).await;
        let judge = || passwords.judge(Password::new("x"), None);
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(judge())).collect();
        for place in &mut waiting {
            assert!(futures::poll!(place).is_pending());
        }
        assert_eq!(judge().await.expect_err("full").code, "busy");
        drop(all);
        assert_eq!(waiting.remove(0).await, Ok(false));
    }
}
