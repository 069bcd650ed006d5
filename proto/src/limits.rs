//! Every bound of Rotary, its unit last, and the relations that must hold between them.
//!
//! A bound is reached with a named refusal or error, never by growing. Bounds that an operator may
//! tighten per site are defaults or ceilings here and say so.

// Sizes of what crosses a door.

/// The body of one message or note; what is larger is an attachment.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Content that a blob may hold; a node may be configured to take less.
pub const BLOB_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Files that one message or note, or one answer of a bot, may name.
pub const ATTACHMENTS_PER_ITEM_MAX: usize = 10;
/// A personal name: of an agent, of an attached file.
pub const PERSONAL_NAME_BYTES_MAX: usize = 512;
/// An address of a mailbox, in bytes (RFC 5321, 4.5.3.1.3, without its brackets).
pub const MAIL_ADDRESS_BYTES_MAX: usize = 254;
/// The id of a mail, brackets and all, in bytes.
pub const MAIL_ID_BYTES_MAX: usize = 256;
/// A name that routing or reports may read: of a queue, a skill, a site.
pub const NAME_BYTES_MAX: usize = 128;
/// An address on the web, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// A webhook's secret, in bytes before base64, at least.
pub const SECRET_BYTES_MIN: usize = 24;
/// A webhook's secret, in bytes before base64, at most.
pub const SECRET_BYTES_MAX: usize = 64;
/// One declared, non-personal attribute: its key.
pub const ATTRIBUTE_KEY_BYTES_MAX: usize = 64;
/// One declared, non-personal attribute: its value.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 256;
/// Declared attributes of one conversation.
pub const ATTRIBUTES_MAX: usize = 16;
/// One command, event, answer or log entry's payload.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// One frame between two nodes, header and all. Appends carry several entries.
pub const WIRE_FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Payload bytes that one append to a follower may carry.
pub const APPEND_BYTES_MAX: usize = 1024 * 1024;
/// Entries that one append to a follower may carry.
pub const APPEND_ENTRIES_MAX: usize = 1024;
/// One frame that a session's client sends.
pub const SESSION_FRAME_BYTES_MAX: usize = 128 * 1024;
/// One chunk of a replica's snapshot, header and all.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Chunks of one replica's snapshot.
pub const SNAPSHOT_CHUNKS_MAX: u32 = 16_384;
/// Agents, queues or conversations that one snapshot frame lists; more of them follow in pages of
/// the HTTP API.
pub const SNAPSHOT_ROWS_MAX: usize = 1_000;
/// One HTTP request's body.
pub const HTTP_BODY_BYTES_MAX: usize = 128 * 1024;
/// One HTTP request's address and headers together.
pub const HTTP_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Places in logs that one request may ask a node to have applied.
pub const MIN_INDEXES_MAX: usize = 64;
/// A bearer or resume token.
pub const TOKEN_BYTES_MAX: usize = 4 * 1024;

// How many there may be of a thing.

