//! What each policy does to packets, and that none is forgotten.

use proptest::prelude::*;

use super::packet::tests::udp;
use super::*;

const A: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

fn switch(seed: u64) -> Switch {
    Switch::new(seed, BTreeMap::from([(A, 0), (B, 1)]))
}

fn packet(number: u32) -> Vec<u8> {
    udp(A, B, &number.to_be_bytes())
}

/// Everything that is delivered from now on: when, to which port, and the packet's number.
fn drain(switch: &mut Switch) -> Vec<(u64, usize, u32)> {
    let mut out = Vec::new();
    while let Some(at) = switch.next_due() {
        let (port, packet) = switch.due(at).expect("it is due");
        let number = packet[28..32].try_into().map(u32::from_be_bytes).expect("four bytes");
        out.push((at, port, number));
    }
    out
}

/// Sends 1000 packets, one a millisecond, from A to B under a policy, and gives what arrived.
fn thousand(seed: u64, policy: Policy) -> (Vec<(u64, usize, u32)>, Counts) {
    let mut switch = switch(seed);
    switch.set(0, (A, B), policy);
    for number in 0..1_000 {
        switch.offer(u64::from(number) * 1_000, packet(number));
    }
    let arrived = drain(&mut switch);
    (arrived, switch.counts((A, B)))
}

#[test]
fn without_policy_everything_passes_at_once_and_in_order() {
    let (arrived, counts) = thousand(1, Policy::default());
    let expected: Vec<_> = (0..1_000).map(|n| (u64::from(n) * 1_000, 1, n)).collect();
    assert_eq!(arrived, expected);
    assert_eq!(counts, Counts { seen: 1_000, passed: 1_000, ..Counts::default() });
    assert_eq!(counts.bitten(), 0);
}

#[test]
fn a_packet_to_nobody_or_of_no_kind_is_counted_and_goes_nowhere() {
    let mut switch = switch(1);
    switch.offer(0, udp(A, NOBODY, b"1234"));
    switch.offer(0, vec![0x60; 48]);
    assert_eq!((switch.stray(), switch.len()), (2, 0));
}

#[test]
fn a_cut_is_one_way() {
    let mut switch = switch(1);
    switch.set(0, (A, B), Policy { cut: true, ..Policy::default() });
    switch.offer(0, packet(1));
    switch.offer(0, udp(B, A, &2_u32.to_be_bytes()));
    assert_eq!(drain(&mut switch), [(0, 0, 2)]);
    assert_eq!((switch.counts((A, B)).cut, switch.counts((B, A)).bitten()), (1, 0));
}

#[test]
fn delay_keeps_the_order_and_jitter_does_not() {
    let (arrived, counts) = thousand(1, Policy { delay_us: 25_000, ..Policy::default() });
    assert!(arrived.windows(2).all(|two| two[0].2 < two[1].2));
    assert_eq!((arrived[0].0, counts.delayed), (25_000, 1_000));
    let (arrived, _) = thousand(1, Policy { jitter_us: 20_000, ..Policy::default() });
    let late = arrived.windows(2).filter(|two| two[0].2 > two[1].2).count();
    assert!((200..800).contains(&late), "{late} of 1000 were overtaken");
}

#[test]
fn chance_is_about_what_was_asked_for() {
    let (arrived, counts) = thousand(3, Policy { loss_permille: 300, ..Policy::default() });
    assert!((230..370).contains(&counts.lost), "{counts:?}");
    assert_eq!(arrived.len() as u64, 1_000 - counts.lost);
    let (arrived, counts) = thousand(3, Policy { duplicate_permille: 100, ..Policy::default() });
    assert!((60..140).contains(&counts.duplicated), "{counts:?}");
    assert_eq!(arrived.len() as u64, 1_000 + counts.duplicated);
    let (arrived, counts) = thousand(3, Policy { reorder_permille: 100, ..Policy::default() });
    let late = arrived.windows(2).filter(|two| two[0].2 > two[1].2).count();
    assert!((60..140).contains(&counts.reordered) && late > 50, "{counts:?}, {late}");
    let (arrived, counts) = thousand(3, Policy { corrupt_permille: 200, ..Policy::default() });
    let wrong = (0..).zip(&arrived).filter(|(number, (_, _, found))| number != found).count();
    assert!((140..260).contains(&counts.corrupted), "{counts:?}");
    assert_eq!(wrong as u64, counts.corrupted);
}

