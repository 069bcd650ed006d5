//! The description of one operation, while it is being written.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::gateway::list::{LIMIT_DEFAULT, LIMIT_MAX};

/// Where an operation is, and what has been said about it so far.
pub(crate) struct Draft<'a> {
    /// Describes what clients send.
    given: &'a mut SchemaGenerator,
    /// Describes what clients get.
    answered: &'a mut SchemaGenerator,
    path: &'a str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    problems: BTreeMap<u16, BTreeSet<&'static str>>,
    secured: bool,
}

impl<'a> Draft<'a> {
    /// Nothing said yet.
    pub(crate) fn new(
        given: &'a mut SchemaGenerator,
        answered: &'a mut SchemaGenerator,
        path: &'a str,
    ) -> Self {
        let (parameters, body, secured) = (Vec::new(), None, false);
        let (answers, problems) = (BTreeMap::new(), BTreeMap::new());
        Self { given, answered, path, parameters, body, answers, problems, secured }
    }

    /// Whether what it changes is in a site's own log.
    pub(crate) fn is_of_site(&self) -> bool {
        ["/v1/sites/", "/v1/conversations/"].iter().any(|start| self.path.starts_with(start))
    }

    /// It takes a credential.
    pub(crate) fn secure(&mut self) {
        self.secured = true;
    }

