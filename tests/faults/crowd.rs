//! Many clients, and many servers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::bed::{
    GATE, Gate, Metrics, ROLE, SLACK, Watch, all_failures, exporter, failures, is_active,
    nothing_lost, scrape_within, server, settled,
};
use crate::support::{Exporter, Samples, eventually};

fn executions(samples: &Samples) -> f64 {
    samples
        .value("pgexporter_query_executions_total", &[])
        .expect("an own family")
}

fn open_files(exporter: &Exporter) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", exporter.pid()))
        .expect("it runs")
        .count()
}

fn threads(exporter: &Exporter) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", exporter.pid()))
        .expect("it runs")
        .count()
}

#[test]
fn a_thousand_clients_that_hang_up_leave_nothing_behind() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    let exporter = exporter(&sick, &healthy, &Metrics::new(&[])).start();
    let before = settled(&exporter);
    let (files, tasks) = (open_files(&exporter), threads(&exporter));
    let address = ("127.0.0.1", exporter.port("metrics"));
    for turn in 0..1_000 {
        let mut client = TcpStream::connect(address).expect("it listens");
        client
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
            .expect("it is sent");
        // Some go at once, some while the answer comes.
        if turn % 10 == 0 {
            let mut first = [0; 64];
            let got = client.read(&mut first).expect("it answers");
            assert!(first[..got].starts_with(b"HTTP/1.1 200"));
        }
    }
    let after = exporter.metrics();
    nothing_lost(&before, &after, "sick");
    nothing_lost(&before, &after, "healthy");
    assert_eq!(all_failures(&after, "sick"), 0.0);
    eventually("sockets are closed", || open_files(&exporter) <= files + 1);
    assert!(threads(&exporter) <= tasks + 1);
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{ROLE}'");
    eventually("one session is left", || sick.value(&sessions) == "1");
    let name = "pgexporter_postgresql_connections_total";
    let made = |samples: &Samples| samples.value(name, &[("server", "sick")]).expect("counted");
    // One of the session, and four more for each walk. Requests of clients that are gone may still
    // be on their way in.
    eventually("no walk is under way", || {
        (made(&exporter.metrics()) - 1.0) % 4.0 == 0.0
    });
    watch.never_more_than_two();
}

#[test]
fn fifty_scrapes_at_once_are_one_collection() {
    let (sick, healthy) = (server(17), server(18));
    let watch = Watch::on(&sick);
    let metrics = Metrics::new(&[GATE]);
    let exporter = exporter(&sick, &healthy, &metrics)
        .set("lock_timeout = 30s")
        .start();
    settled(&exporter);
    let (one, two) = (exporter.metrics(), exporter.metrics());
    let of_one = executions(&two) - executions(&one);
    assert!(of_one > 50.0);
    let gates = [Gate::close(&sick), Gate::close(&healthy)];
    let idle = open_files(&exporter);
    let answers: Vec<Samples> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..50)
            .map(|_| scope.spawn(|| scrape_within(&exporter, 30.0).0))
            .collect();
        eventually("all are there, and wait", || {
            open_files(&exporter) >= idle + 50 && gates.iter().all(Gate::is_waited_for)
        });
        gates.into_iter().for_each(Gate::open);
        clients
            .into_iter()
            .map(|client| client.join().expect("no panic"))
            .collect()
    });
    for answer in &answers {
        assert!(is_active(answer, "sick") && is_active(answer, "healthy"));
        nothing_lost(&two, answer, "sick");
        assert_eq!(executions(answer) - executions(&two), of_one);
    }
    watch.never_more_than_two();
}

#[test]
fn one_dead_and_one_mute_server_of_twenty_cost_the_others_nothing() {
    let real = server(17);
    // It accepts, and never speaks.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute_port = mute.local_addr().expect("an address").port();
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    let metrics = Metrics::new(&[]);
    let mut builder = Exporter::builder().set(&metrics.line());
    for number in 1..=18 {
        builder = builder.server_as(&format!("s{number}"), &real, ROLE, None);
    }
    for (name, port) in [("dead", dead), ("mute", mute_port)] {
        builder = builder.section(&format!(
            "[{name}]\nhost = 127.0.0.1\nport = {port}\nuser = {ROLE}\n"
        ));
    }
    let exporter = builder.start();
    for turn in 0..3 {
        let (samples, took) = scrape_within(&exporter, 8.0);
        assert!(took < Duration::from_secs(8) + SLACK, "{took:?}");
        for number in 1..=18 {
            assert!(
                is_active(&samples, &format!("s{number}")),
                "s{number}, {turn}"
            );
        }
        assert!(!is_active(&samples, "dead") && !is_active(&samples, "mute"));
        assert!(failures(&samples, "dead", "connection_refused") >= 1.0);
        assert!(failures(&samples, "mute", "timeout") >= 1.0);
        assert_eq!(samples.with("pgexporter_everywhere", &[]).len(), 18 * 5);
        // The first scrape may wait for the first attempt, the next ones know.
        assert!(
            turn == 0 || took < Duration::from_secs(5),
            "{turn}: {took:?}"
        );
    }
    drop(mute);
}

#[test]
fn an_impatient_client_does_not_spoil_the_answer_of_a_patient_one() {
    let (sick, healthy) = (server(17), server(18));
    let metrics = Metrics::new(&[GATE]);
    let exporter = exporter(&sick, &healthy, &metrics)
        .set("lock_timeout = 30s")
        .start();
    let before = settled(&exporter);
    // Who comes when the query was given up already, and the walk goes on, is not answered without
    // it.
    for late in [false, true] {
        let gate = Gate::close(&sick);
        let (impatient, patient) = std::thread::scope(|scope| {
            let impatient = scope.spawn(|| scrape_within(&exporter, 4.0));
            eventually("the scrape is under way", || gate.is_waited_for());
            if late {
                let walk = format!(
                    "SELECT count(*) FROM pg_stat_activity \
                     WHERE usename = '{ROLE}' AND datname <> 'postgres'"
                );
                eventually("the query was given up", || {
                    sick.value(&walk) != "0" || !gate.is_waited_for()
                });
            }
            let patient = scope.spawn(|| scrape_within(&exporter, 30.0));
            let impatient = impatient.join().expect("no panic");
            gate.open();
            (impatient, patient.join().expect("no panic"))
        });
        assert!(
            impatient.1 < Duration::from_secs(4) + SLACK,
            "{:?}",
            impatient.1
        );
        assert!(is_active(&patient.0, "sick"));
        let gates = patient.0.with("pgexporter_gate", &[("server", "sick")]);
        assert_eq!(gates.len(), 1, "late: {late}: {}", exporter.log());
        if !late {
            nothing_lost(&before, &patient.0, "sick");
        }
        nothing_lost(&before, &impatient.0, "healthy");
    }
}
