//! What the index makes of events and results, as a pure table: no API server, no clock.

use serde_json::json;

use super::*;
use crate::kubernetes::api::{ObjectKind, ObjectVersions};
use crate::kubernetes::reconcile::resolve::ResolvedRefs;
use crate::kubernetes::reconcile::validate::{ValidationContext, validate};
use crate::kubernetes::sharding::ownership::Assignment;

/// The name of the Secret that each resource names.
const SECRET: &str = "login";

fn key(name: &str) -> ResourceKey {
    ResourceKey::named(ResourceSource::Target, "shop", name)
}

/// A resource; `host` is what changes between its generations, `uid` tells it from a later one of
/// the same name, and is its age as well.
fn resource(name: &str, uid: u8, host: &str) -> PostgresTarget {
    serde_json::from_value(json!({
        "apiVersion": "pgexporter.io/v1alpha1",
        "kind": "PostgresTarget",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": uid.to_string(),
            "creationTimestamp": format!("2026-01-01T00:00:{uid:02}Z"),
        },
        "spec": {"host": host, "credentials": {"secretRef": {"name": SECRET}}},
    }))
    .unwrap()
}

fn login() -> ObjectRef {
    ObjectRef {
        kind: ObjectKind::Secret,
        name: SECRET.to_owned(),
    }
}

/// An index and the time, which moves only when a test says so.
struct IndexBench {
    index: Index,
    now: Instant,
    limit: usize,
}

impl IndexBench {
    fn new() -> Self {
        Self {
            index: Index::default(),
            now: Instant::now(),
            limit: 0,
        }
    }

    fn apply(&mut self, resource: PostgresTarget) {
        let key = ResourceKey::new(ResourceSource::Target, &resource.metadata);
        self.index.apply_resource(key, resource, None);
    }

    /// What the loop of the controller does after each batch of events.
    fn start_all(&mut self) -> Vec<StartedReconcile> {
        let all = Assignment::Everything;
        self.index.update_ownership(&all, "pod", self.limit);
        self.index.record_immediate_outcomes();
        std::iter::from_fn(|| self.index.start_next(self.now)).collect()
    }

