//! Backups: everything that a shard is, in a file that stands for itself, and the way back.
//!
//! A node reads a backup of a shard from its own replica while it serves ([`source`]): a snapshot
//! of the state, the journal before it, and the files that its messages may name, as frames of one
//! stream ([`format`]). Whoever has the files of all shards can check them without any node
//! ([`check`]), and make the data directories of a new cluster from them ([`restore`]). Where no
//! majority is left to serve, they are made from the folders of nodes that do not run
//! ([`recover`]).
//!
//! Each shard is consistent in itself, at the index that its file names. Shards are not stopped
//! together: what one did because of another may be in one file and not in the other. The directory
//! is read first, so that no shard has a site whose credentials are newer than the directory's.

mod check;
mod format;
pub(crate) mod recover;
pub(crate) mod restore;
pub(crate) mod source;

pub(crate) use check::{Checked, check};
