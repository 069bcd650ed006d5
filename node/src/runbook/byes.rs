//! Why a node closes a session's socket, beside the answers that it shares with the API.

use super::{Page, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "protocol",
        "The client does not keep to `rotary.v1`.",
        "It began with another frame than `start` or `resume`, has too many commands open, or \
         asks for what a session may not.",
        "Mend the client; docs/api/session.md is the contract.",
    ),
    page(
        "slow",
        "The client reads slower than events come.",
        "More than 1 024 events waited for the socket: a slow network, or a client that is \
         busy elsewhere.",
        "The client resumes by itself. If it comes again and again, read the socket on a \
         thread of its own.",
    ),
    page(
        "silent",
        "Nothing was heard of the client for three heartbeats.",
        "The network is gone, the machine sleeps, or the client sends no pings. A client with a \
         stream sends them to /v1/session/frames.",
        "The client resumes by itself; it sends a `ping` every `heartbeat_ms`.",
    ),
    page(
        "taken-over",
        "The session was resumed on another socket.",
        "The client reconnected while this socket still seemed to live, or the session is \
         open in two places.",
        "Nothing, for a reconnection. Otherwise give each window a session of its own.",
    ),
    page(
        "session-ended",
        "The session is over.",
        "The client said good-bye, or its grace ended while it was away.",
        "Start a new session.",
    ),
    page(
        "stopping",
        "The node stops.",
        "Somebody stops or upgrades it.",
        "The client resumes on another node by itself.",
    ),
    page(
        "draining",
        "The node is to be empty.",
        "Somebody prepares it for maintenance (`rotary node drain`), or lets it go.",
        "The client resumes on another node by itself. `rotary node undrain` lets the node serve \
         again.",
    ),
    page(
        "behind",
        "This node cannot serve the site at present, or has not applied what a request names.",
        "It is catching up, fetches history, or found no leader within two seconds.",
        "A session resumes elsewhere by itself; ask another node. If one node says so for long, \
         look at its `/readyz`.",
    ),
];
