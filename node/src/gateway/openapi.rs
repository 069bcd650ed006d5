//! The API's own description: OpenAPI 3.1, made from the routes and the types of their handlers.
//!
//! Every route is registered with an id and a sentence; the rest follows from the handler's
//! signature ([`parts`]). Schemas come from the types themselves by schemars, which reads the same
//! attributes as serde does (`docs/decisions/0019-the-description-is-made-from-signatures.md`).
//! A node serves the document at `/v1/openapi.json` and shows it at `/docs`;
//! `docs/api/openapi.json` is the same, laid out for people, and a test compares them.

mod draft;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
pub(crate) use draft::Draft;
pub(crate) use parts::{Answers, Described};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::gateway::problem::ProblemJson;
use crate::gateway::router::routes;
use crate::gateway::routes::Operation;

/// What the name of a type gets in bodies where answers have another form of it, in which nothing
/// is left out.
const GIVEN: &str = "Given";
/// The media type of refusals.
const PROBLEM: &str = "application/problem+json";

/// The document as it is served.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    Bytes::from(serde_json::to_vec(&document()).expect("a document is plain data"))
});

/// `GET /v1/openapi.json`
pub(crate) async fn show() -> impl IntoResponse {
    let media = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, media)], DOCUMENT.clone())
}

fn generator(settings: SchemaSettings) -> SchemaGenerator {
    let place = |settings: &mut SchemaSettings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    };
    settings.with(place).into_generator()
}

/// The whole document.
pub(crate) fn document() -> Value {
    let mut given = generator(SchemaSettings::draft2020_12().for_deserialize());
    let mut answered = generator(SchemaSettings::draft2020_12().for_serialize());
    answered.subschema_for::<ProblemJson<'static>>();
    let mut paths = Map::new();
    for operation in routes().operations() {
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        path[operation.method] = described(operation, &mut given, &mut answered);
    }
    let (given, mut schemas) = (given.take_definitions(true), answered.take_definitions(true));
    let others = apart(&given, &schemas);
    let mut paths = Value::Object(paths);
    visit(&mut paths, &mut |place, value| {
        if place.iter().any(|part| part == "requestBody" || part == "parameters") {
            rename(value, &others);
        }
    });
    for (name, mut schema) in given {
        visit(&mut schema, &mut |_, value| rename(value, &others));
        let name = if others.contains(&name) { format!("{name}{GIVEN}") } else { name };
        schemas.insert(name, schema);
    }
    let mut schemas = Value::Object(schemas);
    visit(&mut schemas, &mut |_, value| plain_words(value));
    let problems = shared_problems(&mut paths);
    head(paths, schemas, problems)
}

/// Puts refusals that several operations have alike in one place.
fn shared_problems(paths: &mut Value) -> Map<String, Value> {
    let mut shared: Vec<(String, Value)> = Vec::new();
    visit(paths, &mut |way, value| {
        let status = way.last().filter(|_| value["content"].get(PROBLEM).is_some());
        let Some(status) = status else { return };
        let known = shared.iter().find(|(_, problem)| problem == value);
        let name = known.map(|(name, _)| name.clone()).unwrap_or_else(|| {
            let alike = shared.iter().filter(|(name, _)| name.starts_with(status)).count();
            let name = format!("{status}-{}", alike + 1);
            shared.push((name.clone(), value.clone()));
            name
        });
        *value = json!({ "$ref": format!("#/components/responses/{name}") });
    });
    shared.into_iter().collect()
}

fn head(paths: Value, schemas: Value, problems: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Rotary",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A fault-tolerant call and chat distributor.",
            "description": "Every node answers every request. Fields that a body does not know \
                are refused; answers may get more fields, so ignore those that you do not know. \
                Errors are problems (RFC 9457) whose `code` is stable and whose `type` is a page \
                that every node serves. Sessions over WebSocket are described in \
                docs/api/session.md.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This node." }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems,
            "headers": headers(),
            "parameters": { "MinIndex": {
                "name": "Rotary-Min-Index",
                "in": "header",
                "description": "What this node must have applied before it answers: values of \
                    `Rotary-Index`, separated by commas.",
                "schema": { "type": "string", "examples": ["sh_3:1042", "sh_0:17, sh_3:1042"] },
            } },
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token (POST /v1/login, POST /v1/tokens) or an API key \
                    (POST /v1/api-keys).",
            } },
        },
    })
}

