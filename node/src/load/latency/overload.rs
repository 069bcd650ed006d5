//! Five times what a cluster can do, from clients without manners.
//!
//! Agents serve as in the measurement of latency. Customers come over kept connections of a raw
//! client, each connection at one door and for one site. First the *peak* is looked for, with so
//! many contacts under way, the next begun when one is over; then contacts come at half of it, at
//! five times of it, and at half again, whatever becomes of them. Whoever is refused tries again at
//! once, up to three times, and never reads how long to wait. All connections taken, those who are
//! due wait for one: then the storm is as fast as refusals are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rotary_client::Method;
use rotary_proto::{Channel, ConversationId, NodeId, SiteId};
use serde_json::json;
use tokio::task::JoinSet;

use super::raw::Raw;
use super::usage::Usage;
use super::{Board, Latency};
use crate::load::world::{change, queue_of};

/// Connections of customers.
pub(crate) const CONNECTIONS: usize = 240;
/// Times that a refused contact is tried again, at once.
const AGAIN: usize = 3;
/// How long a contact may take to end while the peak is looked for.
const CONTACT: Duration = Duration::from_secs(30);

/// How contacts come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Coming {
    /// So many under way, the next as soon as one is over; no more than there are connections.
    Closed(usize),
    /// So many a second.
    Open(f64),
}

/// A second of a phase.
#[derive(Debug, Clone)]
pub(crate) struct Second {
    /// From request to offer.
    pub offered: Vec<Duration>,
    /// Contacts that ended.
    pub ended: usize,
}

/// What came of a phase.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    pub took: Duration,
    pub seconds: Vec<Second>,
    /// Requests sent, and those taken up.
    pub asked: u64,
    pub admitted: u64,
    /// How long each refusal took.
    pub refused: Vec<Duration>,
    /// Refusals and other failures, by code.
    pub codes: BTreeMap<String, u64>,
    /// Processor time of the nodes, and of this process.
    pub nodes_cpu: Duration,
    pub own_cpu: Duration,
    /// Memory of the largest node before and after, and the most it ever had.
    pub bytes_before: u64,
    pub bytes: u64,
    pub bytes_most: u64,
}

impl Phase {
    /// Contacts that ended.
    fn ended(&self) -> f64 {
        self.seconds.iter().map(|second| second.ended).sum::<usize>() as f64
    }

    /// Contacts that ended, a second.
    pub(crate) fn goodput(&self) -> f64 {
        self.ended() / self.took.as_secs_f64()
    }

    /// What the largest node's memory grew by for each contact that ended, in bytes: tombstones
    /// and kept outcomes of the last minutes are part of it, however few come at a time.
    pub(crate) fn grown(&self) -> f64 {
        self.bytes_most.saturating_sub(self.bytes_before) as f64 / self.ended().max(1.0)
    }

    /// Every time from request to offer.
    pub(crate) fn offered(&self) -> Vec<Duration> {
        self.seconds.iter().flat_map(|second| second.offered.iter().copied()).collect()
    }
}

/// What a connection saw.
#[derive(Default)]
struct Seen {
    asked: u64,
    admitted: u64,
    refused: Vec<Duration>,
    codes: BTreeMap<String, u64>,
}

/// The connections of customers.
pub(crate) struct Storm<'a> {
    latency: &'a Latency,
    lines: Vec<Line>,
    pids: Vec<u32>,
}

/// A connection, where it asks, and as whom.
struct Line {
    raw: Raw,
    site: SiteId,
    door: NodeId,
    token: String,
}

impl<'a> Storm<'a> {
    /// Connects, with a credential for each connection; `pids` are the nodes'.
    ///
    /// # Errors
    /// What was refused or could not be reached.
    pub(crate) async fn gather(latency: &'a Latency, pids: Vec<u32>) -> anyhow::Result<Self> {
        let sites = latency.sites();
        let mut lines = Vec::new();
        for number in 0..CONNECTIONS {
            let (door, gateway) = &latency.doors[number % latency.doors.len()];
            let site = sites[number / latency.doors.len() % sites.len()];
            let claims = json!({
                "role": "supervisor", "tenant": latency.world.tenant, "site": site, "ttl_s": 86_400,
            });
            let made = change(&latency.world.api, Method::POST, "/v1/tokens", &claims).await?;
            let token = made["token"].as_str().context("a token")?.to_owned();
            lines.push(Line { raw: Raw::connect(gateway).await?, site, door: *door, token });
        }
        Ok(Self { latency, lines, pids })
    }

