//! The lease holder of this pod. Each pod holds a Lease (`coordination.k8s.io/v1`) of its own; the
//! pods whose Leases have not expired are the members. There is no election, and pods do not
//! connect to each other.
//!
//! * A Lease is renewed every [`RENEW`] and expires after [`LEASE`]. Its holder stops serving
//!   [`MARGIN`] before that, by its own clock and counted from before the request that renewed it:
//!   always before another pod may regard it as expired.
//! * The Lease of another pod has expired when the API server shows it without a renewal for as
//!   long as its duration says. The time counts from when this pod saw the last renewal, by its own
//!   clock, so the clocks of pods need not agree; and a pod that cannot reach the API server
//!   regards no Lease as expired.
//! * A pod that joins others takes over targets once its metrics were scraped: until Prometheus
//!   has discovered the pod, the samples of its targets would be missing. An annotation of its
//!   Lease says whether it was scraped ([`SCRAPED`]). A pod that is not scraped takes over targets
//!   after [`UNSCRAPED`]. Without a member that was scraped and is there for half a minute, as when
//!   all pods start at once, no pod waits (`membership`).
//! * A watch shows at once that a pod joins or leaves. As a watch may hang, there is a list with
//!   each renewal as well.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::membership::{LEASE, MemberState, Members, SCRAPED};
use super::ownership::Assignment;
use crate::kubernetes::client::MANAGER;
use crate::kubernetes::client::{ApiKind, explain_api};
use crate::kubernetes::metrics::ControllerMetrics;
use crate::kubernetes::settings::ControllerOptions;
use crate::kubernetes::source::watches;
use crate::shutdown::Shutdown;
use crate::targets::OwnershipTerm;
use crate::text::peer_text;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How soon it is tried again when that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long before the end of its Lease a pod stops serving.
const MARGIN: Duration = Duration::from_secs(3);
/// How long an answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(4);
/// How long a pod that is not scraped waits until it takes over targets: longer than most scrape
/// intervals.
const UNSCRAPED: Duration = Duration::from_secs(70);
/// The label of the Leases of pods that share the same targets.
const GROUP: &str = "pgexporter.io/shards";

/// Renews the Lease of this pod, and follows the Leases of the other pods.
pub(crate) struct LeaseHolder {
    leases: Api<Lease>,
    name: String,
    owner: String,
    owner_uid: Option<String>,
    group: String,
    metrics: Arc<ControllerMetrics>,
    assignment: watch::Sender<Assignment>,
    tenure: Option<OwnershipTerm>,
    acquired: Timestamp,
    members: Members,
    failing: bool,
    scraped: watch::Receiver<bool>,
    /// When this pod started.
    began: Instant,
    /// The state that this pod's Lease shows.
    state: MemberState,
}

impl LeaseHolder {
    /// A lease holder, and the channel of its assignment.
    pub(crate) fn new(
        client: &Client,
        options: &ControllerOptions,
        metrics: Arc<ControllerMetrics>,
        scraped: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<Assignment>) {
        let (share, shared) = watch::channel(Assignment::Nothing);
        let holder = Self {
            leases: Api::default_namespaced(client.clone()),
            members: Members::new(&lease_name(&options.owner)),
            name: lease_name(&options.owner),
            owner: options.owner.clone(),
            owner_uid: options.owner_uid.clone(),
            group: group_label(options),
            metrics,
            assignment: share,
            tenure: None,
            acquired: Timestamp::now(),
            failing: false,
            scraped,
            began: Instant::now(),
            state: MemberState::default(),
        };
        (holder, shared)
    }

