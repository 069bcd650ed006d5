//! A client that costs next to nothing: requests as bytes on a kept connection, answers read as far
//! as their status, code and length. It has no manners: what it is told to wait, it does not read.

use std::io;

use anyhow::{Context as _, bail};
use rotary_client::Gateway;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of an answer, at most; those here have some hundreds.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A connection to one gateway.
pub(super) struct Raw {
    stream: TcpStream,
    gateway: Gateway,
    answer: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Answer<'_> {
    /// The code of a problem.
    pub(super) fn code(&self) -> String {
        let problem = serde_json::from_slice::<serde_json::Value>(self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or("?").to_owned()
    }
}

impl Raw {
    /// Connects.
    ///
    /// # Errors
    /// What the socket said; a gateway that speaks TLS.
    pub(super) async fn connect(gateway: &Gateway) -> anyhow::Result<Self> {
        if gateway.is_tls() {
            bail!("{gateway}: this client speaks plain HTTP");
        }
        let connect = TcpStream::connect(gateway.authority());
        let stream = connect.await.with_context(|| gateway.to_string())?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, gateway: gateway.clone(), answer: Vec::with_capacity(1024) })
    }

    /// Posts JSON as the holder of a token.
    ///
    /// # Errors
    /// What the socket said, or an answer that is none.
    pub(super) async fn post(
        &mut self,
        path: &str,
        token: &str,
        body: &str,
    ) -> anyhow::Result<Answer<'_>> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.gateway.authority(),
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if self.answer.len() > ANSWER_BYTES_MAX {
                bail!("an answer of more than {ANSWER_BYTES_MAX} bytes");
            }
            if whole(&self.answer)?.is_some() {
                break;
            }
        }
        whole(&self.answer)?.context("an answer that was whole")
    }
}

/// An answer, once all of it is there.
fn whole(bytes: &[u8]) -> anyhow::Result<Option<Answer<'_>>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("headers are ASCII")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.context("an answer without a status")?;
    let lengths = lines.filter_map(|line| line.split_once(':'));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())?;
    Ok(bytes.get(end + 4..end + 4 + length).map(|body| Answer { status, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_all_of_it_is_there() {
        let body = br#"{"code":"overloaded"}"#;
        let head = format!("HTTP/1.1 503 X\r\nretry-after: 1\r\nContent-Length: {}", body.len());
        let text = [head.as_bytes(), b"\r\n\r\n", body].concat();
        for cut in 0..text.len() {
            assert_eq!(whole(&text[..cut]).expect("so far"), None, "{cut}");
        }
        let answer = whole(&text).expect("sound").expect("whole");
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
        assert!(whole(b"nonsense\r\n\r\n").is_err());
    }
}