/// Sites of one tenant.
pub const SITES_PER_TENANT_MAX: usize = 4_096;
/// API keys of one tenant, and of none; the oldest revoked one makes room for a new one.
pub const API_KEYS_PER_TENANT_MAX: usize = 256;
/// API keys of the whole cluster.
pub const API_KEYS_MAX: usize = 65_536;
/// Users of one tenant, and of none. Nobody is forgotten, so that no login changes hands.
pub const USERS_PER_TENANT_MAX: usize = 16_384;
/// Users of the whole cluster.
pub const USERS_MAX: usize = 262_144;
/// A password's hash, as the directory keeps it, in bytes.
pub const PASSWORD_HASH_BYTES_MAX: usize = 256;
/// Join tokens of the whole cluster that are good at once.
pub const JOIN_TOKENS_MAX: usize = 64;
/// Addresses that one join token names.
pub const JOIN_URLS_MAX: usize = 5;
/// One of them.
pub const JOIN_URL_BYTES_MAX: usize = 250;
/// A join token as a text, without what it begins with.
pub const JOIN_TEXT_BYTES_MAX: usize = 2_048;
/// A new node's folder, sealed.
pub const JOIN_FOLDER_BYTES_MAX: usize = 32 * 1024;
/// Queues of one site.
pub const QUEUES_PER_SITE_MAX: usize = 4_096;
/// Agents of one site.
pub const AGENTS_PER_SITE_MAX: usize = 65_536;
/// Webhooks of one site.
pub const WEBHOOKS_PER_SITE_MAX: usize = 16;
/// Effects that wait for one webhook. What comes when there are more is given up at once.
pub const EFFECTS_PER_WEBHOOK_MAX: usize = 4_096;
/// Mails of one site that wait to be sent. What comes when there are more is not sent.
pub const MAILS_PER_SITE_MAX: usize = 4_096;
/// Turns of a queue's bot that wait. What comes when there are more is handed over.
pub const TURNS_PER_QUEUE_MAX: usize = 4_096;
/// Turns of one conversation that wait. What comes when there are more is handed over.
pub const TURNS_PER_CONVERSATION_MAX: usize = 8;
/// Messages in one answer of a bot.
pub const BOT_MESSAGES_MAX: usize = 8;
/// Bytes of all messages in one answer of a bot.
pub const BOT_WORDS_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Effects that one event may leave: one for each webhook, and a mail or a bot's turn.
pub const EFFECTS_PER_EVENT_MAX: usize = WEBHOOKS_PER_SITE_MAX + 1;
/// Skills known to one site.
pub const SKILLS_PER_SITE_MAX: usize = 4_096;
/// Skills of one agent.
pub const SKILLS_PER_AGENT_MAX: usize = 256;
/// Skills that one conversation may require, the queue's own included.
pub const REQUIRED_SKILLS_MAX: usize = 8;
/// Not-ready reasons, and dispositions, of one site.
pub const REASONS_PER_SITE_MAX: usize = 1_024;
/// Distinct requirements (queue, channel, skills) that live conversations of a site may have.
pub const REQUIREMENT_CLASSES_MAX: usize = 4_096;
/// Live conversations of one site.
pub const CONVERSATIONS_PER_SITE_MAX: usize = 500_000;
/// Messages and notes of one conversation.
pub const ITEMS_PER_CONVERSATION_MAX: u32 = 100_000;
/// Item ids that hot state keeps per conversation, to refuse a repeated one.
pub const ITEMS_REMEMBERED_MAX: usize = 16;
/// Declines in force that one waiting conversation remembers; the oldest is forgotten first.
pub const DECLINES_PER_CONVERSATION_MAX: usize = 32;
/// Conversations that one agent may hold at once, whatever the configured mix.
pub const CONVERSATIONS_PER_AGENT_MAX: u8 = 12;
/// Live conversations that one customer may have in a site at once.
pub const CONVERSATIONS_PER_CUSTOMER_MAX: usize = 16;
/// Sessions that one agent may have at once (tabs and devices).
pub const SESSIONS_PER_AGENT_MAX: usize = 8;
/// Sessions of one site, of agents, customers and supervisors together.
pub const SESSIONS_PER_SITE_MAX: usize = 600_000;
/// Gateways that hold a lease in one shard.
pub const GATEWAYS_PER_SHARD_MAX: usize = 1_024;
/// Nodes that keep a replica of one shard.
pub const MEMBERS_PER_SHARD_MAX: usize = 64;
/// Nodes that have a vote in one shard: each of them has to be told of every entry, and a majority
/// to write it.
pub const VOTERS_MAX: usize = 9;
/// So many nodes that are admitted have a vote without anybody's word.
pub const VOTERS_BY_DEFAULT_MAX: usize = 5;
/// Nodes of one cluster, those without replicas included.
pub const NODES_MAX: usize = 256;
/// Sites of one shard.
pub const SITES_PER_SHARD_MAX: usize = 4_096;
/// Sites that have left a shard, of which it knows where they went.
pub const SITES_GONE_PER_SHARD_MAX: usize = 65_536;
/// Sites that one shard is being given at a time.
pub const ARRIVALS_PER_SHARD_MAX: usize = 1;
/// How often a site may move: each stay in a shard is remembered, because its journal has what
/// happened then.
pub const SITE_STAYS_MAX: usize = 256;
/// Bytes of a site's state in one entry.
pub const PART_BYTES_MAX: usize = 56 * 1024;
/// Parts of a site that may come before one that is missing.
pub const PARTS_AHEAD_MAX: u32 = 64;
/// Bytes of a site's whole state on its way.
pub const SITE_PARTS_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;

