//! Requests against gateways that answer from a list.

use std::sync::Mutex;
use std::time::Instant;

use axum::Router;
use axum::http::HeaderMap as Headers;
use axum::response::{IntoResponse, Response};

use super::*;

/// One scripted answer: status, headers, body. Status 0 drops the connection unanswered.
type Scripted = (u16, Vec<(&'static str, &'static str)>, &'static str);

const NO_LEADER: &str = r#"{"code":"no-leader","detail":"wait","outcome":"definite"}"#;
const UNKNOWN: &str = r#"{"code":"outcome-unknown","detail":"?","outcome":"unknown"}"#;
const GONE: &str = r#"{"code":"offer-gone","detail":"gone","outcome":"definite"}"#;
const FORGOTTEN: &str = r#"{"code":"outcome-forgotten","detail":"old","outcome":"definite"}"#;

/// A gateway that answers from a list, and the keys it saw.
struct Fake {
    gateway: Gateway,
    keys: Arc<Mutex<Vec<String>>>,
}

async fn fake(script: Vec<Scripted>) -> Fake {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let gateway = format!("http://{}", listener.local_addr().expect("bound"));
    let keys = Arc::new(Mutex::new(Vec::new()));
    let (seen, script) = (Arc::clone(&keys), Mutex::new(script.into_iter()));
    let answer = move |headers: Headers| {
        let key = headers.get("idempotency-key").map(|key| key.to_str().expect("text").to_owned());
        seen.lock().expect("sound").extend(key);
        let next = script.lock().expect("sound").next().expect("another answer");
        std::future::ready(scripted(&next))
    };
    let answer = Arc::new(answer);
    let app = Router::new().fallback(move |headers: Headers| answer(headers));
    tokio::spawn(async move { axum::serve(listener, app).await });
    Fake { gateway: gateway.parse().expect("an address"), keys }
}

fn scripted((status, headers, body): &Scripted) -> Response {
    let status = StatusCode::from_u16(*status).expect("a status");
    let mut response = (status, *body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    response
}

fn api(gateways: &[&Fake], total_ms: u64) -> Api {
    let attempt = Duration::from_millis(300);
    let patience = Patience { attempt, total: Duration::from_millis(total_ms) };
    let gateways = gateways.iter().map(|fake| fake.gateway.clone()).collect();
    Api::new(gateways, "token", patience).expect("a gateway")
}

async fn post(api: &Api) -> Outcome {
    api.change(Method::POST, "/v1/tenants", &serde_json::json!({"name": "a"})).await
}

#[tokio::test]
async fn what_is_definitely_not_done_or_unknown_is_sent_again_under_one_key() {
    let done = vec![("rotary-index", "sh_3:1042"), ("rotary-repeated", "true")];
    let script = vec![(503, vec![], NO_LEADER), (503, vec![], UNKNOWN), (201, done, "{}")];
    let fake = fake(script).await;
    let Outcome::Acknowledged(done) = post(&api(&[&fake], 5_000)).await else { panic!("not done") };
    let position = Position { shard: rotary_proto::ShardId(3), index: 1_042 };
    assert_eq!((done.position, done.repeated), (Some(position), true));
    let keys = fake.keys.lock().expect("sound");
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| key == &keys[0]));
}

#[tokio::test]
async fn a_refusal_is_final() {
    let fake = fake(vec![(409, vec![], GONE)]).await;
    let Outcome::Refused(refused) = post(&api(&[&fake], 5_000)).await else {
        panic!("not refused")
    };
    assert_eq!((refused.status, refused.code.as_str()), (409, "offer-gone"));
}

#[tokio::test]
async fn doubt_outlives_a_definite_no_of_a_retry() {
    let refusals = std::iter::repeat_n((503, vec![], NO_LEADER), 64);
    let fake = fake(std::iter::once((503, vec![], UNKNOWN)).chain(refusals).collect()).await;
    assert!(matches!(post(&api(&[&fake], 200)).await, Outcome::Unknown(_)));
    let fake = super::tests::fake(vec![(409, vec![], FORGOTTEN)]).await;
    assert!(matches!(post(&api(&[&fake], 200)).await, Outcome::Unknown(_)));
}

#[tokio::test]
async fn what_a_door_refuses_says_nothing_of_an_attempt_before() {
    let decided = vec![("rotary-index", "sh_3:1042")];
    let fake = fake(vec![(503, vec![], UNKNOWN), (409, decided, GONE)]).await;
    let position = Position { shard: rotary_proto::ShardId(3), index: 1_042 };
    let told = post(&api(&[&fake], 5_000)).await;
    assert!(matches!(told, Outcome::Refused(refused) if refused.position == Some(position)));
    let fake = super::tests::fake(vec![(503, vec![], UNKNOWN), (400, vec![], GONE)]).await;
    assert!(matches!(post(&api(&[&fake], 5_000)).await, Outcome::Unknown(_)));
}

#[tokio::test]
async fn a_gateway_that_is_not_there_costs_nothing_but_the_next_try() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let gone = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let dead = Fake { gateway: gone.parse().expect("an address"), keys: Arc::default() };
    let alive = fake(vec![(200, vec![], "{\"a\":1}"), (200, vec![], "{}")]).await;
    let api = api(&[&dead, &alive], 2_000);
    let begun = Instant::now();
    assert!(matches!(post(&api).await, Outcome::Acknowledged(_)));
    let read: serde_json::Value = api.read("/v1/sites").await.expect("an answer");
    assert_eq!(read, serde_json::json!({}));
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(matches!(post(&api.only(&dead.gateway).patient(Patience {
        attempt: Duration::from_millis(100),
        total: Duration::from_millis(100),
    })).await, Outcome::Refused(refused) if refused.code == "unreachable"));
}
