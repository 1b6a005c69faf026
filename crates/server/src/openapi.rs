//! Turns the table of routes into the OpenAPI document that describes them.
//!
//! What goes out has schemas of the types that are written (`utoipa`), or, where an answer is put
//! together without a type, those of `openapi/schemas.json`. Every reply that the tests of the API
//! see is held to this document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::layers::dialect::Dialect;
use crate::layers::key;
use crate::routes::table::{Input, Route};
use crate::wire::policy::{Field, Rule};

/// Schemas that have no type.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// What can be wrong with any request, whoever handles it.
const ERRORS: &[(u16, &str)] = &[
    (400, "A parameter is wrong, unknown or not supported; `param` names it"),
    (401, "The key or the session is missing, wrong or over"),
    (403, "A web page of someone else's asks, or whoever asks may not do it"),
    (404, "There is no such model or object"),
    (405, "The path does not take this method"),
    (408, "The body did not come in time"),
    (409, "Another request changed the object in between"),
    (413, "The body is too large"),
    (429, "The server is busy; `retry-after` says when to come again"),
    (500, "The server failed"),
    (502, "An upstream failed, or refused the operator's key"),
    (503, "The engine does not run, or an upstream is overloaded"),
    (504, "An upstream did not answer in time"),
];

/// Schemas by their names.
#[derive(Default)]
pub struct Components {
    schemas: BTreeMap<String, RefOr<Schema>>,
    /// Names that two different types have: each needs one of its own.
    pub clashes: Vec<String>,
}

impl Components {
    /// Adds the schema of a type and of all that it is made of; returns its name.
    pub fn add<T: ToSchema>(&mut self) -> String {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        let name = T::name().into_owned();
        parts.push((name.clone(), T::schema()));
        for (name, schema) in parts {
            let known = self.schemas.insert(name.clone(), schema);
            if known.is_some_and(|known| self.schemas.get(&name) != Some(&known)) {
                self.clashes.push(name);
            }
        }
        name
    }
}

/// The document.
pub fn document(routes: &[Route], components: &Components) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let path = route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.method.as_str().to_lowercase()] = operation(route);
    }
    // The text stands beside this file, and a test reads it.
    let mut schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    for (name, schema) in &components.schemas {
        schemas.insert(name.clone(), json!(schema));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Myriad",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Large language models on machines you control",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "key": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "session": { "type": "apiKey", "in": "cookie", "name": "myriad-session" },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let content: Map<String, Value> = route
        .output
        .iter()
        .map(|(content, name)| ((*content).to_owned(), json!({ "schema": answer(content, name) })))
        .collect();
    let mut responses = Map::new();
    match content.is_empty() {
        true => responses.insert("303".into(), json!({ "description": "Goes on to the chat" })),
        false => responses
            .insert("200".into(), json!({ "description": "All is well", "content": content })),
    };
    let error = reference(error_of(route.path));
    for (status, description) in ERRORS {
        let content = json!({ "application/json": { "schema": error } });
        let response = json!({ "description": description, "content": content });
        responses.insert(status.to_string(), response);
    }
    let mut operation = json!({
        "summary": route.summary,
        "operationId": identifier(route),
        "responses": responses,
    });
    if key::is_open(&route.method, route.path) {
        operation["security"] = json!([{}]);
    }
    let mut parameters: Vec<Value> = parameters(route.path).collect();
    parameters.extend(route.query.iter().map(|name| of_query(name)));
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    let schema = match route.input {
        Input::Nothing => return operation,
        Input::Fields(tables) => of_fields(tables),
        Input::Named(name) | Input::Form(name) => reference(name),
        Input::Lines(name) => answer("application/x-ndjson", name),
    };
    let content = match route.input {
        Input::Form(_) => json!({ "multipart/form-data": { "schema": schema } }),
        // Whatever a client calls it; this name every tool knows.
        Input::Lines(_) => json!({ "text/plain": { "schema": schema } }),
        _ => json!({ "application/json": { "schema": schema } }),
    };
    operation["requestBody"] = json!({ "required": true, "content": content });
    operation
}

/// Streams are events whose data, or lines each of which, follow the schema.
fn answer(content: &str, name: &str) -> Value {
    let piece = json!({
        "type": "string",
        "description": format!("Each piece is a `{name}`."),
        "contentMediaType": "application/json",
        "contentSchema": reference(name),
    });
    match content {
        "application/json" => reference(name),
        "application/x-ndjson" => piece,
        "text/event-stream" => json!({
            "type": "object",
            "description": "One event of the stream.",
            "required": ["data"],
            "properties": {
                // The last one of OpenAI's streams is no JSON.
                "data": { "anyOf": [{ "const": "[DONE]" }, piece] },
                "event": { "type": "string" },
                "id": { "type": "string" },
            },
        }),
        _ => json!({ "type": "string" }),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn error_of(path: &str) -> &'static str {
    match Dialect::of_path(path) {
        Dialect::OpenAi => "ErrorBody",
        Dialect::Anthropic => "AnthropicError",
        Dialect::Ollama => "OllamaError",
    }
}

/// `post_v1_chat_completions`
fn identifier(route: &Route) -> String {
    let letters = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let path: String = route.path.chars().map(letters).collect();
    let words: Vec<&str> = path.split('_').filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.as_str().to_lowercase(), words.join("_"))
}

fn parameters(path: &str) -> impl Iterator<Item = Value> + '_ {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| {
        let name = name.trim_start_matches('*');
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    })
}

