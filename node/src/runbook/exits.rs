//! What a process ends with.

use super::{Page, page};

pub(super) const PAGES: &[Page] = &[
    page("exit-0", "Done.", "What was asked for was done.", "Nothing."),
    page("exit-1", "Not done.", "Standard error says why.", "Mend what it names, and try again."),
    page(
        "exit-2",
        "Asked wrongly.",
        "A flag, an argument or the configuration is not valid.",
        "`--help` lists flags; `rotary config validate FILE` checks a configuration.",
    ),
    page(
        "exit-3",
        "What was asked for is not there.",
        "The id or code is mistyped, or the thing is gone.",
        "List what there is, e.g. `rotary queue ls`.",
    ),
    page(
        "exit-4",
        "Something else is in the way.",
        "An address or folder is taken, or the state of things does not allow the change.",
        "Standard error names what is in the way.",
    ),
    page(
        "exit-5",
        "The token may not do this.",
        "It is missing, expired, of another cluster, or its role is too narrow.",
        "Use another token: `rotary token create`.",
    ),
    page(
        "exit-10",
        "The cluster, or what was checked, is not as it should be.",
        "A shard has no leader, a node is away, a check of `rotary doctor` failed, or a load \
         was not kept.",
        "Standard error and the table name it.",
    ),
    page(
        "exit-11",
        "The outcome is unknown.",
        "The time was over before anybody could say whether it was done.",
        "Look whether it was done before it is asked for again.",
    ),
    page(
        "exit-65",
        "The node's replica differed from a majority.",
        "Two replicas that applied the same log had different digests: bad memory or disk, or \
         a fault of the software. The process ended so that it serves nobody doubtful state.",
        "Restart the node: it takes the state of another replica. Test the machine's memory \
         and disk. If it happens on a second machine, upgrade no further and report it with \
         the log lines before the end.",
    ),
    page(
        "exit-70",
        "The node panicked where it must not go on.",
        "A fault in the log, the storage or a state machine. The entry that did it is noted.",
        "Restart the node: the entry is refused and its site frozen (`site-frozen`). Keep the \
         log lines.",
    ),
    page(
        "exit-76",
        "The node's build cannot apply what the cluster acts by.",
        "The cluster was upgraded (`rotary upgrade finalize`), and this node was started with a \
         build that is too old for it; or with one that is too new for a cluster that was not. \
         What it has on disk is as it was.",
        "Install a build that can apply the version that standard error names, the one that the \
         other nodes run, and start the node. A restart with the same build ends the same way.",
    ),
    page(
        "exit-74",
        "The node's disk failed under a write.",
        "A write or sync was refused by the operating system: a broken disk, a full one, a \
         file system that turned read-only. A failed sync is never repeated, because it may \
         lie the second time.",
        "Look at the system's log and the disk. Restart the node if they are sound. Otherwise, \
         while a majority of the other nodes is whole, move the data directory, or at least the \
         file `identity` in it, to a sound disk, run `rotary node rebuild --yes`, and start the \
         node: it has no vote until it has caught up.",
    ),
];
