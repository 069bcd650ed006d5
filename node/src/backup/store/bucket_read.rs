//! An object of a bucket on its way here. Where the line breaks off it goes on from there, of the
//! same object, or not at all.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use reqwest::header::{ETAG, HeaderValue, IF_MATCH, RANGE};
use reqwest::{Method, Response, StatusCode};
use rusty_s3::actions::S3Action as _;

use super::StoreError;
use super::bucket::{ATTEMPTS, Line, SIGNED_FOR, pause, whole};

/// An object that is read from its first byte to its last.
pub(super) struct Download {
    line: Arc<Line>,
    key: String,
    /// Bytes that were read, and how many there are, if the store said so.
    at: u64,
    bytes: Option<u64>,
    /// Which version of the object it is.
    version: Option<HeaderValue>,
    answer: Option<Response>,
    piece: Bytes,
}

impl Download {
    /// Asks for it.
    ///
    /// # Errors
    /// What the store says, also where there is no such object.
    pub(super) fn begin(line: Arc<Line>, key: String) -> Result<Self, StoreError> {
        let asked = get(line.clone(), key.clone(), 0, None);
        let answer = line.wait(asked)?;
        let (bytes, version) = (answer.content_length(), answer.headers().get(ETAG).cloned());
        let (answer, piece) = (Some(answer), Bytes::new());
        Ok(Self { line, key, at: 0, bytes, version, answer, piece })
    }

    /// The next piece; empty at the end.
    fn next(&mut self) -> Result<Bytes, StoreError> {
        let (line, key, at) = (self.line.clone(), self.key.clone(), self.at);
        let (bytes, version, mut answer) = (self.bytes, self.version.clone(), self.answer.take());
        let (piece, answer) = self.line.wait(async move {
            let mut attempt = 0;
            loop {
                let mut open = match answer.take() {
                    Some(open) => open,
                    None => get(line.clone(), key.clone(), at, version.clone()).await?,
                };
                let what = match open.chunk().await {
                    Ok(Some(piece)) if piece.is_empty() => {
                        answer = Some(open);
                        continue;
                    }
                    Ok(Some(piece)) => return Ok((piece, Some(open))),
                    Ok(None) if bytes.is_none_or(|bytes| bytes == at) => {
                        return Ok((Bytes::new(), None));
                    }
                    Ok(None) => format!("it ends at byte {at}"),
                    Err(error) => whole(&error.without_url()),
                };
                attempt += 1;
                if attempt == ATTEMPTS {
                    return Err(line.error(&key, what));
                }
                pause(attempt).await;
            }
        })?;
        self.answer = answer;
        self.at += piece.len() as u64;
        Ok(piece)
    }
}

/// Asks for an object from a byte on.
async fn get(
    line: Arc<Line>,
    key: String,
    from: u64,
    version: Option<HeaderValue>,
) -> Result<Response, StoreError> {
    let asked = line.address.get_object(Some(&line.credentials), &key);
    let made = |client: &reqwest::Client| {
        let mut made = client.request(Method::GET, asked.sign(SIGNED_FOR));
        if from > 0 {
            made = made.header(RANGE, format!("bytes={from}-"));
            made = version.iter().fold(made, |made, version| made.header(IF_MATCH, version));
        }
        made
    };
    let answer = line.ask_with(&key, made).await?;
    if from > 0 && answer.status() != StatusCode::PARTIAL_CONTENT {
        return Err(line.error(&key, format!("the store does not go on at byte {from}")));
    }
    Ok(answer)
}

impl Read for Download {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.next()?;
        }
        let count = self.piece.len().min(into.len());
        self.piece.split_to(count).copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
