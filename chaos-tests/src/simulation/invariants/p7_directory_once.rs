//! P1 and P7 for the directory: what a client was told was done is in the log where it was told,
//! once, however often it was asked; and numbers are given densely and never twice.

use std::collections::BTreeMap;

use rotary_directory::{
    DirectoryAnswer, DirectoryDone, DirectoryEntry, DirectoryOutcome, DirectoryRefusal,
};
use rotary_proto::{PrincipalId, RequestId, TenantId};

use super::Findings;
use crate::simulation::machine::directory::decode;
use crate::simulation::story::Story;

/// Where each request was done, and the last number of each kind.
#[derive(Debug, Default)]
pub(crate) struct DirectoryOnce {
    done: BTreeMap<(PrincipalId, RequestId), (u64, DirectoryOutcome)>,
    tenants: u32,
    sites: BTreeMap<TenantId, u32>,
    /// Beside the first one, which nobody asks for.
    principals: u32,
    join_tokens: u32,
}

impl DirectoryOnce {
    /// An entry was applied for the first time.
    pub(crate) fn applied(
        &mut self,
        index: u64,
        entry: Option<&DirectoryEntry>,
        answer: &DirectoryAnswer,
        found: &mut Findings,
    ) {
        if let Some(key) = entry.and_then(|entry| entry.origin) {
            self.answered(key, answer, found);
        }
        let DirectoryOutcome::Done(done) = &answer.outcome else { return };
        if !answer.repeated && !self.counts_on(*done) {
            found.breach("P7", format!("directory index {index}: {done:?} is out of turn"));
        }
    }

    /// Whether a new number is the next one.
    fn counts_on(&mut self, done: DirectoryDone) -> bool {
        let (last, number) = match done {
            DirectoryDone::Ok => return true,
            DirectoryDone::ApiKey { principal, .. } | DirectoryDone::User { principal, .. } => {
                (&mut self.principals, principal.0 - 1)
            }
            DirectoryDone::Tenant(tenant) => (&mut self.tenants, tenant.0),
            DirectoryDone::Site { site, .. } => {
                (self.sites.entry(site.tenant).or_default(), site.number)
            }
            DirectoryDone::Principal(principal) => (&mut self.principals, principal.0 - 1),
            DirectoryDone::JoinToken(token) => (&mut self.join_tokens, token.0),
        };
        *last += 1;
        *last == number
    }

    /// A client got an answer, which names the entry that carried it.
    pub(crate) fn acknowledged(
        &mut self,
        (index, payload): (u64, &[u8]),
        answer: &DirectoryAnswer,
        story: &Story,
        found: &mut Findings,
    ) {
        if story.entry(index).is_none_or(|entry| entry.payload != payload) {
            let what = format!("what was acknowledged at {index} is not there");
            found.breach("P1", format!("directory: {what}"));
        }
        if let Some(key) = decode(payload).and_then(|entry| entry.origin) {
            self.answered(key, answer, found);
        }
    }

    fn answered(
        &mut self,
        key: (PrincipalId, RequestId),
        answer: &DirectoryAnswer,
        found: &mut Findings,
    ) {
        use DirectoryRefusal::{NotFounded, OutcomeForgotten};
        if let DirectoryOutcome::Refused(NotFounded | OutcomeForgotten) = answer.outcome {
            return;
        }
        let now = (answer.index, answer.outcome.clone());
        let first = self.done.entry(key).or_insert_with(|| now.clone());
        if *first != now {
            let what = format!("{key:?} was done at {first:?} and at {now:?}");
            found.breach("P7", format!("directory: {what}"));
        }
    }
}
