//! What the gates promise, whatever comes.

use proptest::collection::vec as many;
use proptest::prelude::*;
use rotary_proto::limits::{PROPOSALS_ENDING_MAX, PROPOSALS_IN_FLIGHT_MAX};

use super::gate::{Asked, Gate};
use super::*;

const SHARD: ShardId = ShardId(1);
const MS: Duration = Duration::from_millis(1);

fn bounds(shard_max: usize, caller_max: usize) -> Bounds {
    Bounds { target: 50 * MS, shard_max, caller_max }
}

fn asker(tenant: u32, principal: u32) -> Option<Asker> {
    let caller = Caller::Principal(PrincipalId(principal));
    Some(Asker { tenant: Some(TenantId(tenant)), caller })
}

fn budgets(admission: &Admission, class: Class, asker: Option<Asker>) -> Result<Permit, Budget> {
    admission.admit(SHARD, class, asker, 100).map_err(|spent| spent.budget)
}

#[test]
fn a_caller_has_so_many_and_keeps_room_to_end_work() {
    let admission = Admission::new(bounds(1_000, 8));
    let me = asker(1, 1);
    let opens: Vec<_> =
        (0..6).map(|_| budgets(&admission, Class::New, me).expect("room")).collect();
    assert_eq!(budgets(&admission, Class::New, me).expect_err("spent"), Budget::Caller);
    let closes: Vec<_> =
        (0..2).map(|_| budgets(&admission, Class::Ending, me).expect("room")).collect();
    assert_eq!(budgets(&admission, Class::Ending, me).expect_err("spent"), Budget::Caller);
    assert!(budgets(&admission, Class::New, asker(1, 2)).is_ok(), "others have their own");
    drop((opens, closes));
    assert!(budgets(&admission, Class::New, me).is_ok(), "given back");
}

#[test]
fn a_full_shard_ends_what_there_is_and_lives() {
    let admission = Admission::new(bounds(4, 64));
    let mut held = Vec::new();
    while let Ok(permit) = budgets(&admission, Class::New, asker(1, 1)) {
        held.push(permit);
    }
    assert_eq!(held.len(), 4);
    let spent = admission.admit(SHARD, Class::New, asker(1, 1), 100).expect_err("full");
    assert_eq!(spent.budget, Budget::Shard);
    assert!((ADMISSION_INTERVAL_MS / 2..=5_000).contains(&spent.after_ms), "{spent:?}");
    for class in [Class::Talk, Class::Ending, Class::Upkeep] {
        held.push(budgets(&admission, class, asker(1, 1)).expect("room beyond new work"));
    }
    assert!(budgets(&admission, Class::Upkeep, None).is_ok(), "the cluster's own");
}

#[test]
fn bytes_are_bounded_as_well() {
    let admission = Admission::new(bounds(1_000, 256));
    let admit = |asker, bytes| admission.admit(SHARD, Class::Ending, asker, bytes);
    let piece = 60 * 1024;
    let mut held = Vec::new();
    while let Ok(permit) = admit(asker(1, 1), piece) {
        held.push(permit);
    }
    assert_eq!(held.len(), rotary_proto::limits::PROPOSAL_BYTES_PER_CALLER_MAX / piece);
    let mut others = (2..).map(|principal| admit(asker(1, principal), piece));
    let spent = others.find_map(|admitted| admitted.map(|permit| held.push(permit)).err());
    assert_eq!(spent.map(|spent| spent.budget), Some(Budget::Shard));
    let whole = rotary_proto::limits::PROPOSAL_BYTES_IN_FLIGHT_MAX;
    assert!(held.len() * piece < whole / 2, "and the rest is for the other tenants");
    assert!(admit(asker(2, 1_000_000), piece).is_ok());
}

/// Commands that are answered `service` after they were let through, one each millisecond.
struct Shop {
    gate: Gate,
    now: Duration,
    under_way: std::collections::VecDeque<(Asked, Duration)>,
}

impl Shop {
    fn ask(&mut self, tenant: u32, principal: u32) -> Result<(), Budget> {
        let asked = Asked { class: Class::New, asker: asker(tenant, principal), bytes: 100 };
        self.gate.take(asked, self.now).map_err(|(budget, _)| budget)?;
        self.under_way.push_back((asked, self.now));
        Ok(())
    }

    fn turn(&mut self) {
        self.now += MS;
        if let Some((asked, begun)) = self.under_way.pop_front() {
            self.gate.give_back(asked, Some(self.now - begun));
        }
    }
}

