//! What the controller tells of itself in `/metrics`. All labels are of closed sets.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::api::RejectionReason;
use super::client::{ApiKind, ApiRequests, ApiVerb, RIGHTS};
use super::reconcile::outcome::ReconcileResult;
use crate::exposition::{FamilyHead, NotAccepted, SampleWriter, SelfMetrics};
use crate::model::Kind;
use crate::targets::OwnershipTerm;

const fn head(name: &'static str, kind: Kind, help: &'static str) -> FamilyHead<'static> {
    FamilyHead { name, kind, help }
}

/// The families, in the order they are sent.
pub const FAMILIES: [FamilyHead<'static>; 12] = [
    head(
        "pgexporter_kubernetes_targets",
        Kind::Gauge,
        "Number of targets of Kubernetes by state; those of other pods are foreign.",
    ),
    head(
        "pgexporter_kubernetes_targets_owned",
        Kind::Gauge,
        "Number of targets of Kubernetes that this pod is to scrape.",
    ),
    head(
        "pgexporter_kubernetes_reconciles_total",
        Kind::Counter,
        "Number of resources that were resolved and checked, by result.",
    ),
    head(
        "pgexporter_kubernetes_reconcile_errors_total",
        Kind::Counter,
        "Number of resources that were not accepted, by reason.",
    ),
    head(
        "pgexporter_kubernetes_reconcile_duration_seconds",
        Kind::Histogram,
        "How long it took to resolve and check a resource, in seconds.",
    ),
    head(
        "pgexporter_kubernetes_watch_restarts_total",
        Kind::Counter,
        "Number of watches that failed and were begun again.",
    ),
    head(
        "pgexporter_kubernetes_watch_failing",
        Kind::Gauge,
        "Number of watches that fail at present, by what they watch.",
    ),
    head(
        "pgexporter_kubernetes_api_requests_total",
        Kind::Counter,
        "Number of requests to the API server, by verb.",
    ),
    head(
        "pgexporter_kubernetes_api_errors_total",
        Kind::Counter,
        "Number of requests to the API server that failed or were not answered, by verb.",
    ),
    head(
        "pgexporter_kubernetes_right_missing",
        Kind::Gauge,
        "Whether the cluster refuses a right that the exporter needs: 1 is yes.",
    ),
    head(
        "pgexporter_kubernetes_lease_held",
        Kind::Gauge,
        "Whether this pod holds its Lease, where targets are shared among pods: 1 is yes.",
    ),
    head(
        "pgexporter_kubernetes_members",
        Kind::Gauge,
        "Number of pods that share the targets, as this pod sees it.",
    ),
];

/// How a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetState {
    Ready,
    Failing,
    Pending,
    Rejected,
    Paused,
    Foreign,
}

impl TargetState {
    const ALL: [(TargetState, &'static str); 6] = [
        (TargetState::Ready, "ready"),
        (TargetState::Failing, "failing"),
        (TargetState::Pending, "pending"),
        (TargetState::Rejected, "refused"),
        (TargetState::Paused, "paused"),
        (TargetState::Foreign, "foreign"),
    ];
}

/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// What is watched, as a label.
const WATCHED: [ApiKind; 5] = [
    ApiKind::Targets,
    ApiKind::Secrets,
    ApiKind::ConfigMaps,
    ApiKind::Services,
    ApiKind::Leases,
];

/// Counters and gauges of the controller.
#[derive(Debug)]
pub(super) struct ControllerMetrics {
    api_requests: Arc<ApiRequests>,
    states: [AtomicUsize; TargetState::ALL.len()],
    owned: AtomicUsize,
    outcomes: [AtomicU64; ReconcileResult::WORDS.len()],
    reasons: [AtomicU64; RejectionReason::ALL.len()],
    /// Each bound's own observations, and those beyond the last.
    durations: [AtomicU64; BOUNDS.len() + 1],
    duration: AtomicU64,
    restarts: [AtomicU64; WATCHED.len()],
    failing: [AtomicUsize; WATCHED.len()],
    /// Servers that are not accepted, and how long that is this pod's to say.
    not_accepted: Mutex<(Arc<Vec<NotAccepted>>, OwnershipTerm)>,
    /// Pods that share the targets; `None` where they are not shared.
    members: Option<AtomicUsize>,
}

impl ControllerMetrics {
    pub(super) fn new(api_requests: Arc<ApiRequests>, shards: bool) -> Self {
        Self {
            api_requests,
            states: Default::default(),
            owned: AtomicUsize::new(0),
            outcomes: Default::default(),
            reasons: Default::default(),
            durations: Default::default(),
            duration: AtomicU64::new(0),
            restarts: Default::default(),
            failing: Default::default(),
            not_accepted: Mutex::default(),
            members: shards.then(AtomicUsize::default),
        }
    }

