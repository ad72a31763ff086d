//! JSON schemas for kubeconform out of an API server's own description of its types (OpenAPI v2),
//! resource definitions that are installed there included.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// What names a schema's file, for kubeconform's `-schema-location` behind the folder.
pub const LOCATION: &str = "{{.Group}}_{{.ResourceAPIVersion}}_{{.ResourceKind}}.json";

/// Writes a schema for every kind into a folder, and returns how many. Fields that a kind does not
/// have are refused by them.
///
/// # Errors
/// The text is no OpenAPI document, or a file cannot be written.
pub fn write(openapi: &str, folder: &Path) -> Result<usize> {
    let document: Value = serde_json::from_str(openapi)?;
    let definitions = document["definitions"]
        .as_object()
        .context("no definitions")?;
    let mut written = 0;
    for (name, definition) in definitions {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array();
        // A type with more than one is an option of requests, such as DeleteOptions.
        let Some([kind]) = kinds.map(Vec::as_slice) else {
            continue;
        };
        let text = |key: &str| kind[key].as_str().unwrap_or_default();
        // Of `v1`, kubeconform takes the version for the group.
        let group = match text("group") {
            "" => text("version"),
            group => group,
        };
        let file = format!(
            "{group}_{}_{}.json",
            text("version"),
            text("kind").to_lowercase()
        );
        let schema = closed(definition, definitions, &mut vec![name]);
        fs::write(folder.join(file), schema.to_string())?;
        written += 1;
    }
    Ok(written)
}

/// The schema with all references put in, and with no room for unknown fields.
fn closed<'a>(
    schema: &'a Value,
    definitions: &'a Map<String, Value>,
    above: &mut Vec<&'a str>,
) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/definitions/");
        // A schema within a schema: its depths are the API server's to look at.
        if above.contains(&name) {
            return json!({});
        }
        let Some(definition) = definitions.get(name) else {
            return json!({});
        };
        above.push(name);
        let found = closed(definition, definitions, above);
        above.pop();
        return found;
    }
    if schema["format"] == "int-or-string" || schema["x-kubernetes-int-or-string"] == true {
        return json!({ "type": ["integer", "string"] });
    }
    let mut found = Map::new();
    for key in [
        "type",
        "enum",
        "required",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
    ] {
        if let Some(value) = schema.get(key) {
            found.insert(key.into(), value.clone());
        }
    }
    if let Some(items) = schema.get("items") {
        found.insert("items".into(), closed(items, definitions, above));
    }
    if let Some(more) = schema.get("additionalProperties") {
        let more = match more {
            Value::Bool(_) => more.clone(),
            more => closed(more, definitions, above),
        };
        found.insert("additionalProperties".into(), more);
    }
    if let Some(properties) = schema["properties"].as_object() {
        let properties: Map<String, Value> = properties
            .iter()
            .map(|(name, property)| (name.clone(), closed(property, definitions, above)))
            .collect();
        found.insert("properties".into(), properties.into());
        let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
        if !open && !found.contains_key("additionalProperties") {
            found.insert("additionalProperties".into(), json!(false));
        }
    }
    found.into()
}
