//! What a node says of its own API, to hold its answers against.

use rotary_client::Gateway;
use serde_json::{Value, json};

use crate::wire::{Answer, ask};

/// The document that a node serves, with no field beside those that it names.
pub(crate) struct Described {
    document: Value,
}

impl Described {
    /// Asks a node.
    pub(crate) async fn by(gateway: &Gateway) -> Self {
        let answer = ask(gateway, "GET", "/v1/openapi.json", "", "", &json!({})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut document = serde_json::from_str(&answer.body).expect("JSON");
        close(&mut document);
        Self { document }
    }

    /// Every operation, as `GET /path`.
    pub(crate) fn routes(&self) -> Vec<String> {
        let paths = self.document["paths"].as_object().expect("paths");
        let of = |(path, methods): (&String, &Value)| -> Vec<String> {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| format!("{} {path}", method.to_uppercase())).collect()
        };
        paths.iter().flat_map(of).collect()
    }

    fn operation(&self, route: &str) -> &Value {
        let (method, path) = route.split_once(' ').expect("a method and a path");
        let operation = &self.document["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{route} is not described");
        operation
    }

    /// Holds a body against what the route says that it takes.
    pub(crate) fn check_body(&self, route: &str, body: &Value) {
        let operation = self.operation(route);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if schema.is_object() {
            self.check(schema, body, &format!("the body of {route}"));
        }
    }

    /// Holds an answer against what the route says that it gives.
    pub(crate) fn check_answer(&self, route: &str, answer: &Answer) {
        let (status, text) = (answer.status, &answer.body);
        let said = &self.operation(route)["responses"][status.to_string()];
        let said = match said["$ref"].as_str().and_then(|place| place.strip_prefix('#')) {
            Some(shared) => self.document.pointer(shared).expect("it is there"),
            None => said,
        };
        assert!(said.is_object(), "{route} does not say that it may answer {status}: {text}");
        let media = answer.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        let Some(content) = said.get("content").and_then(Value::as_object) else {
            assert_eq!(media, None, "{route} says that {status} has no content: {text}");
            return;
        };
        let media = media.and_then(|media| media.split(';').next()).expect("a media type");
        let names = |name: &str| name == "*/*" || name.split(';').next() == Some(media);
        let named = content.iter().find(|(name, _)| names(name));
        let (_, content) = named.unwrap_or_else(|| panic!("{route}: {media} is not described"));
        if media.ends_with("json") && content["schema"].is_object() {
            let body = serde_json::from_str(text).expect("JSON");
            self.check(&content["schema"], &body, &format!("the answer {status} of {route}"));
        }
        let headers = said.get("headers").and_then(Value::as_object);
        for name in headers.into_iter().flat_map(|headers| headers.keys()) {
            let there = answer.head.lines().any(|line| line.starts_with(&format!("{name}: ")));
            // Only the answer to a retry says that it is one.
            assert!(there || name == "rotary-repeated", "{route}: no {name} in {}", answer.head);
        }
    }

    fn check(&self, schema: &Value, body: &Value, what: &str) {
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self.document["components"],
            "allOf": [schema],
        });
        let validator = jsonschema::validator_for(&whole).unwrap_or_else(|e| panic!("{what}: {e}"));
        let errors: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("{error:.300} at {}", error.instance_path))
            .collect();
        assert!(errors.is_empty(), "{what} is not as described: {errors:#?}\n{body:.3000}");
    }
}

/// Lets no object have fields that are not named. What is under `allOf` says only a part.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(parts) => {
            if parts.contains_key("properties") && !parts.contains_key("additionalProperties") {
                parts.insert("additionalProperties".to_owned(), json!(false));
            }
            parts.iter_mut().filter(|(name, _)| *name != "allOf").for_each(|(_, part)| close(part));
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}