#[test]
fn a_narrow_link_takes_its_time_and_drops_what_would_wait_too_long() {
    let mut switch = switch(1);
    switch.set(0, (A, B), Policy { bytes_per_second: 3_200, ..Policy::default() });
    for number in 0..100 {
        switch.offer(0, packet(number));
    }
    let arrived = drain(&mut switch);
    assert_eq!(arrived[..2], [(10_000, 1, 0), (20_000, 1, 1)], "32 bytes take 10 ms");
    assert_eq!((arrived.len(), switch.counts((A, B)).clogged), (51, 49));
}

#[test]
fn what_was_held_comes_when_the_hold_ends_in_order() {
    let mut switch = switch(1);
    switch.set(0, (A, B), Policy { hold: true, ..Policy::default() });
    (0..3).for_each(|number| switch.offer(u64::from(number), packet(number)));
    assert_eq!((switch.next_due(), switch.len()), (None, 3));
    switch.heal(70);
    assert_eq!(drain(&mut switch), [(70, 1, 0), (70, 1, 1), (70, 1, 2)]);
    assert_eq!(switch.counts((A, B)).held, 3);
}

#[test]
fn nothing_grows_without_bound() {
    let mut switch = switch(1);
    switch.set(0, (A, B), Policy { hold: true, ..Policy::default() });
    (0..5_000).for_each(|number| switch.offer(0, packet(number)));
    assert_eq!((switch.len(), switch.counts((A, B)).clogged), (4_096, 904));
    switch.set(0, (A, B), Policy { delay_us: 1, ..Policy::default() });
    (0..70_000).for_each(|number| switch.offer(0, packet(number)));
    assert_eq!(switch.len(), PACKETS_MAX);
}

#[test]
fn a_links_coins_do_not_depend_on_other_links() {
    let policy = Policy { loss_permille: 500, ..Policy::default() };
    let alone = thousand(7, policy.clone()).0;
    let mut both = switch(7);
    both.set(0, (A, B), policy.clone());
    both.set(0, (B, A), policy);
    for number in 0..1_000 {
        both.offer(u64::from(number) * 1_000, udp(B, A, b"....."));
        both.offer(u64::from(number) * 1_000, packet(number));
    }
    let mut with_others = drain(&mut both);
    with_others.retain(|(_, port, _)| *port == 1);
    assert_eq!(with_others, alone);
    assert_ne!(thousand(8, Policy { loss_permille: 500, ..Policy::default() }).0, alone);
}

prop_compose! {
    fn policies()(
        delay_us in 0_u64..50_000, jitter_us in 0_u64..50_000, loss_permille in 0_u16..=1_000,
        duplicate_permille in 0_u16..=1_000, corrupt_permille in 0_u16..=1_000,
        mend_checksum: bool, reorder_permille in 0_u16..=1_000,
        bytes_per_second in prop_oneof![Just(0_u64), 1_000_u64..1_000_000],
        cut in prop::bool::weighted(0.1), hold in prop::bool::weighted(0.2),
    ) -> Policy {
        Policy {
            delay_us, jitter_us, loss_permille, duplicate_permille, corrupt_permille,
            mend_checksum, reorder_permille, bytes_per_second, cut, hold,
        }
    }
}

proptest! {
    /// Every packet is accounted for, none is early, and equal seeds are equal runs.
    #[test]
    fn packets_are_conserved(seed: u64, steps in prop::collection::vec(policies(), 1..6)) {
        let run = || {
            let mut switch = switch(seed);
            let mut now = 0;
            let mut delivered = Vec::new();
            for policy in &steps {
                switch.set(now, (A, B), policy.clone());
                for number in 0..40 {
                    switch.offer(now, packet(number));
                    now += 500;
                    while let Some((_, packet)) = switch.due(now) {
                        delivered.push((now, packet));
                    }
                }
            }
            switch.heal(now);
            while let Some(at) = switch.next_due() {
                delivered.push((at, switch.due(at).expect("due").1));
            }
            (delivered, switch.counts((A, B)), switch.len())
        };
        let (delivered, counts, left) = run();
        prop_assert_eq!(left, 0);
        prop_assert_eq!(counts.seen, steps.len() as u64 * 40);
        let fell = counts.cut + counts.lost + counts.clogged;
        prop_assert_eq!(delivered.len() as u64 + fell, counts.seen + counts.duplicated);
        prop_assert_eq!(counts.passed, delivered.len() as u64);
        prop_assert_eq!(run().0, delivered);
    }
}
