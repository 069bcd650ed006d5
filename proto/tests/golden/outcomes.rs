//! Samples of what commands come to: outcomes, refusals, answers.

use rotary_proto::event::OfferEnd;
use rotary_proto::outcome::Answer;
use rotary_proto::*;

use crate::page::{Page, samples};

fn word(text: &str) -> String {
    text.to_owned()
}

/// One refusal of each kind.
pub(crate) fn refusals() -> Vec<(&'static str, Refusal)> {
    samples!(Refusal {
        Malformed => Refusal::Malformed,
        SiteUnknown => Refusal::SiteUnknown,
        SiteFrozen => Refusal::SiteFrozen,
        OutcomeForgotten => Refusal::OutcomeForgotten,
        WindowFull => Refusal::WindowFull,
        SessionUnknown => Refusal::SessionUnknown,
        NotAllowed => Refusal::NotAllowed { actor: word("customer") },
        BadValue => Refusal::BadValue { field: word("offer_ms"), rule: word("10 ms or more") },
        WrongSite => Refusal::WrongSite,
        QueueUnknown => Refusal::QueueUnknown,
        AgentUnknown => Refusal::AgentUnknown,
        SkillUnknown => Refusal::SkillUnknown,
        ReasonUnknown => Refusal::ReasonUnknown,
        DispositionUnknown => Refusal::DispositionUnknown,
        SessionTaken => Refusal::SessionTaken,
        ConversationExists => Refusal::ConversationExists,
        ConversationClosed => Refusal::ConversationClosed,
        ConversationUnknown => Refusal::ConversationUnknown,
        OfferGone => Refusal::OfferGone { why: Some(OfferEnd::Expired) },
        NotYours => Refusal::NotYours,
        AgentSignedOut => Refusal::AgentSignedOut,
        AgentAway => Refusal::AgentAway,
        NotAssigned => Refusal::NotAssigned,
        AlreadyHeld => Refusal::AlreadyHeld,
        NotHeld => Refusal::NotHeld,
        NotInWrapUp => Refusal::NotInWrapUp,
        DispositionRequired => Refusal::DispositionRequired,
        ItemExists => Refusal::ItemExists,
        AnswerUnseen => Refusal::AnswerUnseen { ordinal: 5 },
        SeenToRequired => Refusal::SeenToRequired,
        NotInSelfService => Refusal::NotInSelfService,
        EffectFenced => Refusal::EffectFenced,
        LimitReached => Refusal::LimitReached { limit: word("QUEUES_PER_SITE_MAX") },
        SiteAway => Refusal::SiteAway { shard: ShardId(3) },
    })
}

/// One outcome of each kind.
pub(crate) fn outcomes() -> Vec<(&'static str, Outcome)> {
    samples!(Outcome {
        Done => Outcome::OK,
        Refused => Outcome::Refused(Refusal::NotYours),
    })
}

fn dones() -> Vec<(&'static str, Done)> {
    samples!(Done {
        Ok => Done::Ok,
        Posted => Done::Posted { ordinal: 5 },
        Accepted => Done::Accepted { offer: OfferId(31), leg: 2 },
        Stored => Done::Stored { version: 3 },
    })
}

#[test]
fn what_commands_come_to() {
    let mut page = Page::new("outcomes");
    page.add("Position", &Position { shard: ShardId(5), index: 600 });
    page.add_all("Outcome", outcomes());
    page.add_all("Done", dones());
    page.add_all("Refusal", refusals());
    for (variant, outcome) in outcomes() {
        let answer = Answer { outcome, repeated: true, sequence: 77, index: 600 };
        page.add(&format!("Answer of {variant}"), &answer);
    }
    page.settle();
}

/// The list of samples is in the order of declaration, which the precedence must follow; words
/// are stable and distinct, because clients branch on them.
#[test]
fn refusals_are_declared_in_order_of_precedence_and_have_words_of_their_own() {
    let refusals = refusals();
    let order: Vec<_> = refusals.iter().map(|(_, refusal)| refusal.precedence()).collect();
    assert!(order.is_sorted_by(|left, right| left < right), "{order:?}");
    let mut words: Vec<_> = refusals.iter().map(|(_, refusal)| refusal.word()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), refusals.len());
}
