//! Schemas of fields that the types alone do not tell: rules with words for people, and the shapes
//! that Kubernetes gives to times and conditions.

use std::collections::BTreeSet;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::labels::{OWN_LABELS, PROMETHEUS_LABELS, PROMETHEUS_PREFIXES, labels_of};
use crate::catalog::load;

pub(super) fn port(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "x-kubernetes-validations": [{
            "rule": "self >= 1 && self <= 65535",
            "message": "port takes 1 to 65535",
        }],
    })
}

pub(super) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')",
            "message": "name takes the name of an object in this namespace: lower-case letters, digits, - and .",
        }],
    })
}

pub(super) fn data_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[-._a-zA-Z0-9]+$')",
            "message": "a key of a Secret or ConfigMap has letters, digits, -, _ and . only",
        }],
    })
}

/// Names of collectors.
pub(super) fn names(_: &mut SchemaGenerator) -> Schema {
    list(
        "self.all(name, name.matches('^[A-Za-z0-9_.-]+$'))",
        "name collectors as their pages do: letters, digits, _, . and - only, without patterns",
    )
}

/// Names of extensions, or nothing.
pub(super) fn extensions(_: &mut SchemaGenerator) -> Schema {
    let mut schema = list(
        "self.all(name, name.matches('^[A-Za-z0-9_.-]+$'))",
        "name extensions as CREATE EXTENSION does: letters, digits, _, . and - only",
    );
    schema.insert("nullable".to_owned(), true.into());
    schema
}

/// Patterns of databases.
pub(super) fn patterns(_: &mut SchemaGenerator) -> Schema {
    list(
        r"self.all(name, name.matches(r'^[^\\\[\](){}|^]+$'))",
        "a pattern is a name with * for any characters and ? for one; regular expressions and sets are not known",
    )
}

fn list(rule: &str, message: &str) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "items": { "type": "string", "minLength": 1, "maxLength": 63 },
        "x-kubernetes-validations": [{ "rule": rule, "message": message }],
    })
}

pub(super) fn sample_limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "x-kubernetes-validations": [{
            "rule": "self >= 1 && self <= 1000000",
            "message": "sampleLimit takes 1 to 1000000",
        }],
    })
}

/// A rule that no label has one of the names that are Prometheus' to set.
fn free_of_prometheus() -> String {
    let names: Vec<String> = PROMETHEUS_LABELS
        .iter()
        .map(|name| format!("'{name}'"))
        .collect();
    let begin = PROMETHEUS_PREFIXES.map(|prefix| format!("!name.startsWith('{prefix}')"));
    format!(
        "self.all(name, {} && !(name in [{}]))",
        begin.join(" && "),
        names.join(", ")
    )
}

/// A list of ways of authentication, or nothing.
pub(super) fn require_auth(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^ *((none|password|md5|scram-sha-256|gss|sspi|oauth) *(, *(none|password|md5|scram-sha-256|gss|sspi|oauth) *)*|!(none|password|md5|scram-sha-256|gss|sspi|oauth) *(, *!(none|password|md5|scram-sha-256|gss|sspi|oauth) *)*)?$')",
            "message": "requireAuth takes none, password, md5, scram-sha-256, gss, sspi and oauth, with commas between them, or all of them with a ! before each",
        }],
    })
}

pub(super) fn bytes_limit(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "format": "int64",
        "x-kubernetes-validations": [{
            "rule": "self >= 65536 && self <= 4294967295",
            "message": "bytesLimit takes 65536 (64 KiB) to 4294967295",
        }],
    })
}

/// The names that label samples of the built-in catalogue and of the exporter itself.
fn taken() -> String {
    let mut names = BTreeSet::from(OWN_LABELS.map(str::to_owned));
    // The built-in catalogue is read by a test each time; without it the rest still holds.
    names.extend(load(&[]).iter().flat_map(labels_of));
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    let free = format!("self.all(name, !(name in [{}]))", taken());
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 256 },
        "x-kubernetes-validations": [
            {
                "rule": "self.all(name, name.matches('^[a-zA-Z_][a-zA-Z0-9_]*$'))",
                "message": "the name of a label has letters, digits and _ only, and begins with no digit",
            },
            {
                "rule": free,
                "message": "server, database, le, quantile, and the labels of pgexporter's own metrics are not yours to set: choose another name",
            },
            {
                "rule": free_of_prometheus(),
                "message": "namespace, job, instance, pod, container, service, endpoint, cluster, alertname, exported_..., names that begin with __ and others that Prometheus sets are not yours to set: choose another name",
            },
        ],
    })
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "nullable": true,
        "maxLength": 16,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[1-9][0-9]{0,8}(ms|s|m)$')",
            "message": "a timeout is a number above 0 with ms, s or m, such as 500ms or 5s",
        }],
    })
}

pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}

pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": { "type": "string", "description": "Accepted or Ready." },
                "status": {
                    "type": "string",
                    "enum": ["True", "False", "Unknown"],
                    "description": "Whether it is so.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "The generation of the spec that this speaks of.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "Since when the status is as it is.",
                },
                "reason": { "type": "string", "description": "Why, in one word." },
                "message": {
                    "type": "string",
                    "description": "Why, for people, and what to do.",
                },
            },
        },
    })
}
