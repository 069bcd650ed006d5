//! An object on its way into a bucket, in parts: one is in memory at a time. A small object is one
//! request. What is given up is taken back, so that nobody pays for parts that nothing names.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::ETAG;
use rusty_s3::actions::{
    CompleteMultipartUpload, CompleteMultipartUploadResponse, CreateMultipartUpload, S3Action as _,
};

use super::bucket::{Line, SIGNED_FOR};
use super::{StoreError, Writing};

/// Bytes of the first parts. A store takes parts from 5 MiB up.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a part at most: it doubles after so many of them, up to this.
const PART_BYTES_MAX: usize = 64 * 1024 * 1024;
const DOUBLES_AFTER: usize = 1_000;
/// Parts that a store takes: some 500 GiB.
const PARTS_MAX: usize = 10_000;

/// An object that is being written.
pub(super) struct Upload {
    line: Arc<Line>,
    key: String,
    part: Vec<u8>,
    /// What the store calls it, once it has parts, and what it calls those.
    begun: Option<String>,
    parts: Vec<String>,
}

impl Upload {
    pub(super) fn begin(line: Arc<Line>, key: String) -> Self {
        Self { line, key, part: Vec::new(), begun: None, parts: Vec::new() }
    }

    fn part_bytes(&self) -> usize {
        let doubled = (self.parts.len() / DOUBLES_AFTER).min(8);
        (PART_BYTES << doubled).min(PART_BYTES_MAX)
    }

    /// The store's name for the upload, which is begun where it is not.
    fn upload(&mut self) -> Result<String, StoreError> {
        if let Some(begun) = &self.begun {
            return Ok(begun.clone());
        }
        let (line, key) = (self.line.clone(), self.key.clone());
        let begun = self.line.wait(async move {
            let asked = line.address.create_multipart_upload(Some(&line.credentials), &key);
            let sign = || asked.sign(SIGNED_FOR);
            let answer = line.ask(&key, Method::POST, sign, Bytes::new()).await?;
            let text = line.text(&key, answer).await?;
            let parsed = CreateMultipartUpload::parse_response(&text);
            let parsed = parsed.map_err(|error| line.error(&key, error))?;
            Ok(parsed.upload_id().to_owned())
        })?;
        self.begun = Some(begun.clone());
        Ok(begun)
    }

    fn send_part(&mut self) -> Result<(), StoreError> {
        if self.parts.len() == PARTS_MAX {
            return Err(self.line.error(&self.key, "it is too large for an object of a bucket"));
        }
        let upload = self.upload()?;
        let (line, key) = (self.line.clone(), self.key.clone());
        let number = self.parts.len() as u16 + 1;
        let body = Bytes::from(std::mem::take(&mut self.part));
        let tag = self.line.wait(async move {
            let asked = line.address.upload_part(Some(&line.credentials), &key, number, &upload);
            let answer = line.ask(&key, Method::PUT, || asked.sign(SIGNED_FOR), body).await?;
            let tag = answer.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
            let tag = tag.map(str::to_owned);
            tag.ok_or_else(|| line.error(&key, "the store gave no name to a part"))
        })?;
        self.parts.push(tag);
        Ok(())
    }

    /// A small object, in one request.
    fn put(&mut self) -> Result<(), StoreError> {
        let (line, key) = (self.line.clone(), self.key.clone());
        let body = Bytes::from(std::mem::take(&mut self.part));
        self.line.wait(async move {
            let asked = line.address.put_object(Some(&line.credentials), &key);
            line.ask(&key, Method::PUT, || asked.sign(SIGNED_FOR), body).await.map(drop)
        })
    }

    fn complete(&mut self) -> Result<(), StoreError> {
        let upload = self.upload()?;
        let (line, key) = (self.line.clone(), self.key.clone());
        let parts = self.parts.clone();
        self.line.wait(async move {
            let credentials = Some(&line.credentials);
            let tags = || parts.iter().map(String::as_str);
            let asked =
                CompleteMultipartUpload::new(&line.address, credentials, &key, &upload, tags());
            let body = Bytes::from(asked.clone().body());
            let answer = line.ask(&key, Method::POST, || asked.sign(SIGNED_FOR), body).await;
            let failed = match answer {
                // It may say no after it has begun to say yes.
                Ok(answer) => {
                    let text = line.text(&key, answer).await?;
                    match CompleteMultipartUploadResponse::parse(&text) {
                        Ok(_) => return Ok(()),
                        Err(error) => line.error(&key, error),
                    }
                }
                Err(error) => error,
            };
            // A repeated request finds no upload any more where an earlier one was done, and only
            // its answer was lost. Then the object is there; it is read back anyway.
            let asked = line.address.head_object(credentials, &key);
            let there = line.ask(&key, Method::HEAD, || asked.sign(SIGNED_FOR), Bytes::new());
            there.await.map(drop).map_err(|_| failed)
        })
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.part_bytes() - self.part.len();
        let taken = room.min(bytes.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == self.part_bytes() {
            self.send_part()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writing for Upload {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if self.begun.is_none() {
            return Ok(self.put()?);
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        self.complete()?;
        self.begun = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(upload) = self.begun.take() else { return };
        let (line, key) = (self.line.clone(), self.key.clone());
        let done = self.line.wait(async move {
            let asked = line.address.abort_multipart_upload(Some(&line.credentials), &key, &upload);
            let sign = || asked.sign(SIGNED_FOR);
            line.ask(&key, Method::DELETE, sign, Bytes::new()).await.map(drop)
        });
        if let Err(error) = done {
            tracing::debug!(%error, "parts of a backup stay in the store until it drops them");
        }
    }
}
