//! Objects as large as the API server takes them.

use std::fmt::Write as _;

use super::bed::*;
use super::support::cgroup::Cgroup;
use super::support::*;

/// The limit of memory in the chart's values.
const LIMIT: u64 = 128 * 1024 * 1024;
/// So many of each kind are larger together than the limit.
const OBJECTS: usize = 60;

/// Labels of some 0.5 MB: nothing but the size of a request bounds them.
fn many_labels() -> String {
    let mut labels = String::new();
    for at in 0..1700 {
        let prefix = "a-long-name.".repeat(18);
        let value = "v".repeat(60);
        let _ = write!(labels, "{prefix}example.com/{at}: {value}, ");
    }
    labels
}

fn apply_all(manifest: impl Fn(usize) -> String) {
    for some in (0..OBJECTS).collect::<Vec<_>>().chunks(15) {
        let all: Vec<String> = some.iter().map(|at| manifest(*at)).collect();
        api().apply(&all.join("---\n"));
    }
}

#[test]
fn large_objects_of_one_tenant_are_read_within_the_memory_that_the_chart_gives() {
    let group = match Cgroup::with_memory(LIMIT) {
        Ok(group) => group,
        Err(why) => {
            println!("not tried: {why}");
            return;
        }
    };
    let (server, large) = (server(), api().namespace("large"));
    let other = api().namespace("large-other");
    api().apply(&secret(&other, "s", SECRET));
    api().apply(&target(&other, "good", &at(&server, "s", "")));
    let labels = many_labels();
    apply_all(|at| {
        format!(
            "apiVersion: pgexporter.io/v1alpha1\nkind: PostgresTarget\n\
             metadata: {{name: t-{at}, namespace: {large}, labels: {{{labels}}}}}\n\
             spec: {{host: 127.0.0.1, paused: true, credentials: {{secretRef: {{name: s}}}}}}\n"
        )
    });
    apply_all(|at| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\n\
             metadata: {{name: c-{at}, namespace: {large}, labels: {{{labels}}}}}\n"
        )
    });
    let exporter = exporter(api(), &format!("{large}, {other}"))
        .in_cgroup(&group)
        .start();
    eventually_active(&exporter, &format!("{other}/good"));
    let all = format!("the first list is resolved resources={}", OBJECTS + 1);
    let read = within(DEADLINE, || {
        exporter.log().contains(&all) || group.kills() > 0
    });
    assert_eq!(group.kills(), 0, "{}", exporter.log());
    assert!(read, "{}", exporter.log());
    println!("the most memory: {} of {LIMIT} bytes", group.peak());
    assert!(group.peak() < LIMIT / 2, "{} bytes", group.peak());
    drop(exporter);
}
