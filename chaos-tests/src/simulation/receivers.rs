//! Those who answer webhooks' messages: somebody's servers, on the street, as good as such are.
//!
//! They speak HTTP by hand, verify every signature, and write down each message with what they did
//! about it before they do it, so that nobody can know of an answer sooner than the history. By the
//! coins of the seed they take a message, take it late (also later than a node waits), refuse it,
//! refuse it for good, say nothing, or hang up. Once everything is healed they take what comes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use rotary_client::network::Wire;
use rotary_proto::ids::{EffectId, WebhookId};
use rotary_proto::{Cursor, Event as ProtoEvent, SiteId, Stamp};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::history::{Digest, Event, Fact, Record, Recorder};
use crate::simulation::history::Ms;
use crate::simulation::random::Random;
use crate::workload::{self, secret};

/// Of a thousand worlds, so many have webhooks.
const WORLDS_PERMILLE: u64 = 500;
/// Where all receivers are.
const BASE: &str = "http://hooks.example";
/// Bytes of a message, at most.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How late an answer may be: nodes wait for 15 s.
const LATE_MS_MAX: Ms = 3_000;
const TOO_LATE_MS: (Ms, Ms) = (14_000, 18_000);

/// What is done about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    Answer(u16),
    AnswerAfter(Ms),
    Silence,
    HangUp,
}

struct Inner {
    random: Random,
    is_healed: bool,
}

/// All receivers of a world; clones are the same.
#[derive(Clone)]
pub(crate) struct Receivers {
    seed: u64,
    recorder: Recorder,
    inner: Arc<Mutex<Inner>>,
}

/// Whether a world has webhooks: what the workload is told of them.
pub(crate) fn of_world(seed: u64, must: bool) -> Option<workload::Receivers> {
    let has = Random::salted(seed, "webhooks").permille(WORLDS_PERMILLE) || must;
    has.then(|| workload::Receivers { base: BASE.to_owned(), seed })
}

/// A message as it came.
struct Message {
    path: String,
    id: String,
    timestamp: String,
    signature: String,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Told {
    r#type: String,
    data: Row,
}

#[derive(Deserialize)]
struct Row {
    cursor: Cursor,
    index: u64,
    stamp: Stamp,
    event: ProtoEvent,
}

impl Receivers {
    /// Who knows the secrets of that world, and writes into that history.
    pub(crate) fn new(seed: u64, recorder: Recorder) -> Self {
        let random = Random::salted(seed, "receivers");
        let inner = Arc::new(Mutex::new(Inner { random, is_healed: false }));
        Self { seed, recorder, inner }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock")
    }

    /// From here on everything is taken at once.
    pub(crate) fn heal(&self) {
        self.lock().is_healed = true;
    }

