//! P9 for the journal: equal index means equal hash chain, on whichever replica, whether it wrote
//! all of it or went on from a snapshot.

use std::collections::BTreeMap;

use rotary_storage::ChainHash;

use super::Findings;

/// What the first replica that came to an index said.
#[derive(Debug, Default)]
pub(crate) struct JournalsAgree {
    heads: BTreeMap<(u32, u64), (usize, ChainHash)>,
}

impl JournalsAgree {
    /// A journal has that hash at (node, shard, index).
    pub(crate) fn chained(
        &mut self,
        (node, shard, index): (usize, u32, u64),
        hash: ChainHash,
        found: &mut Findings,
    ) {
        let (first, told) = *self.heads.entry((shard, index)).or_insert((node, hash));
        if told != hash {
            let (one, two) = (node + 1, first + 1);
            let what = format!("shard {shard} index {index}: nodes {one} and {two} differ");
            found.breach("P9", format!("{what} in what they journalled"));
        }
    }
}
