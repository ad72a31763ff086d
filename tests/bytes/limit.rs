//! The limit of a container: twenty servers, of which five do what they can.

use std::time::Duration;

use crate::bed::{SERVER, TestMetrics, builtin, is_active};
use crate::support::cgroup::Cgroup;
use crate::support::hostile::{header, message};
use crate::support::{Exporter, Hostile, Samples, eventually};

/// The limit of memory in the chart's values.
fn limit_of_the_chart() -> u64 {
    let values = include_str!("../../charts/pgexporter/values.yaml");
    let line = values
        .lines()
        .find(|line| line.contains("limits: {memory: "));
    let number = line.expect("the chart has a limit").trim();
    let number = number.trim_start_matches("limits: {memory: ");
    let number = number.trim_end_matches("Mi}").parse::<u64>();
    number.expect("a number of Mi") * 1024 * 1024
}

#[test]
fn in_a_container_as_the_chart_makes_it_five_hostile_servers_of_twenty_harm_none() {
    let limit = limit_of_the_chart();
    let group = match Cgroup::with_memory(limit) {
        Ok(group) => group,
        Err(why) => {
            println!("not tried: {why}");
            return;
        }
    };
    let announced = Hostile::start(|guest| {
        guest.log_in()?;
        guest.send(&header(b'D', 64 * 1024 * 1024 - 4))?;
        // As slowly as keeps the session.
        for _ in 0..100 {
            guest.send(&[0; 64 * 1024])?;
            guest.pause(Duration::from_millis(100))?;
        }
        guest.wait_for_end()
    });
    let notice = message(
        b'N',
        &[b"SNOTICE\0M".as_slice(), &[b'x'; 900], b"\0\0"].concat(),
    );
    let login = Hostile::start(move |guest| {
        guest.send(&message(b'R', &0_u32.to_be_bytes()))?;
        guest.flood(&notice, 300 * 1024 * 1024)
    });
    let refusal = message(
        b'E',
        &[
            b"SFATAL\0C28000\0M".as_slice(),
            &vec![b'x'; 60 * 1024 * 1024],
            b"\0\0",
        ]
        .concat(),
    );
    let refused = Hostile::start(move |guest| guest.send(&refusal));
    let metrics = TestMetrics::new();
    let mut builder = Exporter::builder()
        .set(&metrics.line())
        .section(&announced.section("announced", "x"))
        .section(&login.section("login", "x"))
        .section(&refused.section("refused", "x"))
        .server_as("labels", &SERVER, "labels", None)
        .server_as("rows", &SERVER, "rows", None);
    let names: Vec<String> = (1..=15).map(|number| format!("healthy{number}")).collect();
    for name in &names {
        builder = builder.server_as(name, &SERVER, "healthy", None);
    }
    let exporter = builder.in_cgroup(&group).start();
    let all_up = |samples: &Samples| names.iter().all(|name| is_active(samples, name));
    let mut first = None;
    eventually("the fifteen are up", || {
        let samples = exporter.metrics();
        let up = all_up(&samples);
        first = Some(samples);
        up
    });
    let first = first.expect("a scrape");
    let whole = builtin(&first, "healthy1");
    assert!(whole > 300, "{whole} samples");
    for turn in 0..10 {
        let samples = exporter.metrics();
        assert!(all_up(&samples), "{turn}: {}", exporter.log());
        for name in &names {
            let here = builtin(&samples, name);
            assert!(here * 20 > whole * 19, "{turn}: {name}: {here} of {whole}");
            let left_out = samples.with("pgexporter_postgresql_left_out", &[("server", name)]);
            assert!(left_out.is_empty(), "{turn}: {left_out:?}");
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(group.kills(), 0, "{}", exporter.log());
    println!("the most memory: {} of {limit} bytes", group.peak());
    assert!(group.peak() < limit, "{} bytes", group.peak());
    drop(exporter);
}
