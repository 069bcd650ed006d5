//! Who may ask for what, as a table.

use rotary_proto::{ConversationId, CustomerId, OfferId, PrincipalId};

use super::*;

const SITE: SiteId = SiteId::new(1, 1);

fn claims(role: Role, tenant: Option<u32>, site: Option<SiteId>) -> Claims {
    Claims {
        role,
        tenant: tenant.map(TenantId),
        site,
        agent: (role == Role::Agent).then_some(AgentId(1)),
        customer: (role == Role::Customer).then_some(CustomerId(1)),
        principal: PrincipalId(9),
        by: None,
        exp: 0,
        address: None,
    }
}

fn everybody() -> [Claims; 6] {
    [
        claims(Role::Administrator, None, None),
        claims(Role::Administrator, Some(1), None),
        claims(Role::Supervisor, Some(1), Some(SITE)),
        claims(Role::Agent, Some(1), Some(SITE)),
        claims(Role::Customer, Some(1), Some(SITE)),
        claims(Role::Board, Some(1), Some(SITE)),
    ]
}

/// Who of [`everybody`] may, as a text of y and n.
fn may(action: Action<'_>) -> String {
    let letter = |claims: Claims| if permit(&claims, action).is_ok() { 'y' } else { 'n' };
    everybody().map(letter).iter().collect()
}

fn declare(agent: u32) -> Command {
    Command::Declare { agent: AgentId(agent), declared: rotary_proto::Declared::Ready }
}

fn open(customer: Option<u128>) -> Command {
    Command::Open {
        conversation: ConversationId::new(SITE, 1),
        queue: rotary_proto::QueueId(1),
        channel: rotary_proto::Channel::Chat,
        priority: None,
        skills: Vec::new(),
        customer: customer.map(CustomerId),
        attributes: rotary_proto::Attributes::default(),
        item: None,
        mail: None,
    }
}

#[test]
fn every_action_has_its_roles() {
    let accept = Command::Accept { conversation: ConversationId::new(SITE, 1), offer: OfferId(1) };
    let name = rotary_proto::Name::new("a").expect("valid");
    let skill = Command::PutSkill { skill: rotary_proto::SkillId(1), name };
    let detach = Command::Detach {
        session: rotary_proto::SessionId(1),
        gateway: rotary_proto::GatewayId::default(),
        ended: true,
    };
    let table = [
        (Action::SeeCluster, "yyynnn"),
        (Action::ChangeNodes, "ynnnnn"),
        (Action::CreateTenant, "ynnnnn"),
        (Action::ListPlaces, "yyynnn"),
        (Action::CreateSite(TenantId(1)), "yynnnn"),
        (Action::CreateSite(TenantId(2)), "ynnnnn"),
        (Action::SeeNames(SITE), "yyyyyn"),
        (Action::Oversee(SITE), "yyynnn"),
        (Action::SeeAgent(SITE, AgentId(1)), "yyyynn"),
        (Action::SeeAgent(SITE, AgentId(2)), "yyynnn"),
        (Action::Read(SITE, Viewer::Supervisor), "yyynnn"),
        (Action::Read(SITE, Viewer::Agent(AgentId(1))), "yyyynn"),
        (Action::Read(SITE, Viewer::Customer(CustomerId(1))), "yyynyn"),
        (Action::Ask(SITE, &skill), "yynnnn"),
        (Action::Ask(SITE, &detach), "nnnnnn"),
        (Action::Ask(SITE, &declare(1)), "yyyynn"),
        (Action::Ask(SITE, &declare(2)), "yyynnn"),
        (Action::Ask(SITE, &accept), "yyyynn"),
        (Action::Ask(SITE, &open(Some(1))), "yyynyn"),
        (Action::Ask(SITE, &open(Some(2))), "yyynnn"),
        (Action::Ask(SITE, &open(None)), "yyynnn"),
    ];
    for (action, expected) in table {
        assert_eq!(may(action), expected, "{action:?}");
    }
}

#[test]
fn nothing_of_another_tenant_is_reached_by_anybody_of_this_one() {
    let other = SiteId::new(2, 1);
    let command = declare(1);
    let actions = [
        Action::CreateSite(TenantId(2)),
        Action::Ask(other, &command),
        Action::SeeNames(other),
        Action::Oversee(other),
        Action::SeeAgent(other, AgentId(1)),
        Action::SeeConversation(other, None),
        Action::Read(other, Viewer::Agent(AgentId(1))),
    ];
    for action in actions {
        for claims in &everybody()[1..] {
            let problem = permit(claims, action).expect_err("isolated");
            assert_eq!(problem.code, "other-tenant", "{action:?} {claims:?}");
        }
    }
}

#[test]
fn a_token_makes_no_wider_one() {
    let [root, tenant, supervisor, agent, ..] = everybody();
    let wanted = |role, tenant, site| claims(role, tenant, site);
    let table = [
        (wanted(Role::Administrator, None, None), "ynnn"),
        (wanted(Role::Administrator, Some(1), None), "yynn"),
        (wanted(Role::Administrator, Some(2), None), "ynnn"),
        (wanted(Role::Administrator, Some(1), Some(SITE)), "yynn"),
        (wanted(Role::Supervisor, Some(1), None), "yynn"),
        (wanted(Role::Supervisor, Some(1), Some(SITE)), "yyyn"),
        (wanted(Role::Agent, Some(1), Some(SITE)), "yyyn"),
        (wanted(Role::Agent, Some(1), Some(SiteId::new(1, 2))), "yynn"),
    ];
    for (wanted, expected) in table {
        let letter = |by: &Claims| {
            if permit(by, Action::Sign(&wanted)).is_ok() { 'y' } else { 'n' }
        };
        let got: String = [&root, &tenant, &supervisor, &agent].map(letter).iter().collect();
        assert_eq!(got, expected, "{wanted:?}");
    }
}

#[test]
fn administrators_alone_handle_credentials_and_their_own_alone() {
    let of = |role, tenant: Option<u32>, site| claims(role, tenant, site);
    let grant = |wanted: &Claims| may(Action::Grant(wanted));
    assert_eq!(grant(&of(Role::Administrator, None, None)), "ynnnnn");
    assert_eq!(grant(&of(Role::Administrator, Some(1), None)), "yynnnn");
    assert_eq!(grant(&of(Role::Agent, Some(1), Some(SITE))), "yynnnn");
    assert_eq!(grant(&of(Role::Supervisor, Some(2), None)), "ynnnnn");
    assert_eq!(may(Action::ListCredentials), "yynnnn");
    let handle = |tenant: Option<u32>| {
        let grant = Grant::Administrator { tenant: tenant.map(TenantId), site: None };
        may(Action::HandleCredential(&grant))
    };
    assert_eq!([handle(None), handle(Some(1)), handle(Some(2))], ["ynnnnn", "yynnnn", "ynnnnn"]);
    let of_site = of(Role::Administrator, Some(1), Some(SITE));
    let whole = Grant::Supervisor { tenant: TenantId(1), site: None };
    let refused = permit(&of_site, Action::HandleCredential(&whole)).expect_err("wider");
    assert_eq!(refused.code, "not-found", "what is not yours is not told from what is not there");
    let own = Grant::Supervisor { tenant: TenantId(1), site: Some(SITE) };
    assert!(permit(&of_site, Action::HandleCredential(&own)).is_ok());
}