    /// Renews the Lease until the shutdown begins, and deletes it then.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let (mut watched, mut scraped) = (self.watch(), self.scraped.clone());
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                () = sleep_until(due) => {
                    let mut turn = pin!(self.renew_and_list());
                    let done = tokio::select! {
                        done = &mut turn => done,
                        () = shutdown.begun() => {
                            // A renewal that reaches the API server after the delete would create the
                            // Lease again.
                            let _ = timeout(RETRY, turn).await;
                            break;
                        }
                    };
                    due = Instant::now() + if done { RENEW } else { RETRY };
                }
                Some(event) = watched.next() => self.handle_event(event),
                // Renewed at once, so that the other pods see that this one was scraped.
                () = wait_until_scraped(&mut scraped), if !self.state.scraped && !self.failing => {
                    due = Instant::now();
                }
            }
        }
        self.release().await;
    }

    /// Renews the Lease and lists those of the other pods. Returns whether both succeeded.
    async fn renew_and_list(&mut self) -> bool {
        if self.tenure.as_ref().is_some_and(|tenure| !tenure.holds()) {
            // Other pods serve our targets by now. This pod joins again as a new one.
            warn!("the Lease could not be renewed in time: other pods serve the targets");
            self.tenure = None;
            self.acquired = Timestamp::now();
            self.assignment.send_replace(Assignment::Nothing);
            self.metrics.set_members(0);
        }
        let began = Instant::now();
        let renewed = self.renew().await;
        let done = match renewed {
            Ok(state) => {
                self.state = state;
                let end = began + LEASE - MARGIN;
                match &self.tenure {
                    Some(tenure) => tenure.extend(end),
                    None => self.tenure = Some(OwnershipTerm::until(end)),
                }
                self.list_members().await
            }
            Err(why) => Err(why),
        };
        match done {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    info!("the Lease is renewed again");
                }
                self.publish();
                true
            }
            Err(why) => {
                if !std::mem::replace(&mut self.failing, true) {
                    warn!("cannot renew the Lease; the exporter retries: {why}");
                }
                false
            }
        }
    }

    async fn renew(&self) -> Result<MemberState, String> {
        let spec = LeaseSpec {
            holder_identity: Some(self.owner.clone()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: Some(MicroTime(self.acquired)),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let labels = BTreeMap::from([
            (GROUP.to_owned(), self.group.clone()),
            (
                "app.kubernetes.io/managed-by".to_owned(),
                MANAGER.to_owned(),
            ),
        ]);
        let scraped =
            self.state.scraped || *self.scraped.borrow() || self.began.elapsed() >= UNSCRAPED;
        let annotations = BTreeMap::from([(SCRAPED.to_owned(), scraped.to_string())]);
        let lease = Lease {
            metadata: ObjectMeta {
                annotations: Some(annotations),
                name: Some(self.name.clone()),
                labels: Some(labels),
                owner_references: self.owner_reference().map(|pod| vec![pod]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let (parameters, body) = (PatchParams::default(), Patch::Merge(&lease));
        let patched = self.leases.patch(&self.name, &parameters, &body);
        match await_answer(patched).await {
            Ok(_) => Ok(MemberState::from_lease(&lease)),
            Err(LeaseError::Refused(404, _)) => {
                let parameters = PostParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let created = await_answer(self.leases.create(&parameters, &lease)).await;
                created
                    .map(|_| MemberState::from_lease(&lease))
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The pod as the owner of its Lease, so that the garbage collector deletes the Lease of a pod
    /// that was killed, or that lost its rights before it could delete it.
    fn owner_reference(&self) -> Option<OwnerReference> {
        Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.owner.clone(),
            uid: self.owner_uid.clone()?,
            ..OwnerReference::default()
        })
    }

    /// Lists the Leases of all pods. Only a list shows that a Lease has expired: a watch that hangs
    /// shows no renewals either.
    async fn list_members(&mut self) -> Result<(), String> {
        let selector = ListParams::default().labels(&format!("{GROUP}={}", self.group));
        let list = await_answer(self.leases.list(&selector)).await;
        let list = list.map_err(|error| error.to_string())?;
        self.members.apply_list(list);
        self.delete_expired().await;
        Ok(())
    }

    /// Deletes Leases that expired long ago, which would pile up otherwise.
    async fn delete_expired(&mut self) {
        for name in self.members.expired_leases() {
            if await_answer(self.leases.delete(&name, &DeleteParams::default()))
                .await
                .is_ok()
            {
                self.members.remove(&name);
            }
        }
    }

    fn handle_event(&mut self, event: Result<Event<Lease>, watcher::Error>) {
        match event {
            Ok(Event::Apply(lease) | Event::InitApply(lease)) => self.members.record_lease(lease),
            Ok(Event::Delete(lease)) => {
                if let Some(name) = lease.metadata.name {
                    self.members.remove(&name);
                }
            }
            Ok(Event::Init | Event::InitDone) => return,
            Err(_) => return self.metrics.record_restart(ApiKind::Leases),
        }
        // Before the first list of this term the other members are not known.
        if matches!(*self.assignment.borrow(), Assignment::Shared(..)) {
            self.publish();
        }
    }

    /// Publishes the members.
    fn publish(&self) {
        let Some(tenure) = &self.tenure else { return };
        let members = self.members.active_members(&self.owner, self.state);
        self.metrics.set_members(members.len());
        let share = Assignment::Shared(members, tenure.clone());
        self.assignment.send_if_modified(|known| {
            let changed = *known != share;
            if changed {
                if let Assignment::Shared(members, _) = &share {
                    let names: Vec<&str> = members.iter().map(String::as_str).collect();
                    info!("the targets are shared by {}", names.join(", "));
                }
                *known = share;
            }
            changed
        });
    }

    fn watch(&self) -> BoxStream<'static, Result<Event<Lease>, watcher::Error>> {
        let config = watches::watch_config().labels(&format!("{GROUP}={}", self.group));
        watcher::watcher(self.leases.clone(), config)
            .default_backoff()
            .boxed()
    }

    /// Deletes the Lease, so that other pods take over the targets at once.
    async fn release(self) {
        let parameters = DeleteParams::default();
        let deleted = self.leases.delete(&self.name, &parameters);
        match await_answer(deleted).await {
            Ok(_) => info!("the Lease was released"),
            Err(why) => warn!("the Lease could not be released, and will expire: {why}"),
        }
    }
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("{1}")]
    Refused(u16, String),
    #[error("{0}")]
    Failed(String),
    #[error("the API server does not answer")]
    Late,
}

async fn await_answer<T>(
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, LeaseError> {
    match timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => {
            Err(LeaseError::Refused(status.code, peer_text(&status.message)))
        }
        Ok(Err(error)) => Err(LeaseError::Failed(explain_api(&error))),
        Err(_) => Err(LeaseError::Late),
    }
}

/// Completes once the metrics were scraped.
async fn wait_until_scraped(scraped: &mut watch::Receiver<bool>) {
    let gone = scraped.wait_for(|scraped| *scraped).await.is_err();
    if gone {
        std::future::pending().await
    }
}

/// The value of the label of Leases: pods with the same namespaces, selector and discovery share
/// targets; other exporters of the namespace have another group.
fn group_label(options: &ControllerOptions) -> String {
    let mut namespaces = options.namespaces.clone();
    namespaces.sort();
    let wanted = format!(
        "{}\n{}\n{}",
        namespaces.join(","),
        options.selector,
        options.discover
    );
    let digest = Sha256::digest(wanted);
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The name of the Lease. The name of a pod is a valid name of an object; that of a host may be
/// anything, and is changed into one.
fn lease_name(owner: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '.') => c,
        _ => '-',
    };
    let name: String = owner.chars().map(plain).take(200).collect();
    format!("pgexporter-{}", name.trim_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_called_after_its_pod_whatever_that_is_called() {
        assert_eq!(
            lease_name("pgexporter-6f9c-x2x7k"),
            "pgexporter-pgexporter-6f9c-x2x7k"
        );
        assert_eq!(lease_name("My_Host."), "pgexporter-my-host");
    }

    #[test]
    fn a_group_is_who_looks_for_the_same_targets() {
        let options = |namespaces: &[&str], selector: &str| ControllerOptions {
            namespaces: namespaces.iter().map(|one| (*one).to_owned()).collect(),
            selector: selector.to_owned(),
            ..ControllerOptions::default()
        };
        assert_eq!(
            group_label(&options(&["a", "b"], "")),
            group_label(&options(&["b", "a"], ""))
        );
        assert_ne!(
            group_label(&options(&["a"], "")),
            group_label(&options(&["b"], ""))
        );
        assert_ne!(
            group_label(&options(&[], "")),
            group_label(&options(&[], "x=y"))
        );
    }
}
