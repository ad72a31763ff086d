//! The last step of a reconcile: conditions and facts into the resource's status. In go verdicts
//! and the health of targets; out come patches (server-side apply), only for what has changed and
//! at most every five seconds a target.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::resource::{PostgresTarget, PostgresTargetStatus};
use super::validate::server_name;
use super::verdict::{Verdict, Verdicts};
use crate::model::Reason;
use crate::shutdown::Shutdown;
use crate::targets::{HealthBoard, HealthReport};

/// Who owns the fields that we write.
const MANAGER: &str = "pgexporter";
/// How often it is looked whether anything has changed.
const LOOK: Duration = Duration::from_secs(1);
/// A target's status is not written more often.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a new target may be without a first result before that itself is told.
const FIRST_RESULT: Duration = Duration::from_secs(15);
/// Statuses that are written at once.
const AT_ONCE: usize = 8;
const ANSWER: Duration = Duration::from_secs(10);

/// Writes statuses until the shutdown begins.
pub(super) struct StatusWriter {
    pub client: Client,
    pub verdicts: watch::Receiver<Verdicts>,
    pub health: HealthBoard,
    pub owner: String,
}

/// What was written of one resource.
#[derive(Debug)]
struct Written {
    status: PostgresTargetStatus,
    /// When it was last tried.
    at: Option<Instant>,
    /// Since when its target has no result.
    waiting: Option<Instant>,
}

struct Order {
    uid: String,
    namespace: String,
    name: String,
    status: PostgresTargetStatus,
}

impl StatusWriter {
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let mut written: HashMap<String, Written> = HashMap::new();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                _ = ticks.tick() => {}
            }
            let verdicts = self.verdicts.borrow_and_update().clone();
            let orders = self.orders(&verdicts, &mut written);
            if orders.is_empty() {
                continue;
            }
            let client = &self.client;
            let mut patches = stream::iter(orders)
                .map(|order| async move {
                    let done = patch(client, &order).await;
                    (order, done)
                })
                .buffer_unordered(AT_ONCE);
            loop {
                let (order, done) = tokio::select! {
                    () = shutdown.begun() => return,
                    next = patches.next() => match next {
                        Some(next) => next,
                        None => break,
                    },
                };
                if done && let Some(known) = written.get_mut(&order.uid) {
                    known.status = order.status;
                }
            }
        }
    }

    /// The statuses to write now.
    fn orders(&self, verdicts: &Verdicts, written: &mut HashMap<String, Written>) -> Vec<Order> {
        let mut orders = Vec::new();
        let mut live: HashMap<String, Written> = HashMap::with_capacity(verdicts.len());
        for verdict in verdicts.iter() {
            let metadata = &verdict.resource.metadata;
            let (Some(uid), Some(namespace), Some(name)) =
                (&metadata.uid, &metadata.namespace, &metadata.name)
            else {
                continue;
            };
            let mut known = written.remove(uid).unwrap_or_else(|| Written {
                status: verdict.resource.status.clone().unwrap_or_default(),
                at: None,
                waiting: None,
            });
            let health = verdict.target.as_ref().map(|target| self.health.of(target));
            let pending = matches!(&health, Some(None))
                || matches!(&health, Some(Some(report)) if is_pending(report));
            let since = *known.waiting.get_or_insert_with(Instant::now);
            if !pending {
                known.waiting = None;
            }
            let patience = pending && verdict.refusal.is_none() && since.elapsed() < FIRST_RESULT;
            let paused = known.at.is_some_and(|at| at.elapsed() < PAUSE);
            if !patience && !paused {
                let health = health.flatten();
                let status = wanted(verdict, health.as_ref(), &known.status, &self.owner);
                if !same(&status, &known.status) {
                    known.at = Some(Instant::now());
                    orders.push(Order {
                        uid: uid.clone(),
                        namespace: namespace.clone(),
                        name: name.clone(),
                        status,
                    });
                }
            }
            live.insert(uid.clone(), known);
        }
        *written = live;
        orders
    }
}

