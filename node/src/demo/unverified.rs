//! Leaving without a verdict, said plainly.

use std::fmt;

use crate::load::Tally;

/// Somebody left before everything was read back and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unverified {
    /// What was under way.
    pub(super) during: &'static str,
    /// Conversations acknowledged to clients.
    pub(super) conversations: u64,
    /// Messages acknowledged to clients.
    pub(super) messages: u64,
    /// When the last verdict so far was given, and whether it passed.
    pub(super) so_far: Option<(String, bool)>,
}

impl Unverified {
    /// At that point of a run with those counts.
    pub(super) fn of(during: &'static str, tally: &Tally) -> Self {
        let (conversations, messages) = (tally.opened.value(), tally.messages.value());
        Self { during, conversations, messages, so_far: None }
    }
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { during, conversations, messages, so_far } = self;
        write!(
            f,
            "UNVERIFIED: left during {during}; {conversations} acknowledged conversations and \
            {messages} acknowledged messages were not judged; "
        )?;
        match so_far {
            Some((time, true)) => write!(f, "what was there at {time} had passed; ")?,
            Some((time, false)) => write!(f, "what was there at {time} had FAILED; ")?,
            None => write!(f, "nothing was judged before either; ")?,
        }
        write!(f, "to have a verdict, run the demo again and press q once")
    }
}

impl std::error::Error for Unverified {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_judged_and_what_was_not_is_told_apart() {
        let left = Unverified::of("the read-back", &Tally::default());
        let text = left.to_string();
        assert!(
            text.starts_with("UNVERIFIED: left during the read-back; 0 acknowledged"),
            "{text}"
        );
        assert!(text.contains("nothing was judged before"), "{text}");
        let judged = Unverified { so_far: Some(("00:31".to_owned(), false)), ..left };
        assert!(judged.to_string().contains("at 00:31 had FAILED"), "{judged}");
    }
}
