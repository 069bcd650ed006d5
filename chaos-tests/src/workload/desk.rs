//! Where everybody's requests go out, and their ends are written down.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rotary_client::{Acknowledged, Api, CommandError, Commander, Outcome as ApiOutcome};
use rotary_proto::frame::{CommandReply, CommandResult};
use rotary_proto::outcome::Outcome;
use rotary_proto::{Actor, Command, ConversationId, RequestId, SessionId, SiteId};
use serde_json::Value;

use super::paths::{Request, request};
use super::{Summary, stream};
use crate::history::{End, Operation, Origin, Record, Recorder, Reply};

/// One request in so many is sent twice under its key.
const TWICE_ONE_IN: u64 = 10;
/// Requests that are kept to be asked again at the drain; what is in doubt beyond stays unknown.
const DOUBTS_MAX: usize = 4_096;
/// How long a session's command is waited for.
const SESSION_PATIENCE: Duration = Duration::from_secs(30);

/// What somebody was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Done,
    Refused,
    Unknown,
}

/// Who asks for what, of which site.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) site: SiteId,
    pub(super) actor: Actor,
    pub(super) command: Command,
}

/// A request to be asked again at the drain.
struct Doubt {
    api: Api,
    ask: Ask,
    key: RequestId,
    request: Request,
}

/// Process numbers: who is free may be used again, unless its last word is in doubt.
#[derive(Default)]
struct Processes {
    free: Vec<u64>,
    next: u64,
}

/// Conversations whose opening was sent, a fair sample of them.
struct Opened {
    sample: Vec<ConversationId>,
    seen: u64,
    most: usize,
    draw: StdRng,
}

/// Sends requests, with evidence.
pub(super) struct Desk {
    recorder: Recorder,
    processes: Mutex<Processes>,
    doubts: Mutex<Vec<Doubt>>,
    opened: Mutex<Opened>,
    draw: Mutex<StdRng>,
    ok: AtomicU64,
    fail: AtomicU64,
    unknown: AtomicU64,
    pub(super) customers: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub(super) fn new(recorder: Recorder, seed: u64, transcripts_max: usize) -> Self {
        let draw = stream(seed, 2);
        let opened = Opened { sample: Vec::new(), seen: 0, most: transcripts_max, draw };
        Self {
            recorder,
            processes: Mutex::default(),
            doubts: Mutex::default(),
            opened: Mutex::new(opened),
            draw: Mutex::new(stream(seed, 1)),
            ok: AtomicU64::new(0),
            fail: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            customers: AtomicU64::new(0),
        }
    }

    pub(super) const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(super) fn summary(&self) -> Summary {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (ok, fail, unknown) = (of(&self.ok), of(&self.fail), of(&self.unknown));
        Summary { ok, fail, unknown, customers: of(&self.customers), drained: false }
    }

    /// A sample of the conversations that somebody wanted to open.
    pub(super) fn opened(&self) -> Vec<ConversationId> {
        lock(&self.opened).sample.clone()
    }

    fn process(&self) -> u64 {
        let mut processes = lock(&self.processes);
        processes.free.pop().unwrap_or_else(|| {
            processes.next += 1;
            processes.next
        })
    }

    /// Begins an operation. Whatever becomes of whoever waits for it, its end is written down.
    fn begin<'a>(&'a self, ask: &'a Ask, origin: Origin) -> Begun<'a> {
        let (process, invoked_ms) = (self.process(), self.recorder.now_ms());
        Begun { desk: self, process, ask, origin, invoked_ms, is_over: false }
    }

