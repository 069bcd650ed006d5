//! A join token as a text: what an administrator pastes on a new node's machine.
//!
//! ```text
//! rj1_ base64url(
//!   | token id u32 | node u64 | secret 32 bytes | length u8, cluster |
//!   | count u8, (length u8, url)* | xxh3 of all that, 4 bytes |
//! )
//! ```
//!
//! Numbers are little endian. The sum tells a text that was cut or retyped from one that is old; it
//! guards against faults, not against malice. The secret opens the node's folder, and proves to the
//! cluster that its holder may fetch it, so the text is as good as the folder until it is used.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use xxhash_rust::xxh3::xxh3_64;

use crate::limits::{JOIN_TEXT_BYTES_MAX, JOIN_URL_BYTES_MAX, JOIN_URLS_MAX};
use crate::{JoinTokenId, NodeId};

const PREFIX: &str = "rj1_";
/// Bytes of the secret.
pub const JOIN_SECRET_BYTES: usize = 32;
const SUM_BYTES: usize = 4;
/// Bytes of a cluster's id, at most.
const CLUSTER_BYTES_MAX: usize = 40;

/// Why a text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinTextError {
    /// It does not begin as one.
    #[error("this is not a join token: one begins with {PREFIX}")]
    Other,
    /// Characters are missing, changed, or too many.
    #[error("the join token was cut or changed on its way: copy all of it, on one line")]
    Damaged,
}

/// What a join token says.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinText {
    /// Under which number the cluster knows it.
    pub token: JoinTokenId,
    /// Whose folder it is for.
    pub node: NodeId,
    /// The id of the cluster.
    pub cluster: String,
    /// What opens the folder. It is never shown in a log.
    pub secret: [u8; JOIN_SECRET_BYTES],
    /// Where the folder is, as addresses of gateways: any of them has it.
    pub urls: Vec<String>,
}

impl JoinText {
    /// The text.
    ///
    /// # Panics
    /// Where what it is to say breaks a bound: a cluster's id of more than 40 bytes, no address or
    /// more than [`JOIN_URLS_MAX`], one of more than [`JOIN_URL_BYTES_MAX`] bytes.
    pub fn reveal(&self) -> String {
        assert!(self.is_within_bounds(), "a join token breaks a bound");
        let mut bytes = Vec::new();
        bytes.extend(self.token.0.to_le_bytes());
        bytes.extend(self.node.0.to_le_bytes());
        bytes.extend(self.secret);
        append(&mut bytes, &self.cluster);
        bytes.push(self.urls.len() as u8);
        self.urls.iter().for_each(|url| append(&mut bytes, url));
        bytes.extend(sum(&bytes));
        format!("{PREFIX}{}", BASE64.encode(bytes))
    }

    fn is_within_bounds(&self) -> bool {
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let fits = |text: &str, most| (1..=most).contains(&text.len()) && visible(text);
        (1..=JOIN_URLS_MAX).contains(&self.urls.len())
            && fits(&self.cluster, CLUSTER_BYTES_MAX)
            && self.urls.iter().all(|url| fits(url, JOIN_URL_BYTES_MAX))
    }
}

fn append(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(text.len() as u8);
    bytes.extend(text.as_bytes());
}

fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    let [first, second, third, fourth, ..] = xxh3_64(bytes).to_le_bytes();
    [first, second, third, fourth]
}

impl FromStr for JoinText {
    type Err = JoinTextError;

    fn from_str(text: &str) -> Result<Self, JoinTextError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(JoinTextError::Other)?;
        if text.len() > JOIN_TEXT_BYTES_MAX {
            return Err(JoinTextError::Damaged);
        }
        let bytes = BASE64.decode(text).map_err(|_| JoinTextError::Damaged)?;
        let (body, end) = bytes.split_last_chunk::<SUM_BYTES>().ok_or(JoinTextError::Damaged)?;
        if sum(body) != *end {
            return Err(JoinTextError::Damaged);
        }
        read(body).filter(Self::is_within_bounds).ok_or(JoinTextError::Damaged)
    }
}

/// What is between the prefix and the sum.
fn read(mut bytes: &[u8]) -> Option<JoinText> {
    let token = JoinTokenId(u32::from_le_bytes(take(&mut bytes)?));
    let node = NodeId(u64::from_le_bytes(take(&mut bytes)?));
    let secret = take(&mut bytes)?;
    let cluster = take_text(&mut bytes)?;
    let [count] = take(&mut bytes)?;
    let urls = (0..count).map(|_| take_text(&mut bytes)).collect::<Option<Vec<_>>>()?;
    bytes.is_empty().then_some(JoinText { token, node, cluster, secret, urls })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let [length] = take(bytes)?;
    let (text, rest) = bytes.split_at_checked(usize::from(length))?;
    *bytes = rest;
    Some(std::str::from_utf8(text).ok()?.to_owned())
}

impl fmt::Debug for JoinText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinText({}, {} of {})", self.token, self.node, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> JoinText {
        JoinText {
            token: JoinTokenId(7),
            node: NodeId(4),
            cluster: "main".to_owned(),
            secret: std::array::from_fn(|at| at as u8),
            urls: vec!["http://10.0.0.1:7080".to_owned(), "https://b.example:7080".to_owned()],
        }
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let revealed = text().reveal();
        assert_eq!(revealed.parse(), Ok(text()));
        assert_eq!(format!(" {revealed}\n").parse(), Ok(text()), "as it is pasted");
        assert_eq!(format!("{:?}", text()), "JoinText(jt_7, nd_4 of main)");
        // Commands that were pasted somewhere are good as long as their tokens.
        assert_eq!(
            revealed,
            "rj1_BwAAAAQAAAAAAAAAAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8EbWFpbgIUaHR0cDovLzEw\
             LjAuMC4xOjcwODAWaHR0cHM6Ly9iLmV4YW1wbGU6NzA4MDtz_eQ"
        );
    }

    #[test]
    fn what_was_cut_or_changed_is_told_from_what_is_something_else() {
        let revealed = text().reveal();
        for at in PREFIX.len()..revealed.len() {
            let cut = revealed[..at].parse::<JoinText>();
            assert_eq!(cut, Err(JoinTextError::Damaged), "{at}");
            let mut changed = revealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(changed.parse::<JoinText>(), Err(JoinTextError::Damaged), "{at}");
        }
        for other in ["", "rk_7_x", "rj", "eyJ0eXAi"] {
            assert_eq!(other.parse::<JoinText>(), Err(JoinTextError::Other), "{other}");
        }
        let long = format!("{PREFIX}{}", "A".repeat(JOIN_TEXT_BYTES_MAX + 1));
        assert_eq!(long.parse::<JoinText>(), Err(JoinTextError::Damaged));
    }

    #[test]
    fn the_largest_one_is_read() {
        let largest = JoinText {
            cluster: "c".repeat(CLUSTER_BYTES_MAX),
            urls: vec!["u".repeat(JOIN_URL_BYTES_MAX); JOIN_URLS_MAX],
            ..text()
        };
        assert_eq!(largest.reveal().parse(), Ok(largest));
        let sealed =
            |bytes: &[u8]| format!("{PREFIX}{}", BASE64.encode([bytes, &sum(bytes)].concat()));
        for wrong in [Vec::new(), vec![0; 44], vec![0xff; 60]] {
            assert_eq!(sealed(&wrong).parse::<JoinText>(), Err(JoinTextError::Damaged));
        }
    }
}
