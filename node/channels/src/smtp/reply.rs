//! What a relay says: lines of three digits, a sign whether more follow, and text.

/// The longest line of a reply. RFC 5321 has 512; some say more.
const LINE_BYTES_MAX: usize = 2_048;
/// The most lines of one reply.
const LINES_MAX: usize = 128;

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The text of each line, in ASCII; what is not is shown as `?`.
    pub lines: Vec<String>,
}

impl Reply {
    /// Whether the relay did what it was asked.
    pub const fn is_yes(&self) -> bool {
        self.code / 100 == 2
    }

    /// Whether it may do it later.
    pub const fn is_later(&self) -> bool {
        self.code / 100 == 4
    }
}

/// Why bytes are no reply. The connection is of no use after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// A line, or a reply, is too long.
    #[error("a reply of more than {LINES_MAX} lines, or {LINE_BYTES_MAX} bytes in one")]
    TooLong,
    /// A line does not begin as one of a reply does.
    #[error("what came is no reply of SMTP")]
    Malformed,
}

/// Gathers bytes, and gives replies.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    code: u16,
    lines: Vec<String>,
}

impl Replies {
    /// Takes bytes in as they come.
    pub fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether nothing is left over.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.lines.is_empty()
    }

    /// The next whole reply, if it has come.
    ///
    /// # Errors
    /// [`BadReply`].
    pub fn take(&mut self) -> Result<Option<Reply>, BadReply> {
        loop {
            let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
                let long = self.bytes.len() > LINE_BYTES_MAX;
                return if long { Err(BadReply::TooLong) } else { Ok(None) };
            };
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            if line.len() > LINE_BYTES_MAX || self.lines.len() >= LINES_MAX {
                return Err(BadReply::TooLong);
            }
            let (code, more, text) = parse(&line).ok_or(BadReply::Malformed)?;
            if !self.lines.is_empty() && code != self.code {
                return Err(BadReply::Malformed);
            }
            self.code = code;
            self.lines.push(text);
            if !more {
                return Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }));
            }
        }
    }
}

/// A line's code, whether more follow, and its text.
fn parse(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_first_chunk::<3>()?;
    if !digits.iter().all(u8::is_ascii_digit) || !(b'2'..=b'5').contains(&digits[0]) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let (more, text) = match rest.split_first() {
        None => (false, rest),
        Some((b' ', text)) => (false, text),
        Some((b'-', text)) => (true, text),
        Some(_) => return None,
    };
    let shown = |byte: &u8| if (32..127).contains(byte) { char::from(*byte) } else { '?' };
    Some((code, more, text.iter().map(shown).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Reply>, BadReply> {
        let mut replies = Replies::default();
        replies.put(bytes);
        std::iter::from_fn(|| replies.take().transpose()).collect()
    }

    #[test]
    fn replies_come_line_by_line_and_in_pieces() {
        let text = b"250-one\r\n250-STARTTLS\r\n250 three\r\n354\n";
        let expected = vec![
            Reply { code: 250, lines: vec!["one".into(), "STARTTLS".into(), "three".into()] },
            Reply { code: 354, lines: vec![String::new()] },
        ];
        assert_eq!(all(text), Ok(expected.clone()));
        let (mut replies, mut found) = (Replies::default(), Vec::new());
        for byte in text {
            replies.put(&[*byte]);
            found.extend(replies.take().expect("a reply"));
        }
        assert_eq!((found, replies.is_empty()), (expected, true));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in
            ["hello\r\n", "25\r\n", "250x\r\n", "650 x\r\n", "150 x\r\n", "250-a\r\n251 b\r\n"]
        {
            assert_eq!(all(bad.as_bytes()), Err(BadReply::Malformed), "{bad:?}");
        }
        assert_eq!(all(&[b'2'; LINE_BYTES_MAX + 1]), Err(BadReply::TooLong));
        assert_eq!(all(&b"250-x\r\n".repeat(LINES_MAX + 1)), Err(BadReply::TooLong));
        assert_eq!(all(b"250 caf\xc3\xa9\r\n").expect("one")[0].lines, ["caf??"]);
    }
}
