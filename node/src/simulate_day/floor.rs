//! The floor before anybody arrives: sites, queues, agents who sign in.
//!
//! All sites live in one shard, each with one queue for both channels, and share the agents as
//! evenly as whole people can be shared. All sessions are on one gateway, so that one lease, not
//! one for each of many, is renewed through the log.

use rotary_proto::plan::{AgentProfile, Capacity, Declared, QueuePlan, SiteSettings};
use rotary_proto::values::{BadValue, Name, Sealed};
use rotary_proto::{
    AgentId, Command, GatewayId, NodeId, PrincipalId, QueueId, SessionId, SiteId, limits,
};

/// The one queue of every site.
pub(crate) const QUEUE: QueueId = QueueId(1);
/// Who sets the sites up, and whose requests customers' commands come as.
pub(crate) const PRINCIPAL: PrincipalId = PrincipalId(1);
/// Chats that one agent takes at once.
pub(super) const CHATS_AT_ONCE: u8 = 3;

/// How the floor is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Floor {
    /// How many sites.
    pub(crate) sites: u32,
    /// How many agents, in all sites together.
    pub(crate) agents: u32,
    /// How long an agent takes to accept.
    pub(crate) accept_after_us: u64,
    /// How long an agent's wrap-up takes; 0 leaves it out.
    pub(crate) wrap_up_us: u64,
}

/// One agent: which site, and which id there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) site: u32,
    pub(crate) agent: AgentId,
}

impl Floor {
    /// Where every agent sits; the index is the agent's number on the floor.
    pub(crate) fn seats(&self) -> Vec<Seat> {
        let seat =
            |number| Seat { site: number % self.sites, agent: AgentId(number / self.sites + 1) };
        (0..self.agents).map(seat).collect()
    }

    /// The number on the floor of a site's agent.
    pub(crate) const fn number(&self, site: SiteId, agent: AgentId) -> u32 {
        (agent.0 - 1) * self.sites + (site.number - 1)
    }

    /// What sets a site up.
    pub(crate) fn settings(&self, site: SiteId) -> Result<SiteSettings, BadValue> {
        Ok(SiteSettings::named(Name::new(format!("site {}", site.number))?))
    }

    /// The queue. Nothing but customers and agents ends anything: the plan's longest times are
    /// out of reach.
    pub(crate) fn queue(&self) -> Result<QueuePlan, BadValue> {
        let never = limits::DEADLINE_MAX_MS;
        Ok(QueuePlan {
            wait_max_ms: never,
            talk_max_ms: never,
            idle_max_ms: never,
            wrap_up_ms: if self.wrap_up_us == 0 { 0 } else { never },
            ..QueuePlan::named(Name::new("calls and chats")?)
        })
    }

    /// What makes an agent known.
    pub(crate) fn agent(&self, seat: Seat) -> Result<Command, BadValue> {
        let capacity =
            Capacity { chat: CHATS_AT_ONCE, total: CHATS_AT_ONCE, ..Capacity::default() };
        let name = Sealed::plain(&seat.agent.to_string())?;
        let skills = std::collections::BTreeMap::new();
        let profile = AgentProfile { name, skills, capacity };
        Ok(Command::PutAgent { agent: seat.agent, profile })
    }
}

/// The site of that number, from 0.
pub(crate) const fn site(number: u32) -> SiteId {
    SiteId::new(1, number + 1)
}

/// The one gateway.
pub(crate) const fn gateway() -> GatewayId {
    GatewayId { node: NodeId(1), run: 1 }
}

/// The session of an agent, by their number on the floor.
pub(crate) const fn session(number: u32) -> SessionId {
    SessionId(1 << 80 | number as u128)
}

/// An agent is ready.
pub(crate) const fn ready(seat: Seat) -> Command {
    Command::Declare { agent: seat.agent, declared: Declared::Ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_shared_evenly_and_found_again() {
        let floor = Floor { sites: 4, agents: 10, accept_after_us: 0, wrap_up_us: 0 };
        let seats = floor.seats();
        let at = |number| seats.iter().filter(|seat| seat.site == number).count();
        assert_eq!([0, 1, 2, 3].map(at), [3, 3, 2, 2]);
        for (number, seat) in (0..).zip(&seats) {
            assert_eq!(floor.number(site(seat.site), seat.agent), number);
        }
    }

    #[test]
    fn everything_is_within_its_bounds() {
        for wrap_up_us in [0, 1, 30_000_000] {
            let floor = Floor { sites: 1, agents: 1, accept_after_us: 0, wrap_up_us };
            assert_eq!(floor.queue().and_then(|plan| plan.check()), Ok(()));
            assert_eq!(floor.settings(site(0)).and_then(|settings| settings.check()), Ok(()));
        }
    }
}