    /// Contacts come for so long.
    ///
    /// # Errors
    /// A connection that broke, or a contact that did not end.
    pub(crate) async fn phase(&mut self, coming: Coming, time: Duration) -> anyhow::Result<Phase> {
        let board = &self.latency.board;
        board.clear();
        board.count_ended();
        let before = self.usage();
        let (begun, next) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let lines = match coming {
            Coming::Closed(many) => self.lines.split_off(self.lines.len().saturating_sub(many)),
            Coming::Open(_) => std::mem::take(&mut self.lines),
        };
        let mut running = JoinSet::new();
        for mut line in lines {
            let (board, next) = (Arc::clone(board), Arc::clone(&next));
            running.spawn(async move {
                let seen = match coming {
                    Coming::Closed(_) => line.closed(&board, begun + time).await,
                    Coming::Open(rate) => line.open(&board, begun, time, rate, &next).await,
                };
                seen.map(|seen| (line, seen))
            });
        }
        let seconds = seconds(board, begun, time).await;
        let mut phase = Phase { seconds, took: begun.elapsed(), ..Phase::default() };
        let after = self.usage();
        (phase.nodes_cpu, phase.own_cpu) = (after.0.cpu - before.0.cpu, after.1 - before.1);
        phase.bytes_before = before.0.bytes;
        (phase.bytes, phase.bytes_most) = (after.0.bytes, after.0.bytes_most);
        while let Some(ended) = running.join_next().await {
            let (line, seen) = ended??;
            self.lines.push(line);
            phase.asked += seen.asked;
            phase.admitted += seen.admitted;
            phase.refused.extend(seen.refused);
            for (code, count) in seen.codes {
                *phase.codes.entry(code).or_default() += count;
            }
        }
        Ok(phase)
    }

    /// The nodes' processor time together with the largest one's memory, and this process's time.
    fn usage(&self) -> (Usage, Duration) {
        let mut all = Usage::default();
        for usage in self.pids.iter().filter_map(|pid| Usage::of(*pid)) {
            all.cpu += usage.cpu;
            all.bytes = all.bytes.max(usage.bytes);
            all.bytes_most = all.bytes_most.max(usage.bytes_most);
        }
        (all, Usage::of(std::process::id()).unwrap_or_default().cpu)
    }
}

/// What the board says, second by second.
async fn seconds(board: &Board, begun: Instant, time: Duration) -> Vec<Second> {
    let mut seconds = Vec::new();
    for number in 1..=time.as_secs() as u32 {
        tokio::time::sleep_until((begun + Duration::from_secs(1) * number).into()).await;
        let offered = board.clear().into_iter().map(|sample| sample.took).collect();
        seconds.push(Second { offered, ended: board.count_ended() });
    }
    seconds
}

impl Line {
    /// Asks for a contact; whether it was taken up.
    async fn ask(
        &mut self,
        board: &Board,
        conversation: ConversationId,
        seen: &mut Seen,
    ) -> anyhow::Result<Option<tokio::sync::oneshot::Receiver<()>>> {
        let queue = queue_of(Channel::Chat);
        let path = format!("/v1/sites/{}/conversations", self.site);
        let body =
            format!(r#"{{"conversation":"{conversation}","queue":"{queue}","channel":"chat"}}"#);
        let hears = board.begin(conversation, self.door);
        seen.asked += 1;
        let begun = Instant::now();
        let answer = self.raw.post(&path, &self.token, &body).await?;
        if answer.status == 201 {
            seen.admitted += 1;
            return Ok(Some(hears));
        }
        let took = begun.elapsed();
        let code = if answer.status == 503 || answer.status == 429 {
            seen.refused.push(took);
            answer.code()
        } else {
            format!("{} {}", answer.status, answer.code())
        };
        *seen.codes.entry(code).or_default() += 1;
        Ok(None)
    }

    fn conversation(&self) -> ConversationId {
        ConversationId::new(self.site, rotary_client::unique())
    }

    /// One contact after another.
    async fn closed(&mut self, board: &Board, until: Instant) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        while Instant::now() < until {
            let conversation = self.conversation();
            let Some(ended) = self.ask(board, conversation, &mut seen).await? else {
                board.forget(conversation);
                continue;
            };
            let ended = tokio::time::timeout(CONTACT, ended).await;
            ended.with_context(|| format!("{conversation} does not end"))??;
        }
        Ok(seen)
    }

    /// The contacts that are due, whatever becomes of them.
    async fn open(
        &mut self,
        board: &Board,
        begun: Instant,
        time: Duration,
        rate: f64,
        next: &AtomicU64,
    ) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        loop {
            let due = Duration::from_secs_f64(next.fetch_add(1, Ordering::Relaxed) as f64 / rate);
            if due >= time || begun.elapsed() >= time {
                return Ok(seen);
            }
            if due > begun.elapsed() {
                tokio::time::sleep_until((begun + due).into()).await;
            }
            let conversation = self.conversation();
            for _ in 0..=AGAIN {
                if self.ask(board, conversation, &mut seen).await?.is_some() {
                    break;
                }
                board.forget(conversation);
            }
        }
    }
}