// Exactly once.

/// Unacknowledged commands of one session whose outcomes a site keeps.
pub const SESSION_WINDOW_COMMANDS_MAX: usize = 64;
/// How long, in shard time, a site keeps the outcome of an HTTP request; shorter where more
/// requests come in that time than `REQUEST_WINDOW_REQUESTS_MAX`.
pub const REQUEST_WINDOW_MS: u64 = 10 * 60 * 1_000;
/// Requests whose outcomes one site keeps; the oldest is forgotten first.
pub const REQUEST_WINDOW_REQUESTS_MAX: usize = 262_144;
/// Principals whose requests, or whose floor of forgotten requests, one site remembers; beyond it
/// the principal with the oldest floor and nothing kept shares its floor with all unknown ones.
pub const REQUEST_PRINCIPALS_MAX: usize = 65_536;
/// How often, in shard time, what is too old to keep is forgotten.
pub const FORGET_EVERY_MS: u64 = 5_000;
/// How far ahead of a gateway's wall clock a request id's time may be before the door refuses it.
pub const REQUEST_AHEAD_MS: u64 = 5 * 60 * 1_000;
/// How long, in shard time, a closed conversation leaves a tombstone; longer while no quorum of
/// replicas has logged that its journal has the closing on disk.
pub const TOMBSTONE_MS: u64 = REQUEST_WINDOW_MS;
/// Tombstones of one site; opening is refused when they are all in use.
pub const TOMBSTONES_PER_SITE_MAX: usize = 2_000_000;

// Time. All in milliseconds of shard time, except where a name says otherwise.

/// The shortest time for which a join token is good.
pub const JOIN_TTL_MIN_MS: u64 = 1_000;
/// How long a join token is good where nobody says otherwise.
pub const JOIN_TTL_DEFAULT_MS: u64 = 24 * 3_600 * 1_000;
/// The longest.
pub const JOIN_TTL_MAX_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// How long a gateway's lease in a shard lasts from its last renewal.
pub const LEASE_MS: u64 = 2_000;
/// How often a gateway renews it.
pub const LEASE_RENEWAL_MS: u64 = 500;
/// How long a pending offer outlives the loss of its agent's last session.
pub const OFFER_AFTER_LOSS_MS: u64 = 1_000;
/// Default grace for an agent's live conversations after the loss of the last session.
pub const AGENT_GRACE_DEFAULT_MS: u64 = 20_000;
/// Default grace for a chat customer whose last session is lost.
pub const CUSTOMER_GRACE_DEFAULT_MS: u64 = 5 * 60 * 1_000;
/// Shortest deadline that a plan may set.
pub const DEADLINE_MIN_MS: u64 = 10;
/// Longest deadline that a plan may set: 30 days.
pub const DEADLINE_MAX_MS: u64 = 30 * 24 * 3_600 * 1_000;
/// Default time that an agent has to accept an offer.
pub const OFFER_DEFAULT_MS: u64 = 20_000;
/// Default wait before an agent who declined an item is offered it again.
pub const DECLINE_DELAY_DEFAULT_MS: u64 = 30_000;
/// Default longest wait in a queue.
pub const WAIT_DEFAULT_MS: u64 = 60 * 60 * 1_000;
/// Default longest time without a message in an assigned text conversation.
pub const IDLE_DEFAULT_MS: u64 = 30 * 60 * 1_000;
/// Default longest assignment of a conversation on voice.
pub const TALK_DEFAULT_MS: u64 = 4 * 60 * 60 * 1_000;
/// Default longest hold.
pub const HOLD_DEFAULT_MS: u64 = 10 * 60 * 1_000;
/// Default longest wrap-up.
pub const WRAP_UP_DEFAULT_MS: u64 = 30_000;
/// How long a pending effect waits for its outcome.
pub const EFFECT_DEFAULT_MS: u64 = 60_000;
/// How long a webhook's endpoint is tried with one message.
pub const WEBHOOK_GIVE_UP_DEFAULT_MS: u64 = 24 * 3_600 * 1_000;
/// How long a bot's turn may take.
pub const BOT_TURN_DEFAULT_MS: u64 = 20_000;
/// The longest that a bot's plan may give a turn.
pub const BOT_TURN_MAX_MS: u64 = 5 * 60 * 1_000;
/// How long a mail is tried.
pub const MAIL_GIVE_UP_MS: u64 = 24 * 3_600 * 1_000;
/// A feed with nothing to say says so this often (wall milliseconds).
pub const FEED_HEARTBEAT_MS: u64 = 200;
/// A reader that hears nothing for this long attaches elsewhere (wall milliseconds).
pub const FEED_SILENCE_MS: u64 = 600;
/// How long a gateway tries to attach a session before it says `behind` (wall milliseconds).
pub const ATTACH_MS: u64 = 2_000;
/// How long a client waits for a `welcome` before it tries another gateway (wall milliseconds).
pub const WELCOME_MS: u64 = 3_000;
/// How often a replica logs how far its journal is on disk, while things are recorded (wall
/// milliseconds).
pub const JOURNAL_MARK_MS: u64 = 5_000;
/// A *once* effect goes out no later than this after its owner has asked the shard's leader and
/// found that it is the owner still; and a new owner says nothing of what its predecessor began
/// sooner than this and `FENCE_MARGIN_MS` after the view that made it the owner (monotonic
/// milliseconds of each node).
pub const FENCE_MS: u64 = 1_500;
/// What may pass between an owner's last look at its clock and the system call that sends.
pub const FENCE_MARGIN_MS: u64 = 500;

