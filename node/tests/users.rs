//! Users at the doors of real nodes: they sign in, are guessed at in vain, and are shown the door.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use futures::SinkExt;
use hyper::Method;
use nodes::{Nodes, done, eventually, rotary, tenant_and_site};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use wire::{Answer, ask, connect_to, frame};

const PASSWORD: &str = "correct horse";

/// Two nodes, and a tenant with a site.
struct House {
    nodes: Nodes,
    tenant: Value,
}

impl House {
    async fn open() -> Self {
        let mut nodes = Nodes::init(2, 1);
        nodes.start_all().await;
        let settings = json!({"name": "north"});
        let (tenant, _) = tenant_and_site(&nodes.admin(1), "acme", settings).await;
        Self { nodes, tenant }
    }

    /// Makes a supervisor, and gives their id.
    async fn user(&self, login: &str) -> String {
        let body = json!({"login": login, "password": PASSWORD, "role": "supervisor",
            "tenant": self.tenant});
        let made = done(&self.nodes.admin(1), Method::POST, "/v1/users", body).await;
        made["user"].as_str().expect("a text").to_owned()
    }

    async fn login(&self, node: usize, login: &str, password: &str, tenant: &Value) -> Answer {
        let body = json!({"login": login, "password": password, "tenant": tenant});
        ask(&self.nodes.gateways[node - 1], "POST", "/v1/login", "", "", &body).await
    }

    /// A token for a user of the tenant.
    async fn token(&self, node: usize, login: &str, password: &str) -> String {
        let answer = self.login(node, login, password, &self.tenant).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
        answer["token"].as_str().expect("a text").to_owned()
    }

    async fn put(&self, node: usize, path: &str, token: &str, body: Value) -> Answer {
        ask(&self.nodes.gateways[node - 1], "PUT", path, token, "", &body).await
    }

    async fn sites(&self, node: usize, token: &str) -> Answer {
        ask(&self.nodes.gateways[node - 1], "GET", "/v1/sites", token, "", &json!({})).await
    }
}

fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code));
}

#[tokio::test]
async fn users_sign_in_until_they_may_not() {
    let house = House::open().await;
    first_administrator(&house).await;
    signs_in_anywhere(&house).await;
    one_answer_to_every_mistake(&house).await;
    a_new_password_ends_what_the_old_one_began(&house).await;
    disabled(&house).await;
    guessed_at(&house).await;
    by_command_line(&house).await;
}

