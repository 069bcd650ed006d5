//! The rules of credentials, each as one story.

use super::*;
use crate::command::{DirectoryCommand, DirectoryOutcome};
use crate::state::tests::{ask, founded, name};

const NORTH: SiteId = SiteId { tenant: TenantId(1), number: 1 };

/// A cluster with one tenant and one site.
fn house() -> Directory {
    let mut directory = founded(1);
    let site = DirectoryCommand::CreateSite { tenant: TenantId(1), name: name("n"), shard: None };
    ask(&mut directory, site);
    directory
}

fn key(grant: Grant) -> DirectoryCommand {
    let (name, hash, created, expires) = (name("key"), [7; 32], Wall(1), None);
    DirectoryCommand::CreateApiKey { grant, name, hash, created, expires }
}

fn user(grant: Grant, login: &str) -> DirectoryCommand {
    DirectoryCommand::CreateUser { grant, login: name(login), hash: "$1".to_owned() }
}

const fn of_tenant(tenant: u32) -> Grant {
    Grant::Administrator { tenant: Some(TenantId(tenant)), site: None }
}

fn refused(refusal: DirectoryRefusal) -> DirectoryOutcome {
    DirectoryOutcome::Refused(refusal)
}

const OK: DirectoryOutcome = DirectoryOutcome::Done(DirectoryDone::Ok);

#[test]
fn keys_are_numbered_and_each_holder_has_a_number() {
    let mut directory = house();
    for (number, principal) in [(1, 2), (2, 3)] {
        let (key_id, principal) = (ApiKeyId(number), PrincipalId(principal));
        let done = DirectoryDone::ApiKey { key: key_id, principal };
        assert_eq!(ask(&mut directory, key(of_tenant(1))), DirectoryOutcome::Done(done));
        assert_eq!(directory.api_key(key_id).expect("made").principal, principal);
    }
}

#[test]
fn nothing_is_granted_of_what_does_not_exist() {
    let mut directory = house();
    let unknown = refused(DirectoryRefusal::TenantUnknown);
    assert_eq!(ask(&mut directory, key(of_tenant(2))), unknown);
    assert_eq!(ask(&mut directory, user(of_tenant(2), "ana")), unknown);
    let far = Grant::Agent { site: SiteId::new(1, 2), agent: AgentId(1) };
    assert_eq!(ask(&mut directory, user(far, "ana")), refused(DirectoryRefusal::SiteUnknown));
    let crooked = Grant::Administrator { tenant: None, site: Some(NORTH) };
    let outcome = ask(&mut directory, key(crooked));
    assert!(matches!(outcome, DirectoryOutcome::Refused(DirectoryRefusal::BadValue { .. })));
    assert_eq!((directory.api_keys().count(), directory.users().count()), (0, 0));
    assert_eq!(directory.principals, 0, "a refusal uses no number");
}

#[test]
fn a_revoked_key_stays_revoked_and_what_is_not_known_yet_is_not() {
    let mut directory = house();
    ask(&mut directory, key(of_tenant(1)));
    let (first, later) = (Credential::ApiKey(ApiKeyId(1)), Credential::ApiKey(ApiKeyId(2)));
    assert!(!directory.is_revoked(first) && !directory.is_revoked(later));
    let revoke = |id| DirectoryCommand::RevokeApiKey { key: ApiKeyId(id) };
    assert_eq!(ask(&mut directory, revoke(1)), OK);
    assert_eq!(ask(&mut directory, revoke(1)), OK);
    assert!(directory.is_revoked(first) && !directory.is_revoked(later));
    assert_eq!(ask(&mut directory, revoke(2)), refused(DirectoryRefusal::ApiKeyUnknown));
}

