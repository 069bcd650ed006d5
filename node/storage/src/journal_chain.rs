//! The hash chain of a group's journal: one number that says what all of it says.
//!
//! Each frame of records extends the chain: `hash' = SHA-256(hash ++ frame)`, where the frame is
//! its group, index, count and records ([`crate::journal_frame`]) and nothing of where or when it
//! was written. So the hash at an index is a function of the log alone: equal on every replica,
//! whatever their segments, restarts and marks. It goes into digests and snapshots, and what a
//! peer sends is checked against it.

use std::fmt;

use ring::digest::{Context, SHA256};

/// SHA-256 over everything that a group recorded. All zeros before the first record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// The hash after one more frame.
    pub(crate) fn after(self, frame: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(frame);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The chain's hash at a log index: after every record made at or below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct JournalHead {
    /// The log index.
    pub index: u64,
    /// The hash there.
    pub hash: ChainHash,
}

impl JournalHead {
    /// The head after one more frame, of that index.
    pub(crate) fn after(self, index: u64, frame: &[u8]) -> Self {
        Self { index, hash: self.hash.after(frame) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_its_formula() {
        // sha256(32 zero bytes ++ "abc"), computed with another implementation.
        let hash = ChainHash::default().after(b"abc");
        let expected = "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370";
        assert_eq!(hash.to_string(), expected);
        assert_ne!(hash.after(b""), hash);
        assert_ne!(hash.after(b"ab").after(b"c"), hash.after(b"abc"));
    }
}
