//! Doors that tell the wrong thing.

use std::sync::Mutex;

use rotary_log::{ProposeError, Proposed, SERVICE_PROPOSE};
use rotary_proto::Outcome;
use rotary_proto::codec::{self, Limit};
use rotary_proto::outcome::Answer;

use super::Bug;

/// Stands in a node's doors, to clients and to other nodes.
pub(crate) struct PlantedDoor {
    bug: Option<Bug>,
    last: Mutex<(u64, Vec<u8>)>,
}

impl PlantedDoor {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self { bug, last: Mutex::default() }
    }

    /// What another node is answered.
    pub(crate) fn answer(&self, service: u8, answer: Vec<u8>) -> Vec<u8> {
        if self.bug != Some(Bug::AnswerOfAnother) || service != SERVICE_PROPOSE {
            return answer;
        }
        let mut last = self.last.lock().expect("no code panics while it holds this lock");
        let (count, before) = (last.0 + 1, std::mem::replace(&mut last.1, answer.clone()));
        last.0 = count;
        if count.is_multiple_of(20) { before } else { answer }
    }

    /// What a client is told.
    pub(crate) fn told(
        &self,
        told: Result<Proposed, ProposeError>,
    ) -> Result<Proposed, ProposeError> {
        match told {
            Err(ProposeError::Unknown(_)) if self.bug == Some(Bug::UnknownCalledDone) => {
                let answer =
                    Answer { outcome: Outcome::OK, repeated: false, sequence: 0, index: 1 };
                let answer = codec::encode(&answer, Limit::Entry).expect("an answer fits");
                Ok(Proposed { index: 1, answer })
            }
            told => told,
        }
    }
}
