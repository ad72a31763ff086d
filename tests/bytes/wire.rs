//! What comes over the wire is not held because it was announced, nor because there is much of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::bed::{SERVER, TestMetrics, builtin, failures, is_active, left_out, memory, too_large};
use crate::support::hostile::{header, message};
use crate::support::{Exporter, Hostile, Samples, eventually};

const MIB: usize = 1024 * 1024;

/// An exporter for one hostile server and one that is not.
fn exporter(hostile: &str, metrics: &TestMetrics) -> Exporter {
    Exporter::builder()
        .set(&metrics.line())
        .section(hostile)
        .server_as("healthy", &SERVER, "healthy", None)
        .start()
}

/// Waits until a scrape is as it should be; every one must have the healthy server whole.
#[track_caller]
fn until(exporter: &Exporter, what: &str, mut good: impl FnMut(&Samples) -> bool) -> Samples {
    let mut last = Samples::parse("");
    let mut whole = 0;
    eventually("the healthy server is scraped", || {
        whole = builtin(&exporter.metrics(), "healthy");
        whole > 300
    });
    eventually(what, || {
        last = exporter.metrics();
        assert!(is_active(&last, "healthy"));
        let now = builtin(&last, "healthy");
        assert!(now * 10 > whole * 9, "{now} samples, {whole} before");
        good(&last)
    });
    last
}

#[test]
fn an_announced_length_takes_no_memory_before_and_after_login() {
    let metrics = TestMetrics::new();
    for (kind, logs_in) in [
        (b'D', true),
        (b'T', true),
        (b'E', true),
        (b'R', false),
        (b'E', false),
    ] {
        let hostile = Hostile::start(move |guest| {
            if logs_in {
                guest.log_in()?;
            }
            // As much as a message may announce.
            guest.send(&header(kind, 64 * MIB - 4))?;
            guest.send(&[0; 16])?;
            guest.wait_for_end()
        });
        let exporter = exporter(&hostile.section("hostile", "x"), &metrics);
        let before = memory(&exporter, "VmHWM");
        eventually("it was called", || hostile.connections() > 0);
        until(&exporter, "it is not up", |samples| {
            !is_active(samples, "hostile")
        });
        std::thread::sleep(Duration::from_millis(300));
        let grown = memory(&exporter, "VmHWM") - before;
        assert!(grown < 20 * 1024, "{}: {grown} kB", char::from(kind));
    }
}

#[test]
fn a_flood_at_login_ends_it_and_takes_no_memory() {
    let metrics = TestMetrics::new();
    let notice = message(
        b'N',
        &[b"SNOTICE\0M".as_slice(), &[b'x'; 900], b"\0\0"].concat(),
    );
    let mut setting = 0;
    let settings: Vec<u8> = std::iter::repeat_with(|| {
        setting += 1;
        message(
            b'S',
            format!("name{setting}\0{}\0", "x".repeat(900)).as_bytes(),
        )
    })
    .take(60)
    .flatten()
    .collect();
    let long = message(
        b'E',
        &[
            b"SFATAL\0C28000\0M".as_slice(),
            &vec![b'x'; 60 * MIB],
            b"\0\0",
        ]
        .concat(),
    );
    for flood in [notice, settings, long] {
        let flood = Arc::new(flood);
        let hostile = Hostile::start(move |guest| {
            if flood[0] != b'E' {
                guest.send(&message(b'R', &0_u32.to_be_bytes()))?;
            }
            guest.flood(&flood, 200 * MIB)
        });
        let exporter = exporter(&hostile.section("hostile", "x"), &metrics);
        let before = memory(&exporter, "VmHWM");
        let samples = until(&exporter, "it is told why", |samples| {
            too_large(samples, "hostile") >= 2.0
        });
        assert!(!is_active(&samples, "hostile"));
        let grown = memory(&exporter, "VmHWM") - before;
        assert!(grown < 20 * 1024, "{grown} kB");
        assert!(exporter.get("/").body.len() < 400 * 1024);
    }
}

#[test]
fn a_long_row_and_a_long_refusal_cost_their_own_query_alone() {
    let metrics = TestMetrics::new();
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("row", &SERVER, "row", None)
        .server_as("refusal", &SERVER, "refusal", None)
        .server_as("notices", &SERVER, "notices", None)
        .server_as("healthy", &SERVER, "healthy", None)
        .start();
    let samples = until(&exporter, "all are up", |samples| {
        left_out(samples, "row", "row") >= 1.0
            && ["row", "refusal", "notices"]
                .iter()
                .all(|name| is_active(samples, name))
    });
    let whole = builtin(&samples, "healthy");
    for server in ["row", "refusal", "notices"] {
        let here = builtin(&samples, server);
        assert!(here * 10 > whole * 9, "{server}: {here} of {whole} samples");
        let labels = [("server", server)];
        assert_eq!(samples.with("pgexporter_one", &labels).len(), 1, "{server}");
        assert_eq!(
            samples.with("pgexporter_rows", &labels).len(),
            3,
            "{server}"
        );
        let connections = samples.value("pgexporter_postgresql_connections_total", &labels);
        assert_eq!(connections, Some(1.0), "{server}: {}", exporter.log());
    }
    assert!(
        samples
            .with("pgexporter_row", &[("server", "row")])
            .is_empty()
    );
    assert!(
        samples
            .with("pgexporter_spoken", &[("server", "refusal")])
            .is_empty()
    );
    assert_eq!(
        samples
            .with("pgexporter_spoken", &[("server", "notices")])
            .len(),
        1
    );
    let log = exporter.log();
    let told = log.lines().filter(|line| line.contains("message_limit"));
    assert_eq!(told.count(), 1, "{log}");
    // The text of 30 MB stands nowhere.
    assert!(log.len() < 200 * 1024 && exporter.get("/").body.len() < 400 * 1024);
    let most = memory(&exporter, "VmHWM");
    assert!(most < 80 * 1024, "{most} kB");
}

