//! `conf get` and `conf set`: lists the values of the configuration, and changes one of them.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::info;

use super::reload::{ConfigState, FILES};
use crate::config;
use crate::management::{AdminApiError, SetOutcome, SettingReport};

/// The values of the configuration, of one key or all, with those of the file where they differ.
pub(super) fn report_settings(
    state: &ConfigState,
    key: Option<&str>,
) -> Result<Vec<SettingReport>, AdminApiError> {
    let running = &state.loaded.configuration;
    // A file that is wrong now does not hide the values that are used.
    let file = state.sources.configuration().ok();
    let setting = |key: String, value: String| {
        let file = file
            .as_ref()
            .and_then(|file| config::get(&file.configuration, &key))
            .filter(|other| *other != value);
        SettingReport {
            number: legacy_number(&key, &value),
            running: value,
            file,
            key,
        }
    };
    match key {
        None => Ok(config::values(running)
            .into_iter()
            .map(|(key, value)| setting(key, value))
            .collect()),
        Some(key) => match config::get(running, key) {
            Some(value) => Ok(vec![setting(key.to_owned(), value)]),
            None => Err(AdminApiError::UnknownKey(key.to_owned())),
        },
    }
}

/// The number that the C program shows for a word.
fn legacy_number(key: &str, value: &str) -> Option<u32> {
    let words: &[&str] = match key.rsplit('.').next()? {
        "log_type" => &["console", "file", "syslog"],
        "log_level" => &["", "debug5", "debug", "info", "warn", "error", "fatal"],
        "log_mode" => &["create", "append"],
        "hugepage" => &["off", "try", "on"],
        "update_process_title" => &["never", "strict", "minimal", "verbose"],
        _ => return None,
    };
    let at = words.iter().position(|word| *word == value)?;
    u32::try_from(at).ok()
}

pub(super) fn apply_setting(
    state: &mut ConfigState,
    key: &str,
    value: &str,
    wanted: &AtomicBool,
) -> Result<SetOutcome, AdminApiError> {
    let old = &state.loaded.configuration;
    let read = config::set(old, key, value)?;
    let shown = |configuration| config::get(configuration, key).unwrap_or_default();
    let current = shown(old);
    let changes = config::compare(old, &read.configuration);
    if changes.is_empty() {
        return Ok(SetOutcome::Same { current });
    }
    if !changes.restart.is_empty() {
        return Ok(SetOutcome::Restart { current });
    }
    let new = shown(&read.configuration);
    let loaded = state.sources.adapt(read, &state.loaded)?;
    let notices = loaded.notices.iter();
    let of_key = notices.filter(|notice| notice.key == Some(key));
    let notices = of_key.map(ToString::to_string).collect();
    if !wanted.load(Ordering::Acquire) {
        return Err(AdminApiError::TooSlow(FILES));
    }
    let reloaded = state.apply(loaded, &changes)?;
    info!("changed: {}", reloaded.changes.join("; "));
    Ok(SetOutcome::Applied {
        old: current,
        new,
        notices,
    })
}
