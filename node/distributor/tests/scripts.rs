//! Golden scripts: a shift on the floor, and what came of it.
//!
//! Each file in `testscripts/` is a behaviour, named by the file. It consists of paragraphs
//! separated by blank lines: `#` comments, command lines, `---`, and the trace that the commands
//! must give. After every entry, `rotary_distributor::invariants::check` must find nothing.
//!
//! ```sh
//! cargo test -p rotary-distributor --test scripts
//! ROTARY_SCRIPT=offer_declined cargo test -p rotary-distributor --test scripts
//! ROTARY_BLESS=1 cargo test -p rotary-distributor --test scripts
//! ```
//!
//! The second runs the scripts whose names contain the word, and prints their traces with
//! `-- --nocapture`. The third writes the traces anew; they are the specification, so read the
//! difference before keeping it. A `_breakpoint` line stops its script and prints the whole state.
//!
//! * `page`: a script's paragraphs, read, compared and written.
//! * `words`: one command line, taken apart.
//! * `floor`: the shard, its clock, and the names that scripts use for ids.
//! * `staff`: the commands that set the floor up and bring people to it.
//! * `desk`: the commands about conversations, and what is shown.
//! * `outside`: the commands about what must happen outside.
//! * `trace`: outcomes and events as lines.

#[path = "scripts/desk.rs"]
mod desk;
#[path = "scripts/floor.rs"]
mod floor;
#[path = "scripts/outside.rs"]
mod outside;
#[path = "scripts/page.rs"]
mod page;
#[path = "scripts/staff.rs"]
mod staff;
#[path = "scripts/trace.rs"]
mod trace;
#[path = "scripts/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::{env, fs, path::PathBuf};

use floor::Floor;
use page::Page;

/// Every script's path, in order.
fn paths() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let entries = fs::read_dir(folder).expect("the folder of scripts");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "script"));
    paths.sort();
    paths
}

/// Runs one script; gives what differs, and the words of everything that happened in it.
fn run(path: &PathBuf, bless: bool, said: &mut BTreeSet<String>) -> Result<(), String> {
    let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
    let mut page = Page::read(&fs::read_to_string(path).expect("readable"));
    let (mut floor, mut found) = (Floor::new(), Vec::new());
    for paragraph in &mut page.paragraphs {
        let trace = floor.paragraph(&paragraph.commands).map_err(|why| format!("{name}: {why}"))?;
        if trace != paragraph.expected {
            found.push(page::difference(paragraph, &trace));
        }
        paragraph.expected = trace;
    }
    said.extend(floor.said);
    if bless && !found.is_empty() {
        fs::write(path, page.text()).expect("writable");
        return Ok(());
    }
    if found.is_empty() { Ok(()) } else { Err(format!("{name}:\n{}", found.join("\n"))) }
}

#[test]
fn every_script_gives_its_trace() {
    let bless = env::var("ROTARY_BLESS").is_ok_and(|value| value == "1");
    let wanted = env::var("ROTARY_SCRIPT").unwrap_or_default();
    let mut said = BTreeSet::new();
    let mut failures = Vec::new();
    for path in paths() {
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        if !name.contains(&wanted) {
            continue;
        }
        failures.extend(run(&path, bless, &mut said).err());
        if !wanted.is_empty() {
            let text = fs::read_to_string(&path).expect("readable");
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
    }
    assert!(failures.is_empty(), "{} scripts differ:\n\n{}", failures.len(), failures.join("\n"));
    if wanted.is_empty() && !bless {
        let missing: Vec<_> = trace::EVERYTHING.iter().filter(|w| !said.contains(**w)).collect();
        assert!(missing.is_empty(), "no script shows {missing:?}");
    }
}
