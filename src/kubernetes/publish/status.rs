//! The last step of a reconcile: writes conditions and facts into the resource's status. In go
//! reconcile outcomes and the health of targets; out come patches (server-side apply), only for what is not there yet
//! and no more often than `write_limiter` allows, and an event for what a person should know.
//! While a right is known to be missing, one target of the namespace tries now and then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::conditions::{
    build_status, is_pending, is_same_except_texts, is_same_status, target_state,
};
use super::events::{EventRecorder, ResourceEvent, events_of_change, object_reference};
use super::write_limiter::{self, WriteLimiter};
use crate::jitter::random_fraction;
use crate::kubernetes::api::{PostgresTarget, PostgresTargetStatus};
use crate::kubernetes::client::{ApiKind, ApiRequests, ApiVerb, MANAGER, explain_api};
use crate::kubernetes::metrics::ControllerMetrics;
use crate::kubernetes::reconcile::outcome::{ReconcileOutcome, ReconcileOutcomes};
use crate::shutdown::Shutdown;
use crate::targets::HealthBoard;

/// How often it is looked whether anything has changed.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is tried whether a right that is missing is there again.
const PROBE: Duration = Duration::from_secs(120);
/// How long a new target may be without a first result before that itself is told.
const FIRST_RESULT: Duration = Duration::from_secs(15);
/// Statuses that are written at once.
const AT_ONCE: usize = 8;
const ANSWER: Duration = Duration::from_secs(10);

/// Writes statuses until the shutdown begins.
pub(crate) struct StatusWriter {
    pub client: Client,
    pub outcomes: watch::Receiver<ReconcileOutcomes>,
    pub health: HealthBoard,
    pub owner: String,
    pub recorder: EventRecorder,
    pub metrics: Arc<ControllerMetrics>,
    pub api_requests: Arc<ApiRequests>,
}

/// The status of one resource that was written last.
#[derive(Debug)]
struct WrittenStatus {
    status: PostgresTargetStatus,
    /// The version of the resource that was there when it was written: as long as that is the newest
    /// one that was seen, what was written is newer.
    seen: Option<String>,
    limiter: WriteLimiter,
    events: WriteLimiter,
    /// Since when its target has no result.
    waiting: Option<Instant>,
}

/// A status, and events, to write.
struct StatusWrite {
    uid: String,
    namespace: String,
    name: String,
    status: PostgresTargetStatus,
    /// A Service has no status of ours.
    service: bool,
    of: ObjectReference,
    /// The version of the resource that is there.
    seen: Option<String>,
    notices: Vec<ResourceEvent>,
}