async fn patch(client: &Client, order: &Order) -> bool {
    let api: Api<PostgresTarget> = Api::namespaced(client.clone(), &order.namespace);
    let body = json!({
        "apiVersion": "pgexporter.io/v1alpha1",
        "kind": "PostgresTarget",
        // One of the same name that came after it is another resource.
        "metadata": { "name": order.name, "uid": order.uid },
        "status": order.status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let body = Patch::Apply(&body);
    let patched = api.patch_status(&order.name, &parameters, &body);
    let name = format!("{}/{}", order.namespace, order.name);
    match tokio::time::timeout(ANSWER, patched).await {
        Ok(Ok(_)) => true,
        // Deleted meanwhile, or made anew: its status is of no use any more.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => {
            debug!(
                resource = name,
                "the status is not written: {}", status.message
            );
            true
        }
        Ok(Err(error)) => {
            warn!(resource = name, "the status cannot be written: {error}");
            false
        }
        Err(_) => {
            warn!(resource = name, "the status cannot be written: no answer");
            false
        }
    }
}

fn is_pending(report: &HealthReport) -> bool {
    let reason = report.trouble.as_ref().map(|trouble| trouble.reason);
    reason == Some(Reason::Pending)
}

/// The status as it should be.
fn wanted(
    verdict: &Verdict,
    health: Option<&HealthReport>,
    before: &PostgresTargetStatus,
    owner: &str,
) -> PostgresTargetStatus {
    let resource = &verdict.resource;
    let generation = resource.metadata.generation;
    let condition = |kind: &str, (status, reason, message): (&str, &str, String)| {
        let old = before.conditions.iter().find(|one| one.type_ == kind);
        let since = old.filter(|old| old.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since.map_or_else(
                || Time(Timestamp::now()),
                |old| old.last_transition_time.clone(),
            ),
        }
    };
    let accepted = match &verdict.refusal {
        None => ("True", "Accepted", "the target is in order".to_owned()),
        Some(refusal) => ("False", refusal.reason.as_str(), refusal.message.clone()),
    };
    let facts = |find: fn(&HealthReport) -> Option<String>, old: &Option<String>| {
        // A server that is down has not lost its version.
        health.and_then(find).or_else(|| old.clone())
    };
    PostgresTargetStatus {
        observed_generation: generation,
        server: Some(server_name(resource)),
        version: facts(|one| one.version.map(|v| v.to_string()), &before.version),
        role: facts(|one| one.role.map(|r| r.as_str().to_owned()), &before.role),
        owner: Some(owner.to_owned()),
        last_scrape_time: health
            .and_then(|one| one.last_scrape)
            .and_then(|at| Timestamp::try_from(at).ok())
            .map(Time)
            .or_else(|| before.last_scrape_time.clone()),
        conditions: vec![
            condition("Accepted", accepted),
            condition("Ready", ready(verdict, health)),
        ],
    }
}

/// Status, reason and message of the condition Ready.
fn ready(verdict: &Verdict, health: Option<&HealthReport>) -> (&'static str, &'static str, String) {
    if verdict.resource.spec.paused && verdict.target.is_none() {
        let message = "paused: set spec.paused to false to have it scraped";
        return ("False", "Paused", message.to_owned());
    }
    if verdict.target.is_none() {
        let message = "not scraped, because it is not accepted";
        return ("False", "NotAccepted", message.to_owned());
    }
    let old = match verdict.refusal {
        Some(_) => " (as it was before the present change, which is not accepted)",
        None => "",
    };
    match health {
        None => ("Unknown", "Pending", "not asked yet".to_owned()),
        Some(report) => match &report.trouble {
            _ if report.active => ("True", "Scraped", format!("the server answers{old}")),
            Some(trouble) if trouble.reason == Reason::Pending => {
                ("Unknown", "Pending", format!("{}{old}", trouble.message))
            }
            Some(trouble) => (
                "False",
                reason(trouble.reason),
                format!("{}{old}", trouble.message),
            ),
            None => ("False", "ServerError", format!("no samples came{old}")),
        },
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::ConnectionRefused => "ConnectionRefused",
        Reason::NameNotResolved => "NameNotResolved",
        Reason::AuthenticationFailed => "AuthenticationFailed",
        Reason::TlsFailed => "TlsFailed",
        Reason::Timeout => "Timeout",
        Reason::UnsupportedVersion => "UnsupportedVersion",
        Reason::TooManyConnections => "TooManyConnections",
        Reason::NotReady => "NotReady",
        Reason::ConnectionLost => "ConnectionLost",
        Reason::MessageTooLarge => "MessageTooLarge",
        Reason::ServerError => "ServerError",
        Reason::Pending => "Pending",
    }
}

/// Whether there is nothing to write: the time of the last scrape alone is no news.
fn same(one: &PostgresTargetStatus, other: &PostgresTargetStatus) -> bool {
    let bare = |status: &PostgresTargetStatus| PostgresTargetStatus {
        last_scrape_time: None,
        ..status.clone()
    };
    bare(one) == bare(other)
}
