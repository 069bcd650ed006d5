//! The list of routes, as the router itself tells it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::routes;
use crate::gateway::openapi::document;
use crate::gateway::session::late_tests::House;

/// Each method of each path: what the answer to one that no route has allows.
async fn listed() -> String {
    let house = House::open().await;
    let mut lines = Vec::new();
    let routes = routes();
    let paths = routes.operations().iter().map(|operation| operation.path.as_str());
    for path in paths.collect::<BTreeSet<&str>>() {
        let mut socket = TcpStream::connect(house.address).await.expect("it listens");
        let filled = path.replace(['{', '}'], "");
        let request = format!("PATCH {filled} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("writable");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("readable");
        assert!(answer.starts_with("HTTP/1.1 405 "), "{path}: {answer}");
        let allow = answer.lines().find_map(|line| line.strip_prefix("allow: "));
        let allow = allow.unwrap_or_else(|| panic!("{path}: {answer}"));
        let methods = allow.trim().split(',').filter(|method| *method != "HEAD");
        lines.extend(methods.map(|method| format!("{method} {path}\n")));
    }
    lines.sort_by_key(|line| line.split(' ').rev().map(str::to_owned).collect::<Vec<_>>());
    lines.concat()
}

/// `node/tests/isolation.rs` tries every line of that file: a route that is not in it is not tried.
#[tokio::test]
async fn every_route_is_listed() {
    let listed = listed().await;
    let mut described = Vec::new();
    for (path, methods) in document()["paths"].as_object().expect("paths") {
        let methods = methods.as_object().expect("methods").keys();
        described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
    }
    described.sort_unstable();
    let mut answered: Vec<&str> = listed.lines().collect();
    answered.sort_unstable();
    assert_eq!(described, answered, "the description has other routes than the router");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api/routes.txt");
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &listed).expect("writable");
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        listed,
        "{}: run with ROTARY_BLESS=1, and say in node/tests/isolation.rs who is refused where",
        path.display()
    );
}