fn headers() -> Value {
    let header = |says: &str| json!({ "description": says, "schema": { "type": "string" } });
    json!({
        "rotary-index": header("Where in which log it was decided, like `sh_3:1042`."),
        "rotary-repeated": header("`true` where this is the kept answer to an earlier attempt."),
        "rotary-node": header("Which node answered."),
        "idempotency-key": header("The key to send the request again under."),
    })
}

fn described(
    operation: &Operation,
    given: &mut SchemaGenerator,
    answered: &mut SchemaGenerator,
) -> Value {
    let mut draft = Draft::new(given, answered, &operation.path);
    (operation.describe)(&mut draft);
    let mut described = draft.finish();
    described["operationId"] = json!(operation.id);
    described["summary"] = json!(operation.says);
    described["tags"] = json!([tag(&operation.path)]);
    described
}

/// The kind of thing that a path is about.
fn tag(path: &str) -> &str {
    let mut parts = path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{'));
    match (parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some("sites"), Some("settings") | None) => "sites",
        (Some("v1"), Some("sites"), Some(of_site)) => of_site,
        (Some("v1"), Some(kind), _) => kind,
        _ => "node",
    }
}

/// The types whose forms in bodies and in answers differ, by themselves or by what they contain.
fn apart(given: &Map<String, Value>, answered: &Map<String, Value>) -> BTreeSet<String> {
    let differs = |(name, schema): &(&String, &Value)| {
        answered.get(*name).is_some_and(|other| other != *schema)
    };
    let mut apart: BTreeSet<String> =
        given.iter().filter(differs).map(|(name, _)| name.clone()).collect();
    loop {
        let before = apart.len();
        for (name, schema) in given.iter().filter(|(name, _)| answered.contains_key(*name)) {
            let (mut schema, mut found) = (schema.clone(), false);
            visit(&mut schema, &mut |_, value| found |= refers(value, &apart).is_some());
            if found {
                apart.insert(name.clone());
            }
        }
        if apart.len() == before {
            return apart;
        }
    }
}

/// Goes through every value, the outermost first, with the way to it.
fn visit(value: &mut Value, each: &mut impl FnMut(&[String], &mut Value)) {
    fn go(value: &mut Value, way: &mut Vec<String>, each: &mut impl FnMut(&[String], &mut Value)) {
        each(way, value);
        let inner: Vec<(String, &mut Value)> = match value {
            Value::Object(fields) => {
                fields.iter_mut().map(|(name, inner)| (name.clone(), inner)).collect()
            }
            Value::Array(list) => list.iter_mut().map(|inner| (String::new(), inner)).collect(),
            _ => Vec::new(),
        };
        for (name, inner) in inner {
            way.push(name);
            go(inner, way, each);
            way.pop();
        }
    }
    go(value, &mut Vec::new(), each);
}

/// The one of those types that a value points to, if it points to one.
fn refers(value: &Value, names: &BTreeSet<String>) -> Option<String> {
    let name = value.get("$ref")?.as_str()?.rsplit('/').next()?;
    names.contains(name).then(|| name.to_owned())
}

fn rename(value: &mut Value, others: &BTreeSet<String>) {
    if let Some(name) = refers(value, others) {
        value["$ref"] = json!(format!("#/components/schemas/{name}{GIVEN}"));
    }
}

/// Takes links to other parts of the source, which a reader here cannot follow, out of a text.
fn plain_words(value: &mut Value) {
    if let Some(Value::String(text)) = value.get_mut("description") {
        *text = text.replace("[`", "`").replace("`]", "`");
    }
}
