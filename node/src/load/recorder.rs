//! A session's notices, written down before anybody acts on them.

use std::sync::Arc;

use rotary_client::{End, Notice};
use rotary_proto::SiteId;
use rotary_proto::event::Viewer;
use rotary_proto::frame::Mode;

use super::desk::Desk;
use super::ledger::{Record, digest};
use super::run::wall_ms;
use super::tally::Tally;

/// One session's scribe.
pub(super) struct Recorder {
    desk: Arc<Desk>,
    tally: Arc<Tally>,
    stream: u64,
    viewer: Viewer,
    site: SiteId,
    attached: bool,
}

impl Recorder {
    pub(super) fn new(desk: Arc<Desk>, tally: Arc<Tally>, viewer: Viewer, site: SiteId) -> Self {
        let stream = desk.stream();
        Self { desk, tally, stream, viewer, site, attached: false }
    }

    /// Writes a notice down.
    pub(super) fn take(&mut self, notice: &Notice) {
        let stream = self.stream;
        match notice {
            Notice::Welcome(welcomed) if !self.attached => {
                self.attached = true;
                self.desk.note(&Record::Attached {
                    stream,
                    session: welcomed.session,
                    viewer: self.viewer,
                    site: self.site,
                    node: welcomed.node,
                    seq: welcomed.seq,
                });
            }
            Notice::Welcome(welcomed) => {
                let (node, mode, seq) = (welcomed.node, welcomed.mode, welcomed.seq);
                let outage_ms = welcomed.outage.as_millis() as u64;
                self.desk.note(&Record::Resumed { stream, node, mode, seq, outage_ms });
                self.tally.resumed.add();
                self.tally.outage(welcomed.outage);
                if mode != Mode::Replayed {
                    self.tally.snapshots.add();
                }
            }
            Notice::Snapshot { cursor, .. } => {
                self.desk.note(&Record::Snapshot { stream, sequence: cursor.sequence });
            }
            Notice::Event(frame) => {
                self.desk.note(&Record::Event {
                    stream,
                    seq: frame.seq,
                    cursor: frame.cursor.sequence,
                    index: frame.index,
                    digest: digest(&frame.event),
                    after_ms: wall_ms().saturating_sub(frame.wall.0),
                });
            }
            Notice::Ended(End::Fault(fault)) => {
                self.tally.faults.add();
                tracing::error!(stream, %fault, "a session's stream broke its promise");
                self.desk.note(&Record::Fault { stream, detail: fault.to_string() });
            }
            Notice::Ended(End::Closed { code, detail, .. }) => {
                tracing::warn!(stream, code, detail, "a session was closed");
            }
            Notice::Lost { gateway, why } => tracing::debug!(stream, %gateway, why, "socket lost"),
            Notice::Board(_) | Notice::Signal { .. } | Notice::Ended(End::Bye) => {}
        }
    }
}
