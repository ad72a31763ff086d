//! Who shares the targets. Each pod holds a Lease (`coordination.k8s.io/v1`) of its own; those whose
//! Leases live are the members. Nobody is elected, and pods do not speak to each other.
//!
//! * A Lease is renewed every [`RENEW`] and lives for [`LEASE`]. Its holder stops serving
//!   [`MARGIN`] before that, by its own clock and counted from before the request that renewed it:
//!   always before anybody else may think it dead.
//! * Another's Lease is dead when the API server shows it without renewal for as long as it says.
//!   The time counts from when a renewal was seen, by the clock of who looks, so clocks need not
//!   agree; and who cannot reach the API server declares nobody dead.
//! * A pod that joins others takes its share once it is asked for its metrics: until Prometheus has
//!   found it, nobody would have what it scrapes. Its Lease says so ([`ASKED`]). One that nobody
//!   asks takes its share after [`UNASKED`]; and where none has been asked and is there for
//!   half a minute, as when all begin at once, nobody waits (`members`).
//! * Joining and leaving is seen at once by a watch. A list with each renewal does not trust it:
//!   a watch may hang.

use std::collections::{BTreeMap, BTreeSet};
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

use super::client::{Kind, explain_api};
use super::members::{ASKED, LEASE, Others, Standing};
use super::metrics::Metrics;
use super::settings::Options;
use super::status::MANAGER;
use super::watches;
use crate::shutdown::Shutdown;
use crate::targets::Tenure;
use crate::text::peer_text;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How soon it is tried again when that failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long before the end of its Lease a pod stops serving.
const MARGIN: Duration = Duration::from_secs(3);
/// How long an answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(4);
/// How long a pod that nobody asks waits for its share: longer than most wait between two scrapes.
const UNASKED: Duration = Duration::from_secs(70);
/// Marks the Leases of those who share the same targets.
const GROUP: &str = "pgexporter.io/shards";

/// Who serves.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Share {
    /// This pod serves everything.
    Alone,
    /// Those members share it, in this term. This pod is one of them unless it waits for its share.
    With(BTreeSet<String>, Tenure),
    /// This pod serves nothing: it has no Lease yet, or has lost it.
    Nothing,
}

/// Keeps this pod's Lease, and an eye on those of the others.
pub(super) struct Keeper {
    leases: Api<Lease>,
    name: String,
    owner: String,
    owner_uid: Option<String>,
    group: String,
    metrics: Arc<Metrics>,
    share: watch::Sender<Share>,
    tenure: Option<Tenure>,
    acquired: Timestamp,
    others: Others,
    failing: bool,
    asked: watch::Receiver<bool>,
    /// When this pod came.
    began: Instant,
    /// As this pod's Lease has it.
    standing: Standing,
}

impl Keeper {
    /// A keeper, and what it finds out.
    pub(super) fn new(
        client: &Client,
        options: &Options,
        metrics: Arc<Metrics>,
        asked: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<Share>) {
        let (share, shared) = watch::channel(Share::Nothing);
        let keeper = Self {
            leases: Api::default_namespaced(client.clone()),
            others: Others::beside(&lease_name(&options.owner)),
            name: lease_name(&options.owner),
            owner: options.owner.clone(),
            owner_uid: options.owner_uid.clone(),
            group: group(options),
            metrics,
            share,
            tenure: None,
            acquired: Timestamp::now(),
            failing: false,
            asked,
            began: Instant::now(),
            standing: Standing::default(),
        };
        (keeper, shared)
    }

