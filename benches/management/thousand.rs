//! The status of many servers.

use std::time::Duration;

use pgexporter::management::AdminVerb;

use crate::ask::{ask, cli, socket};
use crate::servers::{self, ROLE};
use crate::support::exporter::get;
use crate::support::{Samples, within};
use crate::table::{Table, mb, ms, percentile};
use crate::{Rounds, builder};

/// Sections of a configuration file, all of which lead to one real server; each has been scraped.
pub fn measure(table: &mut Table, rounds: Rounds) {
    let count = rounds.servers;
    let server = servers::start(1, false);
    let (host, port) = (server.host(), server.port());
    let mut builder = builder()
        .set("collectors = connections")
        .set("blocking_timeout = 60s");
    for number in 1..=count {
        builder = builder.section(&format!(
            "[server_{number:04}]\nhost = {host}\nport = {port}\nuser = {ROLE}\ntls = off\n"
        ));
    }
    let exporter = builder.start();
    let url = exporter.url("/metrics");
    let all = within(Duration::from_secs(300), || {
        let answer = get(&url, &[("X-Prometheus-Scrape-Timeout-Seconds", "50")]);
        let samples = Samples::parse(&answer.expect("it answers").body);
        let active = samples.all("pgexporter_postgresql_active");
        active.iter().filter(|sample| sample.value == 1.0).count() == count
    });
    assert!(all, "not all {count} are scraped: {}", exporter.log());
    let socket = socket(&exporter);
    for (name, verb, arguments) in [
        ("status", AdminVerb::Status, &["status"][..]),
        (
            "status details",
            AdminVerb::StatusDetails,
            &["status", "details"],
        ),
    ] {
        let (mut bare, mut whole, mut size) = (Vec::new(), Vec::new(), 0);
        for _ in 0..rounds.statuses {
            let (answer, took) = ask(&socket, verb).expect("it answers");
            size = answer.len();
            bare.push(took);
            let arguments = [&["-c", "pgexporter.conf"], arguments].concat();
            let (printed, took) = cli(&exporter, &arguments);
            let lines = String::from_utf8_lossy(&printed).matches("server_").count();
            assert!(lines >= count, "{lines} servers are shown");
            whole.push(took);
        }
        let what = format!("`{name}` of {count} servers: median of {}", rounds.statuses);
        let median = percentile(&mut whole, 50);
        let measured = format!(
            "{} (p95 {}) with the process of `pgexporter-cli`; {} (p95 {}) for the answer of {}",
            ms(median),
            ms(percentile(&mut whole, 95)),
            ms(percentile(&mut bare, 50)),
            ms(percentile(&mut bare, 95)),
            mb(size as u64),
        );
        match verb {
            AdminVerb::Status => table.add(
                &what,
                "≤ 50 ms",
                measured,
                median <= Duration::from_millis(50),
            ),
            _ => table.tell(&what, measured),
        }
    }
}
