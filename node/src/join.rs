//! A new node's folder on its way to that node's machine, without anybody carrying it.
//!
//! ```text
//! where authority/ is                    the cluster                 the new machine
//! folder -> packed -> sealed ----------> under a join token -------> opened -> written
//!        a secret  -> proof -----------> its hash           <------- proof, a number of its own
//!        the secret, where to ask: the token, pasted by a person --> secret
//! ```
//!
//! * What the cluster keeps is sealed under a key that follows from the secret, and the secret is
//!   nowhere but in the token. So no node learns another's key, and nobody on the way can put
//!   another folder in its place: it would not open.
//! * The authority's key stays where it is: what travels is one certificate with its key, and what
//!   every core node has.
//! * The first machine that shows the proof has the folder from then on, and no other gets it
//!   ([`rotary_directory::JoinToken`]). It writes down the number that it takes it with before it
//!   asks, so that it gets it again after it was killed at any moment ([`writer`]).
//! * Whether a node is new is read from the folder that it is to be in, never asked.

mod folder;
mod seal;
pub(crate) mod writer;

pub(crate) use folder::{PackError, Packed};
pub(crate) use seal::{Keys, SealError};
