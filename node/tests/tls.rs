//! TLS on the public port: requests, sessions and the command line, and who is not believed.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::path::PathBuf;

use nodes::{Nodes, done, eventually, rotary, said};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rotary_client::{
    Api, ApiError, Gateway, Method, Notice, Patience, Session, SessionConfig, Trust,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An authority of somebody's, and a certificate for this machine that it signed.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn sign() -> Signed {
    let authority_key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).expect("it signs").pem();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().expect("a key");
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let certificate = params.signed_by(&key, &issuer).expect("it signs").pem();
    Signed { authority, certificate, key: key.serialize_pem() }
}

/// A node with a certificate.
struct House {
    nodes: Nodes,
    gateway: Gateway,
    signed: Signed,
}

impl House {
    fn furnish() -> Self {
        let (nodes, signed) = (Nodes::init(1, 1), sign());
        let folder = nodes.dir.path().join("node-1");
        std::fs::write(folder.join("public.pem"), &signed.certificate).expect("writable");
        std::fs::write(folder.join("public.key"), &signed.key).expect("writable");
        let port = nodes.gateways[0].authority().rsplit_once(':').expect("a port").1.to_owned();
        let gateway = format!("https://localhost:{port}").parse().expect("an address");
        Self { nodes, gateway, signed }
    }

    async fn open() -> Self {
        let mut house = Self::furnish();
        let files = "certificate_file = \"public.pem\"\nkey_file = \"public.key\"";
        house.nodes.configure(1, &format!("[gateway]\n{files}"));
        house.nodes.start(1);
        let api = house.api(&house.trust());
        eventually("ready", async || api.fetch("/readyz").await.ok()).await;
        house
    }

    fn trust(&self) -> Trust {
        Trust::pem(&self.signed.authority).expect("a certificate")
    }

    fn api(&self, trust: &Trust) -> Api {
        let patience = Patience { attempt: nodes::LIMIT, total: std::time::Duration::ZERO };
        let api = Api::new(vec![self.gateway.clone()], &self.nodes.token, patience);
        api.expect("a gateway").trusting(trust)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.nodes.dir.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    }
}

#[tokio::test]
async fn clients_speak_tls_with_whom_they_believe() {
    let house = House::open().await;
    let api = house.api(&house.trust());
    let tenant = done(&api, Method::POST, "/v1/tenants", json!({"name": "acme"})).await;
    let site = json!({"tenant": tenant["tenant"], "settings": {"name": "north"}});
    done(&api, Method::POST, "/v1/sites", site).await;
    session(&house).await;
    not_believed(&house).await;
    plain(&house).await;
    command_line(&house);
    tools(&house);
}

async fn session(house: &House) {
    let config = SessionConfig::new(vec![house.gateway.clone()], house.nodes.token.clone());
    let config = SessionConfig { trust: house.trust(), connect: nodes::LIMIT, ..config };
    let mut session = Session::start(config).expect("it starts");
    let notice = tokio::time::timeout(nodes::LIMIT, session.next_event()).await.expect("in time");
    assert!(matches!(notice, Some(Notice::Welcome(_))), "{notice:?}");
}

/// Another authority, or none that was named.
async fn not_believed(house: &House) {
    let other = Trust::pem(&sign().authority).expect("a certificate");
    for trust in [other, Trust::default()] {
        let refused = house.api(&trust).fetch("/readyz").await.expect_err("not believed");
        let ApiError::Unreachable(why) = refused else { panic!("{refused}") };
        assert!(why.contains("certificate"), "{why}");
    }
}

/// Who speaks plain HTTP there gets nothing.
async fn plain(house: &House) {
    let mut socket = TcpStream::connect(house.gateway.authority()).await.expect("it listens");
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writable");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(nodes::LIMIT, socket.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&answer));
}

fn command_line(house: &House) {
    let run = |authority: Option<PathBuf>| {
        let mut command = rotary();
        command.args(["cluster", "status", "--url", &house.gateway.to_string(), "--token"]);
        command.arg(&house.nodes.token);
        if let Some(authority) = authority {
            command.arg("--ca").arg(authority);
        }
        said(&command.output().expect("it runs"))
    };
    let (code, why) = run(Some(house.file("ca.pem", &house.signed.authority)));
    assert_eq!(code, Some(0), "{why}");
    let (code, why) = run(Some(house.file("no.pem", "nothing")));
    assert!(code != Some(0) && why.contains("no.pem"), "{why}");
}

