//! The document is whole, valid, the one that is kept, and what `docs/api/http.md` says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{apart, document};

const HTTP: &str = include_str!("../../../../docs/api/http.md");
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut all = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            all.push((method.clone(), path.clone(), operation));
        }
    }
    all
}

/// The names of every field that a schema has, at any depth.
fn fields(document: &Value, schema: &Value, seen: &mut BTreeSet<String>, into: &mut Vec<String>) {
    match schema {
        Value::Object(parts) => {
            if let Some(place) = schema["$ref"].as_str() {
                if seen.insert(place.to_owned()) {
                    let place = place.strip_prefix('#').expect("in this document");
                    let inner = document.pointer(place).expect(place);
                    fields(document, inner, seen, into);
                }
                return;
            }
            for (name, inner) in parts {
                if name == "properties" {
                    into.extend(inner.as_object().expect("properties").keys().cloned());
                }
                fields(document, inner, seen, into);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| fields(document, inner, seen, into)),
        _ => {}
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_a_sentence_and_an_answer() {
    let document = document();
    let operations = operations(&document);
    let ids: BTreeSet<&str> =
        operations.iter().filter_map(|(_, _, one)| one["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len());
    for (method, path, operation) in &operations {
        assert!(METHODS.contains(&method.as_str()));
        let says = operation["summary"].as_str().expect("a sentence");
        assert!(says.ends_with('.'), "{method} {path}: {says}");
        let answers = operation["responses"].as_object().expect("answers");
        let fine = |status: &String| ["1", "2"].iter().any(|digit| status.starts_with(digit));
        assert!(answers.keys().any(fine), "{method} {path}");
        let names = operation["parameters"].as_array().expect("parameters");
        let in_path = names.iter().filter(|one| one["in"] == "path").count();
        assert_eq!(in_path, path.matches('{').count(), "{method} {path}");
    }
}

#[test]
fn every_place_that_is_pointed_to_is_there() {
    let document = document();
    let text = document.to_string();
    for rest in text.split("\"$ref\":\"#").skip(1) {
        let place = rest.split('"').next().expect("it ends");
        assert!(document.pointer(place).is_some(), "{place}");
    }
    // In a body, what has a default may be left out; in an answer it is there.
    let plan = &document["components"]["schemas"]["QueuePlanGiven"]["required"];
    assert_eq!(plan, &json!(["name"]));
    let plan = &document["components"]["schemas"]["QueuePlan"]["required"];
    assert!(plan.as_array().expect("a list").contains(&json!("offer_ms")));
}

#[test]
fn what_contains_a_type_of_two_forms_has_two_forms() {
    let point = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let map = |value: Value| value.as_object().expect("a map").clone();
    let given = map(json!({ "A": point("B"), "B": 1, "C": point("D"), "D": 3 }));
    let answered = map(json!({ "A": point("B"), "B": 2, "C": point("D"), "D": 3 }));
    assert_eq!(apart(&given, &answered), BTreeSet::from(["A".into(), "B".into()]));
}

/// Each row of the table of routes names fields of its bodies and answers; all of them exist.
#[test]
fn the_table_of_routes_names_fields_that_there_are() {
    let document = document();
    let rows = HTTP.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut checked = 0;
    for row in rows {
        let route = row.split('`').next().expect("a route");
        let Some((method, path)) = route.split_once(' ') else { continue };
        let path = path.replace("{api_key}", "{key}");
        let operation = &document["paths"][&path][method.to_lowercase()];
        assert!(operation.is_object(), "{route} is not described");
        let mut there = Vec::new();
        for part in [&operation["requestBody"], &operation["responses"]] {
            fields(&document, part, &mut BTreeSet::new(), &mut there);
        }
        let shapes =
            row.split("` → ").flat_map(|part| part.split('`')).filter(|part| part.starts_with('{'));
        for name in shapes.flat_map(|shape| shape.split('"').skip(1).step_by(2)) {
            let known = there.iter().any(|field| field == name) || name.starts_with("nd_");
            assert!(known, "{route}: there is no {name:?}");
            checked += 1;
        }
    }
    assert!(checked > 40, "{checked} names were found");
}

#[test]
fn the_kept_document_is_the_one_that_is_served() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api/openapi.json");
    let served: Value = serde_json::from_slice(&super::DOCUMENT).expect("JSON");
    let text = serde_json::to_string_pretty(&served).expect("plain") + "\n";
    if std::env::var_os("ROTARY_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &text).expect("writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{}: run with ROTARY_BLESS=1, and look at what changed", path.display());
}
