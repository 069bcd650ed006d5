//! Sealing a folder, and proving that one may have it: both follow from the token's secret.
//!
//! HKDF-SHA256 (RFC 5869) gives two keys that tell nothing of each other: one seals with
//! ChaCha20-Poly1305 (RFC 8439), the other is the proof that a node is shown. Each secret seals one
//! folder, so the nonce of the cipher is fixed; which node of which cluster it is for is bound in.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use rotary_proto::NodeId;
use rotary_proto::join::JOIN_SECRET_BYTES;

use crate::gateway::secret::Secret;

/// What keys of one use are told from those of another by.
const SALT: &[u8] = b"rotary join 1";

/// What was sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "what came is not what was sealed for this token: whoever answered is not of that cluster, or \
     the folder was damaged; nothing was written"
)]
pub(crate) struct SealError;

/// What follows from a token's secret.
pub(crate) struct Keys {
    seal: LessSafeKey,
    bound: Vec<u8>,
    proof: Secret,
}

impl Keys {
    /// The keys for the folder of that node.
    pub(crate) fn of(secret: &[u8; JOIN_SECRET_BYTES], cluster: &str, node: NodeId) -> Self {
        let seal = UnboundKey::new(&CHACHA20_POLY1305, &derived(secret, b"seal"));
        let seal = LessSafeKey::new(seal.expect("the key has the cipher's length"));
        let bound = format!("{node} of {cluster}").into_bytes();
        Self { seal, bound, proof: Secret::of(derived(secret, b"proof")) }
    }

    /// What a node is shown.
    pub(crate) fn proof(&self) -> &Secret {
        &self.proof
    }

    /// Seals a folder: once with each secret.
    pub(crate) fn seal(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let sealed = self.seal.seal_in_place_append_tag(nonce(), self.aad(), &mut bytes);
        sealed.expect("a folder is far below the cipher's bound");
        bytes
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`SealError`] for anything but what was sealed with the same secret for the same node.
    pub(crate) fn open(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let opened = self.seal.open_in_place(nonce(), self.aad(), &mut bytes);
        let length = opened.map_err(|_| SealError)?.len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(&self.bound)
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn derived(secret: &[u8], what: &[u8]) -> [u8; 32] {
    let (mut key, info) = ([0; 32], [what]);
    let okm = Salt::new(HKDF_SHA256, SALT).extract(secret);
    let okm = okm.expand(&info, HKDF_SHA256).expect("as long as the hash");
    okm.fill(&mut key).expect("as long as the hash");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: u8, cluster: &str, node: u64) -> Keys {
        Keys::of(&[secret; JOIN_SECRET_BYTES], cluster, NodeId(node))
    }

    #[test]
    fn what_was_sealed_opens_with_the_same_secret_for_the_same_node_alone() {
        let sealed = keys(1, "main", 4).seal(b"a folder".to_vec());
        assert!(!sealed.windows(6).any(|bytes| bytes == b"folder"));
        assert_eq!(keys(1, "main", 4).open(sealed.clone()), Ok(b"a folder".to_vec()));
        for other in [keys(2, "main", 4), keys(1, "other", 4), keys(1, "main", 5)] {
            assert_eq!(other.open(sealed.clone()), Err(SealError));
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(keys(1, "main", 4).open(changed), Err(SealError), "byte {at}");
            assert_eq!(keys(1, "main", 4).open(sealed[..at].to_vec()), Err(SealError), "cut {at}");
        }
    }

    #[test]
    fn the_proof_is_not_the_key() {
        let of = keys(1, "main", 4);
        assert_eq!(of.proof().reveal(), keys(1, "main", 4).proof().reveal());
        assert_ne!(of.proof(), keys(2, "main", 4).proof());
        assert_ne!(derived(&[1; 32], b"seal"), derived(&[1; 32], b"proof"));
    }
}
