//! The sources, the pages and the files say the same codes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate in a workspace").to_owned()
}

/// The production sources below a folder of the repository.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let (mut folders, mut found) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("named").to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("a source is text");
                let production = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                found.push((path, production));
            }
        }
    }
    found
}

/// The codes that follow `opening` within its statement, as the first text literal there.
fn after<'a>(text: &'a str, opening: &str) -> Vec<&'a str> {
    let literal = |rest: &'a str| {
        let statement = rest.split(';').next().unwrap_or_default();
        let word = statement.split('"').nth(1)?;
        let is_code = |c: char| c.is_ascii_lowercase() || c == '-';
        (word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(is_code))
            .then_some(word)
    };
    text.match_indices(opening).filter_map(|(at, _)| literal(&text[at + opening.len()..])).collect()
}

/// The words of the arms of a file's `fn word` or `fn code`.
fn words<'a>(text: &'a str, function: &str) -> Vec<&'a str> {
    let body = text.split(function).nth(1).unwrap_or_default();
    let body = body.split("\n    }\n").next().unwrap_or_default();
    body.split('"').skip(1).step_by(2).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// Every code that an answer or a `bye` can carry.
fn said_to_clients() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (_, text) in sources("node/src/gateway") {
        for opening in ["Problem::new(", "Self::new(", "End::never(", "End::resume("] {
            codes.extend(after(&text, opening).into_iter().map(str::to_owned));
        }
        for opening in ["End::restart(", "Self::restart(", "Self::resume("] {
            codes.extend(after(&text, opening).into_iter().map(str::to_owned));
        }
    }
    for path in
        ["proto/src/refusal.rs", "node/directory/src/command.rs", "node/src/gateway/token.rs"]
    {
        codes.extend(words(&read(path), "fn word(").into_iter().map(str::to_owned));
    }
    codes
}

/// Every code of a log line, of a finding of the doctor, and of a failed start.
fn said_to_operators() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for folder in ["node/src", "node/log/src", "node/storage/src", "node/transport/src"] {
        for (_, text) in sources(folder) {
            codes.extend(after(&text, "code = ").into_iter().map(str::to_owned));
            for grade in ["Finding::warning(", "Finding::failure("] {
                codes.extend(after(&text, grade).into_iter().map(str::to_owned));
            }
        }
    }
    let starts = read("node/src/server/error.rs");
    codes.extend(words(&starts, "fn code(").into_iter().map(str::to_owned));
    codes
}

fn exits() -> BTreeSet<String> {
    let numbers = |path: &str| -> Vec<String> {
        let text = read(path);
        let constants = text.lines().filter(|line| line.starts_with("pub"));
        let values = constants.filter_map(|line| line.split_once(" = "));
        let values = values.filter_map(|(_, value)| value.trim_end_matches(';').parse::<u8>().ok());
        values.map(|value| format!("exit-{value}")).collect()
    };
    let ours = numbers("node/src/cli/exit.rs");
    ours.into_iter().chain(numbers("node/storage/src/fatal.rs")).collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let mut said = said_to_clients();
    for sample in ["no-leader", "offer-gone", "taken-over", "too-large", "token-expired"] {
        assert!(said.contains(sample), "{sample} is not found in the sources");
    }
    said.extend(said_to_operators());
    assert!(said.contains("log-cut") && said.contains("address-in-use"), "{said:?}");
    said.extend(exits());
    // Said by the client library, of what no node says.
    said.insert("unreachable".to_owned());
    let told: BTreeSet<String> = pages().map(|page| page.code.to_owned()).collect();
    let without: Vec<_> = said.difference(&told).collect();
    assert!(without.is_empty(), "codes without a page in node/src/runbook/: {without:?}");
    let gone: Vec<_> = told.difference(&said).collect();
    assert!(gone.is_empty(), "pages in node/src/runbook/ whose code nobody says: {gone:?}");
    assert_eq!(told.len(), pages().count(), "a code has two pages");
}

#[test]
fn a_line_that_says_a_promise_is_at_risk_has_a_code() {
    for folder in ["node/src", "node/log/src", "node/storage/src", "node/transport/src"] {
        for (path, text) in sources(folder) {
            if path.components().any(|part| part.as_os_str() == "load") {
                continue;
            }
            for (_, call) in text.match_indices("tracing::error!(").map(|(at, m)| (m, &text[at..]))
            {
                let call = call.split(';').next().unwrap_or_default();
                assert!(call.contains("code = \""), "{}: {call}", path.display());
            }
        }
    }
}

/// What stands before the contents.
const ABOUT: &str = "# Runbook

Every code that Rotary says, with what it means, why it appears, and what to do. `rotary explain
CODE` shows the same page on a terminal, and every node serves it at `/runbook/CODE`. These files
are written from `node/src/runbook/`.
";

/// The contents of the book, as Markdown.
fn contents() -> String {
    let mut text = ABOUT.to_owned();
    for Chapter { title, met, pages } in &CHAPTERS {
        write!(text, "\n## {title}\n\n{met}\n\n| code | means |\n|---|---|\n").expect("a text");
        for Page { code, means, .. } in *pages {
            writeln!(text, "| [`{code}`]({code}.md) | {means} |").expect("a text");
        }
    }
    text
}

/// Compares with the files of `docs/runbook/`, or writes them where `ROTARY_BLESS` is 1.
#[test]
fn the_files_are_the_pages() {
    let folder = root().join("docs/runbook");
    let mut wanted: Vec<(String, String)> =
        pages().map(|page| (format!("{}.md", page.code), page.text())).collect();
    wanted.push(("README.md".to_owned(), contents()));
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::remove_dir_all(&folder).ok();
        std::fs::create_dir_all(&folder).expect("writable");
        for (name, text) in &wanted {
            std::fs::write(folder.join(name), text).expect("writable");
        }
    }
    let cure = "run with ROTARY_BLESS=1 and commit the files";
    for (name, text) in &wanted {
        let kept = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert_eq!(&kept, text, "docs/runbook/{name} differs; {cure}");
    }
    let kept = std::fs::read_dir(&folder).expect("there").count();
    assert_eq!(kept, wanted.len(), "docs/runbook has files of no code; {cure}");
}

#[test]
fn a_number_is_an_exit_code_and_a_slip_is_forgiven() {
    assert_eq!(find("74").expect("known").code, "exit-74");
    assert_eq!(find(" Offer-Gone ").expect("known").code, "offer-gone");
    assert!(find("ofer-gone").is_none());
    assert_eq!(meant("ofer-gone"), Some("offer-gone"));
    assert_eq!(meant("exit-66"), Some("exit-65"));
    assert_eq!(meant("breakfast-time"), None);
}

#[test]
fn a_page_fits_a_terminal_and_says_everything() {
    for page in pages() {
        let text = page.text();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        for part in [page.means, page.why, page.cure] {
            assert!(part.ends_with('.') && part.len() > 4, "{}: {part}", page.code);
        }
    }
}
