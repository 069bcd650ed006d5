//! Backups: everything that a shard is, in a file that stands for itself, and the way back.
//!
//! A node reads a backup of a shard from its own replica while it serves ([`source`]): a snapshot
//! of the state, the journal before it, and the files that its messages may name, as frames of one
//! stream ([`format`]). The files of all shards are a *run* ([`run`]), which is kept in a *store*
//! ([`store`]). Whoever has them can check them without any node ([`check`]), and make the data
//! directories of a new cluster from them ([`restore`]). Where no majority is left to serve, they
//! are made from the folders of nodes that do not run ([`recover`]).
//!
//! A run also has the entries of each shard's log since the run before ([`entries`]), so that a
//! shard can be brought to any index between two snapshots ([`line`], [`points`], [`replay`]).
//!
//! Each shard is consistent in itself, at the index that its file names. Shards are not stopped
//! together: what one did because of another may be in one file and not in the other. The directory
//! is read first, so that no shard has a site whose credentials are newer than the directory's. But
//! every site is in the files once, wherever it moved meanwhile ([`places`]): shards that are
//! behind others in that are read again ([`making`]).

mod check;
pub(crate) mod entries;
pub(crate) mod failure;
mod format;
pub(crate) mod line;
pub(crate) mod making;
pub(crate) mod manifest;
pub(crate) mod pace;
pub(crate) mod places;
pub(crate) mod points;
pub(crate) mod recover;
mod replay;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod source;
pub(crate) mod store;

pub(crate) use check::Checked;
