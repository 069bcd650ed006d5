//! What a node answers to the others: its shards' doors, and its journal for those who lack
//! history.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use rotary_log::{Door, SERVICE_HISTORY, answer_history};
use rotary_proto::NodeId;
use rotary_storage::Journal;
use rotary_transport::{Handler, Lane};

use crate::simulation::bugs::PlantedDoor;

/// The node's door to other nodes.
pub(crate) struct Hall {
    pub(crate) shards: Door,
    pub(crate) journal: Arc<Journal>,
    pub(crate) door: Arc<PlantedDoor>,
}

impl Handler for Hall {
    fn handle(
        &self,
        _: NodeId,
        _: Lane,
        service: u8,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        let shards = self.shards.clone();
        let (door, journal) = (self.door.clone(), self.journal.clone());
        Box::pin(async move {
            if service == SERVICE_HISTORY {
                return answer_history(&journal, &payload);
            }
            shards.handle(service, payload).await.map(|answer| door.answer(service, answer))
        })
    }
}