/// `cluster init` shows the password once; it opens the cluster.
async fn first_administrator(house: &House) {
    let password = house.nodes.made["password"].as_str().expect("made up");
    let answer = eventually("the first administrator is known", async || {
        let answer = house.login(1, "admin", password, &Value::Null).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let token = answer["token"].as_str().expect("a text");
    let body = json!({"name": "made by admin"});
    let made = ask(&house.nodes.gateways[1], "POST", "/v1/tenants", token, "", &body).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let file = nodes::text(&house.nodes.dir.path().join("node-1/first-user.json"));
    assert!(file.contains("$argon2id$") && !file.contains(password), "{file}");
}

/// A user is known everywhere when they were made anywhere, and their login has no case.
async fn signs_in_anywhere(house: &House) {
    house.user("Ana").await;
    for (node, login) in [(2, "ana"), (1, "ANA")] {
        let token = house.token(node, login, PASSWORD).await;
        assert_eq!(house.sites(3 - node, &token).await.status, 200);
        let body = json!({"name": "x"});
        let gateway = &house.nodes.gateways[0];
        is(&ask(gateway, "POST", "/v1/tenants", &token, "", &body).await, 403, "not-allowed");
        is(&ask(gateway, "GET", "/v1/users", &token, "", &json!({})).await, 403, "not-allowed");
    }
    let listed = house.nodes.admin(2).fetch("/v1/users").await.expect("readable");
    let listed = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(listed.contains("\"ana\"") && !listed.contains("argon2"), "{listed}");
}

async fn one_answer_to_every_mistake(house: &House) {
    let disabled = house.user("gone").await;
    let path = format!("/v1/users/{disabled}/disabled");
    done(&house.nodes.admin(1), Method::PUT, &path, json!({"disabled": true})).await;
    let mistakes = [
        ("ana", "correct horsf", house.tenant.clone()),
        ("ana", PASSWORD, Value::Null),
        ("ana", PASSWORD, json!("tn_99")),
        ("nobody", PASSWORD, house.tenant.clone()),
        ("gone", PASSWORD, house.tenant.clone()),
    ];
    let mut bodies = Vec::new();
    for (login, password, tenant) in mistakes {
        let answer = house.login(1, login, password, &tenant).await;
        is(&answer, 401, "login-failed");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "the answers tell mistakes apart: {bodies:?}");
    let taken = json!({"login": "ANA", "password": PASSWORD, "role": "supervisor",
        "tenant": house.tenant});
    let gateway = &house.nodes.gateways[0];
    let taken = ask(gateway, "POST", "/v1/users", &house.nodes.token, "", &taken).await;
    is(&taken, 409, "login-taken");
    let short = json!({"login": "bo", "password": "short", "role": "administrator"});
    let short = ask(gateway, "POST", "/v1/users", &house.nodes.token, "", &short).await;
    is(&short, 400, "bad-value");
}

async fn a_new_password_ends_what_the_old_one_began(house: &House) {
    let id = house.user("cleo").await;
    let token = house.token(1, "cleo", PASSWORD).await;
    let path = format!("/v1/users/{id}/password");
    let without = house.put(1, &path, &token, json!({"password": "another password"})).await;
    is(&without, 400, "bad-value");
    let wrong = json!({"password": "another password", "current": "wrong"});
    is(&house.put(1, &path, &token, wrong).await, 401, "login-failed");
    let stranger = house.token(1, "ana", PASSWORD).await;
    let body = json!({"password": "another password", "current": PASSWORD});
    is(&house.put(1, &path, &stranger, body.clone()).await, 403, "not-allowed");
    assert_eq!(house.put(1, &path, &token, body).await.status, 200);
    is(&house.sites(1, &token).await, 401, "token-revoked");
    is(&house.login(2, "cleo", PASSWORD, &house.tenant).await, 401, "login-failed");
    house.token(2, "cleo", "another password").await;
}

async fn disabled(house: &House) {
    let id = house.user("dora").await;
    let token = house.token(2, "dora", PASSWORD).await;
    let mut socket = connect_to(&house.nodes.gateways[1]).await;
    let start = json!({"type": "start", "token": token}).to_string();
    socket.send(Message::text(start)).await.expect("writable");
    assert_eq!(frame(&mut socket).await["type"], "welcome");
    let path = format!("/v1/users/{id}/disabled");
    done(&house.nodes.admin(1), Method::PUT, &path, json!({"disabled": true})).await;
    let bye = loop {
        let frame = frame(&mut socket).await;
        if frame["type"] == "bye" {
            break frame;
        }
    };
    assert_eq!(bye["code"], "token-revoked");
    is(&house.sites(2, &token).await, 401, "token-revoked");
    is(&house.login(1, "dora", PASSWORD, &house.tenant).await, 401, "login-failed");
    done(&house.nodes.admin(1), Method::PUT, &path, json!({"disabled": false})).await;
    is(&house.sites(1, &token).await, 401, "token-revoked");
    house.token(1, "dora", PASSWORD).await;
    let unknown = "/v1/users/us_4000/disabled";
    let unknown = house.put(1, unknown, &house.nodes.token, json!({"disabled": true})).await;
    is(&unknown, 404, "not-found");
}

/// Who guesses is told to wait, and others are not.
async fn guessed_at(house: &House) {
    house.user("eve").await;
    let refused = eventually("it is enough", async || {
        let answer = house.login(1, "eve", "wrong", &house.tenant).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    is(&refused, 429, "too-many-attempts");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    is(&house.login(1, "eve", PASSWORD, &house.tenant).await, 429, "too-many-attempts");
}

async fn by_command_line(house: &House) {
    let dir = house.nodes.dir.path();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let (first, second) = (file("first", "first password\n"), file("second", "second password\n"));
    let run = |args: &[&str]| {
        let ran = rotary()
            .args(args)
            .env("ROTARY_URL", house.nodes.gateways[1].url(""))
            .env("ROTARY_TOKEN", &house.nodes.token)
            .output()
            .expect("it runs");
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("a text").trim().to_owned()
    };
    let tenant = house.tenant.as_str().expect("a text");
    let whose = ["--login", "fay", "--tenant", tenant];
    let create = ["user", "create", "--role", "supervisor", "--password-file", &first];
    let id = run(&[create.as_slice(), &whose].concat());
    run(&["user", "passwd", &id, "--password-file", &second]);
    let login = ["login", "--password-file", &second];
    let token = run(&[login.as_slice(), &whose].concat());
    assert_eq!(house.sites(2, &token).await.status, 200);
    run(&["user", "disable", &id]);
    is(&house.sites(2, &token).await, 401, "token-revoked");
    let listed = run(&["user", "list"]);
    let row = listed.lines().find(|line| line.starts_with(&format!("{id} "))).expect("listed");
    assert!(row.contains("fay") && row.ends_with("true"), "{listed}");
}

/// A node's own files are enough to come back in, with no other node there.
#[tokio::test]
async fn the_glass_can_be_broken_without_a_quorum() {
    let mut nodes = Nodes::init(3, 1);
    let ran = rotary()
        .args(["cluster", "break-glass", "--ttl-s", "60", "--data"])
        .arg(nodes.dir.path().join("node-2"))
        .output()
        .expect("it runs");
    let (code, said) = nodes::said(&ran);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("for 60 s"), "{said}");
    let token = String::from_utf8(ran.stdout).expect("a text").trim().to_owned();
    nodes.start(1);
    let answer = eventually("the node serves", async || {
        tokio::net::TcpStream::connect(nodes.gateways[0].authority()).await.ok()?;
        Some(ask(&nodes.gateways[0], "GET", "/v1/cluster", &token, "", &json!({})).await)
    })
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let none = rotary().args(["cluster", "break-glass", "--data"]).arg("/").output();
    assert_ne!(none.expect("it runs").status.code(), Some(0));
}

/// What `cluster init` wrote is the first administrator's, and ends as what they have does: whoever
/// breaks the glass and sets their password has the only way in.
#[tokio::test]
async fn the_first_token_ends_with_the_first_password() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let get = async |token: &str| {
        ask(&nodes.gateways[0], "GET", "/v1/users", token, "", &json!({})).await
    };
    eventually("the first administrator is there", async || {
        get(&nodes.token).await.body.contains("us_1").then_some(())
    })
    .await;
    let run = |token: &str, args: &[&str]| {
        let mut command = rotary();
        command.args(args).env("ROTARY_URL", nodes.gateways[0].url("")).env("ROTARY_TOKEN", token);
        let ran = command.output().expect("it runs");
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("a text").trim().to_owned()
    };
    let data = nodes.dir.path().join("node-1").display().to_string();
    let glass = run("", &["cluster", "break-glass", "--data", &data]);
    let file = nodes.dir.path().join("second").display().to_string();
    std::fs::write(&file, "second password\n").expect("writable");
    let wanted = json!({"role": "administrator", "ttl_s": 600});
    let child = ask(&nodes.gateways[0], "POST", "/v1/tokens", &nodes.token, "", &wanted).await;
    let child: Value = serde_json::from_str(&child.body).expect("JSON");
    let child = child["token"].as_str().expect("a token");
    assert_eq!(get(child).await.status, 200);
    run(&glass, &["user", "passwd", "us_1", "--password-file", &file]);
    is(&get(&nodes.token).await, 401, "token-revoked");
    is(&get(child).await, 401, "token-revoked");
    let own = run("", &["login", "--login", "admin", "--password-file", &file]);
    assert_eq!(get(&own).await.status, 200);
    assert_eq!(get(&glass).await.status, 200, "it ends by itself");
}
