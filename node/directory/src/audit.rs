//! The record of what people did to the cluster: who, when, from where, and what it came to.
//!
//! What is asked of the directory is recorded by the entry that decides it, in the same apply, so
//! that nothing is done and not recorded. What is done elsewhere, or refused before it comes here,
//! is noted by an entry of its own ([`crate::DirectoryCommand::Note`]). Records have one dense
//! sequence. What was refused is bounded apart from what was done, so that no number of attempts
//! drives out what happened.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rotary_proto::{ApiKeyId, NodeId, PrincipalId, ShardId, SiteId, TenantId, UserId, Wall};
use serde::{Deserialize, Serialize};

use crate::command::{
    DirectoryCommand, DirectoryDone, DirectoryEvent, DirectoryOutcome, DirectoryRefusal,
};
use crate::credentials::{Credential, Grant};
use crate::state::Directory;

/// Records of what was done that are kept; the oldest goes first.
pub const AUDIT_DONE_MAX: usize = 8_192;
/// Records of what was refused that are kept.
pub const AUDIT_REFUSED_MAX: usize = 2_048;
/// Bytes of a word in a record: of an action, of a refusal.
pub(crate) const WORD_BYTES_MAX: usize = 40;

/// Who asks, as the door that took the request knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The number of the holder of the credential.
    pub principal: PrincipalId,
    /// What they showed; nothing for a token that was made from a node's own files.
    pub credential: Option<Credential>,
    /// Whose they are; nothing for those of the whole cluster.
    pub tenant: Option<TenantId>,
    /// Where the request came from, as far as the node knows.
    pub address: Option<IpAddr>,
    /// The node that took it.
    pub node: NodeId,
    /// When, by that node's clock.
    pub wall: Wall,
}

/// What an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditTarget {
    /// The cluster as a whole, or nothing in particular.
    Cluster,
    /// A node.
    Node(NodeId),
    /// A shard.
    Shard(ShardId),
    /// A tenant.
    Tenant(TenantId),
    /// A site.
    Site(SiteId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// A user.
    User(UserId),
    /// The holder of a credential.
    Principal(PrincipalId),
}

/// One thing that somebody did, or tried to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Who asked, when, and from where.
    pub asked: Asked,
    /// What was asked, as a word: `drain_node`.
    pub action: String,
    /// What it is about.
    pub target: AuditTarget,
    /// `done`, or the word of the refusal.
    pub outcome: String,
}

impl AuditRecord {
    fn is_done(&self) -> bool {
        self.outcome == DONE
    }
}

/// The outcome of what was done.
pub(crate) const DONE: &str = "done";

/// The records that are kept, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    done: BTreeMap<u64, AuditRecord>,
    refused: BTreeMap<u64, AuditRecord>,
    /// The number of the last record that was ever made.
    pub(crate) last: u64,
}

impl Audit {
    fn half(&mut self, record: &AuditRecord) -> (&mut BTreeMap<u64, AuditRecord>, usize) {
        match record.is_done() {
            true => (&mut self.done, AUDIT_DONE_MAX),
            false => (&mut self.refused, AUDIT_REFUSED_MAX),
        }
    }

    fn add(&mut self, record: AuditRecord) {
        self.last += 1;
        let number = self.last;
        let (half, most) = self.half(&record);
        half.insert(number, record);
        if half.len() > most {
            half.pop_first();
        }
        assert!(half.len() <= most, "one came, so one goes at most");
    }

    /// The number of the newest that is kept.
    fn newest(&self) -> u64 {
        let last = |half: &BTreeMap<u64, AuditRecord>| half.last_key_value().map(|(last, _)| *last);
        last(&self.done).max(last(&self.refused)).unwrap_or(0)
    }

    /// Puts a record back; whether it comes in order, and within the bounds.
    pub(crate) fn restore(&mut self, number: u64, record: AuditRecord) -> bool {
        let last = self.last;
        let fine = is_word(&record.action) && is_word(&record.outcome);
        let before = self.newest();
        let (half, most) = self.half(&record);
        let fine = fine && before < number && number <= last && half.len() < most;
        if fine {
            half.insert(number, record);
        }
        fine
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.done.len() + self.refused.len()
    }

    /// Those from a number on, in order.
    pub(crate) fn records_from(
        &self,
        number: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, &AuditRecord)> {
        let mut all: Vec<(u64, &AuditRecord)> = Vec::new();
        for half in [&self.done, &self.refused] {
            all.extend(half.range(number..).map(|(number, record)| (*number, record)));
        }
        all.sort_unstable_by_key(|(number, _)| *number);
        all.into_iter()
    }
}

impl Directory {
    /// Records that what somebody asked came to something.
    pub(crate) fn record(
        &mut self,
        asked: Asked,
        (action, target): (&str, AuditTarget),
        outcome: &DirectoryOutcome,
    ) {
        let (outcome, target) = match outcome {
            DirectoryOutcome::Done(done) => (DONE, made(*done).unwrap_or(target)),
            DirectoryOutcome::Refused(refusal) => (refusal.word(), target),
        };
        self.note(AuditRecord {
            asked,
            action: action.to_owned(),
            target,
            outcome: outcome.to_owned(),
        });
    }

