//! The form of `limits.rs`, and a golden sample for each type that crosses the wire.

use std::fs;

use crate::settle;
use crate::source::{Class, Source, root, rust};

const LIMITS: &str = "proto/src/limits.rs";

/// Bounds on things that have no plural, whose doc comments name the unit instead.
const UNCOUNTED: [&str; 3] = ["MAILBOX_MAX", "PROPOSAL_BATCH_MAX", "WORK_PER_ENTRY_MAX"];

fn proto() -> Vec<Source> {
    rust().into_iter().filter(|file| file.path.starts_with("proto/src/")).collect()
}

#[test]
fn every_bound_says_what_it_bounds_and_in_which_unit() {
    let files = proto();
    let limits = files.iter().find(|file| file.path == LIMITS).expect("proto has its limits");
    let mut breaches = Vec::new();
    let mut above = "";
    for (number, line) in limits.lines() {
        if let Some((name, _)) = line.strip_prefix("pub const ").and_then(|l| l.split_once(':')) {
            if !above.starts_with("/// ") {
                breaches.push(format!("{LIMITS}:{number}: {name} has no doc comment; say what"));
            }
            if !has_unit(name) && !UNCOUNTED.contains(&name) {
                breaches.push(format!(
                    "{LIMITS}:{number}: {name} has no unit; end it in _MS or _BYTES_MAX, or name \
                     what is counted in the plural before _MAX or _MIN"
                ));
            }
        }
        above = line;
    }
    settle(breaches);
}

/// Milliseconds, bytes, or a plural with a bound's word at the end.
fn has_unit(name: &str) -> bool {
    let bound = name.strip_suffix("_MAX").or_else(|| name.strip_suffix("_MIN"));
    match bound {
        Some(noun) => noun.split('_').any(|word| word.ends_with('S') && word != "PLUS"),
        None => name.ends_with("_MS") || name.ends_with("_BYTES"),
    }
}

#[test]
fn every_type_that_is_serialised_has_a_golden_sample() {
    let dir = root().join("proto/tests/golden");
    let pages = fs::read_dir(&dir).expect("the golden tests are beside this one").flatten();
    let samples: String = pages.filter_map(|page| fs::read_to_string(page.path()).ok()).collect();
    let sampled: Vec<&str> =
        samples.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut breaches = Vec::new();
    for file in proto() {
        for (line, name) in serialised(&file) {
            if !sampled.contains(&name.as_str()) {
                let path = &file.path;
                breaches.push(format!(
                    "{path}:{line}: {name} has no golden sample; add one in proto/tests/golden/ \
                     and run with ROTARY_BLESS=1"
                ));
            }
        }
    }
    settle(breaches);
}

/// Public types that derive `Serialize`, implement it, or are ids made by a macro.
fn serialised(file: &Source) -> Vec<(usize, String)> {
    let code = file.only(Class::Code);
    let production = code.lines().take(file.production_lines()).enumerate();
    let (mut found, mut derives) = (Vec::new(), String::new());
    for (at, line) in production {
        let line = line.trim();
        let item = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "));
        if line.starts_with("#[derive(") {
            derives.clear();
        }
        derives.push_str(line);
        if let Some(item) = item.filter(|_| derives.contains("Serialize")) {
            found.push((at + 1, word(item)));
        } else if let Some(item) = line.strip_prefix("impl Serialize for ") {
            found.push((at + 1, word(item)));
        } else if line.split(['(', ',']).next().is_some_and(is_id) && line.ends_with(',') {
            found.push((at + 1, word(line)));
        }
        if line.ends_with(['}', ';', '{']) {
            derives.clear();
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn is_id(text: &str) -> bool {
    text.len() > 2 && text.ends_with("Id") && text.chars().all(char::is_alphanumeric)
}

#[test]
fn serialised_types_are_found() {
    let names: Vec<String> = proto().iter().flat_map(serialised).map(|(_, name)| name).collect();
    for name in ["NodeId", "CustomerId", "ConversationId", "Sealed", "Declared", "ShardCommand"] {
        assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
    }
    assert!(!names.iter().any(|name| name == "IdError" || name == "SealedJson"), "{names:?}");
}
