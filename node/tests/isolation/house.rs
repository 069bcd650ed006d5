//! The house that is broken into: everything in it has one word in its names.

use std::sync::atomic::{AtomicU32, Ordering};

use hyper::Method;
use serde_json::{Value, json};

use crate::described::Described;
use crate::nodes::{Nodes, done, eventually};

/// In every name of the house, and nowhere else: no answer to a stranger may have it.
pub(crate) const MARK: &str = "zanzibar";
/// The name of the tenant, which is no secret to the tenant's other sites.
pub(crate) const TENANT: &str = "harbour";
/// The customer whose conversation it is.
pub(crate) const CUSTOMER: &str = "cu_00000000000000000000000000000001";
/// Another customer of the site.
const STRANGER: &str = "cu_00000000000000000000000000000002";

/// Agents of the site, and of the other tenant's, who have nothing: an agent has few sessions, and
/// each that is tried leaves one behind for a while.
const AGENTS: u32 = 90;

/// A tenant with a site, everything that a site has, an API key and a user; beside it another site
/// and another tenant.
pub(crate) struct House {
    pub(crate) nodes: Nodes,
    /// What the house says of its own doors.
    pub(crate) described: Described,
    pub(crate) tenant: String,
    pub(crate) site: String,
    pub(crate) conversation: String,
    key: String,
    user: String,
    /// A file that the conversation names.
    pub(crate) blob: String,
    other_site: String,
    other_tenant: String,
    /// A site of that.
    other_house: String,
    /// The last agent for whom a token was made.
    agent: AtomicU32,
}

/// Somebody who is somebody, but not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stranger {
    OtherTenant,
    OtherSite,
    /// An agent of a site of another tenant.
    OtherAgent,
    /// An agent of the site whom the conversation was never proposed to.
    Agent,
    Customer,
    Supervisor,
    Board,
}

/// Which ids a path is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Those of what is there.
    There,
    /// A site that is not, and everything below it, and credentials that are not.
    Nowhere,
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

impl House {
    pub(crate) async fn build() -> Self {
        let mut nodes = Nodes::init(1, 1);
        nodes.start_all().await;
        eventually("the first administrator is there", async || {
            let users = nodes.admin(1).fetch("/v1/users").await.expect("readable");
            String::from_utf8_lossy(&users.body).contains("admin").then_some(())
        })
        .await;
        let (tenant, site) = place(&nodes, None, TENANT, MARK).await;
        let (_, other_site) = place(&nodes, Some(&tenant), "", "south").await;
        let (other_tenant, other_house) = place(&nodes, None, "other", "east").await;
        let conversation = format!("cv_{}.{:032x}", &site["st_".len()..], 1);
        let whose = json!({"role": "administrator", "site": site});
        let with = |more: Value| merged(&whose, more);
        let api = nodes.admin(1);
        let key = done(&api, Method::POST, "/v1/api-keys", with(json!({"name": MARK}))).await;
        let user = with(json!({"login": MARK, "password": "long enough"}));
        let user = done(&api, Method::POST, "/v1/users", user).await;
        let (key, user) = (text(&key["api_key"]), text(&user["user"]));
        let described = Described::by(&nodes.gateways[0]).await;
        let file = json!(MARK);
        let file = done(&api, Method::POST, &format!("/v1/sites/{site}/blobs"), file).await;
        let house = Self {
            nodes,
            described,
            tenant,
            site,
            conversation,
            key,
            user,
            blob: text(&file["blob"]),
            other_site,
            other_tenant,
            other_house,
            agent: AtomicU32::new(1),
        };
        house.furnish().await;
        house
    }

    /// How many bytes that file has.
    pub(crate) fn file_bytes(&self) -> usize {
        json!(MARK).to_string().len()
    }

    /// Puts something of everything into the site.
    async fn furnish(&self) {
        let (api, site) = (self.nodes.admin(1), format!("/v1/sites/{}", self.site));
        let put = async |path: &str, body: Value| {
            done(&api, Method::PUT, &format!("{site}{path}"), body).await;
        };
        // Names that everybody in the site may see are no secret to its customers.
        put("/skills/sk_1", json!({"name": "French"})).await;
        put("/reasons/nr_1", json!({"name": "Lunch"})).await;
        put("/dispositions/di_1", json!({"name": "Sold"})).await;
        put("/queues/qu_1", json!({"name": format!("{MARK} sales")})).await;
        put("/agents/ag_1", json!({"name": {"text": format!("{MARK} Ana")}})).await;
        for agent in 2..=AGENTS {
            put(&format!("/agents/ag_{agent}"), json!({"name": {"text": "Ben"}})).await;
            let agent = format!("/v1/sites/{}/agents/ag_{agent}", self.other_house);
            done(&api, Method::PUT, &agent, json!({"name": {"text": "Eve"}})).await;
        }
        let file = json!({"blob": self.blob, "media_type": "application/json",
            "bytes": self.file_bytes()});
        let body = json!({"text": {"text": MARK}, "attachments": [file]});
        let word = json!({"id": format!("it_{:032x}", 1), "body": body});
        let open = json!({"conversation": self.conversation, "queue": "qu_1", "channel": "chat",
            "customer": CUSTOMER, "item": word});
        done(&api, Method::POST, &format!("{site}/conversations"), open).await;
    }

