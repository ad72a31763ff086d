//! Records Events of Kubernetes. They come from changes of a resource's conditions. The API's
//! recorder counts an event that repeats within minutes instead of writing it again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::Instant;
use tracing::debug;

use super::conditions::{find_condition, has_condition};
use crate::kubernetes::api::{PostgresTarget, PostgresTargetStatus};
use crate::kubernetes::client::{ApiKind, ApiRequests, ApiVerb, explain_api};

/// The longest note, in bytes (Kubernetes API, "Event v1 events.k8s.io").
const NOTE: usize = 1_024;
/// How often it is tried whether the right to write them is there again.
const PROBE: Duration = Duration::from_secs(120);

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ResourceEvent {
    pub warning: bool,
    reason: String,
    note: String,
}

/// What a change of the status is worth telling.
pub(super) fn events_of_change(
    before: &PostgresTargetStatus,
    now: &PostgresTargetStatus,
) -> Vec<ResourceEvent> {
    let changed = |kind: &str| {
        let (old, new) = (find_condition(before, kind), find_condition(now, kind)?);
        let same = old.is_some_and(|old| old.status == new.status && old.reason == new.reason);
        (!same).then_some(new)
    };
    let notice = |warning: bool, reason: &str, note: &str| ResourceEvent {
        warning,
        reason: reason.to_owned(),
        note: note.to_owned(),
    };
    let mut notices = Vec::new();
    let accepted = changed("Accepted");
    if let Some(refused) = accepted.filter(|one| one.status != "True") {
        notices.push(notice(true, &refused.reason, &refused.message));
    }
    let taken = accepted.filter(|one| one.status == "True");
    match changed("Ready") {
        Some(ready) if ready.status == "True" => {
            let words = match (taken, &now.version) {
                (Some(_), Some(version)) => format!("accepted; PostgreSQL {version} answers"),
                (None, Some(version)) => format!("PostgreSQL {version} answers"),
                (_, None) => ready.message.clone(),
            };
            notices.push(notice(false, "Ready", &words));
        }
        other => {
            if let Some(taken) = taken {
                notices.push(notice(false, "Accepted", &taken.message));
            }
            match other {
                Some(lost) if lost.reason == "Paused" => {
                    notices.push(notice(false, "Paused", &lost.message));
                }
                // That it is not accepted was told.
                Some(lost) if lost.status == "False" && lost.reason != "NotAccepted" => {
                    let was_ready = has_condition(before, "Ready", "True");
                    let words = match was_ready {
                        true => format!("lost: {}", lost.message),
                        false => lost.message.clone(),
                    };
                    notices.push(notice(true, &lost.reason, &words));
                }
                _ => {}
            }
        }
    }
    notices
}

/// Writes events to the API server.
#[derive(Clone)]
pub(crate) struct EventRecorder {
    recorder: Recorder,
    api_requests: Arc<ApiRequests>,
    /// When a write last found out whether the missing right was granted.
    probe: Arc<Mutex<Option<Instant>>>,
}

impl EventRecorder {
    pub(crate) fn new(client: Client, owner: &str, api_requests: Arc<ApiRequests>) -> Self {
        let reporter = Reporter {
            controller: "pgexporter.io/exporter".to_owned(),
            instance: Some(owner.to_owned()),
        };
        Self {
            recorder: Recorder::new(client, reporter),
            api_requests,
            probe: Arc::default(),
        }
    }

    /// Records an event of a resource. An event that cannot be written is dropped, as the status says
    /// the same.
    pub(super) async fn record_event(&self, of: &ObjectReference, notice: ResourceEvent) {
        if !self.may_create(of.namespace.as_deref()) {
            return;
        }
        let event = Event {
            type_: match notice.warning {
                true => EventType::Warning,
                false => EventType::Normal,
            },
            reason: notice.reason,
            note: Some(truncate_note(notice.note)),
            action: "Scrape".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, of).await {
            let why = explain_api(&error);
            debug!(resource = of.name, "the event could not be written: {why}");
        }
    }

    /// Whether an event may be written: the right is not known to be missing, or it is time to find
    /// out whether it was granted.
    fn may_create(&self, namespace: Option<&str>) -> bool {
        if !self
            .api_requests
            .is_refused(ApiKind::Events, ApiVerb::Create, namespace)
        {
            return true;
        }
        let mut probe = self.probe.lock().unwrap_or_else(PoisonError::into_inner);
        let due = probe.is_none_or(|at| at.elapsed() >= PROBE);
        if due {
            *probe = Some(Instant::now());
        }
        due
    }
}

/// How events refer to a resource.
pub(super) fn object_reference(resource: &PostgresTarget, service: bool) -> ObjectReference {
    let metadata = &resource.metadata;
    let (api_version, kind) = match service {
        true => ("v1", "Service"),
        false => ("pgexporter.io/v1alpha1", "PostgresTarget"),
    };
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

fn truncate_note(mut note: String) -> String {
    note.truncate(note.floor_char_boundary(NOTE));
    note
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(accepted: (&str, &str), ready: (&str, &str)) -> PostgresTargetStatus {
        let condition = |kind: &str, (status, reason): (&str, &str)| Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: format!("{kind} {reason}"),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        };
        PostgresTargetStatus {
            version: Some("17.6".to_owned()),
            conditions: vec![condition("Accepted", accepted), condition("Ready", ready)],
            ..PostgresTargetStatus::default()
        }
    }

    #[test]
    fn a_change_of_a_condition_is_told_and_nothing_else() {
        let none = PostgresTargetStatus::default();
        let pending = status(("True", "Accepted"), ("Unknown", "Pending"));
        let well = status(("True", "Accepted"), ("True", "Scraped"));
        let down = status(("True", "Accepted"), ("False", "Timeout"));
        let refused = status(("False", "InvalidTls"), ("False", "NotAccepted"));
        let cases: [(&PostgresTargetStatus, &PostgresTargetStatus, &[&str]); 8] = [
            (&none, &well, &["Ready: accepted; PostgreSQL 17.6 answers"]),
            (&none, &pending, &["Accepted: Accepted Accepted"]),
            (&pending, &well, &["Ready: PostgreSQL 17.6 answers"]),
            (&well, &well, &[]),
            (&well, &down, &["! Timeout: lost: Ready Timeout"]),
            (&pending, &down, &["! Timeout: Ready Timeout"]),
            (&none, &refused, &["! InvalidTls: Accepted InvalidTls"]),
            (
                &refused,
                &down,
                &["Accepted: Accepted Accepted", "! Timeout: Ready Timeout"],
            ),
        ];
        for (before, now, expected) in cases {
            let told: Vec<String> = events_of_change(before, now)
                .iter()
                .map(|one| {
                    let mark = if one.warning { "! " } else { "" };
                    format!("{mark}{}: {}", one.reason, one.note)
                })
                .collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_note_is_as_long_as_the_api_takes_it() {
        let note = truncate_note("ü".repeat(NOTE));
        assert_eq!(note.len(), NOTE);
        assert_eq!(truncate_note("short".to_owned()), "short");
    }
}
