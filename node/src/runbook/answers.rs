//! What the API says no with: the refusals of the log, of the directory, and of the doors.

use super::{Page, page};

pub(super) const PAGES: &[Page] = &[
    page(
        "malformed",
        "The request or frame cannot be read.",
        "It is not JSON, not UTF-8, has a field that nobody knows, or lacks one. Where \
         everything of one client says so, client and cluster are of different versions.",
        "Compare with docs/api/http.md or docs/api/session.md; `detail` names the place. \
         Nothing was done.",
    ),
    page(
        "site-unknown",
        "There is no such site.",
        "The id is mistyped, the site is of another cluster, or it is being made and this \
         node has not heard of it yet.",
        "List the sites with `rotary site ls`, or create it first.",
    ),
    page(
        "site-frozen",
        "The site takes no changes after a fault.",
        "An entry of its log made the distributor panic. It was applied as refused, and the \
         site stands still so that nothing is decided on doubtful state; other sites go on.",
        "Keep the log lines with the code `entry-poisoned`, and report them: a version of the \
         logic that mends the fault lifts the freeze when the shard raises to it. Until then \
         serve those customers from another site.",
    ),
    page(
        "site-away",
        "The site is in another shard, or on its way there.",
        "It moves (`rotary site move`), and this was asked of the shard where it was. Nodes follow \
         a site by themselves and wait for it, so a client sees `unavailable` and this only in \
         logs.",
        "Nothing was done: ask again in a moment. `rotary site ls` says where sites live and where \
         they are going.",
    ),
    page(
        "site-moving",
        "The site is on its way to a third shard.",
        "It was asked for before that the site is to live elsewhere, and it is not there yet.",
        "Wait until it is there (`rotary site ls`), or have it stay where it is (`rotary site \
         cancel-move`) and ask again.",
    ),
    page(
        "outcome-forgotten",
        "Nobody knows any more whether this was done.",
        "The key is older than the window in which outcomes are kept, ten minutes of the \
         shard's time.",
        "Look whether the change is there. Send it under a new key only if it is not.",
    ),
    page(
        "window-full",
        "A session has too many commands without acknowledgement.",
        "The client does not raise `acknowledged` in its commands, or sends faster than \
         results come.",
        "Acknowledge the results that were seen; at most 64 may be open.",
    ),
    page(
        "session-unknown",
        "The session is not attached to this site.",
        "It ended, its grace is over, or its site has forgotten it.",
        "Start a new session with `start`.",
    ),
    page(
        "not-allowed",
        "The role of the asker does not allow this.",
        "The token is of a role that may not do it: docs/api/http.md lists what each may.",
        "Use a token of the role that may, or have somebody do it who has one.",
    ),
    page(
        "bad-value",
        "A value breaks its bound.",
        "A field is too long, too large, of another form, or is not one that the route takes.",
        "`detail` names the field and what is allowed. Nothing was done.",
    ),
    page(
        "wrong-site",
        "The conversation belongs to another site.",
        "The site in the request and the one in the conversation's id differ.",
        "Ask the site that the id names: in `cv_1.2.…` that is `st_1.2`.",
    ),
    page(
        "blob-unknown",
        "There is no such file.",
        "A message names a file that was not uploaded to this site, or so long before that it was \
         removed because no message named it; or the file that is read is named by no message of \
         the conversation that the asker may read.",
        "Upload it to the site of the conversation and name it within blobs.unnamed_keep \
         (docs/api/attachments.md). Nothing was done.",
    ),
    page(
        "keeps-replicas",
        "The node keeps replicas and cannot be forgotten.",
        "It is a core node that keeps shards, or that some shard has not let go yet.",
        "Look at the number: `rotary node list`. A core node that is to go is decommissioned, one \
         that is lost is replaced (`rotary node decommission`, `rotary node replace`); it can be \
         forgotten once no shard has it (`rotary cluster status`). Nothing was done.",
    ),
    page(
        "keeps-no-replicas",
        "The node keeps no replicas.",
        "It is a gateway-only node, or a core node that was decommissioned or replaced already.",
        "Look at the number: `rotary node list`. Nothing was done.",
    ),
    page(
        "node-number-used",
        "A node has that number, or had it once.",
        "Numbers of nodes are never used again: what a node with that number promised to the \
         others may still be on its way.",
        "Take the number that `detail` names: prepare the node with it (`rotary cluster \
         add-node --id`), and add that. Nothing was done.",
    ),
    page(
        "join-token-unknown",
        "There is no such join token, or what was shown is not its proof.",
        "The token is of another cluster, or of one that was made anew from a backup; or somebody \
         tries tokens.",
        "Copy the whole command that `rotary cluster add-node` printed, or have another token made \
         (`rotary cluster tokens create`). Attempts in vain are bounded by address.",
    ),
    page(
        "join-token-over",
        "The join token is good no more.",
        "Its time has passed, it was revoked, or another one was made for the same node. The \
         folder that waited under it is gone with it.",
        "Have another one made where the cluster's authority is (`rotary cluster tokens create`), \
         and paste that; a folder that is half written is gone on with.",
    ),
    page(
        "join-token-taken",
        "A machine has fetched the folder of that node already.",
        "A join token is good for one machine: for the one that used it first, also after that was \
         killed half way, and for no other. Somebody else has used it, or the folder in which it \
         was begun was removed.",
        "`rotary cluster tokens list` says when it was fetched, and from where. If that was the \
         machine that is meant, go on there, with the same folder. If not, somebody has a node's \
         key: revoke the token (`rotary cluster tokens revoke`), do not take that node in, and \
         prepare another one under another number (`rotary cluster add-node`).",
    ),
    page(
        "last-voter",
        "Nobody else has a vote.",
        "Without a vote nothing is decided, so the last node that has one keeps it.",
        "Add another node first (`rotary node add`), or give one a vote (`rotary node promote`). \
         Nothing was done.",
    ),
    page(
        "upgrade-blocked",
        "Not every node can apply the version that the cluster is to act by.",
        "A node runs an older build, or has not said what it runs; or replicas of a shard differ \
         and nobody knows which are right (`replicas-differ`). The detail names them.",
        "`rotary upgrade check` lists them. Upgrade those nodes; let go of those that are gone \
         (`rotary node decommission`, `rotary node forget`).",
    ),
    page(
        "upgrade-final",
        "The upgrade cannot be taken back.",
        "The cluster acts by that version of the logic already. What was written since can be read \
         by builds that can apply it, and by no other.",
        "Go on with it. Whoever must go back restores a backup from before it into a new cluster \
         (`rotary backup restore`).",
    ),
    page(
        "last-serving",
        "Every other node with a vote drains.",
        "Somebody has to lead the shards and have the sessions.",
        "Undrain another node first (`rotary node undrain`), or stop this one as it is: a node \
         that stops hands on what it has. Nothing was done.",
    ),
    page(
        "queue-unknown",
        "There is no such queue in the site.",
        "The id is mistyped, or the queue was never put.",
        "List them with `rotary queue ls --site SITE`, or put it: `rotary queue put`.",
    ),
    page(
        "agent-unknown",
        "There is no such agent in the site.",
        "The id is mistyped, or the agent was never put.",
        "List them with `rotary agent ls --site SITE`, or put it: `rotary agent put`.",
    ),
    page(
        "skill-unknown",
        "There is no such skill in the site.",
        "A plan, a profile or a conversation names a skill that was never put.",
        "Put the skill first: `PUT /v1/sites/{site}/skills/{skill}`.",
    ),
    page(
        "reason-unknown",
        "There is no such not-ready reason in the site.",
        "A declaration names a reason that was never put.",
        "Put the reason first: `PUT /v1/sites/{site}/reasons/{reason}`.",
    ),
    page(
        "disposition-unknown",
        "There is no such disposition in the site.",
        "A wrap-up names a disposition that was never put.",
        "Put it first: `PUT /v1/sites/{site}/dispositions/{disposition}`.",
    ),
    page(
        "session-taken",
        "The session serves somebody else.",
        "Two clients use one session's number, or a token was changed within a session.",
        "Start a new session.",
    ),
    page(
        "conversation-exists",
        "A conversation of this id exists or existed.",
        "The id was used before. Under the same key a repeated request would have got its \
         first answer.",
        "Look at the conversation; open another one under a new id.",
    ),
    page(
        "conversation-closed",
        "The conversation is over.",
        "It was closed or abandoned before this arrived.",
        "Open a new conversation. What was said in this one stays readable.",
    ),
    page(
        "conversation-unknown",
        "There is no such conversation.",
        "The id is mistyped, or retention has dropped what was kept of it.",
        "Find it with `rotary conversation ls`; `detail` says whether retention may have \
         dropped it.",
    ),
    page(
        "offer-gone",
        "The offer does not stand any more.",
        "It was taken back, declined, or its time was over before the answer came; the \
         customer may have left.",
        "Take the next offer. If offers often end before agents answer, raise the queue's \
         time for an offer, or find out why screens are slow.",
    ),
    page(
        "not-yours",
        "What was asked for is another agent's or customer's.",
        "The token is for somebody else.",
        "Use the token of the one who serves, or is, the conversation's; supervisors may see \
         all of a site.",
    ),
    page(
        "agent-signed-out",
        "The agent is signed out.",
        "They answered or asked for work without having declared a state.",
        "Declare ready or not ready first.",
    ),
    page(
        "agent-away",
        "No session of the agent lives.",
        "Their last socket is gone and their grace is over, so nobody would see an offer.",
        "Start a session, or resume the one that was lost.",
    ),
    page(
        "not-assigned",
        "The conversation is not with an agent.",
        "It waits, is on offer, or is being wrapped up.",
        "Look at its phase with `rotary conversation show`.",
    ),
    page(
        "already-held",
        "The conversation is on hold already.",
        "It was put on hold before.",
        "Nothing need be done.",
    ),
    page(
        "not-held",
        "The conversation is not on hold.",
        "It was retrieved before, or never held.",
        "Nothing need be done.",
    ),
    page(
        "not-in-wrap-up",
        "The conversation is not in wrap-up.",
        "The wrap-up ended, by its time or by the agent, or has not begun.",
        "Look at its phase with `rotary conversation show`.",
    ),
    page(
        "disposition-required",
        "The queue demands a disposition.",
        "The wrap-up ends without one.",
        "Send the wrap-up with a disposition of the site.",
    ),
    page(
        "item-exists",
        "An item of this id is in the conversation already.",
        "A message was sent twice under one id.",
        "Nothing need be done: it is there once.",
    ),
    page(
        "answer-unseen",
        "Another agent has answered since.",
        "The author had not seen the newest answer when they wrote theirs.",
        "Read the item that `detail` names, then send with that `seen_to`.",
    ),
    page(
        "seen-to-required",
        "An agent's post on this channel must say what its author has seen.",
        "The post has no `seen_to`.",
        "Send the ordinal of the newest item that the author has seen.",
    ),
    page(
        "not-in-self-service",
        "No bot serves the conversation.",
        "It waits for an agent, is with one, or is over: somebody has handed it over before.",
        "Nothing need be done. Look at its phase with `rotary conversation show`.",
    ),
    page(
        "effect-fenced",
        "An effect is over, or another node's to perform.",
        "Two nodes meant to perform one effect, which happens when the view changes or a node was \
         restarted; the log decided who does.",
        "Nothing need be done. Clients never see it.",
    ),
    page(
        "limit-reached",
        "A bound of the site or the cluster is reached.",
        "There are as many of what `detail` names as there may be; the bounds are in \
         proto/src/limits.rs.",
        "End or remove some, or spread them over more sites.",
    ),
    page(
        "token-missing",
        "The request has no token.",
        "There is no `Authorization` header, or it is not of the form `Bearer TOKEN`.",
        "Send a token. For the command line: `--token` or `ROTARY_TOKEN`.",
    ),
    page(
        "token-malformed",
        "The token cannot be read.",
        "It is cut short, has other characters in it, or names nobody.",
        "Copy it again, whole; `rotary token create` makes another.",
    ),
    page(
        "token-forged",
        "The token is not signed with this cluster's secret.",
        "It is of another cluster, or auth.token_secret_file differs between nodes.",
        "Use a token of this cluster. If one node alone says so, give it the others' secret.",
    ),
    page(
        "token-expired",
        "The token has expired.",
        "Its time is over, or the node's wall clock is ahead.",
        "Make another with `rotary token create`. If fresh tokens expire, set the clock of \
         the node right.",
    ),
    page(
        "token-revoked",
        "What the token was made with is good no more.",
        "Its API key was revoked, or its user was disabled or got another password since. \
         `admin.token` of `cluster init` is the first administrator's, `us_1`.",
        "Sign in again with `rotary login`, or make another key with `rotary apikey create`. \
         Where nobody can sign in: `rotary cluster break-glass`, and `rotary user passwd`.",
    ),
    page(
        "login-failed",
        "Nobody signs in like that.",
        "There is no such login, it is disabled, or the password is another.",
        "Correct them, or set the password anew with `rotary user passwd`. Without any \
         administrator left: `rotary cluster break-glass`.",
    ),
    page(
        "login-taken",
        "Another user has this login.",
        "Logins are unique within a tenant, whatever their case.",
        "Choose another one.",
    ),
    page(
        "too-many-attempts",
        "Too many attempts to sign in failed, from this address or for this login.",
        "Somebody mistypes a password again and again, or guesses.",
        "Wait as long as `retry_after_ms` says. If it was not you, look at where the attempts \
         come from.",
    ),
    page(
        "other-tenant",
        "This is of another tenant.",
        "The token is for one tenant, the request for something of another.",
        "Use a token of that tenant, or of an administrator of all.",
    ),
    page(
        "not-found",
        "There is nothing at this address.",
        "The path is mistyped, or what it names is not there.",
        "Compare the path with docs/api/http.md.",
    ),
    page(
        "forgotten",
        "What was asked for has been dropped by retention.",
        "It is older than `journal.retention`.",
        "`detail` says where what is left begins. Keep more with a longer \
         `journal.retention`; what is gone stays gone.",
    ),
    page(
        "method-not-allowed",
        "The route takes another method.",
        "A GET where there is only a PUT, or the like.",
        "The header `Allow` lists the methods.",
    ),
    page(
        "too-large",
        "The request or frame is too large.",
        "It has more than 128 KiB.",
        "Send less at a time; keep attachments elsewhere and send their address.",
    ),
    page(
        "unsupported-media-type",
        "The body is not said to be JSON.",
        "The header `Content-Type` is absent or another.",
        "Send `Content-Type: application/json`.",
    ),
    page(
        "busy",
        "There is more to do than this node takes on at once.",
        "All its sockets are in use, or too many passwords wait to be checked.",
        "Send it again after `retry_after_ms`, or to another node.",
    ),
    page(
        "overloaded",
        "The shard has all the work that it can take up in time.",
        "Commands waited longer than `admission.target_ms`, so this node takes up less that \
         is new, or as much is on its way as there may be. Nothing was done; what was taken \
         up before goes on, and accepting, closing and signing in are refused last.",
        "Send it again after `retry_after_ms`, not sooner: whoever comes back at once makes \
         it last. If it does, look at CPU and disk of the shard's leader (`rotary top`, \
         `rotary_admission_limit`, `rotary_admission_wait_seconds`), spread the sites over \
         more shards, or add nodes.",
    ),
    page(
        "tenant-over-budget",
        "The tenant has its share.",
        "The shard has more to do than it can, and this tenant asks for more of it than an \
         equal share; or the tenant has as many sockets, uploads or files without a message on \
         this node as one may have. Other tenants are served.",
        "Send it again after `retry_after_ms`, or open the session on another node. If it \
         lasts, find out what the tenant does so much of \
         (`rotary_commands_total`), or move a site to another shard.",
    ),
    page(
        "caller-over-budget",
        "One credential or session has too much on its way.",
        "It has more commands or bytes without an answer than `admission.caller_commands_max` \
         allows on this node, too many sockets, or has uploaded more than `[blobs]` allows.",
        "Wait for answers before sending more; `retry_after_ms` says when to try again. Give \
         each program a key of its own.",
    ),
    page(
        "storage-full",
        "The node has no room for new work.",
        "Free space on the disk of its log is below `log.free_bytes_min`; or, where a file was \
         refused, attached files take as much as `blobs.disk_bytes_max` allows, or those of the \
         tenant as much as `blobs.tenant_disk_percent_max` does. Work that was begun goes on.",
        "Make room, or give the node a larger disk; it notices by itself. Retention frees \
         what the journal holds, and the files that its messages name. `detail` says which \
         bound it is; a tenant's part may be raised if the disk has room for it.",
    ),
    page(
        "no-leader",
        "The shard has no leader at the moment.",
        "An election is going on, which takes a second, or a majority of its nodes is away.",
        "Send it again. If it lasts, look at `rotary cluster status` and bring nodes back \
         until a majority is connected.",
    ),
    page(
        "unavailable",
        "This node cannot do it at present. It was certainly not done.",
        "It is starting, catching up, fetching history, or cannot reach the leader; or the time in \
         an `Idempotency-Key` is more than five minutes ahead of its clock.",
        "Send it again, or ask another node. If it lasts, look at `/readyz` of this node.",
    ),
    page(
        "outcome-unknown",
        "It may have been done, or not.",
        "The node lost the leader, or the leader its majority, before the outcome was known.",
        "Send it again under the same `Idempotency-Key`: it is done once at most, and the \
         answer says what became of it.",
    ),
    page(
        "unreachable",
        "No node answered.",
        "The address is wrong, no node runs there, or a firewall is between.",
        "Check `--url` (`ROTARY_URL`) and whether the node runs; `rotary doctor` on its \
         machine says more.",
    ),
];
