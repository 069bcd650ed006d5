//! Every metric: its name, kind, labels and meaning. No other file spells a name.
//!
//! From here are the constants that the code measures with, the help texts of `/metrics`, and
//! `docs/metrics.md`. Labels never carry ids of people, conversations or tenants: their number is
//! unbounded.

/// What a metric is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    /// As Prometheus knows it; the unit is last.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What tells its series apart.
    pub(crate) labels: &'static [&'static str],
    /// The parts of a text, each with a space before it.
    pub(crate) meaning: &'static [&'static str],
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Up only.
    Counter,
    /// Up and down.
    Gauge,
    /// Counted into buckets.
    Histogram,
}

/// Makes a constant of each row, and a table of all.
macro_rules! registry {
    ($($(#[doc = $doc:literal])+ $constant:ident: $kind:ident $name:literal $labels:tt;)+) => {
        $($(#[doc = $doc])+ pub(crate) const $constant: &str = $name;)+

        /// Every metric.
        pub(crate) const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            labels: &$labels,
            meaning: &[$($doc),+],
        }),+];
    };
}

registry! {
    /// Always 1. `node` is the node's number.
    BUILD_INFO: Gauge "rotary_build_info" ["node", "version"];
    /// The newest version of the routing logic that this node's build can apply.
    BUILD_LOGIC: Gauge "rotary_build_logic_version" [];
    /// The version of the routing logic that this node's replica of a shard acts by. Where it stays
    /// below what every build can apply, an upgrade waits to be finalised.
    SHARD_LOGIC: Gauge "rotary_shard_logic_version" ["shard"];
    /// Commands proposed by this node's doors. `result` is `done`, `refused`, `repeated`,
    /// `not_applied` or `unknown`.
    COMMANDS: Counter "rotary_commands_total" ["op", "result"];
    /// Answers that were the kept outcome of an earlier attempt.
    COMMANDS_DEDUPLICATED: Counter "rotary_commands_deduplicated_total" [];
    /// Seconds from proposing a command to its answer.
    COMMAND_COMMIT: Histogram "rotary_command_commit_seconds" ["op"];
    /// Spans of traces. `result` is `sent`, or `dropped` where the collector was too slow or said
    /// no.
    SPANS: Counter "rotary_spans_total" ["result"];
    /// Moves of sites to other shards that ended on this node. `result` is `moved` or `failed`.
    SITE_MOVES: Counter "rotary_site_moves_total" ["result"];
    /// Seconds for which a site that moved waited to be taken by the other shard.
    SITE_MOVE_SECONDS: Histogram "rotary_site_move_seconds" [];
    /// Commands that got no permit. `budget` is `shard`, `tenant` or `caller`; `class` is `new`,
    /// `talk`, `ending` or `upkeep`.
    ADMISSION_REFUSED: Counter "rotary_admission_refused_total" ["budget", "class"];
    /// Commands of every kind that may be on their way from this node to a shard while new work is
    /// taken up. It falls while commands wait too long.
    ADMISSION_LIMIT: Gauge "rotary_admission_limit" ["shard"];
    /// Commands on their way from this node to a shard.
    ADMISSION_IN_FLIGHT: Gauge "rotary_admission_in_flight" ["shard"];
    /// The shortest wait, beyond what a lone command takes, of a command to a shard in the last
    /// tenth of a second that had any.
    ADMISSION_WAIT: Gauge "rotary_admission_wait_seconds" ["shard"];
    /// HTTP requests answered.
    HTTP_REQUESTS: Counter "rotary_http_requests_total" ["method", "status"];
    /// Live sockets. `kind` is `agent`, `customer` or `supervisor`.
    SESSIONS: Gauge "rotary_sessions" ["kind"];
    /// Sessions begun or resumed here. `mode` is `new`, `replayed` or `snapshot`.
    SESSION_RESUMES: Counter "rotary_session_resumes_total" ["mode"];
    /// Sockets closed by this node.
    SESSION_BYES: Counter "rotary_session_byes_total" ["code"];
    /// Sessions that the log believed to be here and that had no socket; it was told.
    SESSION_STRAYS: Counter "rotary_session_strays_total" [];
    /// Shards that this node handed to another that led fewer.
    LEADERS_MOVED: Counter "rotary_raft_leaders_moved_total" [];
    /// Sessions that pass through this gateway-only node.
    RELAY_SESSIONS: Gauge "rotary_relay_sessions" [];
    /// Sessions that went on through another core node, unnoticed by their clients.
    RELAY_MOVES: Counter "rotary_relay_moves_total" [];
    /// Requests that this gateway-only node passed on.
    RELAY_REQUESTS: Counter "rotary_relay_requests_total" ["result"];
    /// Core nodes that answer this gateway-only node.
    RELAY_CORES: Gauge "rotary_relay_cores" [];
    /// Events handed to sessions.
    EVENTS_DELIVERED: Counter "rotary_events_delivered_total" [];
    /// Events read again from the journal because a hand-over was full.
    FEED_GAPS: Counter "rotary_feed_gaps_total" ["shard"];
    /// Actors awake. `kind` is `viewer` or `conversation`.
    ACTORS: Gauge "rotary_actors" ["kind"];
    /// Actors that panicked and were taken down.
    ACTOR_FAILURES: Counter "rotary_actor_failures_total" ["kind"];
    /// Messages refused because an actor's mailbox was full.
    MAILBOX_REFUSALS: Counter "rotary_mailbox_refusals_total" ["kind"];
    /// 1 where this node leads the shard, else 0.
    RAFT_LEADER: Gauge "rotary_raft_leader" ["shard"];
    /// The shard's term as this node knows it.
    RAFT_TERM: Gauge "rotary_raft_term" ["shard"];
    /// The last index in this node's log.
    RAFT_LAST_INDEX: Gauge "rotary_raft_last_index" ["shard"];
    /// The last index applied by this node.
    RAFT_APPLIED_INDEX: Gauge "rotary_raft_applied_index" ["shard"];
    /// The index of this node's snapshot, 0 if it has none.
    RAFT_SNAPSHOT_INDEX: Gauge "rotary_raft_snapshot_index" ["shard"];
    /// The index up to which this node's log is forgotten.
    RAFT_FORGOTTEN_INDEX: Gauge "rotary_raft_forgotten_index" ["shard"];
    /// 1 while this node's log lacks its tail and it has no vote, else 0. It should not last; the
    /// node says in its log lines whom it waits for.
    RAFT_CUT: Gauge "rotary_raft_cut" ["shard"];
    /// An index at which replicas differ and no majority agrees, else 0. Anything but 0 wants a
    /// person, and no upgrade until it is understood.
    RAFT_DOUBTFUL_INDEX: Gauge "rotary_raft_doubtful_index" ["shard"];
    /// Reads that asked this node for a read index (`consistency=linearizable`).
    RAFT_READS: Counter "rotary_raft_reads_total" ["shard"];
    /// Rounds in which this node had read indexes confirmed. Reads share rounds, so they are
    /// fewer than the reads where many read at once.
    RAFT_READ_ROUNDS: Counter "rotary_raft_read_rounds_total" ["shard"];
    /// 1 while this node fetches history from before its snapshot, else 0.
    JOURNAL_MISSING: Gauge "rotary_journal_missing" ["shard"];
    /// 1 while this node's disk has no room for new work, else 0.
    DISK_FULL: Gauge "rotary_disk_full" [];
    /// The last index whose events are in this node's journal.
    JOURNAL_APPENDED_INDEX: Gauge "rotary_journal_appended_index" ["shard"];
    /// The last index whose events are on this node's disk.
    JOURNAL_DURABLE_INDEX: Gauge "rotary_journal_durable_index" ["shard"];
    /// The index up to which a node's journal is on its disk, as that node has logged it. One
    /// that stands still while others rise is a replica without a whole journal.
    JOURNAL_MARKED_INDEX: Gauge "rotary_journal_marked_index" ["shard", "node"];
    /// Bytes of journal segments that retention has dropped.
    JOURNAL_DROPPED_BYTES: Counter "rotary_journal_dropped_bytes_total" ["shard"];
    /// Looks for old records that failed, of a shard or of the time; the node says why in its log
    /// lines. Where it rises, what should be gone by now is kept. Absent where everything is
    /// kept.
    RETENTION_FAILURES: Counter "rotary_retention_failures_total" [];
    /// Events appended to this node's journal.
    JOURNAL_APPENDED: Counter "rotary_journal_appended_total" ["shard"];
    /// Uploads of files. `result` is `stored`, `refused` or `failed`.
    BLOB_UPLOADS: Counter "rotary_blob_uploads_total" ["result"];
    /// Bytes that attached files take on this node's disk.
    BLOBS_BYTES: Gauge "rotary_blobs_bytes" [];
    /// Files that messages name and this node lacks. It fetches them from the others; where it
    /// stays above 0 it wants somebody.
    BLOBS_MISSING: Gauge "rotary_blobs_missing" [];
    /// Files asked of other nodes. `result` is `fetched`, `lacking` or `failed`.
    BLOBS_FETCHED: Counter "rotary_blobs_fetched_total" ["result"];
    /// Files that were found damaged on this node's disk, set aside and fetched again.
    BLOBS_DAMAGED: Counter "rotary_blobs_damaged_total" [];
    /// Files removed because no message names them.
    BLOBS_REMOVED: Counter "rotary_blobs_removed_total" [];
    /// Files that this node had no room for.
    BLOBS_FULL: Counter "rotary_blobs_full_total" [];
    /// Seconds since the newest finished backup that nodes made by themselves was begun, as this
    /// node sees the store; where there is none, since this node started.
    BACKUP_AGE: Gauge "rotary_backup_age_seconds" [];
    /// Seconds from the beginning of one backup to that of the next, as configured.
    BACKUP_EVERY: Gauge "rotary_backup_every_seconds" [];
    /// Bytes of the newest finished backup.
    BACKUP_BYTES: Gauge "rotary_backup_bytes" [];
    /// Seconds that it took, until all of it was read back.
    BACKUP_SECONDS: Gauge "rotary_backup_seconds" [];
    /// Attempts to make a backup, or to look at the store, that failed.
    BACKUP_FAILURES: Counter "rotary_backup_failures_total" [];
    /// Attempts to tell a webhook. `result` is `taken`, `gone`, `refused` or `unanswered`.
    WEBHOOK_ATTEMPTS: Counter "rotary_webhook_attempts_total" ["result"];
    /// Turns that a bot was asked for. `result` is `answered`, `handed_over` or `failed`.
    BOT_TURNS: Counter "rotary_bot_turns_total" ["result"];
    /// Attempts to send a mail. `result` is `sent`, `not_sent`, `unknown` or `failed`.
    MAIL_ATTEMPTS: Counter "rotary_mail_attempts_total" ["result"];
    /// Effects that wait for their outcomes.
    EFFECTS_PENDING: Gauge "rotary_effects_pending" ["shard"];
    /// How often the view of which replicas live has changed.
    VIEW_EPOCH: Gauge "rotary_view_epoch" ["shard"];
    /// Conversations in a queue and not on offer.
    QUEUE_WAITING: Gauge "rotary_queue_waiting" ["site", "queue"];
    /// Seconds that the longest-waiting conversation has waited.
    QUEUE_OLDEST_WAIT: Gauge "rotary_queue_oldest_wait_seconds" ["site", "queue"];
    /// Bytes that may still be written to the disk of the data directory.
    DISK_FREE: Gauge "rotary_disk_free_bytes" [];
    /// Seconds that a sync of the log took. Every command waits for one on a majority of nodes.
    LOG_SYNC: Histogram "rotary_log_sync_seconds" [];
    /// Sites that take no changes after a fault (`site-frozen`).
    SITES_FROZEN: Gauge "rotary_sites_frozen" ["shard"];
    /// 1 while the members of the shard are not those that are wanted, as this node sees it, else
    /// 0.
    MEMBERS_UNSETTLED: Gauge "rotary_members_unsettled" ["shard"];
    /// Seconds that another node's clock is ahead of this one's, as far as its answers tell; looked
    /// at every five minutes.
    CLOCK_AHEAD: Gauge "rotary_clock_ahead_seconds" ["node"];
    /// Processor's time of this process, in whole seconds.
    PROCESS_CPU: Counter "process_cpu_seconds_total" [];
    /// Memory of this process that is in use and not swapped out.
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" [];
    /// Open files and sockets of this process.
    PROCESS_OPEN: Gauge "process_open_fds" [];
    /// How many it may have.
    PROCESS_OPEN_MAX: Gauge "process_max_fds" [];
    /// When this process began, in seconds since 1970.
    PROCESS_STARTED: Gauge "process_start_time_seconds" [];
    /// Seconds that a certificate is good yet. `certificate` is `node`, shown to other nodes, or
    /// `clients`, shown to clients where this node speaks TLS with them.
    CERTIFICATE_REMAINING: Gauge "rotary_certificate_remaining_seconds" ["certificate"];
    /// Agents that declared ready and have a live session.
    AGENTS_READY: Gauge "rotary_agents_ready" ["site"];
}

impl Metric {
    /// What it means, in one paragraph.
    pub(crate) fn help(&self) -> String {
        self.meaning.concat().trim().to_owned()
    }
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
