//! What queueing theory says of a constant load: the Erlang A queue (M/M/n+M).
//!
//! Customers arrive in a Poisson process of rate `lambda`, `n` agents serve each in an exponential
//! time of rate `mu`, in order of arrival, and each waiting customer leaves after an exponential
//! patience of rate `theta`. The number of customers present is a birth-death process with births
//! `lambda` and deaths `min(k, n) mu + max(k - n, 0) theta` in state `k` (Palm 1946; Mandelbaum
//! and Zeltyn, "Service engineering in action: the Palm/Erlang-A queue", 2007). From its
//! stationary distribution `p`:
//!
//! * mean wait of all who arrive, served or not: `E[Q] / lambda` (Little's law);
//! * share who abandon: `theta E[Q] / lambda`;
//! * occupancy: mean busy agents over `n`;
//! * service level, the share of **all who arrive** who are served within `T`. Who meets `q >= 0`
//!   waiting and no free agent would be served after `q + 1` departures, at rates `n mu + j theta`
//!   for `j` from `q` down to 0. Summed over `q`, that offered wait has the density
//!   `p_n n mu exp(-n mu v + lambda (1 - exp(-theta v)) / theta)`, and who is offered `v` is still
//!   there with probability `exp(-theta v)`: the service level is `P(k < n)` and the integral of
//!   the product over `[0, T]`, by Simpson's rule.
//!
//! Nothing here knows the simulator or the distributor.

/// A constant load and who serves it. Rates are per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ErlangA {
    /// Arrivals.
    pub(crate) lambda: f64,
    /// Services of one busy agent: one over the mean handle time.
    pub(crate) mu: f64,
    /// One over the mean patience.
    pub(crate) theta: f64,
    /// How many serve.
    pub(crate) agents: u32,
}

/// Measures of a queue in its stationary state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measures {
    /// Share of all arrivals answered within the service level's time.
    pub(crate) service_level: f64,
    /// Share of all arrivals who left unserved.
    pub(crate) abandoned: f64,
    /// Mean wait of all arrivals, served or not, in seconds.
    pub(crate) wait_s: f64,
    /// Share of the agents' time spent on customers.
    pub(crate) occupancy: f64,
}

/// Below this share of the largest probability the tail of the distribution is cut.
const NEGLIGIBLE: f64 = 1e-18;
/// Steps of Simpson's rule to the mean time between two events; the integrand changes no faster.
const STEPS_PER_EVENT: f64 = 64.0;
/// Bounds of the number of steps.
const STEPS: std::ops::Range<f64> = 64.0..1_048_576.0;

impl ErlangA {
    /// The measures, with the service level at `within_s` seconds.
    pub(crate) fn measures(&self, within_s: f64) -> Measures {
        let shares = self.distribution();
        let servers = self.agents as usize;
        let (mut queue, mut busy) = (0.0, 0.0);
        for (present, share) in shares.iter().enumerate() {
            queue += share * present.saturating_sub(servers) as f64;
            busy += share * present.min(servers) as f64;
        }
        let at_once: f64 = shares[..servers].iter().sum();
        Measures {
            service_level: at_once + self.served_after_waiting(shares[servers], within_s),
            abandoned: self.theta * queue / self.lambda,
            wait_s: queue / self.lambda,
            occupancy: busy / f64::from(self.agents),
        }
    }

