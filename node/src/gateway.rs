//! The gateway: HTTP and WebSocket doors for our own clients.
//!
//! A door authenticates, checks sizes and forms, and turns the world into commands and views into
//! answers. It decides nothing about conversations: whose one is, and what may be done to it, is
//! checked again where the command is applied. Who may ask for what at all is decided in one place,
//! [`authority`]. Any node answers any request: a command goes to its shard's leader, a question is
//! answered from this node's own replica.

pub(crate) mod agents;
pub(crate) mod api_keys;
pub(crate) mod attachments;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod backups;
pub(crate) mod blobs;
mod bots;
pub(crate) mod closed;
pub(crate) mod cluster;
pub(crate) mod conversations;
pub(crate) mod debug;
pub(crate) mod doors;
pub(crate) mod events;
pub(crate) mod extract;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod joins;
pub(crate) mod key;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod min_index;
pub(crate) mod nodes;
pub(crate) mod offers;
pub(crate) mod openapi;
pub(crate) mod pages;
pub(crate) mod password;
pub(crate) mod problem;
pub(crate) mod queues;
pub(crate) mod router;
pub(crate) mod routes;
pub(crate) mod runbook;
pub(crate) mod secret;
pub(crate) mod session;
pub(crate) mod shards;
pub(crate) mod sites;
pub(crate) mod tenants;
pub(crate) mod throttle;
pub(crate) mod token;
pub(crate) mod tokens;
pub(crate) mod upgrade;
pub(crate) mod users;
pub(crate) mod votes;
pub(crate) mod webhooks;