#[test]
fn a_server_that_sends_what_nobody_asked_for_is_bounded_between_scrapes_as_well() {
    let metrics = TestMetrics::new();
    let (begin, flooding) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
    let (asked, told) = (Arc::clone(&begin), Arc::clone(&flooding));
    let hostile = Hostile::start(move |guest| {
        let (asked, told) = (Arc::clone(&asked), Arc::clone(&told));
        guest.relay(SERVER.port(), move |_, _, ready| {
            if !ready || !asked.load(Ordering::Acquire) {
                return None;
            }
            told.store(true, Ordering::Release);
            let mut unasked = Vec::new();
            for kind in [b'N', b'S', b'A', b'd', b'D'] {
                unasked.extend(message(kind, &vec![b'x'; 5 * MIB]));
            }
            // The rows are nobody's.
            Some(unasked[..unasked.len() - 5 * MIB - 5].to_vec())
        })
    });
    let exporter = exporter(&hostile.section("hostile", "healthy"), &metrics);
    until(&exporter, "it is up", |samples| {
        is_active(samples, "hostile")
    });
    let before = memory(&exporter, "VmHWM");
    begin.store(true, Ordering::Release);
    eventually("it floods", || {
        exporter.metrics();
        flooding.load(Ordering::Acquire)
    });
    until(&exporter, "it is ended for it", |samples| {
        too_large(samples, "hostile") + failures(samples, "hostile", "unrequested_data") >= 1.0
    });
    let grown = memory(&exporter, "VmHWM") - before;
    assert!(grown < 20 * 1024, "{grown} kB");
    begin.store(false, Ordering::Release);
    until(&exporter, "it is up again", |samples| {
        is_active(samples, "hostile")
    });
}

/// A row as the server sends it.
fn row(fields: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(fields.len())
        .expect("few")
        .to_be_bytes()
        .to_vec();
    for field in fields {
        body.extend(u32::try_from(field.len()).expect("short").to_be_bytes());
        body.extend(field.as_bytes());
    }
    message(b'D', &body)
}

#[test]
fn endless_settings_and_extensions_leave_out_themselves_alone() {
    let metrics = TestMetrics::new();
    let begin = Arc::new(AtomicBool::default());
    let asked = Arc::clone(&begin);
    let hostile = Hostile::start(move |guest| {
        let asked = Arc::clone(&asked);
        guest.relay(SERVER.port(), move |kind, body, _| {
            let holds = |text: &str| body.windows(text.len()).any(|one| one == text.as_bytes());
            if kind != b'D' || !asked.load(Ordering::Acquire) {
                return None;
            }
            let text = "x".repeat(1000);
            let many = |fields: &dyn Fn(usize) -> Vec<u8>| (0..4000).flat_map(fields).collect();
            if holds("allow_in_place_tablespaces") {
                return Some(many(&|n| {
                    row(&[&format!("name{n}"), "integer", "1", &text])
                }));
            }
            holds("PL/pgSQL procedural language")
                .then(|| many(&|n| row(&[&format!("extension{n}"), "1", &text])))
        })
    });
    let exporter = exporter(&hostile.section("hostile", "healthy"), &metrics);
    let before = until(&exporter, "it is up", |samples| {
        is_active(samples, "hostile")
    });
    let settings = |samples: &Samples| {
        let of_hostile = samples.with(
            "pgexporter_pg_settings_max_connections",
            &[("server", "hostile")],
        );
        of_hostile.len()
    };
    assert_eq!(settings(&before), 1);
    let memory_before = memory(&exporter, "VmHWM");
    begin.store(true, Ordering::Release);
    // The settings are asked for again when the server has read its configuration anew.
    SERVER.execute("SELECT pg_reload_conf()");
    let samples = until(&exporter, "the settings are left out", |samples| {
        is_active(samples, "hostile") && settings(samples) == 0
    });
    let left_out = [("server", "hostile"), ("collector", "pg_settings")];
    assert_eq!(
        samples
            .with("pgexporter_postgresql_left_out", &left_out)
            .len(),
        1
    );
    let of_hostile = [("server", "hostile")];
    let extensions = samples.with("pgexporter_postgresql_extension_info", &of_hostile);
    assert!(extensions.len() < 10, "{} extensions", extensions.len());
    assert_eq!(samples.with("pgexporter_one", &of_hostile).len(), 1);
    let grown = memory(&exporter, "VmHWM") - memory_before;
    assert!(grown < 20 * 1024, "{grown} kB");
    begin.store(false, Ordering::Release);
    // What was too much is tried again after a minute, and at a reload.
    exporter.signal(Signal::HUP);
    until(&exporter, "all is there again", |samples| {
        settings(samples) == 1
    });
}
