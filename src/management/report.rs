//! Reports as JSON: the objects `Response`.

use serde_json::{Value, json};

use super::admin_api::{AdminApiError, CheckReport, ReloadReport, SetOutcome, SettingReport};
use super::document::{CommandError, JsonObject, errors};
use crate::config::SetError;
use crate::targets::{Profile, ServerReport};

/// Of a status: names, and whether each answers. The C program's `status`.
pub(super) fn status_response(servers: &[ServerReport], notices: &[String]) -> JsonObject {
    list_servers(
        servers,
        notices,
        |server| json!({ "Server": server.name, "Active": server.health.active }),
    )
}

/// All that is known of each. The C program's `status details`, and more.
pub(super) fn details_response(
    servers: &[ServerReport],
    notices: &[String],
    owner: &str,
) -> JsonObject {
    list_servers(servers, notices, |server| {
        let mut all = json!(server);
        all["Owner"] = json!(owner);
        all
    })
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

/// Of a reload.
pub(super) fn reload_response(reload: &ReloadReport) -> JsonObject {
    object(json!({
        "Restart": !reload.restart.is_empty(),
        "RestartKeys": reload.restart,
        "Changes": reload.changes,
    }))
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
    change: Result<SetOutcome, AdminApiError>,
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
        Ok(SetOutcome::Applied { old, new, notices }) => {
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
        Ok(SetOutcome::Same { current }) => {
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
        Ok(SetOutcome::Restart { current }) => {
            let message = "Configuration change requires restart. Current values preserved.";
            put("status", json!("success_restart_required"));
            put("message", json!(message));
            put("current_value", json!(current));
            put("restart_required", json!(true));
            refused(errors::CONF_SET_RESTART, message.to_owned(), response)
        }
        Err(AdminApiError::Set(SetError::Invalid(reason))) => {
            put("status", json!("invalid_value"));
            put("reason", json!(reason));
            let message = format!("Invalid value for configuration key '{key}'");
            refused(errors::CONF_SET_INVALID, message, response)
        }
        Err(AdminApiError::Set(SetError::UnknownKey(reason))) => {
            put("status", json!("unknown_key"));
            put("reason", json!(reason.to_string()));
            let message = format!("Unknown configuration key '{key}'");
            refused(errors::CONF_SET_UNKNOWN_KEY, message, response)
        }
        Err(AdminApiError::Set(SetError::UnknownServer(server))) => {
            put("status", json!("unknown_server"));
            put(
                "reason",
                json!(format!("there is no server '{server}' in the file")),
            );
            refused(
                errors::CONF_SET_UNKNOWN_SERVER,
                format!("Unknown server '{server}'"),
                response,
            )
        }
        Err(error) => {
            put("status", json!("failed"));
            put("reason", json!(error.lines().join("\n")));
            let message = "Nothing was changed".to_owned();
            refused(errors::CONF_SET_FAILED, message, response)
        }
    }
}

/// Of one scrape of a server.
pub(super) fn scrape_response(server: &str, profile: &Profile) -> JsonObject {
    let samples: usize = profile.queries.iter().map(|one| one.samples).sum();
    let mut all = object(json!(profile));
    all.insert("Server".to_owned(), json!(server));
    all.insert("Samples".to_owned(), json!(samples));
    all
}

/// Of a check.
pub(super) fn check_response(check: &CheckReport) -> JsonObject {
    let server = |one: &ServerReport| json!({ "Server": one.name, "Trouble": one.health.trouble, "Denied": one.health.denied });
    object(json!({
        "Problems": check.problems,
        "Notices": check.notices,
        "Changes": check.changes,
        "Servers": check.servers.iter().map(server).collect::<Vec<_>>(),
    }))
}

/// The object that `json!` made.
fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}
