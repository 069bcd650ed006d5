//! Numbered commands and their outcomes. Pure: `now` is given.
//!
//! Commands are numbered densely from 1 within (session, site). One stays here until its outcome
//! is known; `acknowledged` is the number up to which all are. A number is never reused.
//!
//! What was not applied is sent again after the time that the gateway named, and a random one
//! beside it from the second time on; the gateway has spread its own already. All of it has a
//! budget.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rotary_proto::frame::{ClientFrame, CommandNumber, CommandReply, CommandResult};
use rotary_proto::limits::SESSION_WINDOW_COMMANDS_MAX;
use rotary_proto::{Command, SiteId};
use tokio::sync::oneshot;

use crate::backoff::Backoff;
use crate::retry::RetryBudget;

/// How long to wait before asking again what nobody knew.
const UNKNOWN_RETRY: Duration = Duration::from_millis(100);
/// How long to wait at least before sending again what was not applied.
const NOT_APPLIED_RETRY: Duration = Duration::from_millis(20);

/// A command without an outcome.
#[derive(Debug)]
struct Pending {
    command: Box<Command>,
    reply: oneshot::Sender<CommandResult>,
    /// When it is to be sent again; absent while an answer is awaited.
    due: Option<Instant>,
    backoff: Backoff,
}

#[derive(Debug, Default)]
struct SiteWindow {
    last: u64,
    pending: BTreeMap<u64, Pending>,
}

impl SiteWindow {
    fn acknowledged(&self) -> u64 {
        self.pending.first_key_value().map_or(self.last, |(first, _)| first - 1)
    }

    fn frame(&self, site: SiteId, number: u64) -> Option<ClientFrame> {
        let command = self.pending.get(&number)?.command.clone();
        let acknowledged = self.acknowledged();
        Some(ClientFrame::Cmd { site, number, acknowledged, command, traceparent: None })
    }
}

/// The commands of a session, over all of its sites.
#[derive(Debug)]
pub(crate) struct Window {
    sites: BTreeMap<SiteId, SiteWindow>,
    budget: RetryBudget,
}

impl Default for Window {
    fn default() -> Self {
        Self { sites: BTreeMap::new(), budget: RetryBudget::of_session() }
    }
}

impl Window {
    /// Whether another command of that site may be sent.
    pub(crate) fn has_room(&self, site: SiteId) -> bool {
        self.sites.get(&site).is_none_or(|window| {
            window.last - window.acknowledged() < SESSION_WINDOW_COMMANDS_MAX as u64
        })
    }

    /// Numbers a command; the frame to send.
    pub(crate) fn admit(
        &mut self,
        site: SiteId,
        command: Box<Command>,
        reply: oneshot::Sender<CommandResult>,
    ) -> Option<ClientFrame> {
        let window = self.sites.entry(site).or_default();
        window.last += 1;
        let backoff = Backoff::standard();
        window.pending.insert(window.last, Pending { command, reply, due: None, backoff });
        window.frame(site, window.last)
    }

    /// Takes a result. An outcome goes to whoever asked, and so does what the same command can only
    /// be told again; an error of the world makes it due again.
    pub(crate) fn settle(&mut self, result: CommandResult, now: Instant) {
        let Some(window) = self.sites.get_mut(&result.site) else { return };
        let wait = match &result.result {
            CommandReply::Outcome(_) => {
                if let Some(pending) = window.pending.remove(&result.number) {
                    self.budget.earn();
                    let _ = pending.reply.send(result);
                }
                return;
            }
            reply if reply.is_about_command() => {
                if let Some(pending) = window.pending.remove(&result.number) {
                    let _ = pending.reply.send(result);
                }
                return;
            }
            CommandReply::NotApplied { after_ms, .. } => {
                Duration::from_millis(*after_ms).max(NOT_APPLIED_RETRY)
            }
            CommandReply::Unknown { .. } => UNKNOWN_RETRY,
        };
        if let Some(pending) = window.pending.get_mut(&result.number) {
            pending.due = Some(now + wait + pending.backoff.delay());
        }
    }