/// Every tool that asks a node speaks TLS with it, and believes nobody by itself.
fn tools(house: &House) {
    let (authority, url) =
        (house.file("ca.pem", &house.signed.authority), house.gateway.to_string());
    let run = |args: &[&str], trusting: bool| {
        let mut command = rotary();
        command.args(args).env("ROTARY_TOKEN", &house.nodes.token);
        if trusting {
            command.arg("--ca").arg(&authority);
        }
        said(&command.output().expect("it runs"))
    };
    let ledger = house.nodes.dir.path().join("ledger").display().to_string();
    let load = [
        "load",
        "trace",
        "--gateway",
        &url,
        "--ledger",
        &ledger,
        "--from",
        "10:00",
        "--to",
        "10:05",
        "--speed",
        "300",
        "--share",
        "0.05",
        "--agents",
        "4",
        "--sites",
        "1",
    ];
    let verify = ["verify", &ledger, "--gateway", &url];
    // Others are told of a node by the address that speaks TLS.
    let text = nodes::text(&house.nodes.config(1)).replace("\"http://", "\"https://");
    let config = |name: &str, text: &str| {
        let path = house.nodes.config(1).with_file_name(name);
        std::fs::write(&path, text).expect("writable");
        path.display().to_string()
    };
    let plain = config("plain.toml", &text);
    let doctor = ["doctor", "--config", &plain];
    let top = ["top", "--once", "--url", &url];
    for tool in [load.as_slice(), &verify, &doctor, &top] {
        let (code, why) = run(tool, true);
        assert_eq!(code, Some(0), "{tool:?}: {why}");
    }
    for tool in [verify.as_slice(), &doctor, &top] {
        let (code, why) = run(tool, false);
        assert_ne!(code, Some(0), "{tool:?} believes anybody: {why}");
    }
    let named = text.replacen("[gateway]", "[gateway]\nca_file = \"../ca.pem\"", 1);
    let (code, why) = run(&["doctor", "--config", &config("named.toml", &named)], false);
    assert_eq!(code, Some(0), "{why}");
}

/// Writes another certificate where the node looks for its own.
fn replace(house: &House, signed: &Signed) {
    let folder = house.nodes.dir.path().join("node-1");
    std::fs::write(folder.join("public.key"), &signed.key).expect("writable");
    std::fs::write(folder.join("public.pem"), &signed.certificate).expect("writable");
}

/// Whether a client that believes in that authority alone is served.
async fn served(house: &House, authority: &str) -> bool {
    let trust = Trust::pem(authority).expect("a certificate");
    house.api(&trust).fetch("/readyz").await.is_ok()
}

#[tokio::test]
async fn a_certificate_is_renewed_without_a_restart() {
    let house = House::open().await;
    let renewed = sign();
    replace(&house, &renewed);
    // Nobody says anything: the files are looked at.
    eventually("the new one is shown", async || {
        served(&house, &renewed.authority).await.then_some(())
    })
    .await;
    assert!(!served(&house, &house.signed.authority).await, "the old one is gone");
    let folder = house.nodes.dir.path().join("node-1");
    std::fs::write(folder.join("public.pem"), "nothing").expect("writable");
    house.nodes.signal(1, "HUP");
    eventually("what cannot be used is named", async || {
        house.nodes.log(1).contains("the new certificate is not used").then_some(())
    })
    .await;
    assert!(served(&house, &renewed.authority).await, "the one before is shown on");
}

#[tokio::test]
async fn the_log_level_is_taken_up_and_the_rest_is_named() {
    let mut nodes = Nodes::init(1, 1);
    nodes.start_all().await;
    let text = nodes::text(&nodes.config(1));
    let with = |more: &str| std::fs::write(nodes.config(1), format!("{text}\n{more}\n"));
    let told = async |what: &str| {
        eventually(what, async || nodes.log(1).contains(what).then_some(())).await;
    };
    assert!(!nodes.log(1).contains("\"level\":\"DEBUG\""));
    with("[telemetry]\nlog_level = \"debug\"\n[log]\nthreads = 2").expect("writable");
    nodes.signal(1, "HUP");
    told("\"key\":\"telemetry.log_level\"").await;
    told("\"message\":\"needs a restart\",\"key\":\"log.threads\"").await;
    eventually("lines of that level", async || {
        // Something happens that is worth a line to nobody else.
        let admin = nodes.admin(1);
        done(&admin, Method::POST, "/v1/tenants", json!({"name": "acme"})).await;
        nodes.log(1).contains("\"level\":\"DEBUG\"").then_some(())
    })
    .await;
    with("[telemetry]\nlog_levle = \"trace\"").expect("writable");
    nodes.signal(1, "HUP");
    told("the configuration is not taken up").await;
    assert!(nodes.admin(1).fetch("/readyz").await.is_ok());
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let house = House::furnish();
    let refused = |settings: &[&str]| {
        let mut command = rotary();
        command.args(["server", "--exit-with-stdin"]);
        settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
        command.arg("--config").arg(house.nodes.config(1)).stdin(std::process::Stdio::null());
        let (code, why) = said(&command.output().expect("it runs"));
        assert_ne!(code, Some(0), "{settings:?}");
        why
    };
    let certificate = "gateway.certificate_file=public.pem";
    let why = refused(&[certificate]);
    assert!(why.contains("go together"), "{why}");
    let why = refused(&["gateway.key_file=public.key"]);
    assert!(why.contains("go together"), "{why}");
    let why = refused(&[certificate, "gateway.key_file=nowhere.key"]);
    assert!(why.contains("nowhere.key") && why.contains("gateway.key_file"), "{why}");
    let why = refused(&[certificate, "gateway.key_file=tls/node.key"]);
    assert!(why.contains("public.pem"), "another's key: {why}");
    let why = refused(&["gateway.certificate_file=token.secret", "gateway.key_file=public.key"]);
    assert!(why.contains("token.secret"), "{why}");
}
