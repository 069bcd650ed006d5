//! One file per command. Each has a checking half, which may refuse and changes nothing, and a
//! changing half, which may not fail.

pub(crate) mod abandon;
pub(crate) mod accept;
pub(crate) mod attach;
pub(crate) mod close;
pub(crate) mod declare;
pub(crate) mod decline;
pub(crate) mod detach;
pub(crate) mod end_effect;
pub(crate) mod end_turn;
pub(crate) mod hand_over;
pub(crate) mod hold;
pub(crate) mod open;
pub(crate) mod post;
pub(crate) mod put_agent;
pub(crate) mod put_bot;
pub(crate) mod put_name;
pub(crate) mod put_queue;
pub(crate) mod put_site;
pub(crate) mod put_webhook;
pub(crate) mod requeue;
pub(crate) mod start_effect;
pub(crate) mod wrap_up;