    /// Records what somebody says that happened elsewhere.
    pub(crate) fn take_note(
        &mut self,
        asked: Option<Asked>,
        action: String,
        target: AuditTarget,
        outcome: String,
    ) -> Result<(DirectoryDone, Vec<DirectoryEvent>), DirectoryRefusal> {
        let wrong = |field: &str, rule: &str| DirectoryRefusal::BadValue {
            field: field.to_owned(),
            rule: rule.to_owned(),
        };
        let asked = asked.ok_or_else(|| wrong("asked", "somebody did what is noted"))?;
        if !is_word(&action) || !is_word(&outcome) {
            return Err(wrong("action", "a word of at most 40 of a-z, _ and -"));
        }
        self.note(AuditRecord { asked, action, target, outcome });
        Ok((DirectoryDone::Ok, Vec::new()))
    }

    /// Adds a record.
    fn note(&mut self, record: AuditRecord) {
        assert!(is_word(&record.action) && is_word(&record.outcome), "words are the program's");
        Arc::make_mut(&mut self.audit).add(record);
    }

    /// The records after a number, oldest first, each with its own number.
    pub fn audit_after(&self, number: u64) -> impl Iterator<Item = (u64, &AuditRecord)> {
        self.audit.records_from(number.saturating_add(1))
    }

    /// The number of the last record that was ever made; 0 before there was one.
    pub fn audit_last(&self) -> u64 {
        self.audit.last
    }
}

/// Whether a text is a word of a record: what the program itself says, and nobody else.
pub(crate) fn is_word(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || byte == b'-';
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(letter)
}

/// What a command is called in a record, and what it is about; nothing for what nodes say
/// themselves.
pub(crate) fn told(command: &DirectoryCommand) -> Option<(&'static str, AuditTarget)> {
    use AuditTarget as Of;
    use DirectoryCommand as Asks;
    let of_grant = |grant: &Grant| match (grant.site(), grant.tenant()) {
        (Some(site), _) => Of::Site(site),
        (None, Some(tenant)) => Of::Tenant(tenant),
        (None, None) => Of::Cluster,
    };
    Some(match command {
        Asks::Found { .. } | Asks::Announce { .. } | Asks::FoundUser { .. } => return None,
        Asks::SiteMoved { .. } | Asks::MoveFailed { .. } => return None,
        Asks::Note { .. } | Asks::RaiseVersion { .. } | Asks::ShardFounded { .. } => return None,
        Asks::Forget { node } => ("forget_node", Of::Node(*node)),
        Asks::Admit { node, instead_of: None, .. } => ("admit_node", Of::Node(*node)),
        Asks::Admit { node, .. } => ("replace_node", Of::Node(*node)),
        Asks::Release { node } => ("decommission_node", Of::Node(*node)),
        Asks::SetVote { node, votes: true } => ("promote_node", Of::Node(*node)),
        Asks::SetVote { node, .. } => ("demote_node", Of::Node(*node)),
        Asks::Finalize { .. } => ("finalize_upgrade", Of::Cluster),
        Asks::AbortUpgrade => ("abort_upgrade", Of::Cluster),
        Asks::AddShards { .. } => ("add_shards", Of::Cluster),
        Asks::MoveSite { site, .. } => ("move_site", Of::Site(*site)),
        Asks::CancelMove { site } => ("cancel_move", Of::Site(*site)),
        Asks::SpreadVotes { .. } => ("spread_votes", Of::Cluster),
        Asks::SetDraining { node, drains: true } => ("drain_node", Of::Node(*node)),
        Asks::SetDraining { node, .. } => ("undrain_node", Of::Node(*node)),
        Asks::CreateTenant { .. } => ("create_tenant", Of::Cluster),
        Asks::CreateSite { tenant, .. } => ("create_site", Of::Tenant(*tenant)),
        Asks::CreatePrincipal { tenant } => {
            ("create_token", tenant.map_or(Of::Cluster, Of::Tenant))
        }
        Asks::CreateApiKey { grant, .. } => ("create_api_key", of_grant(grant)),
        Asks::RevokeApiKey { key } => ("revoke_api_key", Of::ApiKey(*key)),
        Asks::CreateUser { grant, .. } => ("create_user", of_grant(grant)),
        Asks::SetPassword { user, .. } => ("set_password", Of::User(*user)),
        Asks::SetDisabled { user, disabled: true } => ("disable_user", Of::User(*user)),
        Asks::SetDisabled { user, .. } => ("enable_user", Of::User(*user)),
        Asks::CreateJoinToken { node, .. } => ("create_join_token", Of::Node(*node)),
        Asks::TakeJoinToken { node, .. } => ("take_join_token", Of::Node(*node)),
        // Which node it was for is not known any more.
        Asks::RevokeJoinToken { node: NodeId(0), .. } => ("revoke_join_token", Of::Cluster),
        Asks::RevokeJoinToken { node, .. } => ("revoke_join_token", Of::Node(*node)),
    })
}

/// What was made, which is what the action is about from then on.
fn made(done: DirectoryDone) -> Option<AuditTarget> {
    match done {
        DirectoryDone::Ok | DirectoryDone::JoinToken(_) => None,
        DirectoryDone::Tenant(tenant) => Some(AuditTarget::Tenant(tenant)),
        DirectoryDone::Site { site, .. } => Some(AuditTarget::Site(site)),
        DirectoryDone::Principal(principal) => Some(AuditTarget::Principal(principal)),
        DirectoryDone::ApiKey { key, .. } => Some(AuditTarget::ApiKey(key)),
        DirectoryDone::User { user, .. } => Some(AuditTarget::User(user)),
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
pub(crate) mod tests;