    /// Answers the messages of one connection.
    pub(crate) async fn serve(self, mut wire: Box<dyn Wire>) {
        let mut read = Vec::new();
        while let Ok(Some(message)) = receive(&mut wire, &mut read).await {
            if self.answer(&mut wire, &message).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, wire: &mut Box<dyn Wire>, message: &Message) -> io::Result<()> {
        let conduct = self.lock().conduct();
        let status = match conduct {
            Conduct::Answer(status) => status,
            Conduct::AnswerAfter(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                200
            }
            Conduct::Silence => {
                self.write_down(message, None);
                let mut nothing = [0; 64];
                while wire.read(&mut nothing).await? > 0 {}
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Conduct::HangUp => {
                self.write_down(message, None);
                return Err(io::ErrorKind::ConnectionReset.into());
            }
        };
        self.write_down(message, Some(status));
        let head = format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n");
        wire.write_all(head.as_bytes()).await
    }

    fn write_down(&self, message: &Message, answer: Option<u16>) {
        let at_ms = self.recorder.now_ms();
        let Some((site, webhook)) = place(&message.path) else {
            return self.recorder.mark(&format!("unread {}", message.path));
        };
        let effect = message.id.parse::<EffectId>().ok();
        let event = event(site, &message.body);
        let signed = self.is_signed(site, webhook, message);
        let delivered = Record::Delivered { at_ms, site, webhook, effect, event, signed, answer };
        self.recorder.record(delivered);
    }

    fn is_signed(&self, site: SiteId, webhook: WebhookId, message: &Message) -> bool {
        let Message { id, timestamp, signature, body, .. } = message;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret(self.seed, site, webhook).bytes());
        let mut signed = format!("{id}.{timestamp}.").into_bytes();
        signed.extend_from_slice(body);
        let proof = signature.strip_prefix("v1,").and_then(|proof| BASE64.decode(proof).ok());
        proof.is_some_and(|proof| hmac::verify(&key, &signed, &proof).is_ok())
    }
}

impl Inner {
    fn conduct(&mut self) -> Conduct {
        let luck = self.random.below(100);
        let (low, high) = TOO_LATE_MS;
        match luck {
            _ if self.is_healed => Conduct::Answer(204),
            0..78 => Conduct::Answer(200),
            78..85 => Conduct::AnswerAfter(self.random.between(1, LATE_MS_MAX)),
            85..87 => Conduct::AnswerAfter(self.random.between(low, high)),
            87..93 => Conduct::Answer(500),
            93..94 => Conduct::Answer(410),
            94..96 => Conduct::Silence,
            _ => Conduct::HangUp,
        }
    }
}

/// The next message; none at the end of the connection.
async fn receive(wire: &mut Box<dyn Wire>, read: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if read.len() > MESSAGE_BYTES_MAX {
            return Err(bad());
        }
        if wire.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8(read[..head].to_vec()).map_err(|_| bad())?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some("POST"), Some(path)) = (words.next(), words.next()) else { return Err(bad()) };
    let header = |name: &str| {
        let of = |line: &str| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        };
        text.split("\r\n").skip(1).find_map(of).unwrap_or_default()
    };
    let length: usize = header("content-length").parse().map_err(|_| bad())?;
    if length > MESSAGE_BYTES_MAX {
        return Err(bad());
    }
    let end = head + 4 + length;
    while read.len() < end {
        if wire.read_buf(read).await? == 0 {
            return Ok(None);
        }
    }
    let body = read[head + 4..end].to_vec();
    let message = Message {
        path: path.to_owned(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
    };
    read.drain(..end);
    Ok(Some(message))
}

/// Whose webhook a path is.
fn place(path: &str) -> Option<(SiteId, WebhookId)> {
    let (site, webhook) = path.strip_prefix('/')?.split_once('/')?;
    Some((site.parse().ok()?, webhook.parse().ok()?))
}

/// What a message tells, if it can be read, is of that site, and is called what it is.
fn event(site: SiteId, body: &[u8]) -> Option<Event> {
    let Told { r#type, data } = serde_json::from_slice(body).ok()?;
    let Row { cursor, index, stamp, event } = data;
    let (topic, _) = event.topic()?;
    let (sequence, digest) = (cursor.sequence, Digest::of(&event));
    let fits = cursor.site == site && topic.word() == r#type;
    fits.then(|| Event { site, sequence, index, stamp, digest, fact: Fact::from(&event) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_one_by_one_however_they_come() {
        let one =
            "POST /st_1.1/wh_2 HTTP/1.1\r\nWebhook-Id: ef_1.6.0\r\ncontent-length: 2\r\n\r\n{}";
        let both = format!("{one}{one}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("plain");
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(7);
            let writing = async move { far.write_all(both.as_bytes()).await.expect("read") };
            let reading = async {
                let (mut wire, mut read): (Box<dyn Wire>, _) = (Box::new(near), Vec::new());
                for _ in 0..2 {
                    let message = receive(&mut wire, &mut read).await.expect("whole");
                    let message = message.expect("not the end");
                    let of = (SiteId::new(1, 1), WebhookId(2));
                    assert_eq!(place(&message.path), Some(of));
                    assert_eq!((&*message.id, &*message.body), ("ef_1.6.0", &b"{}"[..]));
                }
                assert!(receive(&mut wire, &mut read).await.expect("the end").is_none());
            };
            tokio::join!(writing, reading);
        });
    }
}
