//! Every route and every frame, tried by those who must not: other tenants, other sites, roles that
//! are too small, and credentials that are none.
//!
//! The routes come from `docs/api/routes.txt`, which a test compares with the router, and the
//! frames from the golden samples, of which every variant has one: what is added is tried, or the
//! test fails. Each answer must be the refusal that is documented, the same whether what was named
//! is there or not, and without a word of what is there; and afterwards nothing may have changed.

#[path = "isolation/cases.rs"]
mod cases;
#[path = "support/described.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod described;
#[path = "isolation/house.rs"]
mod house;
#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;
#[path = "support/stream.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod stream;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod wire;

use cases::{Expected, case, is_of_sessions, is_public};
use futures::SinkExt;
use house::{House, Ids, MARK, Stranger, TENANT};
use hyper::Method;
use nodes::{done, eventually};
use serde_json::{Value, json};
use stream::{Stream, post};
use tokio_tungstenite::tungstenite::Message;
use wire::{Answer, Socket, ask, connect, forged, frame};

const ROUTES: &str = include_str!("../../docs/api/routes.txt");
const FRAMES: &str = include_str!("../../proto/golden/client_frames.json.txt");

/// The blob that the samples name.
const SAMPLE_BLOB: &str = "bl_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

async fn attempt(house: &House, route: &str, ids: Ids, token: &str, body: &Value) -> Answer {
    let (method, template) = route.split_once(' ').expect("a method and a path");
    let path = house.path(template, ids);
    let answer = ask(&house.nodes.gateways[0], method, &path, token, "", body).await;
    assert!(!answer.body.contains(MARK), "{route} tells: {}", answer.body);
    house.described.check_answer(route, &answer);
    answer
}

/// Status and code of an answer, and what it says without the ids that were asked for.
fn verdict(answer: &Answer) -> (u16, String) {
    let fine = (200..300).contains(&answer.status);
    (answer.status, if fine { String::new() } else { answer.code() })
}

#[tokio::test]
async fn nobody_gets_in_who_must_not() {
    let house = House::build().await;
    let (bad, session) = bad_credentials(&house).await;
    let before = house.everything().await;
    public_routes(&house).await;
    no_credentials(&house, &bad).await;
    strangers(&house).await;
    frames_of_nobody(&house).await;
    frames_of_strangers(&house).await;
    frames_of_the_small(&house).await;
    posts_of_nobody(&house, &bad, &session).await;
    posts_of_strangers(&house).await;
    posts_of_the_small(&house).await;
    frames_of_a_board(&house).await;
    assert_eq!(house.everything().await, before, "something changed");
}

/// What needs no credential tells nothing of anybody.
async fn public_routes(house: &House) {
    for route in ROUTES.lines().filter(|route| is_public(route)) {
        attempt(house, route, Ids::There, "", &json!({})).await;
    }
}

