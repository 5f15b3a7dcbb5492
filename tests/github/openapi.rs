//! GitHub's own description of its REST interface, and what is held against it.
//!
//! What lives here: finding the operation of a request, and saying what is wrong with request and answer. A field that the
//! description does not have is wrong too: GitHub ignores it, so whoever sends it is mistaken about something.
//!
//! Invariant: a request is either an operation of the description, or a complaint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

const DESCRIPTION: &str = include_str!("../schemas/github-rest.json");
/// What GitHub answers everywhere, and describes almost nowhere.
const EVERYWHERE: [u16; 4] = [401, 403, 404, 429];

/// An operation that a request was found to be.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// The path, with names for what varies.
    pub(super) template: String,
    method: String,
    /// What stands for the names.
    pub(super) path: HashMap<String, String>,
}

pub(super) struct Description {
    document: Value,
    built: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Description {
    /// The one that is vendored.
    pub(super) fn get() -> &'static Description {
        static ONE: OnceLock<Description> = OnceLock::new();
        ONE.get_or_init(|| {
            let mut document = serde_json::from_str(DESCRIPTION).expect("the vendored description is JSON");
            nullable(&mut document);
            Description { document, built: Mutex::default() }
        })
    }

    /// The operation of a request; of several the one with the fewest names.
    pub(super) fn operation(&self, method: &str, path: &str) -> Option<Operation> {
        let parts: Vec<&str> = path.split('/').collect();
        let method = method.to_ascii_lowercase();
        let paths = self.document["paths"].as_object()?;
        let matching =
            paths.iter().filter(|(_, methods)| methods.get(&method).is_some()).filter_map(|(template, _)| {
                let names: Vec<&str> = template.split('/').collect();
                let mut found = HashMap::new();
                let fits = names.len() == parts.len()
                    && names.iter().zip(&parts).all(|(name, part)| {
                        match name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                            Some(name) => {
                                !part.is_empty() && found.insert(name.to_owned(), (*part).to_owned()).is_none()
                            }
                            None => name == part,
                        }
                    });
                fits.then(|| Operation { template: template.clone(), method: method.clone(), path: found })
            });
        matching.min_by_key(|operation| operation.path.len())
    }

    /// What is wrong with a request.
    pub(super) fn request(&self, operation: &Operation, query: &str, body: &[u8]) -> Vec<String> {
        let described = self.described(operation);
        let mut wrong = Vec::new();
        let parameters = described["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parameters: Vec<&Value> = parameters.iter().map(|parameter| self.resolved(parameter)).collect();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let given: Vec<(&str, String)> = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name, unescaped(value)))
            .collect();
        for parameter in &parameters {
            let (name, place) = (parameter["name"].as_str().unwrap_or(""), parameter["in"].as_str().unwrap_or(""));
            let value = match place {
                "path" => operation.path.get(name).cloned(),
                "query" => given.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone()),
                _ => continue,
            };
            match value {
                Some(text) => {
                    let value = match parameter["schema"]["type"].as_str() {
                        Some("integer" | "number" | "boolean") => serde_json::from_str(&text).unwrap_or(json!(text)),
                        _ => json!(text),
                    };
                    let key = format!("{} {} {name}", operation.method, operation.template);
                    // Described as one instant, and documented as a span of GitHub's search syntax.
                    if name == "created"
                        && let Some((from, to)) = text.split_once("..")
                    {
                        for end in [from, to] {
                            wrong.extend(self.errors(&key, &parameter["schema"], &json!(end)));
                        }
                        continue;
                    }
                    wrong.extend(self.errors(&key, &parameter["schema"], &value));
                }
                None if parameter["required"] == true => wrong.push(format!("{name} is missing")),
                None => {}
            }
        }
        for (name, _) in &given {
            let known = parameters.iter().any(|parameter| parameter["in"] == "query" && parameter["name"] == *name);
            if !known {
                wrong.push(format!("{name} is no parameter"));
            }
        }
        let schema = &described["requestBody"]["content"]["application/json"]["schema"];
        match (body.is_empty(), schema.is_null()) {
            (true, true) => {}
            (true, false) if described["requestBody"]["required"] == true => wrong.push("no body".to_owned()),
            (true, false) => {}
            (false, true) => wrong.push("a body that nobody reads".to_owned()),
            (false, false) => {
                let key = format!("{} {} body", operation.method, operation.template);
                wrong.extend(self.body(&key, schema, body));
            }
        }
        wrong
    }

    /// What is wrong with an answer.
    pub(super) fn answer(&self, operation: &Operation, status: u16, body: &[u8]) -> Vec<String> {
        let responses = &self.described(operation)["responses"];
        let described = match responses.get(status.to_string()) {
            Some(response) => self.resolved(response),
            // A conditional request may be answered so anywhere.
            None if status == 304 && body.is_empty() => return Vec::new(),
            None if EVERYWHERE.contains(&status) => &self.document["components"]["responses"]["not_found"],
            // A broken server describes nothing.
            None if status >= 500 => return Vec::new(),
            None => return vec![format!("status {status} is not described")],
        };
        let schema = &described["content"]["application/json"]["schema"];
        if schema.is_null() {
            return if body.is_empty() { Vec::new() } else { vec![format!("a body with status {status}")] };
        }
        self.body(&format!("{} {} {status}", operation.method, operation.template), schema, body)
    }

    fn body(&self, key: &str, schema: &Value, body: &[u8]) -> Vec<String> {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            return vec![format!("{key}: not JSON")];
        };
        let mut wrong = self.errors(key, schema, &value);
        let properties = self.resolved(schema)["properties"].as_object();
        if let (Some(fields), Some(properties)) = (value.as_object(), properties) {
            let unknown = fields.keys().filter(|field| !properties.contains_key(*field));
            wrong.extend(unknown.map(|field| format!("{key}: {field} is no field")));
        }
        wrong
    }

    fn errors(&self, key: &str, schema: &Value, value: &Value) -> Vec<String> {
        let validator = self.validator(key, schema);
        validator.iter_errors(value).map(|error| format!("{key}{}: {error}", error.instance_path())).collect()
    }

    fn validator(&self, key: &str, schema: &Value) -> Arc<Validator> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = built.get(key) {
            return validator.clone();
        }
        let root = json!({ "allOf": [schema], "components": self.document["components"] });
        let validator = jsonschema::options().should_validate_formats(true).build(&root);
        let validator = Arc::new(validator.unwrap_or_else(|error| panic!("{key} in the description: {error}")));
        built.insert(key.to_owned(), validator.clone());
        validator
    }

    fn described(&self, operation: &Operation) -> &Value {
        &self.document["paths"][&operation.template][&operation.method]
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let target = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
        target.and_then(|pointer| self.document.pointer(pointer)).unwrap_or(value)
    }
}

/// OpenAPI 3.0 says `nullable`; JSON Schema says it with a further type.
fn nullable(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(nullable),
        Value::Object(fields) => {
            fields.values_mut().for_each(nullable);
            // A property may be called so.
            if fields.get("nullable") == Some(&json!(true)) {
                fields.remove("nullable");
                let inner = Value::Object(std::mem::replace(fields, Map::new()));
                fields.insert("anyOf".to_owned(), json!([inner, { "type": "null" }]));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A part of a query, as it was before it was escaped.
pub(super) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let code = match byte {
            b'%' => [rest.next(), rest.next()].into_iter().flatten().map(char::from).collect::<String>(),
            b'+' => "20".to_owned(),
            _ => format!("{byte:02x}"),
        };
        bytes.extend(u8::from_str_radix(&code, 16));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
