//! One session that passes through a gateway-only node, as far as that node must know it.
//!
//! To go on through another core node without the client's doing, the gateway keeps what a client
//! would name in its own `resume`: the token, how far each site was read, the last number, and the
//! commands without results. Everything else passes through as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rotary_proto::frame::{ClientFrame, CommandNumber, Mode, Retry, ServerFrame};
use rotary_proto::{Cursor, SessionId, SiteId};
use serde::Deserialize;

use crate::gateway::session::End;

/// Commands without results that one session may have on its way, and their bytes.
const PENDING_MAX: usize = 1_024;
const PENDING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A session on its way through.
pub(super) struct Line {
    /// How the client began.
    first: ClientFrame,
    /// The session and the token to resume it with, once a core node said so.
    identity: Option<(SessionId, String)>,
    cursors: BTreeMap<SiteId, u64>,
    seq: u64,
    pending: BTreeMap<CommandNumber, String>,
    pending_bytes: usize,
    /// Where clients are told that they may resume.
    gateways: Vec<String>,
}

/// What is to be done with a frame of a core node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These go to the client.
    Say(Vec<String>),
    /// This core node asks to be left; the session goes on through another.
    Leave(String),
    /// This is the last that the client is told.
    Last(String),
}

/// What every frame is looked at for; the rest of it is not opened.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    seq: Option<u64>,
    cursor: Option<Cursor>,
    site: Option<SiteId>,
    number: Option<u64>,
    code: Option<String>,
    retry: Option<Retry>,
}

/// Codes of good-byes that another core node has an answer to.
const ELSEWHERE: [&str; 3] = ["behind", "stopping", "silent"];

impl Line {
    /// A session that its client begins with that frame, a start or a resume.
    pub(super) fn new(first: ClientFrame, gateways: Vec<String>) -> Self {
        let (cursors, seq) = match &first {
            ClientFrame::Start { cursors, .. } => (cursors.as_slice(), 0),
            ClientFrame::Resume { cursors, seq, .. } => (cursors.as_slice(), *seq),
            _ => (&[][..], 0),
        };
        let cursors = cursors.iter().map(|cursor| (cursor.site, cursor.sequence)).collect();
        let (pending, pending_bytes) = (BTreeMap::new(), 0);
        Self { first, identity: None, cursors, seq, pending, pending_bytes, gateways }
    }

    /// Whether a core node has welcomed it.
    pub(super) fn is_on(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether it was on somewhere before.
    pub(super) fn returns(&self) -> bool {
        self.is_on() || matches!(self.first, ClientFrame::Resume { .. })
    }

    /// The number of the last event that went to the client.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// What to begin with at a core node.
    pub(super) fn first_frame(&self) -> ClientFrame {
        let Some((_, resume_token)) = &self.identity else { return self.first.clone() };
        let cursor =
            |(site, sequence): (&SiteId, &u64)| Cursor { site: *site, sequence: *sequence };
        ClientFrame::Resume {
            resume_token: resume_token.clone(),
            cursors: self.cursors.iter().map(cursor).collect(),
            seq: self.seq,
            unacknowledged: self.pending.keys().copied().collect(),
        }
    }

    /// Takes a frame of the client on its way to a core node.
    ///
    /// # Errors
    /// The end of a client that asks for too much at once.
    pub(super) fn asked(&mut self, frame: &ClientFrame) -> Result<String, End> {
        let text = serde_json::to_string(frame).expect("frames are plain data");
        if let ClientFrame::Cmd { site, number, .. } = frame {
            let key = CommandNumber { site: *site, number: *number };
            self.settle(key);
            self.pending_bytes += text.len();
            self.pending.insert(key, text.clone());
            if self.pending.len() > PENDING_MAX || self.pending_bytes > PENDING_BYTES_MAX {
                let detail = format!("more than {PENDING_MAX} commands without results");
                return Err(End::resume("protocol", detail));
            }
        }
        Ok(text)
    }

    /// Commands to send again, in the order of their numbers.
    pub(super) fn again(&self) -> impl Iterator<Item = &String> {
        self.pending.values()
    }

    fn settle(&mut self, key: CommandNumber) {
        if let Some(text) = self.pending.remove(&key) {
            self.pending_bytes -= text.len();
        }
    }

    /// Takes a frame of a core node.
    ///
    /// # Errors
    /// What is wrong with it, or why the session cannot go on as if nothing had happened.
    pub(super) fn said(&mut self, text: String) -> Result<Step, End> {
        let peek: Peek = serde_json::from_str(&text).map_err(|error| unfit(error.to_string()))?;
        match &*peek.kind {
            // A board's figures are numbered as events are.
            "event" | "board" => {
                let (Some(seq), Some(cursor)) = (peek.seq, peek.cursor) else {
                    return Err(unfit("an event without its number"));
                };
                if seq != self.seq + 1 {
                    return Err(unfit(format!("event {seq} after {}", self.seq)));
                }
                self.seq = seq;
                self.cursors.insert(cursor.site, cursor.sequence);
            }
            "snapshot" => {
                let cursor = peek.cursor.ok_or_else(|| unfit("a snapshot without its place"))?;
                self.cursors.insert(cursor.site, cursor.sequence);
            }
            "result" => {
                if let (Some(site), Some(number)) = (peek.site, peek.number) {
                    self.settle(CommandNumber { site, number });
                }
            }
            "hello" | "pong" => return Ok(Step::Say(Vec::new())),
            "goaway" => return Ok(Step::Leave("goaway".to_owned())),
            "bye" => {
                let code = peek.code.unwrap_or_default();
                let elsewhere = ELSEWHERE.contains(&code.as_str());
                return Ok(match (peek.retry, elsewhere) {
                    (Some(Retry::Resume), true) => Step::Leave(code),
                    _ => Step::Last(text),
                });
            }
            "welcome" => return self.welcomed(&text),
            _ => {}
        }
        Ok(Step::Say(vec![text]))
    }

    /// The first welcome goes to the client; a later one is this node's own.
    fn welcomed(&mut self, text: &str) -> Result<Step, End> {
        let mut frame: ServerFrame =
            serde_json::from_str(text).map_err(|error| unfit(error.to_string()))?;
        let ServerFrame::Welcome { session, mode, seq, resume_token, gateways, results, .. } =
            &mut frame
        else {
            return Err(unfit("no welcome"));
        };
        let known = self.identity.replace((*session, resume_token.clone()));
        for result in results.iter() {
            let (site, number) = (result.site, result.number);
            self.settle(CommandNumber { site, number });
        }
        let Some((before, _)) = known else {
            self.seq = *seq;
            gateways.clone_from(&self.gateways);
            return Ok(Step::Say(vec![text_of(&frame)]));
        };
        if before != *session || *seq != self.seq {
            return Err(unfit("another session's welcome"));
        }
        if *mode != Mode::Replayed {
            // The client knows how to begin with a snapshot; in the middle of a socket it does not.
            let detail = "what was missed is no longer told; resume for a snapshot";
            return Err(End::resume("behind", detail));
        }
        let results = std::mem::take(results).into_iter();
        Ok(Step::Say(results.map(|result| text_of(&ServerFrame::Result(result))).collect()))
    }
}

fn text_of(frame: &ServerFrame) -> String {
    serde_json::to_string(frame).expect("frames are plain data")
}

fn unfit(what: impl std::fmt::Display) -> End {
    End::resume("behind", format!("a core node said what cannot be passed on: {what}"))
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