    /// It may be refused so.
    pub(crate) fn refused<const N: usize>(&mut self, status: u16, codes: [&'static str; N]) {
        self.problems.entry(status).or_default().extend(codes);
    }

    /// A change may carry a key.
    pub(crate) fn key_header(&mut self) {
        self.parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "A UUIDv7 that makes a retry recognisable; the gateway makes one if it \
                            is absent.",
            "schema": { "type": "string", "format": "uuid" },
        }));
    }

    /// The path has those ids.
    pub(crate) fn path_parameters<T: JsonSchema>(&mut self) {
        let schema = self.given.subschema_for::<T>().to_value();
        let schemas = match schema.get("prefixItems").and_then(Value::as_array) {
            Some(several) => several.clone(),
            None => vec![schema],
        };
        for (name, schema) in names(self.path).into_iter().zip(schemas) {
            match schema["$ref"].as_str().and_then(|place| place.rsplit('/').next()) {
                Some("SiteId") => self.refused(404, ["site-unknown"]),
                Some("QueueId") => self.refused(404, ["queue-unknown"]),
                Some("AgentId") => self.refused(404, ["agent-unknown"]),
                Some("ConversationId") => {
                    self.refused(404, ["site-unknown", "conversation-unknown"]);
                    self.refused(410, ["forgotten"]);
                }
                _ => self.refused(404, ["not-found"]),
            }
            self.parameters.push(path_parameter(name, schema));
        }
    }

    /// The query may have those fields.
    pub(crate) fn query_parameters<T: JsonSchema>(&mut self) {
        // A description of its own, with the shared parts where the others look for them.
        let fields = T::json_schema(self.given).to_value();
        let required = fields.get("required").and_then(Value::as_array).cloned();
        for (name, schema) in fields["properties"].as_object().into_iter().flatten() {
            let mut schema = without_null(schema.clone());
            if name == "limit" {
                let bounds = [("minimum", 1), ("maximum", LIMIT_MAX), ("default", LIMIT_DEFAULT)];
                for (bound, value) in bounds {
                    schema[bound] = json!(value);
                }
            }
            if name == "consistency" {
                self.refused(503, ["no-leader", "unavailable"]);
                self.refused(429, ["busy"]);
            }
            if name == "site" {
                self.refused(404, ["site-unknown"]);
            }
            let mut parameter = json!({ "name": name, "in": "query", "schema": schema });
            if required.as_ref().is_some_and(|required| required.contains(&json!(name))) {
                parameter["required"] = json!(true);
            }
            self.parameters.push(parameter);
        }
    }

    /// It takes that body.
    pub(crate) fn body<T: JsonSchema>(&mut self) {
        let fields = T::json_schema(self.given).to_value();
        let required = fields["required"].as_array().is_some_and(|fields| !fields.is_empty());
        let schema = self.given.subschema_for::<T>();
        let content = json!({ "application/json": { "schema": schema } });
        self.body = Some(json!({ "required": required, "content": content }));
    }

    /// It answers with that status and body, and with those headers.
    pub(crate) fn answer<T: JsonSchema>(&mut self, status: u16, headers: &[&str]) {
        let schema = self.answered.subschema_for::<T>();
        let said = json!({
            "description": if status == 201 { "Made." } else { "Done." },
            "headers": headers.iter().map(header).collect::<Map<_, _>>(),
            "content": { "application/json": { "schema": schema } },
        });
        self.answers.insert(status, said);
    }

    /// It answers with that status and a text of that media type.
    pub(crate) fn text(&mut self, status: u16, media: &str, says: &str) {
        let mut said = json!({ "description": says });
        if !media.is_empty() {
            let kind = if media == "application/json" { "object" } else { "string" };
            said["content"] = json!({ media: { "schema": { "type": kind } } });
        }
        self.answers.insert(status, said);
    }

    /// It takes bytes of any kind.
    pub(crate) fn octets_body(&mut self) {
        self.body = Some(json!({ "required": true, "content": { "*/*": {} } }));
    }

    /// It answers with that status and bytes of any kind.
    pub(crate) fn octets(&mut self, status: u16, says: &str) {
        let said = json!({ "description": says, "content": { "*/*": {} } });
        self.answers.insert(status, said);
    }

    /// A client may say that in those headers.
    pub(crate) fn header_parameters(&mut self, headers: &[(&str, &str)]) {
        let parameter = |(name, says): &(&str, &str)| {
            json!({ "name": name, "in": "header", "description": says,
                "schema": { "type": "string" } })
        };
        self.parameters.extend(headers.iter().map(parameter));
    }

    /// The operation as the document has it.
    pub(crate) fn finish(mut self) -> Value {
        if self.secured {
            self.parameters.push(json!({ "$ref": "#/components/parameters/MinIndex" }));
            self.refused(400, ["bad-value"]);
            self.refused(503, ["behind"]);
        }
        let said = |parameter: &Value| parameter["name"].as_str().map(str::to_owned);
        let said: BTreeSet<String> = self.parameters.iter().filter_map(said).collect();
        for name in names(self.path).into_iter().filter(|name| !said.contains(*name)) {
            self.parameters.push(path_parameter(name, json!({ "type": "string" })));
        }
        let answers = self.answers.iter().map(|(status, said)| (status.to_string(), said.clone()));
        let problems =
            self.problems.iter().map(|(status, codes)| (status.to_string(), problem(codes)));
        let mut operation = json!({
            "parameters": self.parameters,
            "responses": problems.chain(answers).collect::<Map<_, _>>(),
            "security": if self.secured { json!([{ "bearer": [] }]) } else { json!([]) },
        });
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

/// The placeholders of a path, in order.
fn names(path: &str) -> Vec<&str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect()
}

fn path_parameter(name: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

fn header(name: &&str) -> (String, Value) {
    ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))
}

/// A refusal: the one shape of problems, with the codes that it may have here.
fn problem(codes: &BTreeSet<&'static str>) -> Value {
    let list: Vec<&str> = codes.iter().copied().collect();
    let schema = json!({
        "allOf": [
            { "$ref": "#/components/schemas/Problem" },
            { "type": "object", "properties": { "code": { "enum": list } } },
        ],
    });
    json!({
        "description": format!("`{}`", list.join("` `")),
        "content": { "application/problem+json": { "schema": schema } },
    })
}

/// A field that may be left out: in a query there is no other way to say nothing.
fn without_null(mut schema: Value) -> Value {
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        let mut choices = choices.iter().filter(|choice| choice["type"] != "null");
        if let (Some(only), None) = (choices.next(), choices.next()) {
            return only.clone();
        }
    }
    if let Some(types) = schema.get("type").and_then(Value::as_array) {
        let mut types = types.iter().filter(|name| *name != "null");
        if let (Some(only), None) = (types.next(), types.next()) {
            schema["type"] = only.clone();
        }
    }
    schema
}
