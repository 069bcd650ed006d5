//! Handing a mail to a relay (SMTP, RFC 5321; STARTTLS, RFC 3207; AUTH PLAIN, RFC 4954).
//!
//! The one thing that matters here is where a failure lies. Up to the line with a single dot that
//! ends a mail the relay has taken nothing, whatever becomes of the connection. From the first byte
//! of that line on it may have, until its answer is there. So the driver writes the mail and the
//! dot in two calls, and its errors are of two types: [`Failed`] before the dot, [`Ended`] after.
//!
//! * `reply`: what a relay says.
//! * `dialog`: what is said to it, and what its replies mean.
//! * `driver`: the socket, TLS and every wait.

mod dialog;
mod driver;
mod reply;

pub use dialog::{Account, Dialog, Next, Security, Wrong};
pub use driver::{Connection, Ended, Failed, Relay, roots};
pub use reply::{BadReply, Replies, Reply};