#[test]
fn the_oldest_revoked_key_makes_room_and_others_do_not() {
    let mut directory = house();
    for _ in 0..limits::API_KEYS_PER_TENANT_MAX {
        ask(&mut directory, key(of_tenant(1)));
    }
    assert_eq!(ask(&mut directory, key(of_tenant(1))), refused(limit("api_keys_per_tenant_max")));
    ask(&mut directory, key(Grant::Administrator { tenant: None, site: None }));
    for id in [9, 4] {
        ask(&mut directory, DirectoryCommand::RevokeApiKey { key: ApiKeyId(id) });
    }
    let made = ask(&mut directory, key(of_tenant(1)));
    assert!(matches!(made, DirectoryOutcome::Done(DirectoryDone::ApiKey { .. })), "{made:?}");
    assert!(directory.api_key(ApiKeyId(4)).is_none() && directory.api_key(ApiKeyId(9)).is_some());
    assert!(directory.is_revoked(Credential::ApiKey(ApiKeyId(4))), "forgotten is not forgiven");
}

#[test]
fn a_login_is_one_users_of_a_tenant() {
    let mut directory = house();
    ask(&mut directory, DirectoryCommand::CreateTenant { name: name("bank") });
    let done = |user, principal| {
        let (user, principal) = (UserId(user), PrincipalId(principal));
        DirectoryOutcome::Done(DirectoryDone::User { user, principal })
    };
    assert_eq!(ask(&mut directory, user(of_tenant(1), "ana")), done(1, 2));
    assert_eq!(ask(&mut directory, user(of_tenant(2), "ana")), done(2, 3));
    let taken = refused(DirectoryRefusal::LoginTaken);
    assert_eq!(ask(&mut directory, user(of_tenant(1), "ana")), taken);
    let found = |tenant: Option<u32>| {
        directory.user_of(tenant.map(TenantId), &name("ana")).map(|(id, _)| id.0)
    };
    assert_eq!([found(Some(1)), found(Some(2)), found(None)], [Some(1), Some(2), None]);
}

#[test]
fn a_change_of_password_or_leave_ends_the_tokens_before_it() {
    let mut directory = house();
    ask(&mut directory, user(of_tenant(1), "ana"));
    let at = |epoch| Credential::User { user: UserId(1), epoch };
    let set = |hash: &str| DirectoryCommand::SetPassword { user: UserId(1), hash: hash.to_owned() };
    let disable = |disabled| DirectoryCommand::SetDisabled { user: UserId(1), disabled };
    assert!(!directory.is_revoked(at(0)));
    assert_eq!(ask(&mut directory, set("$2")), OK);
    assert!(directory.is_revoked(at(0)) && !directory.is_revoked(at(1)));
    for _ in 0..2 {
        assert_eq!(ask(&mut directory, disable(true)), OK);
    }
    let ana = directory.user(UserId(1)).expect("made");
    assert_eq!((ana.disabled, ana.epoch, ana.hash.as_str()), (true, 2, "$2"));
    assert!(directory.is_revoked(at(1)));
    let long = "x".repeat(limits::PASSWORD_HASH_BYTES_MAX + 1);
    let outcome = ask(&mut directory, set(&long));
    assert!(matches!(outcome, DirectoryOutcome::Refused(DirectoryRefusal::BadValue { .. })));
    let nobody = DirectoryCommand::SetDisabled { user: UserId(2), disabled: true };
    assert_eq!(ask(&mut directory, nobody), refused(DirectoryRefusal::UserUnknown));
}

#[test]
fn the_first_administrator_is_made_once_and_never_beside_others() {
    let mut directory = house();
    ask(&mut directory, user(of_tenant(1), "ana"));
    assert!(!directory.is_revoked(Credential::FirstUser), "what is signed before it is there");
    let found =
        |login: &str| DirectoryCommand::FoundUser { login: name(login), hash: "$1".to_owned() };
    let made = ask(&mut directory, found("admin"));
    assert!(matches!(made, DirectoryOutcome::Done(DirectoryDone::User { .. })), "{made:?}");
    assert_eq!(ask(&mut directory, found("other")), OK);
    let set = |user| DirectoryCommand::SetPassword { user, hash: "$2".to_owned() };
    assert_eq!(ask(&mut directory, set(UserId(1))), OK);
    assert!(!directory.is_revoked(Credential::FirstUser), "that was a tenant's");
    assert_eq!(ask(&mut directory, set(UserId(2))), OK);
    assert!(directory.is_revoked(Credential::FirstUser));
    let grants: Vec<Grant> = directory.users().map(|(_, user)| user.grant).collect();
    assert_eq!(grants, [of_tenant(1), Grant::Administrator { tenant: None, site: None }]);
}
