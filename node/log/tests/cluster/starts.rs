//! Nodes that need each other in order to start.

use std::fs;

use rotary_log::Fatal;
use rotary_proto::ShardId;

use crate::world::{Forgets, World, eventually};
use crate::{assert_each_once, propose_many};

/// So many are kept that each still knows, when it starts again, of the commit of what the other
/// has forgotten: nobody could tell it before the third is back.
const FORGETS: Forgets = Forgets { after_bytes: 2_000, but_entries: 100 };

/// Damages the snapshot that a node has of a shard.
fn damage(world: &World, node: u64, shard: ShardId) {
    let directory = world.path(node).join(format!("snapshots/group-{}", shard.0));
    for found in fs::read_dir(directory).expect("there") {
        let path = found.expect("listed").path();
        let mut bytes = fs::read(&path).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(&path, bytes).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_rebuild_from_each_other_while_the_third_is_down() {
    let mut world = World::start_with(3, 2, Fatal::exit(), FORGETS).await;
    let shards = world.shards.clone();
    for shard in &shards {
        propose_many(&world, *shard, 0..600).await;
        world.agreed(*shard, 600).await;
        for node in [1, 2] {
            eventually("the log is forgotten", || {
                let status = world.nodes[&node].log.status(*shard).expect("known");
                (status.forgotten_index > 0).then_some(())
            })
            .await;
        }
    }
    for node in 1..=3 {
        world.kill(node).await;
    }
    // Each has what the other needs, and neither can start without it.
    damage(&world, 1, shards[0]);
    damage(&world, 2, shards[1]);
    let (one, two) = {
        let world = &world;
        let both = async { tokio::join!(world.node(1), world.node(2)) };
        tokio::time::timeout(crate::LIMIT, both).await.expect("neither waits for ever")
    };
    world.nodes.extend([(1, one), (2, two)]);
    for shard in shards {
        propose_many(&world, shard, 600..630).await;
        assert_each_once(&world.agreed(shard, 630).await, 630);
    }
}