    /// A token for a stranger.
    pub(crate) async fn token(&self, stranger: Stranger) -> String {
        let who = match stranger {
            Stranger::OtherTenant => {
                json!({"role": "administrator", "tenant": self.other_tenant})
            }
            Stranger::OtherSite => json!({"role": "administrator", "site": self.other_site}),
            Stranger::OtherAgent => self.agent(&self.other_house),
            Stranger::Agent => self.agent(&self.site),
            Stranger::Customer => {
                json!({"role": "customer", "site": self.site, "customer": STRANGER})
            }
            Stranger::Supervisor => json!({"role": "supervisor", "site": self.site}),
            Stranger::Board => json!({"role": "board", "site": self.site}),
        };
        self.sign(merged(&who, json!({"ttl_s": 3_600}))).await
    }

    /// The next agent of a site who has nothing.
    fn agent(&self, site: &str) -> Value {
        let number = self.agent.fetch_add(1, Ordering::Relaxed) % (AGENTS - 1) + 2;
        json!({"role": "agent", "site": site, "agent": format!("ag_{number}")})
    }

    /// A token, made by the administrator of everything.
    pub(crate) async fn sign(&self, wanted: Value) -> String {
        let made = done(&self.nodes.admin(1), Method::POST, "/v1/tokens", wanted).await;
        text(&made["token"])
    }

    /// A path with ids in it.
    pub(crate) fn path(&self, template: &str, ids: Ids) -> String {
        let (site, conversation, key, user) = match ids {
            Ids::There => {
                let (site, conversation) = (self.site.clone(), self.conversation.clone());
                (site, conversation, self.key.clone(), self.user.clone())
            }
            Ids::Nowhere => {
                let site = format!("st_{}.777", &self.tenant["tn_".len()..]);
                let conversation = format!("cv_{}.{:032x}", &site["st_".len()..], 777);
                (site, conversation, "rk_777".to_owned(), "us_777".to_owned())
            }
        };
        let number = if ids == Ids::There { 1 } else { 777 };
        let mut path = template.replace("{site}", &site).replace("{id}", &conversation);
        let blob =
            if ids == Ids::There { self.blob.clone() } else { "bl_".to_owned() + &"7".repeat(64) };
        path = path.replace("{blob}", &blob);
        path = path.replace("{key}", &key).replace("{user}", &user).replace("{code}", "not-found");
        for (name, prefix) in [
            ("{node}", "nd"),
            ("{shard}", "sh"),
            ("{token}", "jt"),
            ("{skill}", "sk"),
            ("{reason}", "nr"),
            ("{disposition}", "di"),
            ("{queue}", "qu"),
            ("{agent}", "ag"),
            ("{offer}", "of"),
            ("{webhook}", "wh"),
        ] {
            path = path.replace(name, &format!("{prefix}_{number}"));
        }
        assert!(!path.contains('{'), "{path}: an id that nobody has thought of");
        if template == "/v1/conversations" { format!("{path}?site={site}") } else { path }
    }

    /// Everything that an administrator of everything can see, by path.
    pub(crate) async fn everything(&self) -> Vec<(String, String)> {
        let paths = [
            "/v1/tenants",
            "/v1/sites",
            "/v1/api-keys",
            "/v1/users",
            "/v1/sites/{site}",
            "/v1/sites/{site}/skills",
            "/v1/sites/{site}/reasons",
            "/v1/sites/{site}/dispositions",
            "/v1/sites/{site}/queues",
            "/v1/sites/{site}/agents",
            "/v1/sites/{site}/conversations",
            "/v1/conversations",
            "/v1/conversations/{id}",
            "/v1/conversations/{id}/messages",
            "/v1/conversations/{id}/trace",
        ];
        let mut seen = Vec::new();
        for path in paths.map(|path| self.path(path, Ids::There)) {
            let answer = self.nodes.admin(1).fetch(&path).await.expect("readable");
            let mut body = serde_json::from_slice(&answer.body).expect("JSON");
            forget_time(&mut body);
            seen.push((path, body.to_string()));
        }
        assert!(seen.iter().filter(|(_, body)| body.contains(MARK)).count() >= 7, "{seen:?}");
        seen
    }
}

/// Takes out what goes on by itself: how long somebody has waited, and what strangers' own sessions
/// add to the site's events, or do to the link of the agent whose they are.
fn forget_time(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for own in ["waited_ms", "oldest_wait_ms", "sequence", "sessions", "link"] {
                fields.remove(own);
            }
            fields.values_mut().for_each(forget_time);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_time),
        _ => {}
    }
}

/// A site of that name of a tenant, or of a new one.
async fn place(nodes: &Nodes, tenant: Option<&str>, new: &str, name: &str) -> (String, String) {
    let api = nodes.admin(1);
    let tenant = match tenant {
        Some(tenant) => tenant.to_owned(),
        None => {
            let made = done(&api, Method::POST, "/v1/tenants", json!({"name": new})).await;
            text(&made["tenant"])
        }
    };
    let body = json!({"tenant": tenant, "settings": {"name": name}});
    let site = done(&api, Method::POST, "/v1/sites", body).await;
    (tenant, text(&site["site"]))
}

/// Two objects as one.
fn merged(one: &Value, other: Value) -> Value {
    let mut all = one.as_object().expect("an object").clone();
    all.extend(other.as_object().expect("an object").clone());
    Value::Object(all)
}
