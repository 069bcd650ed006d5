//! A credential's, a site's and a tenant's part of what a node takes in.

use super::*;

const RULES: Rules = Rules {
    uploads_per_minute_max: 3,
    unnamed_bytes_max: 100,
    site_unnamed_bytes_max: 1_000,
    unnamed_keep: Duration::from_secs(3_600),
};

const SITE: SiteId = SiteId::new(1, 2);

fn holder(number: u32) -> Holder {
    holder_in(SITE, number)
}

fn holder_in(site: SiteId, number: u32) -> Holder {
    Holder { site, principal: PrincipalId(number), agent: None, customer: None }
}

fn blob(number: u8) -> (SiteId, BlobId) {
    (SITE, BlobId([number; 32]))
}

#[test]
fn a_credential_has_a_rate() {
    let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
    for _ in 0..3 {
        drop(allowances.admit(holder(1), 1, now).expect("within the rate"));
    }
    let spent = allowances.admit(holder(1), 1, now).expect_err("spent");
    assert_eq!(spent.after_ms, 20_000, "{spent:?}");
    assert!(allowances.admit(holder(2), 1, now).is_ok(), "others have their own");
    assert!(allowances.admit(holder(1), 1, now + Duration::from_secs(19)).is_err());
    assert!(allowances.admit(holder(1), 1, now + Duration::from_secs(20)).is_ok());
}

#[test]
fn bytes_without_a_message_are_bounded_until_one_names_them() {
    let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
    let ticket = allowances.admit(holder(1), 100, now).expect("room");
    assert!(allowances.admit(holder(1), 1, now).is_err(), "what is under way counts");
    let (site, id) = blob(1);
    ticket.stored(id, 60, now);
    assert!(allowances.admit(holder(1), 41, now).is_err());
    drop(allowances.admit(holder(1), 40, now).expect("what is given up does not count"));
    allowances.release(site, id);
    assert!(allowances.admit(holder(1), 100, now).is_ok());
}

#[test]
fn a_credential_has_only_so_many_uploads_at_once() {
    let rules = Rules { uploads_per_minute_max: 1_000, ..RULES };
    let (allowances, now) = (Arc::new(Allowances::new(rules)), Instant::now());
    let admit = || allowances.admit(holder(1), 1, now);
    let mut open: Vec<Ticket> =
        (0..UPLOADS_PER_HOLDER_MAX).map(|_| admit().expect("room")).collect();
    assert!(admit().is_err());
    assert!(allowances.admit(holder(2), 1, now).is_ok());
    open.pop();
    assert!(admit().is_ok());
}

#[test]
fn what_nobody_names_is_forgotten_in_the_end() {
    let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
    let id = blob(1).1;
    allowances.admit(holder(1), 100, now).expect("room").stored(id, 100, now);
    allowances.forget_old(now + RULES.unnamed_keep / 2);
    assert!(allowances.admit(holder(1), 1, now).is_err());
    allowances.forget_old(now + RULES.unnamed_keep);
    let books = allowances.lock();
    assert!(books.holders.is_empty() && books.sites.is_empty() && books.tenants.is_empty());
    drop(books);
    assert!(allowances.admit(holder(1), 100, now).is_ok());
}

#[test]
fn a_site_has_a_bound_of_its_own() {
    let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
    for number in 0..10 {
        let ticket = allowances.admit(holder(number), 100, now).expect("room");
        ticket.stored(blob(number as u8).1, 100, now);
    }
    let spent = allowances.admit(holder(10), 1, now).expect_err("the site has its part");
    assert_eq!(spent.budget, Budget::Tenant, "{spent:?}");
    let elsewhere = holder_in(SiteId::new(2, 2), 10);
    drop(allowances.admit(elsewhere, 100, now).expect("others have their own"));
    let (site, id) = blob(3);
    allowances.release(site, id);
    drop(allowances.admit(holder(10), 100, now).expect("room again"));
    assert!(allowances.admit(holder(11), 101, now).is_err());
}

#[test]
fn a_tenant_with_many_credentials_leaves_others_room() {
    let (allowances, now) = (Arc::new(Allowances::new(RULES)), Instant::now());
    let number = |n: usize| u32::try_from(n).expect("small");
    for n in 0..UNNAMED_MAX / 2 {
        drop(allowances.admit(holder(number(n)), 1, now).expect("half of them are free"));
    }
    let spent = allowances.admit(holder(number(UNNAMED_MAX)), 1, now).expect_err("its share");
    assert_eq!(spent.budget, Budget::Tenant, "{spent:?}");
    assert!(allowances.admit(holder(0), 1, now).is_ok(), "who is known goes on");
    assert!(allowances.admit(holder_in(SiteId::new(2, 2), 1), 1, now).is_ok());
    let later = now + MINUTE;
    assert!(allowances.admit(holder(number(UNNAMED_MAX)), 1, later).is_ok(), "idle ones go");
}