    /// The stationary distribution of the number of customers present, at least up to the number
    /// of agents and as far as it is not negligible.
    fn distribution(&self) -> Vec<f64> {
        let agents = f64::from(self.agents);
        let mut logs = vec![0.0_f64];
        let (mut log, mut highest) = (0.0_f64, 0.0_f64);
        for present in 1_u32.. {
            let (busy, waiting) = (f64::from(present).min(agents), f64::from(present) - agents);
            let death = busy * self.mu + waiting.max(0.0) * self.theta;
            log += (self.lambda / death).ln();
            logs.push(log);
            highest = highest.max(log);
            let falls = death > self.lambda && present > self.agents;
            if falls && log < highest + NEGLIGIBLE.ln() {
                break;
            }
        }
        let weights: Vec<f64> = logs.iter().map(|log| (log - highest).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// The share of arrivals who wait and are served within `within_s`; `all_busy` is the
    /// probability of exactly as many customers as agents.
    fn served_after_waiting(&self, all_busy: f64, within_s: f64) -> f64 {
        let service = f64::from(self.agents) * self.mu;
        let density = |wait: f64| {
            let others = self.lambda / self.theta * -(-self.theta * wait).exp_m1();
            all_busy * service * (others - (service + self.theta) * wait).exp()
        };
        let events = within_s * (self.lambda + service + self.theta);
        let pairs = (STEPS_PER_EVENT * events).clamp(STEPS.start, STEPS.end) as u32 / 2;
        let step = within_s / f64::from(2 * pairs);
        let at = |place: u32| density(step * f64::from(place));
        let simpson = |pair: u32| at(2 * pair) + 4.0 * at(2 * pair + 1) + at(2 * pair + 2);
        (0..pairs).map(simpson).sum::<f64>() * step / 3.0
    }
}

/// Erlang B by its recursion: the share refused where nobody waits.
fn erlang_b(agents: u32, offered: f64) -> f64 {
    (1..=agents).fold(1.0, |refused, n| offered * refused / (f64::from(n) + offered * refused))
}

/// Erlang C: the share who wait where nobody leaves, of a load that the agents can serve.
pub(crate) fn erlang_c(agents: u32, offered: f64) -> f64 {
    let (refused, agents) = (erlang_b(agents, offered), f64::from(agents));
    refused / (1.0 - offered / agents * (1.0 - refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
    }

    const LOADS: [(u32, f64); 5] = [(1, 0.5), (5, 4.0), (20, 20.0), (50, 60.0), (300, 290.0)];

    #[test]
    fn endless_patience_is_erlang_c() {
        for (agents, offered) in LOADS.into_iter().filter(|(n, a)| f64::from(*n) > *a) {
            let mu = 1.0 / 180.0;
            let queue = ErlangA { lambda: offered * mu, mu, theta: 1e-9, agents };
            let found = queue.measures(20.0);
            let waits = erlang_c(agents, offered);
            let spare = (f64::from(agents) - offered) * mu;
            close(found.service_level, 1.0 - waits * (-spare * 20.0).exp(), 1e-4);
            close(found.wait_s, waits / spare, 1e-3 * waits / spare);
            close(found.abandoned, 0.0, 1e-4);
            close(found.occupancy, offered / f64::from(agents), 1e-4);
        }
    }

    #[test]
    fn no_patience_is_erlang_b() {
        for (agents, offered) in LOADS {
            let mu = 1.0 / 180.0;
            let queue = ErlangA { lambda: offered * mu, mu, theta: 1e7, agents };
            let (found, refused) = (queue.measures(0.001), erlang_b(agents, offered));
            close(found.abandoned, refused, 1e-5);
            close(found.service_level, 1.0 - refused, 1e-3);
            close(found.wait_s, 0.0, 1e-5);
            close(found.occupancy, offered * (1.0 - refused) / f64::from(agents), 1e-5);
        }
    }

    /// Who is not served in the end has abandoned: the integral of the offered wait over all time
    /// and the birth-death process give the same share.
    #[test]
    fn both_ways_to_the_share_served_agree() {
        for (agents, offered) in LOADS {
            for patience_s in [30.0, 180.0, 900.0] {
                let (mu, theta) = (1.0 / 180.0, 1.0 / patience_s);
                let queue = ErlangA { lambda: offered * mu, mu, theta, agents };
                let in_the_end = queue.measures(4_000.0);
                close(in_the_end.service_level, 1.0 - in_the_end.abandoned, 1e-9);
                let served = offered * (1.0 - in_the_end.abandoned);
                close(in_the_end.occupancy, served / f64::from(agents), 1e-9);
            }
        }
    }

    /// As many agents as could ever be needed, each as fast as customers are impatient: every
    /// customer present leaves at the same rate, so their number is Poisson (M/M/infinity).
    #[test]
    fn equal_rates_leave_a_poisson_number() {
        let queue = ErlangA { lambda: 10.0, mu: 1.0, theta: 1.0, agents: 8 };
        let shares = queue.distribution();
        let mut poisson = (-10.0_f64).exp();
        for (present, share) in shares.iter().enumerate().take(40) {
            close(*share, poisson, 1e-12);
            poisson *= 10.0 / (present + 1) as f64;
        }
    }

    /// The example of Mandelbaum and Zeltyn (2007): 50 agents, 48 calls a minute, one
    /// minute a call, two minutes of patience.
    #[test]
    fn the_textbook_example_is_met() {
        let queue = ErlangA { lambda: 48.0 / 60.0, mu: 1.0 / 60.0, theta: 1.0 / 120.0, agents: 50 };
        let found = queue.measures(20.0);
        close(found.abandoned, 0.031, 0.000_5);
        close(found.wait_s, 3.7, 0.05);
        close(found.occupancy, 0.93, 0.005);
    }
}
