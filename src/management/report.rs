//! Reports as JSON: the objects `Response`.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::admin_api::{
    CheckReport, LeftOutCollector, ReloadReport, ResponseBody, ScrapeReport, ServerReport,
    SetOutcome, SettingReport,
};
use super::document::{CommandError, JsonObject, errors};

/// Of a status: names, and whether each answers. The C program's `status`.
pub(super) fn status_response(servers: &[ServerReport], notices: &[String]) -> JsonObject {
    list_servers(
        servers,
        notices,
        |server| json!({ "Server": server.name, "Active": server.active }),
    )
}

/// All that is known of each. The C program's `status details`, and more.
pub(super) fn details_response(servers: &[ServerReport], notices: &[String]) -> JsonObject {
    list_servers(servers, notices, |server| Value::Object(server.to_object()))
}

fn list_servers(
    servers: &[ServerReport],
    notices: &[String],
    one: impl Fn(&ServerReport) -> Value,
) -> JsonObject {
    let list: Vec<Value> = servers.iter().map(one).collect();
    let mut all = object(json!({ "NumberOfServers": list.len(), "Servers": list }));
    if !notices.is_empty() {
        all.insert("Notices".to_owned(), json!(notices));
    }
    all
}

impl ResponseBody for ServerReport {
    fn to_object(&self) -> JsonObject {
        let mut all = object(json!({
            "Server": self.name,
            "Active": self.active,
            "Address": self.address,
            "Origin": self.origin,
            "Owner": self.owner,
            "Samples": self.samples,
            "Connections": self.connections,
            "Pooled": self.pooled,
            "Denied": self.denied,
            "Ambiguous": self.ambiguous,
            "MissingDatabases": self.missing.iter().map(missing_value).collect::<Vec<_>>(),
            "ExcessRights": self.excess_rights,
            "LeftOut": self.left_out.iter().map(left_out_value).collect::<Vec<_>>(),
        }));
        let mut put = |name: &str, value: Option<Value>| {
            all.insert(name.to_owned(), value.unwrap_or(Value::Null));
        };
        put(
            "Version",
            self.version.map(|version| json!(version.to_string())),
        );
        put(
            "MajorVersion",
            self.version.map(|version| json!(version.major())),
        );
        put(
            "MinorVersion",
            self.version.map(|version| json!(version.minor())),
        );
        put("Role", self.role.map(|role| json!(role.as_str())));
        put("LastScrape", self.last_scrape.map(timestamp));
        put("Duration", self.last_scrape.map(|_| seconds(self.duration)));
        put("Trouble", self.trouble.as_ref().map(trouble_value));
        put(
            "LastError",
            self.last_error.as_ref().map(|error| {
                json!({
                    "Reason": error.reason,
                    "Message": error.message,
                    "Time": timestamp(error.at),
                    "Count": error.count,
                })
            }),
        );
        all
    }
}

impl ResponseBody for ReloadReport {
    fn to_object(&self) -> JsonObject {
        object(json!({
            "Restart": !self.restart.is_empty(),
            "RestartKeys": self.restart,
            "Changes": self.changes,
        }))
    }
}

/// Of all settings: the C program's flat object, with those of servers below their names.
pub(super) fn settings_response(settings: &[SettingReport], one: bool) -> JsonObject {
    if let (true, [setting]) = (one, settings) {
        let mut all = object(json!({ setting.key.as_str(): setting_value(setting) }));
        if let Some(file) = &setting.file {
            all.insert("File".to_owned(), json!(file));
        }
        return all;
    }
    let mut all = JsonObject::new();
    let mut servers = JsonObject::new();
    let mut differ = JsonObject::new();
    for setting in settings {
        if let Some(file) = &setting.file {
            differ.insert(
                setting.key.clone(),
                json!({ "Running": setting.running, "File": file }),
            );
        }
        let server = setting.key.strip_prefix("server.");
        match server.and_then(|rest| rest.rsplit_once('.')) {
            None => {
                all.insert(setting.key.clone(), setting_value(setting));
            }
            Some((server, key)) => {
                let keys = servers.entry(server).or_insert_with(|| json!({}));
                if let Value::Object(keys) = keys {
                    keys.insert(key.to_owned(), setting_value(setting));
                }
            }
        }
    }
    all.insert("server".to_owned(), Value::Object(servers));
    if !differ.is_empty() {
        all.insert("Differences".to_owned(), Value::Object(differ));
    }
    all
}

/// A word that has a number shows both.
fn setting_value(setting: &SettingReport) -> Value {
    match setting.number {
        Some(number) => json!({ "string_value": setting.running, "value": number }),
        None => json!(setting.running),
    }
}

