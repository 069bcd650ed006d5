//! A shard's backup as it is read from a replica that serves: piece by piece, as fast as whoever
//! wants it takes it.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use rotary_log::{Place, decode_base, encode_base};
use rotary_proto::{NodeId, ShardId, Wall};
use rotary_storage::{
    BlobName, BlobReader, Blobs, Journal, JournalHead, SnapshotReader, backup_preamble,
};

use crate::backup::format::{BlobHead, End, Frame, Head};
use crate::gateway::token::unix_ms;
use crate::replica::{DIRECTORY, Replica};
use crate::spine::Snapshot;

/// Bytes of a journal that are read at a time.
const PIECE_BYTES: usize = 512 * 1024;

/// How often the journal is asked to say how far it has come.
const SETTLE_EVERY: Duration = Duration::from_millis(50);

/// What is read next.
enum Step {
    /// A chunk of the snapshot, counted from 0.
    Snapshot(u32),
    /// Where the journal begins.
    Base,
    /// What follows an index, but for bytes that were read.
    Journal { after: u64, skip: usize },
    /// The next file.
    Blobs,
    /// More of a file.
    Blob { reader: BlobReader, at: u64 },
    /// Nothing is left.
    Over,
}

/// Whose replicas they are that a backup is made of.
pub(crate) struct Origin {
    pub(crate) node: NodeId,
    /// The id of the cluster.
    pub(crate) cluster: String,
    /// How many data shards it has.
    pub(crate) shards: u32,
    pub(crate) replica: Arc<Replica>,
    pub(crate) blobs: Arc<Blobs>,
}

/// A shard on its way out.
pub(crate) struct Source {
    shard: ShardId,
    snapshot: SnapshotReader,
    journal: Arc<Journal>,
    /// Where the snapshot stands in the journal.
    through: JournalHead,
    blobs: Arc<Blobs>,
    names: VecDeque<BlobName>,
    head: Head,
    step: Step,
    count: End,
}

impl Source {
    /// Waits for a snapshot that is being taken, and looks what else there is.
    ///
    /// # Errors
    /// In words, where this replica has no whole journal, or no snapshot comes.
    pub(crate) async fn of(
        origin: Origin,
        shard: ShardId,
        taken: BoxFuture<'static, Result<Snapshot, String>>,
    ) -> Result<Self, String> {
        let Origin { node, cluster, shards, replica, blobs: store } = origin;
        if shard != DIRECTORY && !replica.is_whole(shard) {
            return Err(format!("this node is fetching the history of {shard}: ask another"));
        }
        let journal = replica.journal().clone();
        // One that leaves after the snapshot is in it, and its files count.
        let mut sites = sites_of(&replica, shard);
        let (place, snapshot) = settled(&journal, shard, taken).await?;
        sites.extend(sites_of(&replica, shard));
        let begin = move || -> io::Result<Self> {
            let through = match shard {
                DIRECTORY => JournalHead::default(),
                _ => {
                    decode_base(&snapshot.chunk(0).map_err(io::Error::other)?)
                        .map_err(io::Error::other)?
                        .head
                }
            };
            let mut names = VecDeque::new();
            for scope in sites {
                names.extend(store.list(scope).map_err(io::Error::other)?);
            }
            let Place { index, term, leader } = place;
            let build = crate::build::name().to_owned();
            let wall = Wall(unix_ms());
            let head = Head { cluster, shard, shards, index, term, leader, build, node, wall };
            let (step, count) = (Step::Snapshot(0), End::default());
            Ok(Self { shard, snapshot, journal, through, blobs: store, names, head, step, count })
        };
        let begun = crate::blocking::run(begin).await.map_err(io::Error::other);
        begun.and_then(|begun| begun).map_err(|error| error.to_string())
    }