impl StatusWriter {
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut written: HashMap<String, WrittenStatus> = HashMap::new();
        let mut probes: HashMap<String, Instant> = HashMap::new();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                _ = ticks.tick() => {}
            }
            let outcomes = self.outcomes.borrow_and_update().clone();
            let mut writes = self.due_writes(&outcomes, &mut written);
            writes.retain(|write| write.service || self.may_patch(&write.namespace, &mut probes));
            if writes.is_empty() {
                continue;
            }
            let (client, recorder) = (&self.client, &self.recorder);
            let tenure = &outcomes.tenure;
            let mut patches = stream::iter(writes)
                .map(|mut write| async move {
                    // What another pod has taken over is its to say.
                    let done =
                        tenure.holds() && (write.service || patch_status(client, &write).await);
                    if done {
                        for notice in std::mem::take(&mut write.notices) {
                            recorder.record_event(&write.of, notice).await;
                        }
                    }
                    (write, done)
                })
                .buffer_unordered(AT_ONCE);
            loop {
                let (write, done) = tokio::select! {
                    () = shutdown.begun() => return,
                    next = patches.next() => match next {
                        Some(next) => next,
                        None => break,
                    },
                };
                let Some(known) = written.get_mut(&write.uid) else {
                    continue;
                };
                if done {
                    known.status = write.status;
                    known.seen = write.seen;
                    known.limiter.record_success();
                } else {
                    known
                        .limiter
                        .record_failure(Instant::now(), random_fraction());
                }
            }
        }
    }

    /// Whether the right to write statuses is there, as far as is known, or is looked for now.
    fn may_patch(&self, namespace: &str, probes: &mut HashMap<String, Instant>) -> bool {
        let refused =
            self.api_requests
                .is_refused(ApiKind::TargetStatus, ApiVerb::Patch, Some(namespace));
        if !refused {
            probes.remove(namespace);
            return true;
        }
        let now = Instant::now();
        let due = probes.get(namespace).is_none_or(|at| *at + PROBE <= now);
        if due {
            probes.insert(namespace.to_owned(), now);
        }
        due
    }

    /// The statuses to write now.
    fn due_writes(
        &self,
        outcomes: &ReconcileOutcomes,
        written: &mut HashMap<String, WrittenStatus>,
    ) -> Vec<StatusWrite> {
        let own = &outcomes.own;
        let (mut writes, mut states) = (Vec::new(), Vec::with_capacity(own.len()));
        let mut live: HashMap<String, WrittenStatus> = HashMap::with_capacity(own.len());
        for outcome in own.iter() {
            let metadata = &outcome.resource.metadata;
            let (Some(uid), Some(namespace), Some(name)) =
                (&metadata.uid, &metadata.namespace, &metadata.name)
            else {
                continue;
            };
            let present = outcome.present.status.clone().unwrap_or_default();
            let version = &outcome.present.metadata.resource_version;
            let mut known = written.remove(uid).unwrap_or_else(|| WrittenStatus {
                status: present.clone(),
                seen: None,
                limiter: WriteLimiter::new(write_limiter::STATUS),
                events: WriteLimiter::new(write_limiter::EVENTS),
                waiting: None,
            });
            let target = outcome.target.as_ref();
            let health = target.and_then(|target| self.health.find_report(target));
            states.push(target_state(outcome, health.as_ref()));
            let pending = target.is_some() && health.as_ref().is_none_or(is_pending);
            let since = *known.waiting.get_or_insert_with(Instant::now);
            if !pending {
                known.waiting = None;
            }
            let patience = pending && outcome.rejection.is_none() && since.elapsed() < FIRST_RESULT;
            let now = Instant::now();
            if !patience && known.limiter.may_write(now) {
                let status = build_status(outcome, health.as_ref(), &known.status, &self.owner);
                // Somebody else may have written over what we wrote.
                let ours = outcome.service || known.seen == *version;
                let there = if ours { &known.status } else { &present };
                let text = is_same_except_texts(&status, there);
                if !is_same_status(&status, there) && (!text || known.limiter.may_write_text(now)) {
                    let mut notices = events_to_record(outcome, &known.status, &status);
                    notices.retain(|_| {
                        let open = known.events.may_write(now);
                        if open {
                            known.events.record_start(now);
                        }
                        open
                    });
                    known.limiter.record_start(now);
                    writes.push(StatusWrite {
                        uid: uid.clone(),
                        namespace: namespace.clone(),
                        name: name.clone(),
                        service: outcome.service,
                        of: object_reference(&outcome.resource, outcome.service),
                        notices,
                        seen: version.clone(),
                        status,
                    });
                }
            }
            live.insert(uid.clone(), known);
        }
        *written = live;
        self.metrics.set_states(&states, outcomes.foreign);
        writes
    }
}

/// The events of a change. A Service has no status that would remember the last event, so the first
/// event that it is well is left out: each start of the exporter would write it again.
fn events_to_record(
    outcome: &ReconcileOutcome,
    before: &PostgresTargetStatus,
    now: &PostgresTargetStatus,
) -> Vec<ResourceEvent> {
    let first = before.conditions.is_empty();
    let mut all = events_of_change(before, now);
    all.retain(|notice| !(outcome.service && first) || notice.warning);
    all
}

async fn patch_status(client: &Client, write: &StatusWrite) -> bool {
    let api: Api<PostgresTarget> = Api::namespaced(client.clone(), &write.namespace);
    let body = json!({
        "apiVersion": "pgexporter.io/v1alpha1",
        "kind": "PostgresTarget",
        // One of the same name that came after it is another resource.
        "metadata": { "name": write.name, "uid": write.uid },
        "status": write.status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let body = Patch::Apply(&body);
    let patched = api.patch_status(&write.name, &parameters, &body);
    let name = format!("{}/{}", write.namespace, write.name);
    match tokio::time::timeout(ANSWER, patched).await {
        Ok(Ok(_)) => true,
        // Deleted meanwhile, or made anew: its status is of no use any more.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => {
            debug!(
                resource = name,
                "the status was not written: {}", status.message
            );
            true
        }
        // That the right is missing is told once for all.
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => false,
        Ok(Err(error)) => {
            let why = explain_api(&error);
            warn!(resource = name, "the status cannot be written: {why}");
            false
        }
        Err(_) => {
            warn!(resource = name, "the status cannot be written: no answer");
            false
        }
    }
}