// Work.

/// Steps of matching, expiry or indexing that one log entry may take; the rest is due at once.
pub const WORK_PER_ENTRY_MAX: u32 = 2_048;
/// Commands that a proposer hands to the log in one call.
pub const PROPOSAL_BATCH_MAX: usize = 256;
/// Commands waiting at one shard's proposer before the door refuses more.
pub const PROPOSALS_IN_FLIGHT_MAX: usize = 4_096;
/// Bytes of those, and of what one gateway has on its way to one shard.
pub const PROPOSAL_BYTES_IN_FLIGHT_MAX: usize = 16 * 1024 * 1024;
/// Commands of every kind that one gateway may have on their way to one shard while it takes up new
/// work; what the gateway really takes follows from how long they wait, and this is the ceiling.
pub const PROPOSALS_NEW_MAX: usize = 2_048;
/// The same for what goes on with work that is there, or ends it.
pub const PROPOSALS_ENDING_MAX: usize = 3_072;
/// Commands of one principal or session on their way from one gateway to one shard.
pub const PROPOSALS_PER_CALLER_MAX: usize = 256;
/// Bytes of those.
pub const PROPOSAL_BYTES_PER_CALLER_MAX: usize = 2 * 1024 * 1024;
/// How long commands may wait, beyond what a lone one takes, before a gateway takes up less new
/// work (wall milliseconds).
pub const ADMISSION_TARGET_MS: u64 = 50;
/// How often a gateway reconsiders how much it takes up (wall milliseconds).
pub const ADMISSION_INTERVAL_MS: u64 = 100;
/// What a gateway takes up at least for one shard, however long commands wait.
pub const PROPOSALS_ADMITTED_MIN: usize = 4;
/// What it takes up before it knows how long commands wait.
pub const PROPOSALS_AT_FIRST_MAX: usize = 256;
/// Pause between two counts of a site's figures for boards (wall milliseconds).
pub const BOARD_PAUSE_MS: u64 = 1_000;
/// Longest time after which a refused client is asked to come again (wall milliseconds).
pub const RETRY_AFTER_MAX_MS: u64 = 5_000;
/// Sockets of sessions of one tenant on one gateway; what is left is for the others.
pub const SESSIONS_PER_TENANT_MAX: usize = 15_000;
/// Sockets of sessions of one principal on one gateway.
pub const SESSIONS_PER_PRINCIPAL_MAX: usize = 256;
/// Reads waiting for one replica's next confirmation that its leader leads before more are refused.
pub const READS_IN_FLIGHT_MAX: usize = 4_096;
/// Messages waiting in one actor's mailbox before a send is refused.
pub const MAILBOX_MAX: usize = 1_024;
/// Events on their way to one session before it is closed as slow (it resumes later).
pub const SESSION_BACKLOG_EVENTS_MAX: usize = 1_024;
/// Sessions that one gateway serves at once.
pub const SESSIONS_PER_GATEWAY_MAX: usize = 20_000;
/// Streams of clients' connections that one node may pass on to another at once: every session that
/// a gateway may serve, and requests beside them.
pub const TUNNELS_PER_PEER_MAX: usize = SESSIONS_PER_GATEWAY_MAX + 4_096;
/// Requests in flight on one lane to one peer.
pub const LANE_REQUESTS_MAX: usize = 8_192;
/// Bytes of requests that wait to be written to one lane of one peer.
pub const LANE_BYTES_MAX: usize = 64 * 1024 * 1024;