    /// What a file of it is called.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.backup", self.shard)
    }

    /// All of it. An error breaks the stream off, so that what was read does not look whole.
    pub(crate) fn stream(self) -> impl Stream<Item = io::Result<Bytes>> {
        let first = [backup_preamble(), Frame::Head(self.head.clone()).encode()].concat();
        futures::stream::try_unfold((self, Some(first)), |(mut source, first)| async move {
            if let Some(first) = first {
                return Ok(Some((Bytes::from(first), (source, None))));
            }
            let read = move || source.next().map(|frame| (source, frame));
            let read = crate::blocking::run(read).await.map_err(io::Error::other)?;
            let (source, frame) = read?;
            Ok(frame.map(|frame| (Bytes::from(frame.encode()), (source, None))))
        })
    }

    fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.advance()? {
                return Ok(Some(frame));
            }
            if matches!(self.step, Step::Over) {
                return Ok(None);
            }
        }
    }

    /// Takes a step, which need not give a frame.
    fn advance(&mut self) -> io::Result<Option<Frame>> {
        let step = std::mem::replace(&mut self.step, Step::Over);
        match step {
            Step::Snapshot(number) if number < self.snapshot.id().chunks => {
                let chunk = self.snapshot.chunk(number).map_err(io::Error::other)?;
                self.count.chunks += 1;
                self.step = Step::Snapshot(number + 1);
                Ok(Some(Frame::Chunk(chunk)))
            }
            Step::Snapshot(_) => {
                self.step = if self.shard == DIRECTORY { Step::Blobs } else { Step::Base };
                Ok(None)
            }
            Step::Base => {
                let base = self.journal.base(self.shard.0);
                self.step = Step::Journal { after: base.head.index, skip: 0 };
                Ok(Some(Frame::Base(encode_base(base))))
            }
            Step::Journal { after, skip } if after < self.through.index => {
                self.piece(after, skip).map(Some)
            }
            Step::Journal { .. } => {
                self.step = Step::Blobs;
                Ok(None)
            }
            Step::Blobs => self.open_blob(),
            Step::Blob { reader, at } => {
                let bytes = reader.read(at).map_err(io::Error::other)?;
                let at = at + bytes.len() as u64;
                self.step = if bytes.is_empty() { Step::Blobs } else { Step::Blob { reader, at } };
                Ok((!bytes.is_empty()).then_some(Frame::Bytes(bytes)))
            }
            Step::Over => Ok(None),
        }
    }

    fn piece(&mut self, after: u64, skip: usize) -> io::Result<Frame> {
        let (group, through) = (self.shard.0, self.through.index);
        let chunk = self.journal.export(group, after, skip, through, PIECE_BYTES);
        let chunk = chunk.map_err(io::Error::other)?;
        self.step = match chunk.end.index > after {
            true => Step::Journal { after: chunk.end.index, skip: 0 },
            false => Step::Journal { after, skip: chunk.skip + chunk.bytes.len() },
        };
        if chunk.end.index == after && chunk.bytes.is_empty() {
            return Err(io::Error::other(format!("the journal ends at {after}, before {through}")));
        }
        self.count.pieces += 1;
        Ok(Frame::Piece(chunk.into()))
    }

    /// Goes to the next file that is still there: one that nobody names may go meanwhile.
    fn open_blob(&mut self) -> io::Result<Option<Frame>> {
        let Some(name) = self.names.pop_front() else {
            return Ok(Some(Frame::End(self.count)));
        };
        let Some(reader) = self.blobs.find(name).map_err(io::Error::other)? else {
            self.step = Step::Blobs;
            return Ok(None);
        };
        self.count.blobs += 1;
        let bytes = reader.bytes();
        self.step = Step::Blob { reader, at: 0 };
        let BlobName { scope, digest } = name;
        Ok(Some(Frame::Blob(BlobHead { scope, digest, bytes })))
    }
}

/// Waits for a snapshot. It is current once the journal says that it has come as far, which it
/// says of a shard where nothing happens only if it is asked to.
async fn settled(
    journal: &Arc<Journal>,
    shard: ShardId,
    mut taken: BoxFuture<'static, Result<Snapshot, String>>,
) -> Result<Snapshot, String> {
    loop {
        tokio::select! {
            biased;
            taken = &mut taken => return taken,
            () = tokio::time::sleep(SETTLE_EVERY) => {}
        }
        let journal = journal.clone();
        let settled = crate::blocking::run(move || journal.settle(shard.0)).await;
        if let Ok(Err(error)) = settled {
            return Err(error.to_string());
        }
    }
}

/// The sites of a shard, as storage keys them.
fn sites_of(replica: &Replica, shard: ShardId) -> BTreeSet<u64> {
    let replica = replica.shard(shard);
    replica.map_or_else(BTreeSet::new, |replica| {
        let state = replica.read();
        state.sites().map(|site| site.key()).collect()
    })
}
