//! Why a node does not start.

use super::{Page, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "config-invalid",
        "The configuration is not valid.",
        "A key is misspelt, a value is not allowed, or the file is not there.",
        "The message names the key. `rotary config validate FILE` checks it without starting; \
         `rotary config init` writes a file with every key.",
    ),
    page(
        "telemetry-unusable",
        "Log lines or measures cannot be written.",
        "telemetry.log_level is not a level, telemetry.log_file cannot be opened, or \
         telemetry.otlp is no address.",
        "Correct the key that the message names.",
    ),
    page(
        "data-dir-locked",
        "Another process uses the data directory.",
        "The node runs already, or two configurations name one directory.",
        "Stop the process whose number the message has, or correct node.data_dir.",
    ),
    page(
        "data-dir-foreign",
        "The data directory belongs to another node or cluster.",
        "node.data_dir, node.id or cluster.id is wrong, or a disk was moved.",
        "Correct the key. Never copy a data directory to make another node: a node's number \
         stands for what it promised.",
    ),
    page(
        "data-dir-unusable",
        "The data directory cannot be used.",
        "It is not there, cannot be written, or was not made by `rotary cluster init`.",
        "Check node.data_dir and its permissions. An empty folder is refused on purpose: a \
         node that lost its disk must not come back as one that never promised anything.",
    ),
    page(
        "certificate-unusable",
        "The node's certificates cannot be used.",
        "A file is missing, cut short, expired, or key and certificate do not fit together.",
        "Check tls.ca_file, tls.cert_file and tls.key_file, or gateway.certificate_file and \
         gateway.key_file; `rotary cluster init` wrote the former into the node's folder, and \
         `rotary cluster renew-node` writes them anew.",
    ),
    page(
        "certificate-foreign",
        "The certificate is another node's.",
        "tls.cert_file, node.id or cluster.id is wrong.",
        "Give each node the files of its own folder.",
    ),
    page(
        "secret-unreadable",
        "The secret of the tokens cannot be read.",
        "auth.token_secret_file is wrong, or the file is not readable by the node's user.",
        "Correct the path or its permissions. It is the same file on every node.",
    ),
    page(
        "address-in-use",
        "Another process listens on the node's address.",
        "The node runs already, or another program took the port.",
        "Stop that one, or choose another listen.public or listen.peer, and tell the other \
         nodes in cluster.peers.",
    ),
    page(
        "address-unusable",
        "The node's address cannot be listened on.",
        "It is not an address of this machine, or the port needs rights that the node has \
         not.",
        "Correct listen.public or listen.peer; 0.0.0.0 listens on every address.",
    ),
    page(
        "storage-damaged",
        "What the node keeps on disk cannot be opened.",
        "A file is damaged or cannot be read. The message names the place.",
        "Look at the disk. If a majority of the other nodes is whole: `rotary node rebuild \
         --config FILE --yes`, then start the node.",
    ),
    page(
        "build-unfit",
        "The build cannot apply the version of the logic that the cluster acts by.",
        "The cluster was upgraded, and this node runs a build that is too old; or one that is too \
         new for a cluster that was not. The message names the version, and what the build can \
         apply. A node that runs already stops at the entry that it cannot apply, with 76; one \
         that starts is refused before it takes part in anything; one that is to be taken in is \
         not.",
        "Install the build that the other nodes run (`rotary upgrade check` lists them) and start \
         the node. There is no way back from an upgrade that was finalised: whoever must go back \
         restores a backup from before it into a new cluster.",
    ),
    page(
        "start-failed",
        "The node could not be started for another reason.",
        "The operating system refused something: threads, memory, files.",
        "The message names it; look at the limits of the service (`ulimit -n`, memory).",
    ),
];
