//! Foreign protocols.
//!
//! Each is a pair: pure files, which turn bytes into values and values into bytes and know neither
//! sockets nor clocks, and one `driver.rs` that owns the socket. What a conversation is, who
//! performs an effect and when, is said elsewhere; here is only how the other side is spoken to,
//! and what its answers mean.
//!
//! * `mail`: a mail as bytes.
//! * `smtp`: handing it to a relay, such that at every moment it is known whether the relay may
//!   have taken it.

pub mod mail;
pub mod smtp;
