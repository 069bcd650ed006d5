//! Secrets that are none, for simulations: keys, certificates and handshakes drawn from a seed.
//!
//! What a stale packet decrypts to decides whether QUIC answers it, so a run repeats only if its
//! keys do. This exists with the feature `seeded-secrets` alone, and does nothing there until
//! [`seed_secrets`] is called. The key exchange hides nothing: both sides mix their public values.

use std::sync::{Mutex, MutexGuard};

use quinn::ConnectionIdGenerator;
use rcgen::{KeyPair, PKCS_ED25519};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret,
    SupportedKxGroup,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{Error, NamedGroup};

use crate::datagrams::SeededIds;

/// Where this process draws its secrets from, if from a seed.
static STREAM: Mutex<Option<SeededIds>> = Mutex::new(None);

/// What precedes the 32 bytes of an Ed25519 key as PKCS 8 writes it (RFC 8410, 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn stream() -> MutexGuard<'static, Option<SeededIds>> {
    STREAM.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Draws every secret of this process from `seed` from here on: keys, certificates, handshakes.
/// Whoever knows the seed knows them all.
pub fn seed_secrets(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    *stream() = Some(SeededIds::new(bytes));
}

/// Fills the bytes from the seed, if there is one.
fn fill(bytes: &mut [u8]) -> bool {
    let mut stream = stream();
    let Some(stream) = stream.as_mut() else { return false };
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&stream.generate_cid()[..part.len()]);
    }
    true
}

/// A key from the seed, if there is one.
pub(crate) fn key_pair() -> Option<Result<KeyPair, rcgen::Error>> {
    let mut key = [0; 32];
    let seeded = fill(&mut key);
    let der = [ED25519_PKCS8.as_slice(), &key].concat();
    let pair =
        || KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519);
    seeded.then(pair)
}

/// The provider as it is, or drawing from the seed if there is one.
pub(crate) fn provider(provider: CryptoProvider) -> CryptoProvider {
    if stream().is_none() {
        return provider;
    }
    CryptoProvider { secure_random: &Seeded, kx_groups: vec![&Seeded], ..provider }
}

/// The stream as rustls sees it.
#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        if fill(buf) { Ok(()) } else { Err(GetRandomFailed) }
    }
}

impl SupportedKxGroup for Seeded {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut public = [0; 32];
        fill(&mut public);
        Ok(Box::new(Exchange(public)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// One side's value, of which nothing is secret.
struct Exchange([u8; 32]);

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let mixed = self.0.iter().zip(peer).map(|(ours, theirs)| ours ^ theirs);
        Ok(SharedSecret::from(mixed.collect::<Vec<u8>>()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