    /// Keeps it until the shutdown begins, and gives it up then.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let (mut watched, mut asked) = (self.watch(), self.asked.clone());
        let mut due = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                () = sleep_until(due) => {
                    let mut turn = pin!(self.turn());
                    let done = tokio::select! {
                        done = &mut turn => done,
                        () = shutdown.begun() => {
                            // A renewal that is on its way would make the Lease anew after it was
                            // given up.
                            let _ = timeout(RETRY, turn).await;
                            break;
                        }
                    };
                    due = Instant::now() + if done { RENEW } else { RETRY };
                }
                Some(event) = watched.next() => self.see(event),
                // All others are to know it at once.
                () = heard(&mut asked), if !self.standing.asked && !self.failing => {
                    due = Instant::now();
                }
            }
        }
        self.give_up().await;
    }

    /// Renews the Lease and looks at the others. Returns whether both was done.
    async fn turn(&mut self) -> bool {
        if self.tenure.as_ref().is_some_and(|tenure| !tenure.holds()) {
            // Others serve what was ours. We come back as who joins.
            warn!("the Lease could not be renewed in time: other pods serve the targets");
            self.tenure = None;
            self.acquired = Timestamp::now();
            self.share.send_replace(Share::Nothing);
            self.metrics.set_members(0);
        }
        let began = Instant::now();
        let renewed = self.renew().await;
        let done = match renewed {
            Ok(standing) => {
                self.standing = standing;
                let end = began + LEASE - MARGIN;
                match &self.tenure {
                    Some(tenure) => tenure.extend(end),
                    None => self.tenure = Some(Tenure::until(end)),
                }
                self.look().await
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
                    warn!("the Lease cannot be kept, and is tried again: {why}");
                }
                false
            }
        }
    }

    async fn renew(&self) -> Result<Standing, String> {
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
        let asked = self.standing.asked || *self.asked.borrow() || self.began.elapsed() >= UNASKED;
        let told = BTreeMap::from([(ASKED.to_owned(), asked.to_string())]);
        let lease = Lease {
            metadata: ObjectMeta {
                annotations: Some(told),
                name: Some(self.name.clone()),
                labels: Some(labels),
                owner_references: self.pod().map(|pod| vec![pod]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let (parameters, body) = (PatchParams::default(), Patch::Merge(&lease));
        let patched = self.leases.patch(&self.name, &parameters, &body);
        match within(patched).await {
            Ok(_) => Ok(Standing::of(&lease)),
            Err(Unanswered::Refused(404, _)) => {
                let parameters = PostParams {
                    field_manager: Some(MANAGER.to_owned()),
                    ..PostParams::default()
                };
                let created = within(self.leases.create(&parameters, &lease)).await;
                created
                    .map(|_| Standing::of(&lease))
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The pod, as who owns the Lease: one that is killed, or that lost its rights with the rest of
    /// the release, leaves none behind.
    fn pod(&self) -> Option<OwnerReference> {
        Some(OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: self.owner.clone(),
            uid: self.owner_uid.clone()?,
            ..OwnerReference::default()
        })
    }

    /// Asks who else is there. Only what the API server says now makes anybody dead.
    async fn look(&mut self) -> Result<(), String> {
        let selector = ListParams::default().labels(&format!("{GROUP}={}", self.group));
        let list = within(self.leases.list(&selector)).await;
        let list = list.map_err(|error| error.to_string())?;
        self.others.look(list);
        self.forget().await;
        Ok(())
    }

    /// Deletes the Leases of pods that are gone for good. They do no harm, but they add up.
    async fn forget(&mut self) {
        for name in self.others.gone() {
            if within(self.leases.delete(&name, &DeleteParams::default()))
                .await
                .is_ok()
            {
                self.others.remove(&name);
            }
        }
    }

    fn see(&mut self, event: Result<Event<Lease>, watcher::Error>) {
        match event {
            Ok(Event::Apply(lease) | Event::InitApply(lease)) => self.others.note(lease),
            Ok(Event::Delete(lease)) => {
                if let Some(name) = lease.metadata.name {
                    self.others.remove(&name);
                }
            }
            Ok(Event::Init | Event::InitDone) => return,
            Err(_) => return self.metrics.restarted(Kind::Leases),
        }
        // Before the first look of this term it is not known who else is there.
        if matches!(*self.share.borrow(), Share::With(..)) {
            self.publish();
        }
    }

    /// Says who the members are.
    fn publish(&self) {
        let Some(tenure) = &self.tenure else { return };
        let members = self.others.with(&self.owner, self.standing);
        self.metrics.set_members(members.len());
        let share = Share::With(members, tenure.clone());
        self.share.send_if_modified(|known| {
            let changed = *known != share;
            if changed {
                if let Share::With(members, _) = &share {
                    let names: Vec<&str> = members.iter().map(String::as_str).collect();
                    info!("the targets are shared by {}", names.join(", "));
                }
                *known = share;
            }
            changed
        });
    }

    fn watch(&self) -> BoxStream<'static, Result<Event<Lease>, watcher::Error>> {
        let config = watches::config().labels(&format!("{GROUP}={}", self.group));
        watcher::watcher(self.leases.clone(), config)
            .default_backoff()
            .boxed()
    }

    /// Lets the others take over at once.
    async fn give_up(self) {
        let parameters = DeleteParams::default();
        let deleted = self.leases.delete(&self.name, &parameters);
        match within(deleted).await {
            Ok(_) => info!("the Lease is given up"),
            Err(why) => warn!("the Lease cannot be given up, and runs out by itself: {why}"),
        }
    }
}

/// Why a request brought nothing.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{1}")]
    Refused(u16, String),
    #[error("{0}")]
    Failed(String),
    #[error("the API server does not answer")]
    Late,
}

async fn within<T>(answer: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Unanswered> {
    match timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => {
            Err(Unanswered::Refused(status.code, peer_text(&status.message)))
        }
        Ok(Err(error)) => Err(Unanswered::Failed(explain_api(&error))),
        Err(_) => Err(Unanswered::Late),
    }
}

/// Completes once somebody has asked for the metrics.
async fn heard(asked: &mut watch::Receiver<bool>) {
    let gone = asked.wait_for(|asked| *asked).await.is_err();
    if gone {
        std::future::pending().await
    }
}

/// Those who look for the same targets share them; others of the namespace are none of theirs.
fn group(options: &Options) -> String {
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

/// The name of a pod is that of an object already; the name of a host may be anything.
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
        let options = |namespaces: &[&str], selector: &str| Options {
            namespaces: namespaces.iter().map(|one| (*one).to_owned()).collect(),
            selector: selector.to_owned(),
            ..Options::default()
        };
        assert_eq!(
            group(&options(&["a", "b"], "")),
            group(&options(&["b", "a"], ""))
        );
        assert_ne!(group(&options(&["a"], "")), group(&options(&["b"], "")));
        assert_ne!(group(&options(&[], "")), group(&options(&[], "x=y")));
    }
}
