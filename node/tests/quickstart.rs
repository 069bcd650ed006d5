//! `docs/api/quickstart.md`, `docs/api/stream.md` and `docs/api/attachments.md` are what an
//! integrator meets: their commands are run against real nodes with the real curl, and what they
//! print is compared, ids and times aside.
//!
//! `ROTARY_BLESS=1` writes what was printed into the pages.

#[path = "support/nodes.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of the support")]
mod nodes;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nodes::{LIMIT, free_base};

/// Between what two blocks of commands print.
const MARK: &str = "=== block";
/// The ports that the pages speak of: those of their first and second node.
const PORTS: [&str; 2] = ["7080", "7090"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A piece of the page.
enum Piece {
    Prose(String),
    /// Commands for bash.
    Commands(String),
    /// What the commands before it printed.
    Printed(String),
}

/// The page in pieces; joined again, they are the page.
fn pieces(page: &str) -> Vec<Piece> {
    let mut pieces = vec![Piece::Prose(String::new())];
    for line in page.split_inclusive('\n') {
        match (line.trim_end(), pieces.last_mut().expect("there is one")) {
            ("```sh", Piece::Prose(text)) => {
                text.push_str(line);
                pieces.push(Piece::Commands(String::new()));
            }
            ("```text", Piece::Prose(text)) => {
                text.push_str(line);
                pieces.push(Piece::Printed(String::new()));
            }
            ("```", Piece::Commands(_) | Piece::Printed(_)) => {
                pieces.push(Piece::Prose(line.to_owned()));
            }
            (_, Piece::Prose(text) | Piece::Commands(text) | Piece::Printed(text)) => {
                text.push_str(line);
            }
        }
    }
    pieces
}

/// Runs every command of the page in one shell, and gives what each block printed.
fn run(pieces: &[Piece]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let base = free_base(2);
    let ports = [base, base + 10].map(|port| port.to_string());
    let free = |text: &str| {
        PORTS
            .iter()
            .zip(&ports)
            .fold(text.to_owned(), |text, (shown, free)| text.replace(shown, free))
    };
    let shown = |text: &str| {
        PORTS
            .iter()
            .zip(&ports)
            .fold(text.to_owned(), |text, (shown, free)| text.replace(free, shown))
    };
    let blocks = pieces.iter().filter_map(|piece| match piece {
        Piece::Commands(text) => Some(free(text)),
        _ => None,
    });
    // Whatever goes wrong, nothing stays behind.
    let mut script = "set -eu; trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n".to_owned();
    for block in blocks {
        script.push_str(&format!("{block}\necho '{MARK}'\n"));
    }
    std::os::unix::fs::symlink(root().join("scripts"), dir.path().join("scripts")).expect("a link");
    let binary = Path::new(env!("CARGO_BIN_EXE_rotary")).parent().expect("a folder");
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").expect("a path"));
    let mut bash = Command::new("timeout")
        .args(["--kill-after=5", &LIMIT.as_secs().to_string(), "bash", "-s"])
        .current_dir(dir.path())
        .env_clear()
        .envs([("PATH", path.as_str()), ("HOME", "/nonexistent"), ("LC_ALL", "C.UTF-8")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("bash and timeout are at hand");
    let mut input = bash.stdin.take().expect("piped");
    input.write_all(script.as_bytes()).expect("bash reads");
    drop(input);
    let output = bash.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8(output.stdout).expect("texts");
    assert!(output.status.success(), "the page's commands fail:\n{printed}\n{said}");
    let mark = format!("{MARK}\n");
    printed.split(&mark).map(shown).collect()
}

/// What differs from run to run, by the name of the JSON field that it is in.
const VARIES: [&str; 23] = [
    "id: ",
    "\"stamp\":",
    "\"wall\":",
    "\"index\":",
    "\"until\":",
    "\"since\":",
    "\"waited_ms\":",
    "\"remaining_ms\":",
    "\"resume_token\":",
    "\"token\":",
    "\"session\":",
    "\"conversation\":",
    "\"build\":",
    "\"sequence\":",
    "\"seq\":",
    "\"key\":",
    "\"expires_at\":",
    "\"gateways\":",
    "rotary-index: ",
    "rotary-node: ",
    "\"oldest_wait_ms\":",
    "\"version\":",
    "content-length: ",
];

/// A line without what differs from run to run.
fn settled(line: &str) -> String {
    VARIES.iter().fold(line.to_owned(), |line, name| {
        let mut parts = line.split(name);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = match part.chars().next() {
                Some('"') => part[1..].find('"').map_or(part.len(), |at| at + 2),
                Some('[') => part.find(']').map_or(part.len(), |at| at + 1),
                _ => part.find([',', '}', '\n']).unwrap_or(part.len()),
            };
            kept.push_str(&format!("{name}…{}", &part[end..]));
        }
        kept
    })
}

#[test]
fn a_conversation_with_curl_and_a_websocket_is_what_happens() {
    expect_true("quickstart.md");
}

#[test]
fn a_session_with_curl_alone_is_what_happens() {
    expect_true("stream.md");
}

#[test]
fn files_with_messages_are_what_happens() {
    expect_true("attachments.md");
}

/// Runs a page, and compares what it shows with what was printed.
fn expect_true(page: &str) {
    let place = root().join("docs/api").join(page);
    let page = nodes::text(&place);
    let pieces = pieces(&page);
    let mut printed = run(&pieces).into_iter();
    let (mut last, mut written) = (String::new(), String::new());
    for piece in &pieces {
        match piece {
            Piece::Prose(text) => written.push_str(text),
            Piece::Commands(text) => {
                assert!(last.is_empty(), "the page does not show that this was printed:\n{last}");
                last = printed.next().expect("one for each block");
                written.push_str(text);
            }
            Piece::Printed(_) => written.push_str(&std::mem::take(&mut last)),
        }
    }
    assert!(last.is_empty(), "the page does not show that this was printed:\n{last}");
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&place, &written).expect("writable");
    }
    let page = nodes::text(&place);
    let lines = |text: &str| text.lines().map(settled).collect::<Vec<_>>();
    for (shown, real) in lines(&page).into_iter().zip(lines(&written)) {
        assert_eq!(shown, real, "{}: run with ROTARY_BLESS=1", place.display());
    }
    assert_eq!(page.lines().count(), written.lines().count());
}

#[test]
fn only_what_varies_is_left_out() {
    let line = r#"{"seq":3,"cursor":{"site":"st_1.1","sequence":9},"key":[1,2],"agent":"ag_1"}"#;
    let kept = r#"{"seq":…,"cursor":{"site":"st_1.1","sequence":…},"key":…,"agent":"ag_1"}"#;
    assert_eq!(settled(line), kept);
    assert_eq!(settled(r#"{"token":"ab.c","ordinal":2}"#), r#"{"token":…,"ordinal":2}"#);
}