/// Of `conf set` and `log level`, in the C program's words.
pub(super) fn set_response(
    key: &str,
    value: &str,
    change: SetOutcome,
) -> Result<JsonObject, CommandError> {
    let mut response = object(json!({ "config_key": key, "requested_value": value }));
    let mut put = |name: &str, value: Value| {
        response.insert(name.to_owned(), value);
    };
    let refused = |error, message: String, response| {
        Err(CommandError {
            error,
            message,
            response,
        })
    };
    match change {
        SetOutcome::Applied { old, new, notices } => {
            if !notices.is_empty() {
                put("notices", json!(notices));
            }
            put("status", json!("success"));
            put("message", json!("Configuration change applied"));
            put("old_value", json!(old));
            put("new_value", json!(new));
            put("restart_required", json!(false));
            Ok(response)
        }
        SetOutcome::Same { current } => {
            put("status", json!("no_change"));
            put(
                "message",
                json!(format!("No change: {key} is already {current}")),
            );
            put("old_value", json!(current));
            put("new_value", json!(current));
            put("restart_required", json!(false));
            Ok(response)
        }
        SetOutcome::Restart { current } => {
            let message = "Configuration change requires restart. Current values preserved.";
            put("status", json!("success_restart_required"));
            put("message", json!(message));
            put("current_value", json!(current));
            put("restart_required", json!(true));
            refused(errors::CONF_SET_RESTART, message.to_owned(), response)
        }
        SetOutcome::Invalid(reason) => {
            put("status", json!("invalid_value"));
            put("reason", json!(reason));
            let message = format!("Invalid value for configuration key '{key}'");
            refused(errors::CONF_SET_INVALID, message, response)
        }
        SetOutcome::UnknownKey(reason) => {
            put("status", json!("unknown_key"));
            put("reason", json!(reason));
            let message = format!("Unknown configuration key '{key}'");
            refused(errors::CONF_SET_UNKNOWN_KEY, message, response)
        }
        SetOutcome::UnknownServer(server) => {
            put("status", json!("unknown_server"));
            put(
                "reason",
                json!(format!("there is no server '{server}' in the file")),
            );
            let message = format!("Unknown server '{server}'");
            refused(errors::CONF_SET_UNKNOWN_SERVER, message, response)
        }
        SetOutcome::Failed(problems) => {
            put("status", json!("failed"));
            put("reason", json!(problems.join("\n")));
            let message = "Nothing was changed".to_owned();
            refused(errors::CONF_SET_FAILED, message, response)
        }
    }
}

impl ResponseBody for ScrapeReport {
    fn to_object(&self) -> JsonObject {
        let query = |one: &super::admin_api::ScrapedQuery| {
            json!({
                "Collector": one.collector,
                "Tag": one.tag,
                "Database": one.database,
                "Interval": one.interval.map(seconds),
                "Duration": seconds(one.duration),
                "Samples": one.samples,
                "Outcome": one.outcome,
                "Message": one.message,
            })
        };
        let queries: Vec<Value> = self.queries.iter().map(query).collect();
        let samples: usize = self.queries.iter().map(|one| one.samples).sum();
        object(json!({
            "Server": self.name,
            "Address": self.address,
            "Duration": seconds(self.duration),
            "RoundTrip": self.round_trip.map(seconds),
            "Samples": samples,
            "Queries": queries,
            "Trouble": self.trouble.as_ref().map(trouble_value),
        }))
    }
}

impl ResponseBody for CheckReport {
    fn to_object(&self) -> JsonObject {
        let servers: Vec<Value> = self
            .servers
            .iter()
            .map(|one| {
                json!({
                    "Server": one.name,
                    "Trouble": one.trouble.as_ref().map(trouble_value),
                    "Denied": one.denied,
                })
            })
            .collect();
        object(json!({
            "Problems": self.problems,
            "Notices": self.notices,
            "Changes": self.changes,
            "Servers": servers,
        }))
    }
}

fn missing_value((name, reason, message): &(String, &'static str, String)) -> Value {
    json!({ "Database": name, "Reason": reason, "Message": message })
}

fn left_out_value(one: &LeftOutCollector) -> Value {
    json!({
        "Collector": one.collector,
        "Families": one.families,
        "Reason": one.reason,
        "Message": one.message,
    })
}

fn trouble_value((reason, message): &(&'static str, String)) -> Value {
    json!({ "Reason": reason, "Message": message })
}

/// Seconds, to the microsecond.
fn seconds(duration: Duration) -> Value {
    json!((duration.as_secs_f64() * 1e6).round() / 1e6)
}

/// RFC 3339, in UTC.
fn timestamp(time: SystemTime) -> Value {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        Err(_) => Value::Null,
    }
}

/// The object that `json!` made.
fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}
