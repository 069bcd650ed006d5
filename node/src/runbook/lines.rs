//! What a log line wants somebody for, and what `rotary doctor` finds.

use super::{Page, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "thread-panicked",
        "A thread of the node had panicked.",
        "A fault of the software; the process ends or has ended with `exit-70`.",
        "Keep the log lines before this one, restart the node, and report it.",
    ),
    page(
        "fatal",
        "The process ends at once.",
        "It cannot keep its promises; the field `exit_code` says why.",
        "`rotary explain` that number.",
    ),
    page(
        "blob-missing",
        "A file that a message names cannot be fetched.",
        "No other replica that answers has its bytes, or this disk has no room for them. Whoever \
         reads it here is told `unavailable`; nothing else is harmed.",
        "Start the nodes that are down: a majority had it when the message was taken. Then \
         `rotary_blobs_missing` goes back to 0 by itself. If it does not, make room on the disk \
         (blobs leave twice log.free_bytes_min free). If every replica lost it, the message \
         keeps its words.",
    ),
    page(
        "blob-damaged",
        "A file on this node's disk was damaged.",
        "Its bytes are not those that were written: the disk, its controller or memory changed \
         them. The damaged file is in `blobs/damaged/` of the data directory, sixteen at most; \
         the whole one is fetched from another replica, which `blob-missing` says if it fails.",
        "One may be chance. With more of them (`rotary_blobs_damaged_total`) look at the disk's \
         own report (`smartctl`) and replace it. What is set aside can be removed when the node is \
         stopped.",
    ),
    page(
        "core-silent",
        "A gateway-only node hears nothing of a core node.",
        "That node stopped or is cut off, or UDP does not get through to its `peer` address. \
         Sessions and requests go on through other core nodes.",
        "Look at that node: `rotary cluster status`, and `rotary doctor` beside it. While \
         `rotary_relay_cores` is above 0 the gateway serves.",
    ),
    page(
        "gateway-silent",
        "A core node hears nothing of a gateway-only node.",
        "It stopped without a word or is cut off, or UDP does not get through. Its clients resume \
         through other gateways.",
        "`rotary cluster status` says who sees it and when it was last seen. Start it; or, if it \
         is gone for good, `rotary node forget NODE`.",
    ),
    page(
        "announce-refused",
        "The cluster does not take what a node says of itself.",
        "Two nodes run with one number and certificate, a gateway-only node has a core node's \
         number, the cluster knows as many nodes as it can, or an address is none. The node \
         serves, but the list of nodes does not show it as it is.",
        "`why` says which. Give each gateway-only node a folder of its own (`rotary cluster \
         add-gateway`), forget those that are gone (`rotary node forget NODE`), or correct \
         `public`.",
    ),
    page(
        "audit-unnoted",
        "What somebody did to the cluster is not in the record.",
        "It was done or refused on this node, and the directory, which keeps the record, had no \
         leader or took it up too slowly. The line has the principal.",
        "See why the directory does not answer (`rotary cluster status`). The node's log is what \
         tells of this one.",
    ),
    page(
        "members-differ",
        "A node's configuration is not what the cluster was founded with.",
        "cluster.shards of this node is more than the cluster has. It goes on, because its vote \
         may be needed; what it has too many of never gets a leader.",
        "`differs` says what. Give the node the cluster.shards of the others, and start it again. \
         More are made with `rotary cluster set-shards`.",
    ),
    page(
        "shard-unfounded",
        "A new shard has no beginning yet.",
        "`rotary cluster set-shards` asked for a shard which this node is to give its first \
         voters, and its own replica refuses. Nothing lives in it yet, and all others go on.",
        "`error` says why. It is tried again five times a second, and told again when it is \
         something else. Where the node's log lost its tail (`log-cut`), or not all voters say \
         that the shard is new to them, bring back those that are away. `rotary cluster status` \
         says which shard waits, and for which node. Should that node be broken, replace it \
         (`rotary node replace`): another one then begins the shard.",
    ),
    page(
        "site-not-moved",
        "A site lives on in the shard where it was.",
        "It was to live in another one (`rotary site move`), which does not take it: `why` says \
         why, and so does `rotary site ls`. The site serves as before; for a moment nobody could \
         ask it for anything.",
        "Mend what `why` says and ask again, name another shard, or clear the line with \
         `rotary site cancel-move`.",
    ),
    page(
        "members-unsettled",
        "The members of a shard are not yet those that are wanted.",
        "A node was added, replaced, decommissioned, promoted or demoted, and the shard's leader \
         waits: for a node that does not answer, that has not caught up, or for a majority.",
        "`rotary cluster status` says of each shard what it waits for. Start the node that does \
         not answer, or replace it by another (`rotary node replace`). Nothing is lost meanwhile: \
         those that keep the shard now keep it until the others are ready.",
    ),
    page(
        "zone-overweight",
        "The loss of one zone would leave no majority of the votes.",
        "Half of the votes or more are on nodes of one zone (`node.zone`): nodes came or went, or \
         there are only two zones, one of which always has that many.",
        "`rotary cluster rebalance --dry-run` says which votes would move, and `rotary cluster \
         rebalance` moves them. With two zones, add a node in a third: it may be small.",
    ),
    page(
        "doors-closed",
        "The node answers no client any more.",
        "Its listening socket failed.",
        "Restart the node; look at the system's limits on open files.",
    ),
    page(
        "endpoint-private",
        "A webhook or bot has an address inside a network, and is not called.",
        "Its host is, or resolves to, a loopback, private or link-local address. A tenant's \
         administrator chooses it, and this node may reach more than they should.",
        "If it is meant, set webhooks.allow_private on every node. If not, have the address \
         corrected: nothing was sent there.",
    ),
    page(
        "endpoint-failing",
        "A webhook has not taken a message for minutes.",
        "Its endpoint is down, refuses, or does not answer in time; `status` is what it said last. \
         Messages wait for it, up to the webhook's `give_up_ms`.",
        "Tell whoever runs the endpoint. Storing the webhook anew tries everything that waits at \
         once; with `enabled` false it is given up.",
    ),
    page(
        "relay-failing",
        "The relay has not taken a mail for minutes.",
        "It cannot be reached, refuses this node, or says \"later\"; `error` says which. Mails \
         wait, up to 24 hours.",
        "Look at the relay and at [mail] in the configuration. Nothing is lost or sent twice \
         meanwhile; agents see their mails as pending.",
    ),
    page(
        "mail-not-sent",
        "A mail is not sent, and will not be.",
        "`why` says what is missing: a relay on this node, the site's `mail_from`, or words that \
         retention has dropped. Its author is told so.",
        "Set mail.relay on every node, or the site's `mail_from`; the agent writes again.",
    ),
    page(
        "journal-unreadable",
        "The journal cannot be read.",
        "The disk failed, or a segment is damaged. Sessions and traces on this node fail; \
         decisions do not depend on it.",
        "Look at the disk. `rotary node rebuild` takes the journal from the other nodes.",
    ),
    page(
        "journal-behind",
        "The journal on disk is not the snapshot's.",
        "The node took a snapshot of another replica, or its journal was lost. It fetches the \
         history before it.",
        "Nothing, while `rotary_journal_missing` goes back to 0. If it stays at 1, see that \
         other nodes are connected and have the history.",
    ),
    page(
        "history-lost",
        "No other node has the older history.",
        "Every replica that had it is gone, or retention dropped it.",
        "What is before the index in the line cannot be told any more. If a node with that \
         history is only away, bring it back.",
    ),
    page(
        "history-failed",
        "The fetched history cannot be begun anew.",
        "The disk failed or is full.",
        "Look at the disk; the node tries again after a restart.",
    ),
    page(
        "snapshot-unreadable",
        "The node's own snapshot cannot be read, so it can give none to others.",
        "The disk failed, or the file is damaged.",
        "Look at the disk. After a restart the node takes another replica's snapshot.",
    ),
    page(
        "replica-rebuilt",
        "The node takes the state of a shard from another replica.",
        "Its own differed from the majority, or was damaged.",
        "Nothing for this time: it mends itself. Test memory and disk of this machine; a \
         second time is a reason to replace it.",
    ),
    page(
        "rebuild-unnoted",
        "A replica that must be made again could not be noted as such.",
        "The disk refused the note.",
        "Look at the disk before the node is started again.",
    ),
    page(
        "replicas-differ",
        "Replicas of a shard differ, and no majority agrees.",
        "A fault of the software, or of several machines.",
        "Upgrade nothing and restart nothing. Keep the logs of all nodes, and compare \
         `rotary_raft_doubtful_index`; report it.",
    ),
    page(
        "log-cut",
        "The node's log lost its tail, so it has no vote.",
        "Power was lost and the disk had not kept what it said it had.",
        "Nothing, if the other nodes run: it catches up and votes again, also where nobody has \
         anything of a shard. The line names nodes that it waits for: bring those back. A disk \
         that does this lies about syncs: replace it.",
    ),
    page(
        "entries-lost",
        "Entries that were acknowledged are on no replica any more.",
        "Disks of a majority lost what they said they had kept.",
        "Something acknowledged is gone: the line names the shard and the indexes. Look at \
         every node's disk, and find out from callers and agents what is missing.",
    ),
    page(
        "entry-poisoned",
        "An entry that makes the distributor panic is refused.",
        "A fault of the software. Its site is frozen; other sites go on.",
        "See `site-frozen`. Keep the index that the line names.",
    ),
    page(
        "poison-unnoted",
        "An entry that makes the distributor panic could not be noted.",
        "The disk refused the note; the node will meet the entry again.",
        "Look at the disk, then restart the node.",
    ),
    page(
        "entry-unreadable",
        "An entry of the log cannot be read by this version.",
        "Nodes of different versions run together.",
        "Bring every node to one version: `rotary doctor` lists them.",
    ),
    page(
        "actor-failed",
        "An actor failed; its sessions resume.",
        "A fault of the software, in one conversation or viewer.",
        "Nothing at once. Report it if `rotary_actor_failures_total` rises.",
    ),
    page(
        "retention-blind",
        "Nobody knows how old records are, so none are dropped.",
        "The lookup or the journal cannot be read.",
        "Look at the disk; what should be dropped stays until then.",
    ),
    page(
        "backup-failed",
        "A backup was not made, or the store of backups does not answer.",
        "The line has what the store or the shard said: no room, no leave, no connection, no \
         answer, a history that this node still fetches, sites that moved all the time. What was \
         begun is removed with the next attempt.",
        "It is tried again by itself, after an attempt that failed later each time, up to \
         `backup.every`; changed keys are taken up then. Look with `rotary backup status`, and \
         with `rotary backup list STORE` from the node's machine. Where backup.keep is more than \
         the store can list, keep fewer. A restart tries at once.",
    ),
    page(
        "backup-late",
        "The newest backup is more than twice as old as it should be.",
        "No node could make one, which `backup-failed` says; \
         or it takes longer than `backup.every`: backup.bytes_per_second is too low for what \
         there is (`rotary_backup_bytes`, `rotary_backup_seconds`).",
        "Mend what `backup-failed` names, on the node that leads the directory (`rotary backup \
         status`). Until then make one by hand: `rotary backup create --to STORE`.",
    ),
    page(
        "retention-failed",
        "Old records of a shard are not dropped.",
        "The journal or the lookup refused it.",
        "The line says why. What should be gone by now is kept until it works.",
    ),
    page(
        "archive-failed",
        "Closed conversations cannot be put into the lookup.",
        "The disk failed or is full.",
        "Look at the disk. The lookup is made again from the journal when it is removed.",
    ),
    page(
        "disk-low",
        "Space on the disk is low.",
        "The log, the journal, attached files or something else fills it. Below twice \
         `log.free_bytes_min` files are refused, below it new work is.",
        "Make room, give the node a larger disk, or shorten `journal.retention`.",
    ),
    page(
        "disk-full",
        "The disk is full.",
        "Free space is used up; the reserve keeps votes and accepted work going for a while.",
        "Make room at once.",
    ),
    page(
        "caller-refused",
        "A node of another cluster tried to connect.",
        "Its configuration names an address of this cluster, or its certificate is of \
         another.",
        "Find the machine by the address in the line, and correct its cluster.peers.",
    ),
    page(
        "disk-slow",
        "A durable write takes long.",
        "Half of the syncs of a small file took more than 20 ms. Every command waits for the disks \
         of a majority.",
        "Give the log a disk of its own, or one with a protected write cache; look whether another \
         program keeps it busy, and whether the cloud's volume is throttled.",
    ),
    page(
        "udp-blocked",
        "A node answers over TCP and not over UDP.",
        "A firewall lets TCP pass and not UDP, `peer` in cluster.peers is wrong, or who listens \
         there is not that node. Without UDP between nodes there is no majority.",
        "Allow UDP both ways between the nodes, to the port of listen.peer; correct the address in \
         cluster.peers on every node.",
    ),
    page(
        "peer-unreachable",
        "A node of the cluster answers neither clients nor peers.",
        "It is stopped, its machine is gone, or the network between is cut.",
        "Start it, or mend the network. The cluster goes on as long as a majority is connected.",
    ),
    page(
        "address-wrong",
        "The address that is advertised for a node is not that node's.",
        "`public` in cluster.peers leads to another node, or nowhere, for instance because it is a \
         loopback address that means another machine to everybody else.",
        "Correct cluster.peers on every node: `public` is where clients reach the node.",
    ),
    page(
        "clock-offset",
        "The wall clocks of two nodes differ by more than a second.",
        "A machine's clock is not kept right. No decision reads it, but tokens expire by it, and \
         people read it in transcripts.",
        "Keep all clocks by NTP or PTP; look at the service that should (`chronyc tracking`).",
    ),
    page(
        "version-mismatch",
        "Two nodes run different versions.",
        "An upgrade is under way, or a node was left out.",
        "Finish the upgrade, one node after the other (`rotary upgrade check`), or go back the \
         same way while it is not finalised.",
    ),
    page(
        "upgrade-unfinished",
        "Shards do not yet act by the version of the logic that is wanted.",
        "An upgrade was finalised, and some shards wait: for a node that does not answer or runs \
         an older build, or until it is understood why replicas differ. Or every build can apply a \
         newer version, and nobody has finalised it.",
        "`rotary upgrade status` says of each shard what it waits for. Start or upgrade the node \
         that it names, or decommission it. As long as the directory (sh_0) waits itself, \
         `rotary upgrade abort` takes it back. Where nothing is wanted yet: `rotary upgrade \
         finalize`.",
    ),
    page(
        "certificate-expires",
        "A certificate of the node is not good, or will not be for another month.",
        "It expires, is not valid yet by this machine's clock, or is not from the authority in \
         tls.ca_file. Nodes then refuse each other; where it is the one for clients, they refuse \
         the node.",
        "`rotary cluster renew-node` issues another one for nodes: put its files where [tls] says. \
         The one for clients is at gateway.certificate_file. Running nodes take both up. Set the \
         clock right if that is what is wrong.",
    ),
    page(
        "certificate-refused",
        "Certificates that were changed are not taken up; those before are shown on.",
        "`why` or `error` says it: a file is cut short, key and certificate do not belong \
         together, they are another node's, the authorities in tls.ca_file do not vouch for them, \
         or a peer that is connected does not shake hands with them. That peer does not yet \
         believe the new authority, or still shows a certificate of one that is dropped here.",
        "Correct the files that `why` names. Where it is a peer's turn, give that peer its files, \
         and this node takes up its own within seconds. A node that starts does not ask its \
         peers: restart it if one of them can never agree.",
    ),
];
