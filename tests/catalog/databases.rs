//! In which databases a role is asked, and what it is told that it may not see.

use std::collections::BTreeSet;

use super::families;
use super::support::Samples;

/// Families of scope `all` show just these databases.
pub(crate) fn of_the_databases(samples: &Samples, major: u32, databases: &[&str]) -> Vec<String> {
    let wanted: BTreeSet<&str> = databases.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut met: BTreeSet<&str> = BTreeSet::new();
    for family in families::of(Some(major)) {
        let of_primary = samples.with(family.name, &[("server", "primary")]);
        let found: BTreeSet<&str> = of_primary
            .iter()
            .map(|sample| sample.labels["database"].as_str())
            .collect();
        if family.everywhere {
            if !found.is_subset(&wanted) {
                wrong.push(format!("{} is of {found:?}", family.name));
            }
            met.extend(found);
        } else if !has_own_database(family.name) && !found.iter().all(|one| *one == "postgres") {
            wrong.push(format!("{} is of {found:?}", family.name));
        }
    }
    if met != wanted {
        wrong.push(format!("of all databases only {met:?} were asked"));
    }
    wrong
}

/// Families whose label `database` is a column of their query.
fn has_own_database(name: &str) -> bool {
    [
        "pg_database_size",
        "pg_db_conn",
        "pg_locks_count",
        "pg_replication_slots",
        "pg_stat_database",
    ]
    .iter()
    .any(|tag| name.starts_with(&format!("pgexporter_{tag}")))
}

/// A role with `pg_monitor` and no more is told what it may not see, and never gets into the
/// databases that are closed to it.
pub(crate) fn of_a_monitor(samples: &Samples, major: u32) -> Vec<String> {
    let mut wrong = of_the_databases(samples, major, &["copy", "postgres", "shop"]);
    let mut denied: BTreeSet<&str> = BTreeSet::from(["auth_type", "file_settings"]);
    if major == 14 {
        denied.insert("mem_ctx");
    }
    if major < 15 {
        denied.insert("shmem_size");
    }
    let found: BTreeSet<&str> = samples
        .all("pgexporter_postgresql_denied")
        .iter()
        .map(|sample| sample.labels["collector"].as_str())
        .collect();
    if found != denied {
        wrong.push(format!("denied are {found:?}, not {denied:?}"));
    }
    wrong
}
