//! The two machines that the log replicates for, as it sees them: bytes in, bytes out.
//!
//! [`site::SiteMachine`] runs a data shard's distributor, [`directory::DirectoryMachine`] the
//! directory. Both start empty and are given their whole log again after a restart; the journal
//! skips what it has. They run on the log's own tasks, so they do not block: what is to be written
//! goes to the journal's writer, what is to be shown goes to the dispatcher.

pub(crate) mod directory;
pub(crate) mod site;