#[test]
fn a_greedy_tenant_leaves_the_others_their_shares_and_keeps_the_queue_short() {
    let gate = Gate::new(bounds(2_048, 2_048));
    let mut shop = Shop { gate, now: Duration::ZERO, under_way: Default::default() };
    // A lone command first: so long takes one that need not wait.
    assert_eq!(shop.ask(1, 1), Ok(()));
    shop.turn();
    let (mut served, mut refused) = ([0; 4], [0; 4]);
    for step in 0_u32..20_000 {
        // The greedy one asks twenty times as fast as the shop serves, two others at half its
        // speed, and one seldom.
        let wants =
            [20, u32::from(step % 2 == 0), u32::from(step % 2 == 1), u32::from(step % 50 == 0)];
        for (tenant, want) in wants.into_iter().enumerate() {
            for _ in 0..want {
                match shop.ask(tenant as u32, tenant as u32) {
                    Ok(()) if step >= 5_000 => served[tenant] += 1,
                    Err(_) if step >= 5_000 => refused[tenant] += 1,
                    _ => {}
                }
            }
        }
        shop.turn();
        assert!(step < 5_000 || shop.under_way.len() < 150, "{} wait", shop.under_way.len());
    }
    assert!(served.iter().sum::<u32>() >= 14_500, "the shop is never idle: {served:?}");
    // A third of 15 000 each, as far as it is wanted.
    assert!(served[1] > 4_000 && served[2] > 4_000, "{served:?}");
    assert!(served[0] < 7_000 && refused[0] > 250_000, "{served:?} {refused:?}");
    assert!(served[3] >= 290 && refused[3] <= 10, "who wants little is not refused: {refused:?}");
}

#[test]
fn after_the_flood_all_is_let_through() {
    let gate = Gate::new(bounds(2_048, 2_048));
    let mut shop = Shop { gate, now: Duration::ZERO, under_way: Default::default() };
    assert_eq!(shop.ask(1, 1), Ok(()));
    shop.turn();
    for _ in 0..10_000 {
        for _ in 0..10 {
            let _ = shop.ask(1, 1);
        }
        shop.turn();
    }
    while !shop.under_way.is_empty() {
        shop.turn();
    }
    for _ in 0..1_000 {
        assert_eq!(shop.ask(1, 1), Ok(()));
        shop.turn();
    }
}

proptest! {
    #[test]
    fn what_comes_later_in_the_order_of_work_is_refused_no_later(
        shard_max in 1_usize..2_048,
        held in many((0_usize..4, 0_u32..4, 0_u32..4, 1_usize..70_000), 0..600),
        (tenant, principal, bytes) in (0_u32..4, 0_u32..4, 1_usize..70_000),
        elapsed_ms in 0_u64..500,
    ) {
        let mut gate = Gate::new(bounds(shard_max, 64));
        for (at, (class, tenant, principal, bytes)) in held.into_iter().enumerate() {
            let asked = Asked { class: Class::ALL[class], asker: asker(tenant, principal), bytes };
            let _ = gate.take(asked, MS * (at as u32 / 4));
        }
        let now = MS * 150 + Duration::from_millis(elapsed_ms);
        let mut admitted = |class| {
            let asked = Asked { class, asker: asker(tenant, principal), bytes };
            let taken = gate.take(asked, now).is_ok();
            if taken {
                gate.give_back(asked, None);
            }
            taken
        };
        let admitted: Vec<bool> = Class::ALL.iter().map(|class| admitted(*class)).collect();
        prop_assert!(admitted.is_sorted(), "{admitted:?}");
    }

    #[test]
    fn nothing_is_on_its_way_beyond_the_bounds_and_all_is_given_back(
        asks in many((0_usize..4, 0_u32..3, 0_u32..300, 1_usize..70_000), 0..6_000),
    ) {
        let mut gate = Gate::new(bounds(2_048, 256));
        let mut taken = Vec::new();
        for (class, tenant, principal, bytes) in asks {
            let class = Class::ALL[class];
            let asked = Asked { class, asker: asker(tenant, principal), bytes };
            if gate.take(asked, Duration::ZERO).is_ok() {
                taken.push(asked);
            }
        }
        let bytes: usize = taken.iter().map(|asked| asked.bytes).sum();
        prop_assert!(taken.len() <= PROPOSALS_IN_FLIGHT_MAX);
        prop_assert!(bytes <= rotary_proto::limits::PROPOSAL_BYTES_IN_FLIGHT_MAX);
        let new = taken.iter().filter(|asked| asked.class < Class::Ending).count();
        prop_assert!(new <= PROPOSALS_ENDING_MAX);
        taken.into_iter().for_each(|asked| gate.give_back(asked, None));
        prop_assert_eq!(gate.figures().in_flight, 0);
    }
}
