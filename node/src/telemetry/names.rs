//! The name of every metric, with its labels and unit. No other file spells one.
//!
//! Labels never carry ids of people, conversations or tenants: their number is unbounded.

/// Always 1; label `version`.
pub(crate) const BUILD_INFO: &str = "rotary_build_info";
/// Commands proposed by this node's doors; labels `op`, `result` (`done`, `refused`, `repeated`,
/// `not_applied`, `unknown`).
pub(crate) const COMMANDS: &str = "rotary_commands_total";
/// Answers that were the kept outcome of an earlier attempt.
pub(crate) const COMMANDS_DEDUPLICATED: &str = "rotary_commands_deduplicated_total";
/// Seconds from proposing a command to its answer; label `op`.
pub(crate) const COMMAND_COMMIT: &str = "rotary_command_commit_seconds";
/// HTTP requests answered; labels `method`, `status`.
pub(crate) const HTTP_REQUESTS: &str = "rotary_http_requests_total";
/// Live sockets; label `kind` (`agent`, `customer`, `supervisor`).
pub(crate) const SESSIONS: &str = "rotary_sessions";
/// Sessions begun or resumed here; label `mode` (`new`, `replayed`, `snapshot`).
pub(crate) const SESSION_RESUMES: &str = "rotary_session_resumes_total";
/// Sockets closed by this node; label `code`.
pub(crate) const SESSION_BYES: &str = "rotary_session_byes_total";
/// Events handed to sessions.
pub(crate) const EVENTS_DELIVERED: &str = "rotary_events_delivered_total";
/// Events read again from the journal because a hand-over was full; label `shard`.
pub(crate) const FEED_GAPS: &str = "rotary_feed_gaps_total";
/// Actors awake; label `kind` (`viewer`, `conversation`).
pub(crate) const ACTORS: &str = "rotary_actors";
/// Actors that panicked and were taken down; label `kind`.
pub(crate) const ACTOR_FAILURES: &str = "rotary_actor_failures_total";
/// Messages refused because an actor's mailbox was full; label `kind`.
pub(crate) const MAILBOX_REFUSALS: &str = "rotary_mailbox_refusals_total";
/// 1 where this node leads the shard, else 0; label `shard`.
pub(crate) const RAFT_LEADER: &str = "rotary_raft_leader";
/// The shard's term as this node knows it; label `shard`.
pub(crate) const RAFT_TERM: &str = "rotary_raft_term";
/// The last index in this node's log; label `shard`.
pub(crate) const RAFT_LAST_INDEX: &str = "rotary_raft_last_index";
/// The last index applied by this node; label `shard`.
pub(crate) const RAFT_APPLIED_INDEX: &str = "rotary_raft_applied_index";
/// The index of this node's snapshot, 0 if it has none; label `shard`.
pub(crate) const RAFT_SNAPSHOT_INDEX: &str = "rotary_raft_snapshot_index";
/// The index up to which this node's log is forgotten; label `shard`.
pub(crate) const RAFT_FORGOTTEN_INDEX: &str = "rotary_raft_forgotten_index";
/// 1 while this node's log lacks its tail and it has no vote, else 0; label `shard`. It should not
/// last; the node says in its log lines whom it waits for.
pub(crate) const RAFT_CUT: &str = "rotary_raft_cut";
/// An index at which replicas differ and no majority agrees, else 0; label `shard`. Anything but 0
/// wants a person, and no upgrade until it is understood.
pub(crate) const RAFT_DOUBTFUL_INDEX: &str = "rotary_raft_doubtful_index";
/// Reads that asked this node for a read index (`consistency=linearizable`); label `shard`.
pub(crate) const RAFT_READS: &str = "rotary_raft_reads_total";
/// Rounds in which this node had read indexes confirmed; label `shard`. Reads share rounds, so they
/// are fewer than the reads where many read at once.
pub(crate) const RAFT_READ_ROUNDS: &str = "rotary_raft_read_rounds_total";
/// 1 while this node fetches history from before its snapshot, else 0; label `shard`.
pub(crate) const JOURNAL_MISSING: &str = "rotary_journal_missing";
/// 1 while this node's disk has no room for new work, else 0.
pub(crate) const DISK_FULL: &str = "rotary_disk_full";
/// The last index whose events are in this node's journal; label `shard`.
pub(crate) const JOURNAL_APPENDED_INDEX: &str = "rotary_journal_appended_index";
/// The last index whose events are on this node's disk; label `shard`.
pub(crate) const JOURNAL_DURABLE_INDEX: &str = "rotary_journal_durable_index";
/// The index up to which a node's journal is on its disk, as that node has logged it; labels
/// `shard`, `node`. One that stands still while others rise is a replica without a whole journal.
pub(crate) const JOURNAL_MARKED_INDEX: &str = "rotary_journal_marked_index";
/// Bytes of journal segments that retention has dropped; label `shard`.
pub(crate) const JOURNAL_DROPPED_BYTES: &str = "rotary_journal_dropped_bytes_total";
/// Looks for old records that failed, of a shard or of the time; the node says why in its log
/// lines. Where it rises, what should be gone by now is kept. Absent where everything is kept.
pub(crate) const RETENTION_FAILURES: &str = "rotary_retention_failures_total";
/// Events appended to this node's journal; label `shard`.
pub(crate) const JOURNAL_APPENDED: &str = "rotary_journal_appended_total";
/// Attempts to tell a webhook; label `result` (`taken`, `gone`, `refused`, `unanswered`).
pub(crate) const WEBHOOK_ATTEMPTS: &str = "rotary_webhook_attempts_total";
/// Effects that wait for their outcomes; label `shard`.
pub(crate) const EFFECTS_PENDING: &str = "rotary_effects_pending";
/// How often this node's view of who lives has changed; label `shard`.
pub(crate) const VIEW_EPOCH: &str = "rotary_view_epoch";
/// Conversations in a queue and not on offer; labels `site`, `queue`.
pub(crate) const QUEUE_WAITING: &str = "rotary_queue_waiting";
/// Seconds that the longest-waiting conversation has waited; labels `site`, `queue`.
pub(crate) const QUEUE_OLDEST_WAIT: &str = "rotary_queue_oldest_wait_seconds";
/// Agents that declared ready and have a live session; label `site`.
pub(crate) const AGENTS_READY: &str = "rotary_agents_ready";