// What must hold between them.

const _: () = assert!(VOTERS_BY_DEFAULT_MAX <= VOTERS_MAX && VOTERS_MAX <= MEMBERS_PER_SHARD_MAX);
const _: () = assert!(MEMBERS_PER_SHARD_MAX < NODES_MAX, "core nodes leave room for gateways");
const _: () = assert!(
    JOIN_FOLDER_BYTES_MAX * 3 / 2 < ENTRY_BYTES_MAX
        && JOIN_FOLDER_BYTES_MAX * 2 < HTTP_BODY_BYTES_MAX,
    "a new node's folder must fit an entry, and in base64 pass a door"
);
const _: () =
    assert!(JOIN_TTL_MIN_MS <= JOIN_TTL_DEFAULT_MS && JOIN_TTL_DEFAULT_MS <= JOIN_TTL_MAX_MS);
const _: () = assert!(
    JOIN_URL_BYTES_MAX <= u8::MAX as usize
        && (100 + JOIN_URLS_MAX * (JOIN_URL_BYTES_MAX + 1)) * 4 / 3 < JOIN_TEXT_BYTES_MAX,
    "the largest join token must be readable"
);
const _: () = assert!(BODY_BYTES_MAX * 2 <= ENTRY_BYTES_MAX, "a full body must fit an entry");
const _: () = assert!(PART_BYTES_MAX + 128 <= ENTRY_BYTES_MAX, "a part must fit an entry");
const _: () = assert!(
    ATTRIBUTES_MAX * (ATTRIBUTE_KEY_BYTES_MAX + ATTRIBUTE_VALUE_BYTES_MAX)
        + BODY_BYTES_MAX
        + ATTACHMENTS_PER_ITEM_MAX * (PERSONAL_NAME_BYTES_MAX + NAME_BYTES_MAX + 64)
        < ENTRY_BYTES_MAX / 2,
    "a conversation with every attribute and a full first message must fit an entry"
);
const _: () =
    assert!(PERSONAL_NAME_BYTES_MAX * 3 < ENTRY_BYTES_MAX / 4, "and with it whom its mails go to");
