//! `conf get` and `conf set`: lists the values of the configuration, and changes one of them.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::info;

use super::reload::{ConfigState, too_long};
use crate::config::{self, SetError};
use crate::management::{SetOutcome, SettingReport};

/// The values of the configuration, of one key or all, with those of the file where they differ.
pub(super) fn report_settings(
    state: &ConfigState,
    key: Option<&str>,
) -> Result<Vec<SettingReport>, String> {
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
            None => Err(format!(
                "Unknown configuration key '{key}'; `conf get` without a key lists them"
            )),
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
) -> SetOutcome {
    let old = &state.loaded.configuration;
    let read = match config::set(old, key, value) {
        Ok(read) => read,
        Err(SetError::UnknownKey(message)) => return SetOutcome::UnknownKey(message),
        Err(SetError::UnknownServer(server)) => return SetOutcome::UnknownServer(server),
        Err(SetError::Invalid(message)) => return SetOutcome::Invalid(message),
    };
    let shown = |configuration| config::get(configuration, key).unwrap_or_default();
    let current = shown(old);
    let changes = config::compare(old, &read.configuration);
    if changes.is_empty() {
        return SetOutcome::Same { current };
    }
    if !changes.restart.is_empty() {
        return SetOutcome::Restart { current };
    }
    let new = shown(&read.configuration);
    let mut notices = Vec::new();
    let done = state
        .sources
        .adapt(read, &state.loaded)
        .map_err(|errors| errors.problems)
        .and_then(|loaded| {
            let of_key = |notice: &&String| notice.starts_with(&format!("{key}: "));
            notices = loaded.notices.iter().filter(of_key).cloned().collect();
            if !wanted.load(Ordering::Acquire) {
                return Err(vec![too_long()]);
            }
            state.apply(loaded, &changes)
        });
    match done {
        Ok(reloaded) => {
            info!("changed: {}", reloaded.changes.join("; "));
            SetOutcome::Applied {
                old: current,
                new,
                notices,
            }
        }
        Err(problems) => SetOutcome::Failed(problems),
    }
}
