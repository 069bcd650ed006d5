//! One request to one node, past all faults: over the addresses that the switch never troubles.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status, e.g. 200.
    pub status: u16,
    /// Its header lines, without the first.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }
}

/// Asks for a path. `token` may be empty; `wait` bounds each step: connecting, writing, reading.
///
/// # Errors
/// Those of the socket, and of an answer that is none or is too long.
pub fn ask(to: SocketAddr, path: &str, token: &str, wait: Duration) -> io::Result<Answer> {
    send(to, ("GET", path, ""), token, wait)
}

/// The same with a method and a body, in JSON; empty for none.
///
/// # Errors
/// As [`ask`].
pub fn send(
    to: SocketAddr,
    (method, path, body): (&str, &str, &str),
    token: &str,
    wait: Duration,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let bearer =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let content = match body.len() {
        0 => String::new(),
        length => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\n{bearer}{content}Connection: close\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other("the answer is no whole HTTP answer"))
}

/// An answer whose body has a stated length, or goes on to the end.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (first, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    let whole = match answer.header("content-length") {
        Some(length) => length.parse() == Ok(body.len()),
        None => answer.header("transfer-encoding").is_none(),
    };
    whole.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole_or_none() {
        let whole = parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\nhi").unwrap();
        assert_eq!((whole.status, whole.header("date"), &*whole.body), (200, Some("x"), "hi"));
        assert_eq!(parse(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap().status, 503);
        for wrong in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi",
            b"HTTP/1.1 20\xff OK\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