    /// Writes down how an operation ended.
    fn end(&self, begun: &Begun<'_>, end: End) -> Told {
        let Begun { process, ask, origin, invoked_ms, .. } = begun;
        let (process, invoked_ms, origin) = (*process, *invoked_ms, origin.clone());
        let told = match &end {
            End::Ok { .. } => Told::Done,
            End::Fail { .. } => Told::Refused,
            End::Unknown { .. } => Told::Unknown,
        };
        let count = match told {
            Told::Done => &self.ok,
            Told::Refused => &self.fail,
            Told::Unknown => &self.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.recorder.record(Record::Operation(Operation {
            process,
            site: ask.site,
            actor: ask.actor,
            origin,
            command: Box::new(ask.command.clone()),
            invoked_ms,
            returned_ms: self.recorder.now_ms(),
            end,
        }));
        if told != Told::Unknown {
            lock(&self.processes).free.push(process);
        }
        told
    }

    /// Asks over HTTP; now and then twice at once, under one key.
    pub(super) async fn over_http(self: &Arc<Self>, api: &Api, ask: Ask) -> Told {
        if let Command::Open { conversation, .. } = &ask.command {
            lock(&self.opened).note(*conversation);
        }
        let key = Api::key();
        let twice = lock(&self.draw).random_range(0..TWICE_ONE_IN) == 0;
        if !twice {
            return self.send(api, &ask, key).await;
        }
        let at = lock(&self.draw).random_range(0..api.gateways().len());
        let other = api.only(&api.gateways()[at].clone());
        let after_ms = lock(&self.draw).random_range(0..40);
        let late = async {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            self.send(&other, &ask, key).await
        };
        let (one, other) = tokio::join!(self.send(api, &ask, key), late);
        if one == Told::Done { one } else { other }
    }

    async fn send(&self, api: &Api, ask: &Ask, key: RequestId) -> Told {
        let Some(request) = request(ask.site, &ask.command) else { return Told::Refused };
        let begun = self.begin(ask, Origin::Key(key.to_string()));
        let Request { method, path, body } = request.clone();
        let outcome = api.change_as(key, method, &path, &body).await;
        let end = end_of(outcome);
        if let End::Unknown { .. } = end {
            let mut doubts = lock(&self.doubts);
            if doubts.len() < DOUBTS_MAX {
                doubts.push(Doubt { api: api.clone(), ask: ask.clone(), key, request });
            }
        }
        begun.end(end)
    }

    /// Asks over a session.
    pub(super) async fn over_session(
        &self,
        commander: &Commander,
        session: SessionId,
        ask: Ask,
    ) -> Told {
        let begun = self.begin(&ask, Origin::Session(session));
        let sent = commander.send(ask.site, ask.command.clone());
        let answer = tokio::time::timeout(SESSION_PATIENCE, sent).await;
        let end = match answer {
            Ok(Ok(result)) => end_of_command(result),
            Ok(Err(CommandError::NotSent)) => {
                End::Fail { code: "not-sent".to_owned(), position: None }
            }
            Ok(Err(error)) => End::Unknown { detail: error.to_string() },
            Err(_) => End::Unknown { detail: "no result within 30 s".to_owned() },
        };
        begun.end(end)
    }

    /// Asks again, under the same keys and through any gateway, what nobody knew the outcome of.
    pub(super) async fn settle_doubts(&self) {
        let doubts = std::mem::take(&mut *lock(&self.doubts));
        let mut asked: BTreeMap<RequestId, ()> = BTreeMap::new();
        for Doubt { api, ask, key, request } in doubts {
            if asked.insert(key, ()).is_some() {
                continue;
            }
            let begun = self.begin(&ask, Origin::Key(key.to_string()));
            let Request { method, path, body } = request;
            let end = end_of(api.change_as(key, method, &path, &body).await);
            begun.end(end);
        }
    }
}

/// An operation that was sent.
struct Begun<'a> {
    desk: &'a Desk,
    process: u64,
    ask: &'a Ask,
    origin: Origin,
    invoked_ms: u64,
    is_over: bool,
}

impl Begun<'_> {
    fn end(mut self, end: End) -> Told {
        self.is_over = true;
        self.desk.end(&self, end)
    }
}

impl Drop for Begun<'_> {
    /// Who waited for it was cut off: it may take effect or not.
    fn drop(&mut self) {
        if !self.is_over {
            self.desk.end(self, End::Unknown { detail: "nobody waited for it".to_owned() });
        }
    }
}

impl Opened {
    /// A reservoir: each of all has the same chance to be kept.
    fn note(&mut self, conversation: ConversationId) {
        self.seen += 1;
        if self.sample.len() < self.most {
            return self.sample.push(conversation);
        }
        let at = self.draw.random_range(0..self.seen) as usize;
        if let Some(kept) = self.sample.get_mut(at) {
            *kept = conversation;
        }
    }
}

fn end_of(outcome: ApiOutcome) -> End {
    match outcome {
        ApiOutcome::Acknowledged(acknowledged) => {
            let Acknowledged { position, repeated, .. } = acknowledged;
            End::Ok { position, repeated, reply: reply(&acknowledged) }
        }
        ApiOutcome::Refused(refused) => {
            End::Fail { code: refused.code, position: refused.position }
        }
        ApiOutcome::Unknown(detail) => End::Unknown { detail },
    }
}

/// What the body of an acknowledgement says.
fn reply(acknowledged: &Acknowledged) -> Reply {
    let body = acknowledged.read::<Value>().unwrap_or_default();
    let number = |name: &str| u32::try_from(body.get(name)?.as_u64()?).ok();
    if let Some(ordinal) = number("ordinal") {
        Reply::Posted { ordinal }
    } else if let Some(leg) = number("leg") {
        Reply::Accepted { leg }
    } else if let Some(version) = number("version") {
        Reply::Stored { version }
    } else {
        Reply::Ok
    }
}

fn end_of_command(result: CommandResult) -> End {
    let CommandResult { repeated, position, result, .. } = result;
    match result {
        CommandReply::Outcome(Outcome::Done(done)) => {
            End::Ok { position, repeated, reply: Reply::from(done) }
        }
        CommandReply::Outcome(Outcome::Refused(refusal)) => {
            End::Fail { code: refusal.word().to_owned(), position }
        }
        CommandReply::NotApplied { code, .. } => End::Fail { code, position: None },
        CommandReply::Unknown { detail } => End::Unknown { detail },
    }
}
