//! Which actors are awake on this node, and how to reach them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use metrics::{counter, gauge};
use ractor::{Actor, ActorCell, ActorId, ActorRef};
use rotary_proto::event::Viewer;
use rotary_proto::frame::Signal;
use rotary_proto::{AgentId, ConversationId, EventRecord, SiteId};
use tokio::sync::oneshot;

use crate::actor::conversation::{ConversationActor, ConversationMessage};
use crate::actor::link::{Link, Standing};
use crate::actor::mailbox::{Mailbox, SendError};
use crate::actor::root::Root;
use crate::actor::viewer::{ViewerActor, ViewerMessage};
use crate::replica::Replica;
use crate::telemetry::names;

/// Attempts to reach an actor that may be going to sleep at this very moment.
const ATTEMPTS: u32 = 8;

/// How often actors are asked whether they are idle.
const SWEEP: Duration = Duration::from_secs(3);

/// This node's actors.
pub(crate) struct Registry {
    replica: Arc<Replica>,
    awake: Mutex<Awake>,
    root: OnceLock<ActorRef<()>>,
}

#[derive(Default)]
struct Awake {
    viewers: BTreeMap<(SiteId, Viewer), Mailbox<ViewerMessage>>,
    conversations: BTreeMap<ConversationId, Mailbox<ConversationMessage>>,
}

/// An actor cannot be reached: the node is stopping, or too busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor that serves this cannot be reached")]
pub(crate) struct Unreachable;

impl Registry {
    /// A registry without actors, and the root that will supervise them.
    pub(crate) async fn start(replica: Arc<Replica>) -> Result<Arc<Self>, ractor::SpawnErr> {
        let awake = Mutex::default();
        let registry = Arc::new(Self { replica, awake, root: OnceLock::new() });
        let (root, _) = Actor::spawn(None, Root, Arc::downgrade(&registry)).await?;
        registry.root.set(root).expect("the root is set once, here");
        let sweeper = Arc::downgrade(&registry);
        tokio::spawn(async move {
            while let Some(registry) = sweeper.upgrade() {
                registry.sweep();
                drop(registry);
                tokio::time::sleep(SWEEP).await;
            }
        });
        Ok(registry)
    }