/// A parameter of a list.
fn of_query(name: &str) -> Value {
    let schema = match name {
        "limit" | "days" | "page" => json!({ "type": "integer", "minimum": 1 }),
        "starting_after" | "updated_since" | "older_than_days" => {
            json!({ "type": "integer", "minimum": 0 })
        }
        "stream" | "all" | "files" => json!({ "type": "boolean" }),
        "order" => json!({ "enum": ["asc", "desc"] }),
        _ => json!({ "type": "string" }),
    };
    json!({ "name": name, "in": "query", "schema": schema })
}

/// A body of these parameters; those that are always refused are not told.
fn of_fields(tables: &[&[Field]]) -> Value {
    let mut properties = Map::new();
    for field in tables.iter().copied().flatten() {
        let mut schema: Value = serde_json::from_str(field.schema).unwrap_or_default();
        match field.rule {
            Rule::Refuse => continue,
            Rule::Only(values) => {
                let values = values.iter().map(|value| serde_json::from_str(value));
                schema["enum"] = values.filter_map(Result::<Value, _>::ok).collect();
            }
            Rule::Honour | Rule::Accept => {}
        }
        if !field.says.is_empty() {
            schema["description"] = field.says.into();
        }
        properties.insert(field.name.into(), schema);
    }
    let needed: Vec<&str> =
        ["messages", "prompt"].into_iter().filter(|name| properties.contains_key(*name)).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::table::table;

    fn made() -> Value {
        let mut components = Components::default();
        let routes = table(&mut components);
        assert_eq!(components.clashes, [""; 0]);
        document(&routes, &components)
    }

    #[test]
    fn every_reference_leads_somewhere() {
        serde_json::from_str::<Map<String, Value>>(SCHEMAS).expect("schemas.json is JSON");
        let document = made();
        let mut names = Vec::new();
        collect(&document, &mut names);
        assert!(names.len() > 100);
        for name in names {
            let pointer = name.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{name}");
        }
    }

    fn collect(value: &Value, names: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                names.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| collect(value, names));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
            _ => {}
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let document = made();
        let paths = document["paths"].as_object().unwrap();
        let items = paths.values().flat_map(|item| item.as_object().unwrap().values());
        let mut names: Vec<_> = items.map(|it| it["operationId"].as_str().unwrap()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// `MYRIAD_WRITE=1` writes the page anew.
    #[test]
    fn the_page_of_parameters_is_the_table() {
        // Asked for at run time: clones share a target folder.
        let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        let path = format!("{folder}/../../docs/api-fields.md");
        if std::env::var_os("MYRIAD_WRITE").is_some() {
            std::fs::write(&path, fields_page()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found,
            fields_page(),
            "MYRIAD_WRITE=1 cargo nextest run the_page writes it anew"
        );
    }

    /// The table of parameters for people: `docs/api-fields.md`.
    fn fields_page() -> String {
        let mut page = "# What happens to each parameter\n\n\
            Made from the tables that requests are judged by and `/openapi.json` is made of. A\n\
            parameter that is honoured does what its API says, or its value is refused with a 400\n\
            that names it. What nobody knows is refused by name, too.\n"
            .to_owned();
        let schemas: Value = serde_json::from_str(SCHEMAS).unwrap();
        let mut told: Vec<(Vec<[String; 3]>, String)> = Vec::new();
        for route in table(&mut Components::default()) {
            let rows: Vec<[String; 3]> = match route.input {
                Input::Nothing => continue,
                Input::Fields(tables) => tables.iter().copied().flatten().map(of_field).collect(),
                Input::Named(name) | Input::Lines(name) | Input::Form(name) => {
                    of_schema(&schemas[name])
                }
            };
            let heading = format!("{} {}", route.method, route.path);
            page += &format!("\n## `{heading}`\n\n");
            if let Some((_, first)) = told.iter().find(|(known, _)| *known == rows) {
                page += &format!("As `{first}`.\n");
                continue;
            }
            page += "| parameter | what happens | notes |\n|---|---|---|\n";
            for [name, rule, says] in &rows {
                page += &format!("| `{name}` | {rule} | {says} |\n");
            }
            told.push((rows, heading));
        }
        page
    }

    const NO_EFFECT: &str = "accepted without effect: a hint, or for the operator";

    fn of_field(field: &Field) -> [String; 3] {
        let rule = match field.rule {
            Rule::Honour => "honoured".to_owned(),
            Rule::Accept => NO_EFFECT.to_owned(),
            Rule::Only(values) => format!("accepted as {}", values.join(", ")),
            Rule::Refuse => "refused: `unsupported_parameter`".to_owned(),
        };
        [field.name.to_owned(), rule, field.says.to_owned()]
    }

    /// A schema's parameters; of alternatives each once.
    fn of_schema(schema: &Value) -> Vec<[String; 3]> {
        let one = std::slice::from_ref(schema);
        let alternatives = schema["anyOf"].as_array().map_or(one, Vec::as_slice);
        let properties = alternatives.iter().filter_map(|it| it["properties"].as_object());
        let mut rows: Vec<[String; 3]> = Vec::new();
        for (name, schema) in properties.flatten() {
            if rows.iter().any(|row| row[0] == *name) {
                continue;
            }
            let effect = if schema["x-effect"] == "none" { NO_EFFECT } else { "honoured" };
            let says = match schema["enum"].as_array() {
                Some(values) => values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "),
                None => schema["description"].as_str().unwrap_or_default().to_owned(),
            };
            rows.push([name.clone(), effect.to_owned(), says]);
        }
        rows
    }
}
