//! What one looks at: alerts that fire when they should and not when they should not, and
//! dashboards whose every panel shows something on real data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::monitoring::{self, ALERTS, Alert, dashboards};
use support::{Exporter, Postgres, Prometheus, Workload, downloads, within};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn alerts() -> Vec<Alert> {
    monitoring::alerts().unwrap_or_else(|error| panic!("{error:#}"))
}

/// A case: the alert, how many minutes in, series with which it fires, and with which it does not.
type Case = (
    &'static str,
    u32,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

/// Values a minute apart, as promtool writes them.
const CASES: &[Case] = &[
    (
        "PostgreSQLDown",
        5,
        &[(r#"pgexporter_postgresql_active{server="a"}"#, "1 0x5")],
        // A restart of a minute.
        &[(r#"pgexporter_postgresql_active{server="a"}"#, "1 0 1x5")],
    ),
    (
        "PostgreSQLDown",
        4,
        // Another pod asks it from the third minute on: nobody begins to wait anew.
        &[
            (
                r#"pgexporter_postgresql_active{server="a",pod="x"}"#,
                "1 0 0 stale",
            ),
            (
                r#"pgexporter_postgresql_active{server="a",pod="y"}"#,
                "_x2 0x5",
            ),
        ],
        // The one cannot ask it, and the other can.
        &[
            (
                r#"pgexporter_postgresql_active{server="a",pod="x"}"#,
                "1 0x5",
            ),
            (
                r#"pgexporter_postgresql_active{server="a",pod="y"}"#,
                "_x1 1x5",
            ),
        ],
    ),
    (
        "PostgreSQLConnectionsNearLimit",
        10,
        &[
            (r#"pgexporter_pg_db_conn{server="a",database="x"}"#, "50x10"),
            (r#"pgexporter_pg_db_conn{server="a",database="y"}"#, "45x10"),
            (
                r#"pgexporter_pg_settings_max_connections{server="a",database="x"}"#,
                "100x10",
            ),
        ],
        &[
            (r#"pgexporter_pg_db_conn{server="a",database="x"}"#, "50x10"),
            (r#"pgexporter_pg_db_conn{server="b",database="x"}"#, "45x10"),
            (
                r#"pgexporter_pg_settings_max_connections{server="a",database="x"}"#,
                "100x10",
            ),
            (
                r#"pgexporter_pg_settings_max_connections{server="b",database="x"}"#,
                "100x10",
            ),
        ],
    ),
    (
        "PostgreSQLLongTransaction",
        70,
        &[(
            r#"pgexporter_pg_long_running_transactions_age_seconds{server="a",pid="1",datname="x",usename="u",query="q"}"#,
            "0+60x70",
        )],
        // One short transaction after the other, of one session.
        &[(
            r#"pgexporter_pg_long_running_transactions_age_seconds{server="a",pid="1",datname="x",usename="u",query="q"}"#,
            "0+60x50 0+60x50",
        )],
    ),
    (
        "PostgreSQLReplicaNotStreaming",
        10,
        &[(r#"pgexporter_postgresql_primary{server="a"}"#, "0x10")],
        &[
            (r#"pgexporter_postgresql_primary{server="a"}"#, "0x10"),
            (r#"pgexporter_postgresql_primary{server="b"}"#, "1x10"),
            (
                r#"pgexporter_pg_wal_last_received{server="a",sender="b:5432"}"#,
                "100x10",
            ),
        ],
    ),
    (
        "PostgreSQLReplicationLag",
        10,
        &[(
            r#"pgexporter_pg_wal_last_received{server="a"}"#,
            "0+60000x10",
        )],
        &[(r#"pgexporter_pg_wal_last_received{server="a"}"#, "30000x10")],
    ),
    (
        "PostgreSQLReplicationSlotInactive",
        40,
        &[(
            r#"pgexporter_pg_replication_slots_active{server="a",slot_name="s"}"#,
            "0x40",
        )],
        &[(
            r#"pgexporter_pg_replication_slots_active{server="a",slot_name="s"}"#,
            "0x20 1 0x19",
        )],
    ),
    (
        "PostgreSQLReplicationSlotInactive",
        40,
        // Another pod asks from the twenty-first minute on.
        &[
            (
                r#"pgexporter_pg_replication_slots_active{server="a",slot_name="s",pod="x"}"#,
                "0x19 stale",
            ),
            (
                r#"pgexporter_pg_replication_slots_active{server="a",slot_name="s",pod="y"}"#,
                "_x21 0x19",
            ),
        ],
        &[
            (
                r#"pgexporter_pg_replication_slots_active{server="a",slot_name="s",pod="x"}"#,
                "0x19 stale",
            ),
            (
                r#"pgexporter_pg_replication_slots_active{server="a",slot_name="s",pod="y"}"#,
                "_x21 1x19",
            ),
        ],
    ),
    (
        "PostgreSQLTransactionIdAge",
        20,
        &[(
            r#"pgexporter_pg_db_vacuum_age{server="a",datname="x"}"#,
            "600000000x20",
        )],
        &[(
            r#"pgexporter_pg_db_vacuum_age{server="a",datname="x"}"#,
            "200000000x20",
        )],
    ),
    (
        "PostgreSQLTransactionIdNearWraparound",
        10,
        &[(
            r#"pgexporter_pg_db_vacuum_age_datminmxid{server="a",datname="x"}"#,
            "1600000000x10",
        )],
        &[
            (
                r#"pgexporter_pg_db_vacuum_age{server="a",datname="x"}"#,
                "600000000x10",
            ),
            (
                r#"pgexporter_pg_db_vacuum_age_datminmxid{server="a",datname="x"}"#,
                "10x10",
            ),
        ],
    ),
    (
        "PostgreSQLDeadTuples",
        80,
        &[
            (
                r#"pgexporter_pg_stat_user_tables_vacuum_n_dead_tup{server="a",relname="t"}"#,
                "200000x80",
            ),
            (
                r#"pgexporter_pg_stat_user_tables_vacuum_dead_rows_pct{server="a",relname="t"}"#,
                "50x80",
            ),
        ],
        // Many, in a table that is much larger; and few, in a small one.
        &[
            (
                r#"pgexporter_pg_stat_user_tables_vacuum_n_dead_tup{server="a",relname="t"}"#,
                "200000x80",
            ),
            (
                r#"pgexporter_pg_stat_user_tables_vacuum_dead_rows_pct{server="a",relname="t"}"#,
                "2x80",
            ),
            (
                r#"pgexporter_pg_stat_user_tables_vacuum_n_dead_tup{server="a",relname="u"}"#,
                "20x80",
            ),
            (
                r#"pgexporter_pg_stat_user_tables_vacuum_dead_rows_pct{server="a",relname="u"}"#,
                "90x80",
            ),
        ],
    ),
    (
        "PostgreSQLArchiveFailing",
        30,
        &[
            (
                r#"pgexporter_pg_stat_archiver_failed_count{server="a"}"#,
                "0+1x30",
            ),
            (
                r#"pgexporter_pg_stat_archiver_archived_count{server="a"}"#,
                "7x30",
            ),
        ],
        // It failed once, and has archived since.
        &[
            (
                r#"pgexporter_pg_stat_archiver_failed_count{server="a"}"#,
                "0x10 1x20",
            ),
            (
                r#"pgexporter_pg_stat_archiver_archived_count{server="a"}"#,
                "0+1x30",
            ),
        ],
    ),
    (
        "PgexporterDown",
        10,
        &[
            (r#"up{job="pgexporter",instance="i"}"#, "1 1 0x8"),
            (
                r#"pgexporter_state{job="pgexporter",instance="i"}"#,
                "1 1 stale",
            ),
        ],
        // Others may be down.
        &[
            (r#"up{job="node",instance="i"}"#, "0x10"),
            (r#"up{job="pgexporter",instance="i"}"#, "1x10"),
            (r#"pgexporter_state{job="pgexporter",instance="i"}"#, "1x10"),
        ],
    ),
    (
        "PgexporterAbsent",
        10,
        &[(r#"up{job="node",instance="i"}"#, "1x10")],
        &[(r#"pgexporter_state{job="pgexporter",instance="i"}"#, "1x10")],
    ),
    (
        "PgexporterScrapesTimeOut",
        30,
        &[(
            r#"pgexporter_postgresql_failures_total{server="a",reason="timeout"}"#,
            "0+1x30",
        )],
        &[
            (
                r#"pgexporter_postgresql_failures_total{server="a",reason="timeout"}"#,
                "0x10 1x20",
            ),
            (
                r#"pgexporter_postgresql_failures_total{server="a",reason="not_ready"}"#,
                "0+1x30",
            ),
        ],
    ),
    (
        "PgexporterQueriesFail",
        60,
        &[(r#"pgexporter_query_timeouts_total{instance="i"}"#, "0+1x60")],
        &[
            (r#"pgexporter_query_timeouts_total{instance="i"}"#, "3x60"),
            (
                r#"pgexporter_query_errors_total{instance="i"}"#,
                "0x50 1x10",
            ),
        ],
    ),
    (
        "PgexporterConnectsOften",
        60,
        &[(
            r#"pgexporter_postgresql_connections_total{server="a"}"#,
            "0+60x60",
        )],
        // Some databases, visited once a minute.
        &[(
            r#"pgexporter_postgresql_connections_total{server="a"}"#,
            "0+5x60",
        )],
    ),
    (
        "PgexporterTargetNotAccepted",
        15,
        &[(
            r#"pgexporter_postgresql_not_accepted{server="shop/a",namespace="shop",reason="InvalidTls"}"#,
            "1x15",
        )],
        // Mended after some minutes.
        &[(
            r#"pgexporter_postgresql_not_accepted{server="shop/a",namespace="shop",reason="InvalidTls"}"#,
            "1x5 stale",
        )],
    ),
    (
        "PgexporterRightMissing",
        20,
        &[(
            r#"pgexporter_kubernetes_right_missing{resource="secrets",verb="get",pod="x"}"#,
            "1x20",
        )],
        &[(
            r#"pgexporter_kubernetes_right_missing{resource="secrets",verb="get",pod="x"}"#,
            "1x10 0x10",
        )],
    ),
    (
        "PgexporterWatchFailing",
        15,
        &[(
            r#"pgexporter_kubernetes_watch_failing{resource="secrets",pod="x"}"#,
            "2x15",
        )],
        &[(
            r#"pgexporter_kubernetes_watch_failing{resource="secrets",pod="x"}"#,
            "1x3 0x12",
        )],
    ),
    (
        "PgexporterMayNotSee",
        70,
        &[(
            r#"pgexporter_postgresql_denied{server="a",collector="c"}"#,
            "1x70",
        )],
        &[(
            r#"pgexporter_postgresql_denied{server="a",collector="c"}"#,
            "1x50",
        )],
    ),
];

fn promtool(arguments: &[&str], folder: &std::path::Path) -> Result<String, String> {
    let tool = downloads::promtool().unwrap_or_else(|error| panic!("{error:#}"));
    let output = Command::new(tool.program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    if output.status.success() {
        Ok(said)
    } else {
        Err(said)
    }
}

#[test]
fn each_alert_fires_when_it_should_and_not_when_it_should_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("alerts.rules"), ALERTS).unwrap();
    promtool(&["check", "rules", "alerts.rules"], folder.path()).unwrap();
    for alert in alerts() {
        let has_case = CASES.iter().any(|case| case.0 == alert.alert);
        assert!(has_case, "{} has no case", alert.alert);
    }
    let test = |minutes: u32, series: &[(&str, &str)], alert: &str, fires: bool| -> Value {
        let samples = if fires {
            json!([{ "labels": "{}", "value": 1 }])
        } else {
            json!([])
        };
        json!({
            "interval": "1m",
            "input_series": series
                .iter()
                .map(|(series, values)| json!({ "series": series, "values": values }))
                .collect::<Vec<_>>(),
            "promql_expr_test": [{
                "expr": format!(r#"count(ALERTS{{alertname="{alert}",alertstate="firing"}})"#),
                "eval_time": format!("{minutes}m"),
                "exp_samples": samples,
            }],
        })
    };
    let write = |tests: &[Value]| {
        let file = json!({
            "rule_files": ["alerts.rules"],
            "evaluation_interval": "1m",
            "tests": tests,
        });
        fs::write(folder.path().join("tests.yml"), file.to_string()).unwrap();
        promtool(&["test", "rules", "tests.yml"], folder.path())
    };
    for (alert, minutes, fires, quiet) in CASES {
        write(&[test(*minutes, fires, alert, true)])
            .unwrap_or_else(|said| panic!("{alert} does not fire: {said}"));
        write(&[test(*minutes, quiet, alert, false)])
            .unwrap_or_else(|said| panic!("{alert} fires: {said}"));
    }
}

#[test]
fn each_alert_has_a_summary_a_severity_and_a_page_that_says_what_to_do() {
    let page = fs::read_to_string(format!("{ROOT}/docs/alerts.md")).unwrap();
    let families = monitoring::families().unwrap();
    for alert in alerts() {
        let name = &alert.alert;
        monitoring::check(&alert.expr, &families).unwrap();
        let severity = alert.labels["severity"].as_str();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}"
        );
        assert!(alert.annotations["summary"].len() > 20, "{name}");
        assert!(!alert.wait.is_empty(), "{name}");
        if alert.annotations["summary"].contains("$labels.server") {
            // Else one that fires would end, and begin anew, when a server changes its pod.
            let pods = "pod, instance, container, endpoint)";
            assert!(alert.expr.contains(pods), "{name}: {}", alert.expr);
        }
        let anchor = name.to_lowercase();
        let url = &alert.annotations["runbook_url"];
        assert!(
            url.ends_with(&format!("/docs/alerts#{anchor}")),
            "{name}: {url}"
        );
        let heading = format!("\n## {name}\n");
        let section = page.split_once(&heading).map(|(_, rest)| rest);
        let section = section.unwrap_or_else(|| panic!("docs/alerts.md has no section {name}"));
        let section = section.split("\n## ").next().unwrap();
        assert!(
            section.len() > 150,
            "docs/alerts.md says too little of {name}"
        );
    }
    let sections = page.matches("\n## P").count();
    assert_eq!(
        sections,
        alerts().len(),
        "docs/alerts.md has a section too many"
    );
}

#[test]
fn a_panel_on_a_family_that_does_not_exist_is_refused() {
    let families = monitoring::families().unwrap();
    for good in [
        "rate(pgexporter_pg_stat_database_xact_commit[1m])",
        "max by (pgexporter_version) (pgexporter_version)",
        r#"pgexporter_version{pgexporter_version="0.1.0"}"#,
        "pgexporter_pg_settings_max_connections",
    ] {
        monitoring::check(good, &families).unwrap();
    }
    let error = monitoring::check("sum(pgexporter_pg_stat_databse_size)", &families).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("pgexporter_pg_stat_databse_size"),
        "{error}"
    );
}

/// Everything is put to a real Prometheus that scrapes the real program on real servers: one with
/// a replica and work to do, and one that is down.
#[test]
fn every_query_of_the_dashboards_and_alerts_finds_rows_in_a_real_prometheus() {
    let primary = Postgres::builder(18)
        .preload("pg_stat_statements")
        .set("shared_buffers", "1MB")
        .set("autovacuum_naptime", "1s")
        .set("autovacuum_vacuum_threshold", "10")
        .set("autovacuum_vacuum_scale_factor", "0")
        .set("checkpoint_timeout", "30s")
        .set("archive_mode", "on")
        .set("archive_command", "false")
        .start();
    let replica = primary.replica_with(&[("archive_mode", "off")]);
    primary.execute("SELECT pg_create_physical_replication_slot('nobody')");
    primary.execute("CREATE ROLE stranger LOGIN");
    let _workload = Workload::start(&primary);
    let old = primary.session("shop");
    old.execute("BEGIN; SELECT 1");
    primary.execute("SELECT pg_switch_wal()");
    let exporter = Exporter::builder()
        .set("collector_interval = 1s")
        .server("shop/orders", &primary)
        .server("shop/orders-replica", &replica)
        .server_as("shop/denied", &primary, "stranger", None)
        .section("[shop/down]\nhost = 127.0.0.1\nport = 1\nuser = nobody\n")
        .start();
    let address = format!("127.0.0.1:{}", exporter.port("metrics"));
    let prometheus = Prometheus::start(&[address], ALERTS);

    let mut waiting: Vec<(String, String)> = Vec::new();
    for dashboard in dashboards::all().unwrap() {
        for query in dashboards::queries(&dashboard) {
            waiting.push((dashboard.name.to_owned(), query.expr));
        }
    }
    assert!(waiting.len() > 60, "only {} queries", waiting.len());
    // What stands between an alert and its threshold: the series that it looks at.
    let families = monitoring::families().unwrap();
    for alert in alerts() {
        for name in alert
            .expr
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        {
            // These need a cluster; tests/operator has them.
            let cluster = name.starts_with("pgexporter_kubernetes_")
                || name == "pgexporter_postgresql_not_accepted";
            if families.contains(name) && !cluster {
                waiting.push((alert.alert.clone(), name.to_owned()));
            }
        }
    }
    let asked = |expr: &str, server: &str| {
        expr.replace("$namespace", "shop/")
            .replace("$target", server)
            .replace("$database", ".*")
            .replace("$__rate_interval", "15s")
    };
    let all = within(Duration::from_secs(120), || {
        waiting.retain(|(of, expr)| {
            !["shop/orders", "shop/orders-replica"].iter().any(|server| {
                match prometheus.query(&asked(expr, server)) {
                    Ok(rows) => !rows.is_empty(),
                    Err(said) => panic!("{of}: {expr}: {said}"),
                }
            })
        });
        waiting.is_empty()
    });
    assert!(all, "no rows for {waiting:#?}\n{}", exporter.log());

    // The rules are loaded, and one of them fires; pending counts for those that wait.
    let pending = within(Duration::from_secs(60), || {
        let rows = prometheus.query(r#"ALERTS{alertname="PostgreSQLDown"}"#);
        rows.is_ok_and(|rows| rows.iter().any(|row| row.labels["server"] == "shop/down"))
    });
    assert!(pending, "{}", prometheus.log());
}
