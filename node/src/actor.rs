//! Actors: what cannot be replicated, close to whom it concerns.
//!
//! An actor holds sockets' ends and cursors; it carries, it never decides. There are two kinds.
//! A [`viewer::ViewerActor`] serves one *viewer* of one site: an agent, a customer, or the site's
//! supervisors together. It knows the viewer's sessions on this node and hands them what concerns
//! them, in the order of the site. A [`conversation::ConversationActor`] passes on what may be
//! lost between the parties of one conversation: that somebody is writing.
//!
//! They are found through this node's own [`Registry`] (ractor's is one per process, and simulated
//! nodes share a process), spawned by the first session or signal that concerns them, passivated
//! when idle, and supervised by one root: a panic takes one actor down, and its sessions resume.
//! Every send is counted and refused at a limit ([`mailbox::Mailbox`]).

pub(crate) mod conversation;
pub(crate) mod link;
pub(crate) mod mailbox;
mod registry;
mod root;
pub(crate) mod viewer;

pub(crate) use registry::Registry;