const _: () = assert!(
    ENTRY_BYTES_MAX * 2 <= APPEND_BYTES_MAX,
    "an append must be able to carry the largest entry and move on"
);
const _: () = assert!(
    APPEND_BYTES_MAX + ENTRY_BYTES_MAX + APPEND_ENTRIES_MAX * 128 < WIRE_FRAME_BYTES_MAX,
    "an append with its entries' headers must fit a frame"
);
const _: () = assert!(
    BODY_BYTES_MAX * 6 + 16 * 1024 < SESSION_FRAME_BYTES_MAX
        && BODY_BYTES_MAX * 6 + 16 * 1024 < HTTP_BODY_BYTES_MAX,
    "a full body must pass a door even where JSON escapes every byte to six"
);
const _: () = assert!(
    ENTRY_BYTES_MAX + 64 < SNAPSHOT_CHUNK_BYTES_MAX
        && SNAPSHOT_CHUNK_BYTES_MAX + ENTRY_BYTES_MAX < WIRE_FRAME_BYTES_MAX,
    "a chunk must carry the largest record, and a frame a chunk"
);
const _: () = assert!(
    SNAPSHOT_CHUNKS_MAX as usize * SNAPSHOT_CHUNK_BYTES_MAX / 2
        > (CONVERSATIONS_PER_SITE_MAX + SESSIONS_PER_SITE_MAX) * 4 * 1024,
    "a snapshot must carry a full site of long conversations and sessions"
);
const _: () = assert!(
    BOT_WORDS_BYTES_MAX
        + BOT_MESSAGES_MAX * 64
        + ATTACHMENTS_PER_ITEM_MAX * (PERSONAL_NAME_BYTES_MAX + NAME_BYTES_MAX + 64)
        + 1_024
        < ENTRY_BYTES_MAX,
    "what a bot answers must fit an entry"
);
const _: () = assert!(
    APPEND_BYTES_MAX + ENTRY_BYTES_MAX < PROPOSAL_BYTES_IN_FLIGHT_MAX / 8,
    "several full batches must be able to wait"
);
const _: () = assert!(
    PROPOSALS_ADMITTED_MIN < PROPOSALS_AT_FIRST_MAX && PROPOSALS_AT_FIRST_MAX < PROPOSALS_NEW_MAX,
    "a gateway starts between its bounds"
);
const _: () = assert!(
    PROPOSALS_NEW_MAX < PROPOSALS_ENDING_MAX && PROPOSALS_ENDING_MAX < PROPOSALS_IN_FLIGHT_MAX,
    "what ends work has room that new work cannot take, and the cluster's own beyond that"
);
const _: () = assert!(
    ENTRY_BYTES_MAX * 4 < PROPOSAL_BYTES_PER_CALLER_MAX
        && PROPOSAL_BYTES_PER_CALLER_MAX < PROPOSAL_BYTES_IN_FLIGHT_MAX / 4,
    "one caller can have a few of the largest commands on their way, and not all there may be"
);
const _: () = assert!(SESSIONS_PER_TENANT_MAX < SESSIONS_PER_GATEWAY_MAX, "others find a socket");
const _: () = assert!(WIRE_FRAME_BYTES_MAX * 8 < LANE_BYTES_MAX, "a lane holds several frames");
const _: () = assert!(REQUEST_WINDOW_MS.is_multiple_of(FORGET_EVERY_MS), "whole steps");
const _: () = assert!(LEASE_RENEWAL_MS * 3 <= LEASE_MS, "a lease must survive two lost renewals");
const _: () = assert!(FEED_HEARTBEAT_MS * 3 <= FEED_SILENCE_MS, "silence is three lost beats");
const _: () = assert!(ATTACH_MS < WELCOME_MS, "a gateway gives up before its client does");
const _: () = assert!(OFFER_AFTER_LOSS_MS < AGENT_GRACE_DEFAULT_MS, "offers end before the grace");
const _: () = assert!(TOMBSTONE_MS >= REQUEST_WINDOW_MS, "a retried open must meet its tombstone");
const _: () =
    assert!(FENCE_MS + FENCE_MARGIN_MS <= LEASE_MS, "effects are fenced before leases move");
const _: () = assert!(DEADLINE_MIN_MS < OFFER_DEFAULT_MS && WAIT_DEFAULT_MS < DEADLINE_MAX_MS);
const _: () = assert!(
    CONVERSATIONS_PER_AGENT_MAX <= 12,
    "least-loaded compares loads as exact fractions of 27 720, divisible by 1 to 12"
);
const _: () = assert!(
    DECLINES_PER_CONVERSATION_MAX < WORK_PER_ENTRY_MAX as usize / 8,
    "passing over declined agents must not use up an entry's work"
);