    /// Starts the only reconcile that is due.
    fn start(&mut self) -> StartedReconcile {
        let mut all = self.start_all();
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    fn finish(
        &mut self,
        started: StartedReconcile,
        result: Result<Validated, ResolveRefsError>,
    ) -> Option<ReconcileResult> {
        let resolved = ResolvedResource {
            started,
            versions: ObjectVersions::from([(login(), Some("1".to_owned()))]),
            result,
            took: Duration::ZERO,
            busy: Duration::ZERO,
        };
        let result = self.index.finish_reconcile(resolved, 1.0, self.now);
        self.index.update_families();
        result
    }

    /// Ends a reconcile that found nothing wrong, with a text of metrics of the target's own.
    fn accept_with(&mut self, started: StartedReconcile, metrics: &str) -> Option<ReconcileResult> {
        let mut refs = ResolvedRefs::default();
        if !metrics.is_empty() {
            let source = ("ConfigMap m".to_owned(), metrics.to_owned());
            refs.metrics.push(Ok(source));
        }
        let context = ValidationContext {
            settings: Arc::default(),
            catalog: Arc::default(),
            labels: Arc::default(),
            taken: BTreeSet::new(),
            tenure: self.index.tenure().clone(),
        };
        let result = validate(&started.resource, refs, &context);
        self.finish(started, result.map_err(ResolveRefsError::Rejected))
    }

    fn accept(&mut self, started: StartedReconcile) -> Option<ReconcileResult> {
        self.accept_with(started, "")
    }

    /// The targets that are served, as `name host`.
    fn served(&self) -> Vec<String> {
        let targets = self.index.targets();
        let words = targets
            .iter()
            .map(|one| format!("{} {}", one.name, one.address));
        words.collect()
    }
}

fn unavailable() -> Result<Validated, ResolveRefsError> {
    Err(ResolveRefsError::Unavailable("no answer".to_owned()))
}

#[test]
fn changes_that_come_before_the_reconcile_are_one_reconcile_of_the_last_state() {
    let mut bench = IndexBench::new();
    for host in ["one.test", "two.test", "three.test"] {
        bench.apply(resource("a", 1, host));
    }
    let started = bench.start();
    assert_eq!(started.resource.spec.host, "three.test");
    assert_eq!(bench.accept(started), Some(ReconcileResult::Accepted));
    assert_eq!(bench.served(), ["shop/a three.test:5432"]);
    // The same again, as a watch brings it with each status: stored, and not reconciled.
    let mut same = resource("a", 1, "three.test");
    same.metadata.resource_version = Some("7".to_owned());
    bench.apply(same);
    assert!(bench.start_all().is_empty());
    let outcomes = bench.index.outcomes();
    let present = &outcomes.own[0].present.metadata.resource_version;
    assert_eq!(present.as_deref(), Some("7"));
}

#[test]
fn a_change_while_a_reconcile_runs_drops_its_result_and_starts_another_after_it() {
    let mut bench = IndexBench::new();
    bench.apply(resource("a", 1, "old.test"));
    let old = bench.start();
    bench.apply(resource("a", 1, "new.test"));
    assert!(bench.start_all().is_empty(), "two at once");
    assert_eq!(bench.accept(old), None);
    assert!(bench.served().is_empty());
    let new = bench.start();
    assert_eq!(bench.accept(new), Some(ReconcileResult::Accepted));
    assert_eq!(bench.served(), ["shop/a new.test:5432"]);
    assert!(bench.start_all().is_empty());
    // What is served stays until the next result is there.
    bench.apply(resource("a", 1, "newer.test"));
    let newer = bench.start();
    assert_eq!(bench.served(), ["shop/a new.test:5432"]);
    bench.accept(newer);
    assert_eq!(bench.served(), ["shop/a newer.test:5432"]);
}

#[test]
fn a_resource_that_is_removed_while_its_reconcile_runs_is_not_served() {
    let mut bench = IndexBench::new();
    bench.apply(resource("a", 1, "old.test"));
    let old = bench.start();
    bench.index.remove_resource(&key("a"));
    assert_eq!(bench.accept(old), None);
    assert!(bench.served().is_empty());
    assert!(bench.start_all().is_empty());
    assert_eq!(bench.index.next_wake(), None);
    assert_eq!(bench.index.len(), 0);
}

#[test]
fn a_resource_that_is_made_anew_gets_nothing_of_the_one_before() {
    for removed_first in [true, false] {
        let mut bench = IndexBench::new();
        bench.apply(resource("a", 1, "old.test"));
        let first = bench.start();
        bench.accept(first);
        bench.apply(resource("a", 1, "older.test"));
        let running = bench.start();
        if removed_first {
            bench.index.remove_resource(&key("a"));
        }
        bench.apply(resource("a", 2, "new.test"));
        assert!(bench.served().is_empty(), "{removed_first}");
        assert!(bench.start_all().is_empty(), "two at once");
        assert_eq!(bench.accept(running), None);
        let new = bench.start();
        assert_eq!(new.resource.spec.host, "new.test");
        bench.accept(new);
        assert_eq!(bench.served(), ["shop/a new.test:5432"]);
    }
}

#[test]
fn an_api_server_that_does_not_answer_leaves_what_is_served_and_is_asked_less_often() {
    let mut bench = IndexBench::new();
    bench.apply(resource("a", 1, "a.test"));
    let first = bench.start();
    bench.accept(first);
    bench.index.requeue_all();
    for pause in [3, 6, 12] {
        let started = bench.start();
        let result = bench.finish(started, unavailable());
        assert_eq!(result, Some(ReconcileResult::Unavailable));
        assert_eq!(bench.served(), ["shop/a a.test:5432"]);
        assert!(bench.start_all().is_empty(), "at once");
        let wakes = bench.index.next_wake().unwrap();
        assert_eq!(wakes - bench.now, Duration::from_secs(pause));
        bench.now = wakes;
    }
    let started = bench.start();
    assert_eq!(bench.accept(started), Some(ReconcileResult::Accepted));
    assert_eq!(bench.index.next_wake(), None);
    // The next failure begins again with the shortest pause.
    bench.index.requeue_all();
    let started = bench.start();
    bench.finish(started, unavailable());
    let pause = bench.index.next_wake().unwrap() - bench.now;
    assert_eq!(pause, Duration::from_secs(3));
}

#[test]
fn a_list_removes_the_resources_that_it_lacks() {
    let mut bench = IndexBench::new();
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        bench.apply(resource(name, u8::try_from(at).unwrap(), "a.test"));
    }
    for started in bench.start_all() {
        bench.accept(started);
    }
    let listed = [key("a"), key("c")];
    let gone = bench
        .index
        .remove_resources(|one| one.namespace == "shop" && !listed.contains(one));
    assert_eq!(gone, [key("b")]);
    assert_eq!(bench.served(), ["shop/a a.test:5432", "shop/c a.test:5432"]);
}

#[test]
fn an_object_queues_the_resources_that_read_another_version_of_it() {
    let mut bench = IndexBench::new();
    bench.apply(resource("a", 1, "a.test"));
    let first = bench.start();
    bench.accept(first);
    let other = ObjectRef {
        kind: ObjectKind::ConfigMap,
        name: SECRET.to_owned(),
    };
    for (namespace, object, version, named, queued) in [
        ("shop", login(), Some("1"), true, false),
        ("shop", other, Some("2"), false, false),
        ("elsewhere", login(), Some("2"), false, false),
        ("shop", login(), Some("2"), true, true),
        ("shop", login(), None, true, true),
    ] {
        let what = format!("{namespace} {object:?} {version:?}");
        let known = bench.index.requeue_dependents(namespace, &object, version);
        assert_eq!(known, named, "{what}");
        let started = bench.start_all();
        assert_eq!(started.len(), usize::from(queued), "{what}");
        for one in started {
            bench.accept(one);
        }
    }
    // A list of Secrets without it.
    bench
        .index
        .requeue_if_gone(|namespace, named| (namespace, named) == ("shop", &login()));
    assert_eq!(bench.start_all().len(), 1);
}

