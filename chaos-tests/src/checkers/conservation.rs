//! Every agent is within capacity at every event, pending offers included, and holds nothing after
//! the drain (P3).
//!
//! A law of conservation: an offer debits one, and whatever ends it, or the assignment that it
//! became, credits one. Capacity that was made smaller takes effect as conversations end, so it is
//! held against each new debit and not against what was held before.

use std::collections::BTreeMap;

use rotary_proto::ids::AgentId;
use rotary_proto::{Capacity, Channel, ConversationId, SiteId};

use super::evidence::{Evidence, Story};
use super::verdict::Check;
use crate::history::Fact;

/// What one agent holds.
#[derive(Default)]
struct Account {
    capacity: Option<Capacity>,
    held: BTreeMap<ConversationId, (Channel, usize)>,
}

impl Account {
    /// Whether what is held fits: one call alone, or a mix of the others.
    fn fits(&self) -> bool {
        let Some(capacity) = self.capacity else { return false };
        let of = |channel| self.held.values().filter(|(held, _)| *held == channel).count();
        let calls = of(Channel::Voice);
        let others = self.held.len() - calls;
        let each =
            Channel::ALL.iter().all(|channel| of(*channel) <= usize::from(capacity.of(*channel)));
        each && others <= usize::from(capacity.total) && (calls == 0 || (calls == 1 && others == 0))
    }
}

/// Keeps every agent's account.
pub fn check(evidence: &Evidence<'_>) -> Check {
    let mut check = Check::new("conservation", "debits and credits");
    for (site, story) in &evidence.stories {
        site_accounts(&mut check, *site, story, evidence.is_drained());
    }
    evidence.doubt_stories(&mut check);
    if !evidence.is_drained() {
        check.doubt("the run was not drained, so what is held is not known to be leaked");
    }
    check.unless_empty()
}

fn site_accounts(check: &mut Check, site: SiteId, story: &Story<'_>, drained: bool) {
    let mut accounts: BTreeMap<AgentId, Account> = BTreeMap::new();
    for event in &story.events {
        match &event.of.fact {
            Fact::AgentSet { agent, capacity, .. } => {
                accounts.entry(*agent).or_default().capacity = Some(*capacity);
            }
            Fact::Offered { conversation, agent, channel, .. } => {
                check.checked += 1;
                let account = accounts.entry(*agent).or_default();
                account.held.insert(*conversation, (*channel, event.line));
                if !account.fits() {
                    let (held, most) = (account.held.len(), account.capacity);
                    let what =
                        format!("{site}: {agent} holds {held}, which {most:?} does not allow");
                    check.find(what, account.held.values().map(|(_, line)| *line));
                }
            }
            Fact::OfferEnded { conversation, agent, .. }
            | Fact::Released { conversation, agent, .. }
            | Fact::Closed { conversation, agent: Some(agent), .. } => {
                check.checked += 1;
                let account = accounts.entry(*agent).or_default();
                if account.held.remove(conversation).is_none() {
                    let what = format!("{site}: {agent} gave {conversation} up without holding it");
                    check.find(what, [event.line]);
                }
            }
            _ => {}
        }
    }
    for (agent, account) in accounts.iter().filter(|_| drained) {
        for (conversation, (_, line)) in &account.held {
            check.find(format!("{site}: {agent} still holds {conversation}"), [*line]);
        }
    }
}