    /// A resource was resolved and checked.
    pub(super) fn record_reconcile(&self, outcome: ReconcileResult, took: Duration) {
        add(&self.outcomes[outcome.label_index()]);
        if let ReconcileResult::Rejected(reason) = outcome
            && let Some(at) = RejectionReason::ALL.iter().position(|one| *one == reason)
        {
            add(&self.reasons[at]);
        }
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound);
        add(&self.durations[at.unwrap_or(BOUNDS.len())]);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.duration.fetch_add(micros, Ordering::Relaxed);
    }

    /// A watch failed.
    pub(super) fn record_restart(&self, watched: ApiKind) {
        if let Some(at) = WATCHED.iter().position(|one| *one == watched) {
            add(&self.restarts[at]);
        }
    }

    /// What the watches that fail at present watch.
    pub(super) fn set_failing(&self, failing: impl Iterator<Item = ApiKind>) {
        let failing: Vec<ApiKind> = failing.collect();
        for (at, watched) in WATCHED.iter().enumerate() {
            let number = failing.iter().filter(|one| *one == watched).count();
            self.failing[at].store(number, Ordering::Relaxed);
        }
    }

    /// Which servers are not accepted at present.
    pub(super) fn set_not_accepted(&self, all: Vec<NotAccepted>, tenure: &OwnershipTerm) {
        let mut known = self
            .not_accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = (Arc::new(all), tenure.clone());
    }

    /// How the targets are at present.
    pub(super) fn set_states(&self, states: &[TargetState], foreign: usize) {
        for (at, (state, _)) in TargetState::ALL.iter().enumerate() {
            let number = match state {
                TargetState::Foreign => foreign,
                _ => states.iter().filter(|one| *one == state).count(),
            };
            self.states[at].store(number, Ordering::Relaxed);
        }
        self.owned.store(states.len(), Ordering::Relaxed);
    }

    /// How many pods share the targets; 0 when this one has lost its Lease.
    pub(super) fn set_members(&self, number: usize) {
        if let Some(members) = &self.members {
            members.store(number, Ordering::Relaxed);
        }
    }

    fn write_durations(&self, out: &mut Vec<u8>, name: &str) {
        let mut sum = 0;
        for (at, counter) in self.durations.iter().enumerate() {
            sum += get(counter);
            let mut bound = Vec::new();
            let le = BOUNDS.get(at).copied().unwrap_or(f64::INFINITY);
            crate::exposition::write_float(&mut bound, le);
            let mut sample = SampleWriter::begin(out, &format!("{name}_bucket"));
            sample.label("le", &bound);
            sample.integer(signed(sum));
        }
        // Whole microseconds are exact in a float for a hundred years of work.
        #[allow(clippy::cast_precision_loss)]
        let seconds = get(&self.duration) as f64 / 1e6;
        SampleWriter::begin(out, &format!("{name}_sum")).float(seconds);
        SampleWriter::begin(out, &format!("{name}_count")).integer(signed(sum));
    }
}

