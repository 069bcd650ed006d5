//! The root of the supervision tree: it takes failed actors out of the registry.

use std::sync::{Arc, Weak};

use metrics::counter;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::actor::registry::Registry;
use crate::telemetry::names;

/// Supervises every other actor of the node. It is told nothing and goes on whatever happens.
pub(crate) struct Root;

impl Actor for Root {
    type Msg = ();
    type State = Weak<Registry>;
    type Arguments = Weak<Registry>;

    async fn pre_start(
        &self,
        _: ActorRef<()>,
        registry: Weak<Registry>,
    ) -> Result<Weak<Registry>, ActorProcessingErr> {
        Ok(registry)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        registry: &mut Weak<Registry>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(registry): Option<Arc<Registry>> = registry.upgrade() else { return Ok(()) };
        // An actor that ends by itself has left the registry before.
        if let SupervisionEvent::ActorFailed(cell, error) = event {
            let kind = registry.forget(cell.get_id());
            counter!(names::ACTOR_FAILURES, "kind" => kind).increment(1);
            tracing::error!(
                code = "actor-failed",
                kind, %error,
                "an actor failed; its sessions resume"
            );
        }
        Ok(())
    }
}