    fn awake(&self) -> MutexGuard<'_, Awake> {
        self.awake.lock().expect("nothing panics under this lock")
    }

    fn root(&self) -> ActorCell {
        self.root.get().expect("the root is set before the registry is shared").get_cell()
    }

    /// Whether anybody on this node reads that site.
    pub(crate) fn serves(&self, site: SiteId) -> bool {
        let all = (site, Viewer::Supervisor)..;
        self.awake().viewers.range(all).next().is_some_and(|((first, _), _)| *first == site)
    }

    /// Gives an event to a viewer's actor, if it is awake. An actor that cannot keep up is taken
    /// down: its sessions resume from their cursors, so nothing is missed.
    pub(crate) fn deliver(&self, site: SiteId, viewer: Viewer, record: &Arc<EventRecord>) {
        let mailbox = self.awake().viewers.get(&(site, viewer)).cloned();
        let Some(mailbox) = mailbox else { return };
        if mailbox.send(ViewerMessage::Event(record.clone())) == Err(SendError::Full) {
            counter!(names::MAILBOX_REFUSALS, "kind" => "viewer").increment(1);
            tracing::warn!(%site, "a viewer's actor fell behind; its sessions resume");
            self.take_down(&mailbox);
        }
    }

    /// Gives an event to every viewer of a site who is awake.
    pub(crate) fn deliver_to_all(&self, site: SiteId, record: &Arc<EventRecord>) {
        let viewers: Vec<Viewer> = {
            let awake = self.awake();
            let of_site = awake.viewers.range((site, Viewer::Supervisor)..);
            let of_site = of_site.take_while(|((of, _), _)| *of == site);
            of_site.map(|((_, viewer), _)| *viewer).collect()
        };
        viewers.into_iter().for_each(|viewer| self.deliver(site, viewer, record));
    }

    /// Gives a viewer's actor, if it is awake, something that may be lost.
    pub(crate) fn tell(&self, site: SiteId, viewer: Viewer, message: ViewerMessage) {
        let mailbox = self.awake().viewers.get(&(site, viewer)).cloned();
        if let Some(Err(SendError::Full)) = mailbox.map(|mailbox| mailbox.send(message)) {
            counter!(names::MAILBOX_REFUSALS, "kind" => "viewer").increment(1);
        }
    }

    /// Lets a session read; in effect when this returns. `link` makes the link anew for every
    /// attempt.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub(crate) async fn join(
        self: &Arc<Self>,
        site: SiteId,
        viewer: Viewer,
        link: impl Fn() -> Link,
    ) -> Result<(), Unreachable> {
        for _ in 0..ATTEMPTS {
            let (joined, answer) = oneshot::channel();
            let mailbox = self.viewer(site, viewer)?;
            let sent = mailbox.send(ViewerMessage::Join { link: link(), joined });
            if sent.is_ok() && answer.await.is_ok() {
                return Ok(());
            }
            self.forget(mailbox.cell().get_id());
        }
        Err(Unreachable)
    }

    /// A session's socket is gone.
    pub(crate) fn leave(&self, site: SiteId, viewer: Viewer, standing: &Standing) {
        self.tell(site, viewer, ViewerMessage::Leave { standing: standing.clone() });
    }

    fn viewer(
        self: &Arc<Self>,
        site: SiteId,
        viewer: Viewer,
    ) -> Result<Mailbox<ViewerMessage>, Unreachable> {
        let mut awake = self.awake();
        if let Some(mailbox) = awake.viewers.get(&(site, viewer)) {
            return Ok(mailbox.clone());
        }
        let arguments = (self.clone(), site, viewer);
        let root = self.root();
        let spawned =
            ractor::ActorRuntime::spawn_linked_instant(None, ViewerActor, arguments, root);
        let mailbox = Mailbox::new(spawned.map_err(|_| Unreachable)?.0);
        awake.viewers.insert((site, viewer), mailbox.clone());
        gauge!(names::ACTORS, "kind" => "viewer").set(awake.viewers.len() as f64);
        Ok(mailbox)
    }

    /// A party of a conversation signals something that may be lost.
    pub(crate) fn signal(
        self: &Arc<Self>,
        conversation: ConversationId,
        agent: Option<AgentId>,
        signal: Signal,
    ) {
        let Ok(mailbox) = self.conversation(conversation) else { return };
        if mailbox.send(ConversationMessage::Signal { agent, signal }).is_err() {
            counter!(names::MAILBOX_REFUSALS, "kind" => "conversation").increment(1);
        }
    }

    fn conversation(
        self: &Arc<Self>,
        conversation: ConversationId,
    ) -> Result<Mailbox<ConversationMessage>, Unreachable> {
        let mut awake = self.awake();
        if let Some(mailbox) = awake.conversations.get(&conversation) {
            return Ok(mailbox.clone());
        }
        let arguments = (self.clone(), self.replica.clone(), conversation);
        let root = self.root();
        let spawned =
            ractor::ActorRuntime::spawn_linked_instant(None, ConversationActor, arguments, root);
        let mailbox = Mailbox::new(spawned.map_err(|_| Unreachable)?.0);
        awake.conversations.insert(conversation, mailbox.clone());
        gauge!(names::ACTORS, "kind" => "conversation").set(awake.conversations.len() as f64);
        Ok(mailbox)
    }

    /// Has every actor look whether it is idle.
    fn sweep(&self) {
        let (viewers, conversations) = {
            let awake = self.awake();
            let viewers: Vec<_> = awake.viewers.values().cloned().collect();
            (viewers, awake.conversations.values().cloned().collect::<Vec<_>>())
        };
        // One that is too busy to be asked is not idle, and one that has stopped needs no asking.
        for viewer in viewers {
            let _ = viewer.send(ViewerMessage::Idle);
        }
        for conversation in conversations {
            let _ = conversation.send(ConversationMessage::Look);
        }
    }

    /// A viewer's actor goes to sleep.
    pub(crate) fn retire_viewer(&self, site: SiteId, viewer: Viewer, actor: ActorId) {
        let viewers = &mut self.awake().viewers;
        if viewers.get(&(site, viewer)).is_some_and(|m| m.cell().get_id() == actor) {
            viewers.remove(&(site, viewer));
        }
        gauge!(names::ACTORS, "kind" => "viewer").set(viewers.len() as f64);
    }

    /// A conversation's actor goes to sleep.
    pub(crate) fn retire_conversation(&self, conversation: ConversationId, actor: ActorId) {
        let conversations = &mut self.awake().conversations;
        if conversations.get(&conversation).is_some_and(|m| m.cell().get_id() == actor) {
            conversations.remove(&conversation);
        }
        gauge!(names::ACTORS, "kind" => "conversation").set(conversations.len() as f64);
    }

    /// Takes an actor that has ended out of the registry, and says which kind it was. Actors end
    /// seldom other than by going to sleep, so a search will do.
    pub(crate) fn forget(&self, actor: ActorId) -> &'static str {
        let mut awake = self.awake();
        let before = awake.viewers.len();
        awake.viewers.retain(|_, mailbox| mailbox.cell().get_id() != actor);
        if awake.viewers.len() < before {
            return "viewer";
        }
        awake.conversations.retain(|_, mailbox| mailbox.cell().get_id() != actor);
        "conversation"
    }

    /// Ends every feed of a site; its sessions resume.
    pub(crate) fn close_site(&self, site: SiteId) {
        let of_site: Vec<_> = {
            let awake = self.awake();
            let ours = awake.viewers.iter().filter(|((of, _), _)| *of == site);
            ours.map(|(_, mailbox)| mailbox.clone()).collect()
        };
        of_site.iter().for_each(|mailbox| self.take_down(mailbox));
    }

    fn take_down(&self, mailbox: &Mailbox<ViewerMessage>) {
        self.forget(mailbox.cell().get_id());
        mailbox.cell().kill();
    }

    /// Stops every actor.
    pub(crate) fn stop(&self) {
        if let Some(root) = self.root.get() {
            root.get_cell().stop_children(None);
            root.stop(None);
        }
    }

    #[cfg(test)]
    pub(crate) fn break_viewer(self: &Arc<Self>, site: SiteId, viewer: Viewer) {
        self.tell(site, viewer, ViewerMessage::Panic);
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
