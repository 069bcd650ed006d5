//! Readers of streams, as feeds read them: each follows a site's stream in one node's journal, and
//! when it or the node dies goes on at another node from the same position.

use rotary_proto::SiteId;

use super::site_of;
use crate::simulation::history::Ms;
use crate::simulation::invariants::{Readers, Turn};
use crate::simulation::node::Node;
use crate::simulation::observer::Observer;
use crate::simulation::random::Random;

/// How often a reader reads.
const EVERY_MS: Ms = 40;
/// Readers of each site.
const EACH: usize = 2;
/// Of a thousand turns, in so many a reader dies.
const DIES_PERMILLE: u64 = 15;
/// Of a thousand deaths, after so many nobody reads for a while.
const AWAY_PERMILLE: u64 = 60;
/// For how long, in ms at most.
const AWAY_MS_MAX: Ms = 40_000;

/// One reader: where it is, and how far it has come.
struct Reader {
    shard: u32,
    site: SiteId,
    /// The node and its run.
    home: Option<(usize, u64)>,
    position: u64,
    /// It does not read before that time.
    away_until_ms: Ms,
}

/// All readers of a world.
pub(crate) struct Following {
    /// Whether journals drop what is old.
    drops: bool,
    random: Random,
    absences: Random,
    /// Nobody goes away any more.
    patient: bool,
    readers: Vec<Reader>,
    next_ms: Ms,
}

impl Following {
    pub(crate) fn new(seed: u64, shards: usize, drops: bool) -> Self {
        let reader = |shard| {
            let (home, position, away_until_ms) = (None, 0, 0);
            Reader { shard, site: site_of(shard), home, position, away_until_ms }
        };
        let readers = (0..shards as u32).flat_map(|shard| (0..EACH).map(move |_| reader(shard)));
        let random = Random::salted(seed, "readers");
        let absences = Random::salted(seed, "absent readers");
        let (readers, patient) = (readers.collect(), false);
        Self { drops, random, absences, patient, readers, next_ms: 0 }
    }

    /// Lets every reader read a page, if it is time.
    pub(crate) fn step(&mut self, now_ms: Ms, nodes: &[Node], observer: &Observer) {
        if now_ms < self.next_ms {
            return;
        }
        self.next_ms = now_ms + EVERY_MS;
        let observed = &mut *observer.lock();
        for reader in self.readers.iter_mut().filter(|reader| reader.away_until_ms <= now_ms) {
            let dies = self.random.permille(DIES_PERMILLE);
            let lives =
                |(node, run): (usize, u64)| nodes[node].starts() == run && nodes[node].is_ready();
            if dies && !self.patient && self.absences.permille(AWAY_PERMILLE) {
                reader.away_until_ms = now_ms + self.absences.below(AWAY_MS_MAX);
            }
            if dies || !reader.home.is_some_and(lives) {
                let ready = nodes.iter().filter(|node| node.is_ready() && node.is_whole());
                let ready: Vec<_> = ready.map(|node| (node.index, node.starts())).collect();
                reader.home = self.random.pick(&ready);
            }
            let Some((node, _)) = reader.home else { continue };
            let Some(journal) = nodes[node].journal().filter(|_| !nodes[node].is_paused()) else {
                continue;
            };
            let story = &observed.stories[reader.shard as usize];
            let place = (node, reader.shard, reader.site);
            match Readers::read(place, journal, (reader.position, self.drops), story) {
                Turn::Came(position) => reader.position = position,
                Turn::Late(position) => {
                    reader.position = position;
                    observed.readers_late += 1;
                }
                Turn::Lost => reader.home = None,
                Turn::Wrong(what) => observed.findings.breach("P8", what),
            }
        }
    }

    /// From here on everybody reads.
    pub(crate) fn come_back(&mut self, now_ms: Ms) {
        self.readers.iter_mut().for_each(|reader| reader.away_until_ms = now_ms);
        self.patient = true;
    }

    /// Whether everybody has read everything.
    pub(crate) fn is_through(&self, observer: &Observer) -> bool {
        let observed = observer.lock();
        let end = |reader: &Reader| observed.stories[reader.shard as usize].events().len() as u64;
        self.readers.iter().all(|reader| reader.position == end(reader))
    }
}