    /// When the first command is due again, if one is.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let pending = self.sites.values().flat_map(|window| window.pending.values());
        pending.filter_map(|pending| pending.due).min()
    }

    /// Commands that are due again, in the order of their numbers, as far as the budget reaches.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<ClientFrame> {
        let budget = self.budget.clone();
        let mut spent = false;
        self.resend(|due| {
            let due = due.is_some_and(|due| due <= now) && !spent;
            spent |= due && budget.take().is_err();
            due && !spent
        })
    }

    /// Every command without an outcome, for a new socket.
    pub(crate) fn all(&mut self) -> Vec<ClientFrame> {
        self.resend(|_| true)
    }

    fn resend(&mut self, mut wanted: impl FnMut(Option<Instant>) -> bool) -> Vec<ClientFrame> {
        let mut frames = Vec::new();
        for (site, window) in &mut self.sites {
            let chosen = window.pending.iter_mut().filter(|(_, pending)| wanted(pending.due));
            let numbers: Vec<u64> = chosen
                .map(|(number, pending)| {
                    pending.due = None;
                    *number
                })
                .collect();
            frames.extend(numbers.iter().filter_map(|number| window.frame(*site, *number)));
        }
        frames
    }

    /// What a resume asks the results of.
    pub(crate) fn unanswered(&self) -> Vec<CommandNumber> {
        let numbers = |(site, window): (&SiteId, &SiteWindow)| {
            let site = *site;
            let number = |number: &u64| CommandNumber { site, number: *number };
            window.pending.keys().map(number).collect::<Vec<_>>()
        };
        self.sites.iter().flat_map(numbers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rotary_proto::{AgentId, Declared, Outcome};

    const SITE: SiteId = SiteId::new(1, 1);

    fn command() -> Box<Command> {
        Box::new(Command::Declare { agent: AgentId(1), declared: Declared::Ready })
    }

    fn numbers(frames: &[ClientFrame]) -> Vec<(u64, u64)> {
        let pair = |frame: &ClientFrame| match frame {
            ClientFrame::Cmd { number, acknowledged, .. } => (*number, *acknowledged),
            other => panic!("{other:?}"),
        };
        frames.iter().map(pair).collect()
    }

    fn result(number: u64, result: CommandReply) -> CommandResult {
        CommandResult { site: SITE, number, repeated: false, position: None, result }
    }

    fn admit(window: &mut Window) -> oneshot::Receiver<CommandResult> {
        let (reply, answer) = oneshot::channel();
        window.admit(SITE, command(), reply).expect("admitted");
        answer
    }

    #[test]
    fn acknowledged_stops_below_the_first_without_an_outcome() {
        let mut window = Window::default();
        let now = Instant::now();
        let mut answers: Vec<_> = (0..3).map(|_| admit(&mut window)).collect();
        window.settle(result(2, CommandReply::Outcome(Outcome::OK)), now);
        assert_eq!(numbers(&window.all()), [(1, 0), (3, 0)]);
        window.settle(result(1, CommandReply::Outcome(Outcome::OK)), now);
        assert_eq!(numbers(&window.all()), [(3, 2)]);
        assert_eq!(answers[1].try_recv().expect("answered").number, 2);
        assert_eq!(window.unanswered(), [CommandNumber { site: SITE, number: 3 }]);
    }

    #[test]
    fn what_is_wrong_with_a_command_is_told_and_not_sent_again() {
        let (mut window, now) = (Window::default(), Instant::now());
        let mut answers = [admit(&mut window), admit(&mut window)];
        let code = "blob-unknown".to_owned();
        let said = CommandReply::NotApplied { code, detail: String::new(), after_ms: 0 };
        window.settle(result(1, said.clone()), now);
        assert_eq!(answers[0].try_recv().expect("answered").result, said);
        assert_eq!(numbers(&window.all()), [(2, 1)]);
        assert!(window.next_due().is_none());
    }

    #[test]
    fn errors_of_the_world_are_sent_again_under_the_same_number() {
        let mut window = Window::default();
        let now = Instant::now();
        let _answers = [admit(&mut window), admit(&mut window)];
        let busy = CommandReply::NotApplied { code: "b".into(), detail: "".into(), after_ms: 500 };
        window.settle(result(1, busy), now);
        window.settle(result(2, CommandReply::Unknown { detail: "".into() }), now);
        assert_eq!(numbers(&window.due(now)), []);
        assert_eq!(numbers(&window.due(now + Duration::from_millis(100))), [(2, 0)]);
        assert_eq!(numbers(&window.due(now + Duration::from_millis(500))), [(1, 0)]);
        assert_eq!(numbers(&window.due(now + Duration::from_secs(9))), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_again_and_again_is_sent_ever_more_seldom() {
        let (mut window, begun) = (Window::default(), Instant::now());
        let _answers: Vec<_> = (0..40).map(|_| admit(&mut window)).collect();
        let (mut sent, mut late) = (0, 0);
        for at_ms in (0..60_000).step_by(50) {
            tokio::time::advance(Duration::from_millis(50)).await;
            let now = begun + Duration::from_millis(at_ms);
            let frames = if at_ms == 0 { window.all() } else { window.due(now) };
            (sent, late) = (sent + frames.len(), late + frames.len() * usize::from(at_ms > 30_000));
            for (number, _) in numbers(&frames) {
                let (code, detail) = (String::new(), String::new());
                let refused = CommandReply::NotApplied { code, detail, after_ms: 100 };
                window.settle(result(number, refused), now);
            }
        }
        assert!((100..=40 + 64 + 60 * 5).contains(&sent), "{sent}");
        assert!((50..=31 * 5).contains(&late), "{late}");
    }

    #[test]
    fn a_full_window_has_no_room() {
        let mut window = Window::default();
        let _answers: Vec<_> =
            (0..SESSION_WINDOW_COMMANDS_MAX).map(|_| admit(&mut window)).collect();
        assert!(!window.has_room(SITE));
        assert!(window.has_room(SiteId::new(1, 2)));
        window.settle(result(1, CommandReply::Outcome(Outcome::OK)), Instant::now());
        assert!(window.has_room(SITE));
    }
}
