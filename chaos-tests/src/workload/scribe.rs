//! Writes down what a session is told.

use rotary_client::{End, Notice};
use rotary_proto::event::Viewer;
use rotary_proto::{SessionId, SiteId};

use crate::history::{Event, Record, Recorder};

/// One session's scribe.
pub(super) struct Scribe {
    recorder: Recorder,
    viewer: Viewer,
    site: SiteId,
    session: SessionId,
}

impl Scribe {
    pub(super) fn new(recorder: Recorder, viewer: Viewer, site: SiteId) -> Self {
        Self { recorder, viewer, site, session: SessionId::default() }
    }

    /// The session, once it was welcome.
    pub(super) const fn session(&self) -> SessionId {
        self.session
    }

    /// Writes a notice down.
    pub(super) fn take(&mut self, notice: &Notice) {
        let (at_ms, session, site) = (self.recorder.now_ms(), self.session, self.site);
        let over = |fault, detail: String| Record::SessionOver { at_ms, session, fault, detail };
        let record = match notice {
            Notice::Welcome(welcomed) => {
                self.session = welcomed.session;
                Record::Welcome {
                    at_ms,
                    session: welcomed.session,
                    viewer: self.viewer,
                    site,
                    mode: welcomed.mode,
                    seq: welcomed.seq,
                    gateway: welcomed.gateway.to_string(),
                    outage_ms: welcomed.outage.as_millis() as u64,
                }
            }
            Notice::Snapshot { cursor, .. } => {
                let (site, sequence) = (cursor.site, cursor.sequence);
                Record::Snapshot { at_ms, session, site, sequence }
            }
            Notice::Event(frame) => {
                let (seq, event) = (frame.seq, Event::from(&**frame));
                Record::Received { at_ms, session, seq, event }
            }
            Notice::Lost { gateway, why } => over(false, format!("{gateway}: {why}")),
            Notice::Ended(End::Fault(fault)) => over(true, fault.to_string()),
            Notice::Ended(End::Closed { code, detail, .. }) => {
                over(false, format!("{code}: {detail}"))
            }
            Notice::Ended(End::Bye) => over(false, "bye".to_owned()),
            Notice::Board(_) | Notice::Signal { .. } => return,
        };
        self.recorder.record(record);
    }
}
