//! How many agents are enough: found by simulating, not by a formula.
//!
//! No formula covers sites, two channels, measured handle times and a rate that changes all day.
//! More agents never serve fewer in time but for luck, so halving finds the number.

use super::floor::Floor;
use super::workload::{Customer, micros};
use super::world::{self, WorldError};

/// The fewest agents, to one in a hundred, with whom a share of at least `target` of all who come
/// are served within `within_s`.
pub(crate) fn enough(
    floor: &Floor,
    customers: &[Customer],
    within_s: f64,
    target: f64,
) -> Result<u32, WorldError> {
    let reached = |agents| {
        let floor = Floor { agents, ..*floor };
        Ok::<_, WorldError>(in_time(&floor, customers, within_s)? >= target)
    };
    let (mut few, mut many) = (floor.sites, guess(customers).max(floor.sites + 1));
    while !reached(many)? {
        few = many;
        many += many / 4 + 1;
    }
    while many - few > 1 + many / 100 {
        let middle = few.midpoint(many);
        if reached(middle)? {
            many = middle;
        } else {
            few = middle;
        }
    }
    Ok(many)
}

/// As many as are busy on average, were all of it calls.
fn guess(customers: &[Customer]) -> u32 {
    let work_us: u64 = customers.iter().map(|customer| customer.handle_us).sum();
    let length_us = customers.last().map_or(1, |customer| customer.arrives_us.max(1));
    u32::try_from(work_us / length_us).unwrap_or(u32::MAX / 4)
}

/// The share of all who come that is served in time.
fn in_time(floor: &Floor, customers: &[Customer], within_s: f64) -> Result<f64, WorldError> {
    let run = world::run(*floor, customers, 0, None)?;
    let within_us = micros(within_s);
    let served = run.stories.iter().zip(customers).filter(|(story, customer)| {
        story.answered.is_some_and(|(at, _)| at - customer.arrives_us <= within_us)
    });
    Ok(served.count() as f64 / customers.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::Mix;
    use crate::simulate_day::workload::{HandleTimes, Interval, Laws, customers};

    #[test]
    fn the_number_found_is_enough_and_hardly_more() {
        let handle = HandleTimes::Exponential(120.0);
        let laws = Laws { sites: 1, mix: Mix { voice: 1.0 }, patience_s: 180.0, handle };
        let hour = [Interval { start_s: 0.0, length_s: 3_600.0, expected: 300.0 }];
        let customers = customers(&hour, &laws, 1);
        let floor = Floor { sites: 1, agents: 0, accept_after_us: 0, wrap_up_us: 0 };
        let agents = enough(&floor, &customers, 20.0, 0.8).expect("nothing is refused");
        let reached = |agents| in_time(&Floor { agents, ..floor }, &customers, 20.0);
        assert!(reached(agents).expect("nothing is refused") >= 0.8, "{agents}");
        assert!(reached(agents - 2).expect("nothing is refused") < 0.8, "{agents}");
    }
}