impl SelfMetrics for ControllerMetrics {
    fn heads(&self) -> Vec<FamilyHead<'static>> {
        FAMILIES.to_vec()
    }

    fn samples(&self, family: &str, out: &mut Vec<u8>) {
        let mut line = |labels: &[(&str, &str)], value: u64| {
            let mut sample = SampleWriter::begin(out, family);
            for (name, value) in labels {
                sample.label(name, value.as_bytes());
            }
            sample.integer(signed(value));
        };
        match family.trim_start_matches("pgexporter_kubernetes_") {
            "targets" => {
                for (at, (_, word)) in TargetState::ALL.iter().enumerate() {
                    let number = self.states[at].load(Ordering::Relaxed);
                    line(&[("state", word)], number as u64);
                }
            }
            "targets_owned" => line(&[], self.owned.load(Ordering::Relaxed) as u64),
            "reconciles_total" => {
                for (counter, word) in self.outcomes.iter().zip(ReconcileResult::WORDS) {
                    line(&[("result", word)], get(counter));
                }
            }
            "reconcile_errors_total" => {
                for (counter, reason) in self.reasons.iter().zip(RejectionReason::ALL) {
                    line(&[("reason", reason.as_str())], get(counter));
                }
            }
            "reconcile_duration_seconds" => self.write_durations(out, family),
            "watch_restarts_total" => {
                for (counter, watched) in self.restarts.iter().zip(WATCHED) {
                    line(&[("resource", watched.as_str())], get(counter));
                }
            }
            "watch_failing" => {
                for (number, watched) in self.failing.iter().zip(WATCHED) {
                    let number = number.load(Ordering::Relaxed) as u64;
                    line(&[("resource", watched.as_str())], number);
                }
            }
            "api_requests_total" => {
                for verb in ApiVerb::ALL {
                    line(
                        &[("verb", verb.as_str())],
                        self.api_requests.requests(verb).0,
                    );
                }
            }
            "api_errors_total" => {
                for verb in ApiVerb::ALL {
                    line(
                        &[("verb", verb.as_str())],
                        self.api_requests.requests(verb).1,
                    );
                }
            }
            "right_missing" => {
                for (kind, verb) in RIGHTS {
                    let missing = self.api_requests.count_missing((kind, verb)) > 0;
                    let labels = [("resource", kind.as_str()), ("verb", verb.as_str())];
                    line(&labels, u64::from(missing));
                }
            }
            "lease_held" => {
                if let Some(members) = &self.members {
                    let held = members.load(Ordering::Relaxed) > 0;
                    line(&[], u64::from(held));
                }
            }
            "members" => {
                if let Some(members) = &self.members {
                    line(&[], members.load(Ordering::Relaxed) as u64);
                }
            }
            _ => {}
        }
    }

    fn not_accepted(&self) -> Arc<Vec<NotAccepted>> {
        let known = self
            .not_accepted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (all, tenure) = &*known;
        match tenure.holds() {
            true => Arc::clone(all),
            false => Arc::default(),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::is_reserved;
    use crate::exposition::{Format, write_self_metrics};

    #[test]
    fn every_family_has_samples_and_no_catalogue_may_bring_it() {
        let metrics = ControllerMetrics::new(Arc::default(), true);
        metrics.record_reconcile(
            ReconcileResult::Rejected(RejectionReason::Forbidden),
            Duration::from_millis(7),
        );
        metrics.set_states(
            &[TargetState::Ready, TargetState::Ready, TargetState::Paused],
            4,
        );
        let mut out = Vec::new();
        write_self_metrics(&metrics, &mut out, Format::Text);
        let text = String::from_utf8(out).unwrap();
        for family in FAMILIES {
            assert!(is_reserved(family.name), "{}", family.name);
            assert!(
                text.contains(&format!("\n{}", family.name)),
                "{}",
                family.name
            );
        }
        for line in [
            "pgexporter_kubernetes_targets{state=\"ready\"} 2\n",
            "pgexporter_kubernetes_targets{state=\"foreign\"} 4\n",
            "pgexporter_kubernetes_targets_owned 3\n",
            "pgexporter_kubernetes_reconcile_errors_total{reason=\"Forbidden\"} 1\n",
            "pgexporter_kubernetes_reconcile_duration_seconds_bucket{le=\"0.005\"} 0\n",
            "pgexporter_kubernetes_reconcile_duration_seconds_bucket{le=\"0.01\"} 1\n",
            "pgexporter_kubernetes_reconcile_duration_seconds_bucket{le=\"+Inf\"} 1\n",
            "pgexporter_kubernetes_reconcile_duration_seconds_sum 0.007\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