/// Credentials that are none, and what is said to them; and the token of a session that was begun
/// with one that is revoked.
async fn bad_credentials(house: &House) -> ([(String, &'static str); 6], String) {
    let admin = house.nodes.admin(1);
    let expired = house.sign(json!({"role": "administrator", "ttl_s": 1})).await;
    let key = json!({"name": "revoked", "role": "administrator"});
    let key = done(&admin, Method::POST, "/v1/api-keys", key).await;
    let path = format!("/v1/api-keys/{}", key["api_key"].as_str().expect("a text"));
    let key = key["key"].as_str().expect("a text").to_owned();
    let child = json!({"role": "administrator", "ttl_s": 600});
    let child = ask(&house.nodes.gateways[0], "POST", "/v1/tokens", &key, "", &child).await;
    let child: Value = serde_json::from_str(&child.body).expect("JSON");
    let child = child["token"].as_str().expect("a text").to_owned();
    let (_stream, session) = streamed(house, &key).await;
    assert_eq!(posted(house, &session, &json!({"type": "ping", "t": 1})).await.status, 200);
    done(&admin, Method::DELETE, &path, json!({})).await;
    eventually("the token expires", async || {
        let none = json!({});
        let answer = ask(&house.nodes.gateways[0], "GET", "/v1/sites", &expired, "", &none).await;
        (answer.status == 401).then_some(())
    })
    .await;
    let forged = forged(&house.nodes.token);
    let bad = [
        (String::new(), "token-malformed"),
        ("rk_1_x".to_owned(), "token-malformed"),
        (forged, "token-forged"),
        (expired, "token-expired"),
        (key, "token-revoked"),
        (child, "token-revoked"),
    ];
    (bad, session)
}

/// Routes that somebody with a token or key may use.
fn routes_by_bearer() -> impl Iterator<Item = &'static str> {
    ROUTES.lines().filter(|route| !is_public(route) && !is_of_sessions(route))
}

/// They are refused before anything else is looked at.
async fn no_credentials(house: &House, bad: &[(String, &'static str)]) {
    for route in routes_by_bearer() {
        let body = case(house, route).body;
        for (token, code) in bad {
            for ids in [Ids::There, Ids::Nowhere] {
                let answer = attempt(house, route, ids, token, &body).await;
                assert_eq!(verdict(&answer), (401, (*code).to_owned()), "{route} {ids:?}");
            }
        }
    }
}

/// Those who are somebody elsewhere, or too little here.
async fn strangers(house: &House) {
    for stranger in [
        Stranger::OtherTenant,
        Stranger::OtherSite,
        Stranger::OtherAgent,
        Stranger::Agent,
        Stranger::Customer,
        Stranger::Supervisor,
        Stranger::Board,
    ] {
        let token = house.token(stranger).await;
        for route in routes_by_bearer() {
            let case = case(house, route);
            let expected = match stranger {
                Stranger::OtherTenant => Some(case.other_tenant),
                Stranger::OtherSite => Some(case.other_site),
                Stranger::OtherAgent => Some(case.other_agent),
                Stranger::Agent => Some(case.agent),
                Stranger::Customer => Some(case.customer),
                Stranger::Supervisor => case.supervisor,
                // A board has its session and nothing else.
                Stranger::Board => Some(Expected::No(403, "not-allowed")),
            };
            let Some(expected) = expected else { continue };
            let there = attempt(house, route, Ids::There, &token, &case.body).await;
            let what = format!("{stranger:?} at {route}: {}", there.body);
            let elsewhere = [Stranger::OtherTenant, Stranger::OtherAgent].contains(&stranger);
            assert!(!(elsewhere && there.body.contains(TENANT)), "{what}");
            match expected {
                Expected::No(status, code) => {
                    assert_eq!(verdict(&there), (status, code.to_owned()), "{what}");
                }
                Expected::Empty => assert!([200, 201].contains(&there.status), "{what}"),
            }
            // Within their own site, a customer may know which conversation exists: ids are random.
            if elsewhere || stranger == Stranger::OtherSite {
                let nowhere = attempt(house, route, Ids::Nowhere, &token, &case.body).await;
                assert_eq!(verdict(&nowhere), verdict(&there), "{what}");
            }
        }
    }
}

/// Every sample of a frame, its ids those of the house.
fn frames(house: &House) -> Vec<(String, Value)> {
    let sample = |line: &str| {
        let (name, text) = line.split_once(": ").expect("a name and a sample");
        let conversation = text.find("cv_1.2.").map(|at| text[at..at + 39].to_owned());
        let text = match conversation {
            Some(conversation) => text.replace(&conversation, &house.conversation),
            None => text.to_owned(),
        };
        // A file that is there, so that it is not what is refused.
        let text = text.replace("st_1.2", &house.site).replace(SAMPLE_BLOB, &house.blob);
        let text = text.replace("\"bytes\":123456", &format!("\"bytes\":{}", house.file_bytes()));
        (name.to_owned(), serde_json::from_str(&text).expect("JSON"))
    };
    let frames: Vec<(String, Value)> = FRAMES.lines().map(sample).collect();
    assert!(frames.len() > 20, "{}", frames.len());
    frames
}

async fn send(socket: &mut Socket, frame: &Value) {
    socket.send(Message::text(frame.to_string())).await.expect("writable");
}

/// The next frame that is no event, and no snapshot of the client's own.
async fn answer(socket: &mut Socket) -> Value {
    loop {
        let frame = frame(socket).await;
        assert!(!frame.to_string().contains(MARK), "{frame}");
        if !matches!(frame["type"].as_str(), Some("event" | "snapshot" | "signal")) {
            return frame;
        }
    }
}

/// A socket with a session.
async fn session(house: &House, token: &str) -> Socket {
    let mut socket = connect(&house.nodes).await;
    send(&mut socket, &json!({"type": "start", "token": token, "cursors": []})).await;
    let welcome = answer(&mut socket).await;
    assert_eq!(welcome["type"], "welcome", "{welcome}");
    socket
}

/// Before a session, only `start` and `resume` are heard, and those with credentials alone.
async fn frames_of_nobody(house: &House) {
    for (name, frame) in frames(house) {
        let mut socket = connect(&house.nodes).await;
        send(&mut socket, &frame).await;
        let bye = answer(&mut socket).await;
        let expected = match frame["type"].as_str() {
            Some("start" | "resume") => "token-malformed",
            _ => "protocol",
        };
        assert_eq!((&bye["type"], &bye["code"]), (&json!("bye"), &json!(expected)), "{name}");
    }
}

/// A session of another tenant or site does not reach this one with any frame.
async fn frames_of_strangers(house: &House) {
    for stranger in [Stranger::OtherTenant, Stranger::OtherSite, Stranger::OtherAgent] {
        for (name, frame) in frames(house) {
            let token = house.token(stranger).await;
            let mut socket = session(house, &token).await;
            send(&mut socket, &frame).await;
            send(&mut socket, &json!({"type": "ping", "t": 99})).await;
            let answer = answer(&mut socket).await;
            let expected = match frame["type"].as_str() {
                Some("cmd" | "start" | "resume") => ("bye", "protocol"),
                Some("bye") => ("bye", "session-ended"),
                // A signal about somebody else's conversation is heard by nobody.
                Some("ack" | "signal" | "ping") => ("pong", ""),
                other => panic!("{other:?}: say here what a stranger is answered"),
            };
            let code = answer["code"].as_str().unwrap_or_default();
            assert_eq!((answer["type"].as_str(), code), (Some(expected.0), expected.1), "{name}");
        }
    }
    let token = house.token(Stranger::OtherTenant).await;
    let cursors = json!([{"site": house.site, "sequence": 0}]);
    let mut socket = connect(&house.nodes).await;
    send(&mut socket, &json!({"type": "start", "token": token, "cursors": cursors})).await;
    assert_eq!(answer(&mut socket).await["code"], "other-tenant");
}

/// Commands of every kind, by those of the site who may do little there, and what they are to be
/// told of each.
async fn commands_of_the_small(house: &House) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for stranger in [Stranger::Customer, Stranger::Agent] {
        for (name, mut frame) in frames(house).into_iter().filter(|(_, f)| f["type"] == "cmd") {
            (frame["number"], frame["acknowledged"]) = (json!(1), json!(0));
            all.push((format!("{stranger:?}: {name}"), house.token(stranger).await, frame));
        }
    }
    all
}

/// A customer, or an agent, asks for everything, and gets nothing of what is not theirs.
async fn frames_of_the_small(house: &House) {
    for (name, token, frame) in commands_of_the_small(house).await {
        let mut socket = session(house, &token).await;
        send(&mut socket, &frame).await;
        let answer = answer(&mut socket).await;
        if answer["type"] == "bye" {
            assert_eq!(answer["code"], "protocol", "{name}: {answer}");
            continue;
        }
        assert_eq!(answer["type"], "result", "{name}: {answer}");
        let refused = &answer["result"]["outcome"]["refused"];
        assert!(!refused.is_null(), "{name}: {answer}");
    }
}

/// Posts a frame to a session, and holds the answer against what is said of it.
async fn posted(house: &House, token: &str, frame: &Value) -> Answer {
    let answer = post(&house.nodes.gateways[0], token, std::slice::from_ref(frame)).await;
    assert!(!answer.body.contains(MARK), "{frame} tells: {}", answer.body);
    house.described.check_answer("POST /v1/session/frames", &answer);
    answer
}

/// A stream with a session, and the token of that.
async fn streamed(house: &House, token: &str) -> (Stream, String) {
    let start = json!({"type": "start", "token": token, "cursors": []});
    let mut stream = Stream::open(&house.nodes.gateways[0], &start).await;
    let welcome = stream.frame().await;
    let resume_token = welcome["resume_token"].as_str().expect("a welcome").to_owned();
    (stream, resume_token)
}

/// Nothing but a session's own token is taken where its client posts, and that only while what
/// the session was begun with is good; a stream begins with credentials alone.
async fn posts_of_nobody(house: &House, bad: &[(String, &'static str)], revoked: &str) {
    let ping = json!({"type": "ping", "t": 1});
    for (token, code) in bad {
        // Of what is no session's token it is not told whether it would be good elsewhere.
        let expected = if *code == "token-forged" { code } else { "token-malformed" };
        let refused = posted(house, token, &ping).await;
        assert_eq!(verdict(&refused), (401, expected.to_owned()));
        let start = json!({"type": "start", "token": token, "cursors": []});
        let said = Stream::open(&house.nodes.gateways[0], &start).await.rest().await;
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((&said[0]["type"], &said[0]["code"]), (&json!("bye"), &json!(code)));
    }
    let bearer = posted(house, &house.nodes.token, &ping).await;
    assert_eq!(verdict(&bearer), (401, "token-malformed".to_owned()));
    let ended = posted(house, revoked, &ping).await;
    assert_eq!(verdict(&ended), (401, "token-revoked".to_owned()));
    let forged = posted(house, &forged(revoked), &ping).await;
    assert_eq!(verdict(&forged), (401, "token-forged".to_owned()));
}

/// Before a session, a stream hears only `start` and `resume`; a session of another tenant or site
/// does not reach this one with any frame that is posted.
async fn posts_of_strangers(house: &House) {
    for (name, frame) in frames(house) {
        let said = Stream::open(&house.nodes.gateways[0], &frame).await.rest().await;
        let expected = match frame["type"].as_str() {
            Some("start" | "resume") => "token-malformed",
            _ => "protocol",
        };
        assert_eq!(said.last().expect("a bye")["code"], expected, "{name}: {said:?}");
    }
    for stranger in [Stranger::OtherTenant, Stranger::OtherSite, Stranger::OtherAgent] {
        for (name, frame) in frames(house) {
            let bearer = house.token(stranger).await;
            let (_stream, token) = streamed(house, &bearer).await;
            let answer = posted(house, &token, &frame).await;
            let expected = match frame["type"].as_str() {
                Some("cmd" | "start" | "resume") => {
                    assert_eq!(verdict(&answer), (400, "protocol".to_owned()), "{name}");
                    continue;
                }
                Some("bye") => json!("bye"),
                Some("ping") => json!("pong"),
                // A signal about somebody else's conversation is heard by nobody.
                Some("ack" | "signal") => Value::Null,
                other => panic!("{other:?}: say here what a stranger is answered"),
            };
            let said: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert_eq!(said["frames"][0]["type"], expected, "{name}: {said}");
        }
    }
}

/// The same over posts.
async fn posts_of_the_small(house: &House) {
    for (name, bearer, frame) in commands_of_the_small(house).await {
        let (_stream, token) = streamed(house, &bearer).await;
        let answer = posted(house, &token, &frame).await;
        if answer.status != 200 {
            assert_eq!(verdict(&answer), (400, "protocol".to_owned()), "{name}");
            continue;
        }
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        let refused = &said["frames"][0]["result"]["outcome"]["refused"];
        assert!(!refused.is_null(), "{name}: {said}");
    }
}

/// A board gets figures whatever it says, and no word of any person or conversation.
async fn frames_of_a_board(house: &House) {
    let bearer = house.token(Stranger::Board).await;
    for (name, frame) in frames(house) {
        let mut socket = connect(&house.nodes).await;
        send(&mut socket, &json!({"type": "start", "token": bearer, "cursors": []})).await;
        let welcome = answer(&mut socket).await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        let token = welcome["resume_token"].as_str().expect("a text");
        let said = posted(house, token, &frame).await;
        let expected = match frame["type"].as_str() {
            Some("cmd" | "start" | "resume") => 400,
            _ => 200,
        };
        assert_eq!(said.status, expected, "{name}: {}", said.body);
        send(&mut socket, &frame).await;
        send(&mut socket, &json!({"type": "ping", "t": 99})).await;
        let answer = figures_until_answer(&mut socket).await;
        let expected = match frame["type"].as_str() {
            Some("cmd" | "start" | "resume") => ("bye", "protocol"),
            Some("bye") => ("bye", "session-ended"),
            Some("ack" | "signal" | "ping") => ("pong", ""),
            other => panic!("{other:?}: say here what a board is answered"),
        };
        let code = answer["code"].as_str().unwrap_or_default();
        assert_eq!((answer["type"].as_str(), code), (Some(expected.0), expected.1), "{name}");
    }
    let token = house.token(Stranger::Board).await;
    let cursors = json!([{"site": "st_2.1", "sequence": 0}]);
    let mut socket = connect(&house.nodes).await;
    send(&mut socket, &json!({"type": "start", "token": token, "cursors": cursors})).await;
    let welcome = answer(&mut socket).await;
    assert_eq!(welcome["sites"], json!([house.site]), "its own site, whatever it names");
}

/// The next frame that is no board's; those that are may name queues, and nothing else.
async fn figures_until_answer(socket: &mut Socket) -> Value {
    loop {
        let mut frame = frame(socket).await;
        if frame["type"] != "board" {
            return frame;
        }
        for queue in frame["queues"].as_array_mut().expect("a list") {
            queue.as_object_mut().expect("a queue").remove("name");
        }
        let text = frame.to_string();
        let private = [MARK, "\"ag_", "\"cu_", "\"cv_", "\"of_", "\"it_"];
        assert!(!private.iter().any(|word| text.contains(word)), "{text}");
    }
}