#[test]
fn what_needs_no_api_server_is_never_started() {
    let mut bench = IndexBench::new();
    let mut paused = resource("paused", 1, "a.test");
    paused.spec.paused = true;
    bench.apply(paused);
    let wrong = Rejection::new(RejectionReason::InvalidSpec, "wrong");
    let service = resource("wrong", 2, "b.test");
    bench
        .index
        .apply_resource(key("wrong"), service, Some(wrong));
    assert!(bench.start_all().is_empty());
    bench.index.update_families();
    assert!(bench.served().is_empty());
    assert!(bench.index.all_reconciled());
    let outcomes = bench.index.outcomes();
    let reasons = outcomes.own.iter().map(|one| one.rejection.as_ref());
    let reasons: Vec<_> = reasons.map(|one| one.map(|one| one.reason)).collect();
    assert_eq!(reasons, [None, Some(RejectionReason::InvalidSpec)]);
}

#[test]
fn a_namespace_has_its_quota_of_the_oldest_and_another_one_after_a_removal() {
    let mut bench = IndexBench::new();
    bench.limit = 2;
    // The order of names is not that of age.
    for (name, age) in [("a", 3), ("b", 1), ("c", 2)] {
        bench.apply(resource(name, age, "a.test"));
    }
    for started in bench.start_all() {
        bench.accept(started);
    }
    let names = ["shop/b a.test:5432", "shop/c a.test:5432"];
    assert_eq!(bench.served(), names);
    assert_eq!(bench.index.not_accepted()[0].reason, "TooManyTargets");
    bench.index.remove_resource(&key("b"));
    let started = bench.start();
    bench.accept(started);
    assert_eq!(bench.served(), ["shop/a a.test:5432", "shop/c a.test:5432"]);
    assert!(bench.index.not_accepted().is_empty());
}

#[test]
fn the_older_target_keeps_a_family_until_it_goes() {
    let own = |kind: &str| {
        format!(
            "version: 13\nmetrics:\n  - tag: t\n    queries:\n      - query: SELECT 1\n        \
             columns: [{{name: n_total, type: {kind}}}]\n"
        )
    };
    let mut bench = IndexBench::new();
    // Read in the order of names, which is not that of age.
    bench.apply(resource("a", 2, "a.test"));
    let young = bench.start();
    bench.accept_with(young, &own("gauge"));
    bench.apply(resource("b", 1, "b.test"));
    let old = bench.start();
    bench.accept_with(old, &own("counter"));
    let with_own = |bench: &IndexBench| {
        let targets = bench.index.targets();
        let with = targets.iter().filter(|one| one.metrics.is_some());
        with.map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bench.served().len(), 2);
    assert_eq!(with_own(&bench), ["shop/b"]);
    assert_eq!(bench.index.not_accepted()[0].server, "shop/a");
    bench.index.remove_resource(&key("b"));
    bench.index.update_families();
    assert_eq!(with_own(&bench), ["shop/a"]);
}

#[test]
fn what_another_pod_takes_over_is_neither_served_nor_reconciled() {
    let mut bench = IndexBench::new();
    bench.apply(resource("a", 1, "a.test"));
    let first = bench.start();
    bench.accept(first);
    bench.index.requeue_all();
    let running = bench.start();
    let members = BTreeSet::from(["other".to_owned()]);
    let theirs = Assignment::Shared(members, OwnershipTerm::unlimited());
    bench.index.recheck_all_namespaces();
    bench.index.update_ownership(&theirs, "pod", 0);
    assert!(bench.served().is_empty());
    assert_eq!(bench.accept(running), None);
    bench.index.record_immediate_outcomes();
    assert!(bench.index.start_next(bench.now).is_none());
    assert_eq!(bench.index.outcomes().foreign, 1);
    // And back.
    bench.index.recheck_all_namespaces();
    let started = bench.start();
    bench.accept(started);
    assert_eq!(bench.served(), ["shop/a a.test:5432"]);
}

#[test]
fn a_secret_that_no_watch_covers_is_read_again_less_and_less_often() {
    let mut bench = IndexBench::new();
    bench.apply(resource("a", 1, "a.test"));
    let first = bench.start();
    bench.accept(first);
    let begin = bench.now;
    let mut reads = Vec::new();
    for second in 0..200 {
        bench.now = begin + Duration::from_secs(second);
        let now = bench.now;
        bench
            .index
            .requeue_refused_passwords(|_, _| true, |_| true, now);
        for started in bench.start_all() {
            bench.accept(started);
            reads.push(second);
        }
    }
    assert_eq!(reads, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    // The server takes the password again: the next refusal is the first one.
    let now = bench.now;
    let index = &mut bench.index;
    index.requeue_refused_passwords(|_, _| true, |_| false, now);
    index.requeue_refused_passwords(|_, _| true, |_| true, now);
    assert_eq!(bench.start_all().len(), 1);
}
