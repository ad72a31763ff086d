//! Databases with names that are hard to write or to send.

use crate::bed::*;
use crate::support::{Exporter, Postgres};

/// Databases of those names, the last of which is no UTF-8: `cl\xe4ss`.
fn furnish_names(server: &Postgres, names: &[&str]) {
    furnish(server);
    for name in names {
        server.execute(&format!(
            "CREATE DATABASE \"{}\"",
            name.replace('"', "\"\"")
        ));
    }
    server.execute(
        "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    server.execute("CREATE DATABASE latin");
    server.execute_in(
        "bytes",
        "UPDATE pg_database SET datname = ('cl' || chr(228) || 'ss')::name WHERE datname = 'latin'",
    );
}

#[test]
fn a_database_whose_name_is_no_utf8_costs_no_other_database_and_no_collector() {
    let server = Postgres::start(17);
    let names = [
        "with space",
        "quo\"te",
        "back\\slash",
        "größe",
        "a=b host=c",
        "%41",
    ];
    furnish_names(&server, &names);
    let metrics = Metrics::new(&[]);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("sick", &server, ROLE, None)
        .start();
    recovers(&exporter, "sick");
    let (samples, _) = scrape_within(&exporter, 8.0);
    let log = exporter.log();
    let seen = |family: &str, name: &str| {
        let labels = [("server", "sick"), ("database", name)];
        samples.value(family, &labels).is_some()
    };
    for name in names.iter().chain(&["d1", "d4", "postgres", "bytes"]) {
        assert!(seen("pgexporter_everywhere", name), "{name}: {log}");
        assert!(seen("pgexporter_pg_database_size", name), "{name}: {log}");
    }
    // What is asked of the server as a whole names it, escaped.
    let odd = "cl\\344ss";
    assert!(seen("pgexporter_pg_database_size", odd), "{log}");
    // It is entered or named as missing, and not tried at each scrape.
    let missing = samples.with(
        "pgexporter_postgresql_database_missing",
        &[("server", "sick"), ("database", odd)],
    );
    assert!(
        seen("pgexporter_everywhere", odd) || missing.len() == 1,
        "{log}"
    );
    let connections = |samples: &crate::support::Samples| {
        let family = "pgexporter_postgresql_connections_total";
        samples
            .value(family, &[("server", "sick")])
            .expect("it is counted")
    };
    let before = connections(&samples);
    for _ in 0..3 {
        scrape_within(&exporter, 8.0);
    }
    let (samples, _) = scrape_within(&exporter, 8.0);
    // Each scrape walks through all the others for the metric of the test.
    let each = (names.len() + 5) as f64;
    assert!(
        connections(&samples) - before <= 4.0 * each,
        "{} connections: {}",
        connections(&samples) - before,
        exporter.log()
    );
}
