//! After a peak the memory goes back.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bed::{SERVER, TestMetrics, is_active, memory};
use crate::support::hostile::message;
use crate::support::{Exporter, Hostile, eventually, within};

/// A server that gives as much as it may, in each database and at once.
const LARGE: &str = "  - tag: large
    queries:
      - query: SELECT 'a row with a number ' || i || repeat('y', 800), i FROM (SELECT generate_series(1, CASE current_user WHEN 'labels' THEN 15000 ELSE 3 END) AS i) AS many
        columns:
          - {name: text, type: label}
          - {type: gauge, description: Rows that are just not too many.}
";

#[test]
fn half_a_minute_after_a_flood_the_memory_is_as_before() {
    let metrics = TestMetrics::with(LARGE);
    let exporter = Exporter::builder()
        .set(&metrics.line())
        .server_as("healthy", &SERVER, "healthy", None)
        .start();
    eventually("it is up", || is_active(&exporter.metrics(), "healthy"));
    for _ in 0..5 {
        exporter.metrics();
    }
    let notice = message(b'N', &[b'x'; 1000]);
    let hostile = Hostile::start(move |guest| {
        guest.log_in()?;
        guest.flood(&notice, 100 * 1024 * 1024)
    });
    let before = memory(&exporter, "VmRSS");
    let text = exporter.config_text();
    let mut with = text.clone() + &hostile.section("hostile", "x");
    for user in ["labels", "rows", "row", "refusal", "notices"] {
        for number in 1..=(if user == "labels" { 6 } else { 2 }) {
            with += &format!(
                "[{user}{number}]\nhost = 127.0.0.1\nport = {}\nuser = {user}\n",
                SERVER.port()
            );
        }
    }
    exporter.write_config(&with);
    exporter.signal(Signal::HUP);
    let read = |encoding: &str| {
        let mut client =
            TcpStream::connect(("127.0.0.1", exporter.port("metrics"))).expect("it listens");
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Accept-Encoding: {encoding}\r\n\r\n"
        );
        client.write_all(request.as_bytes()).expect("it is sent");
        std::io::copy(&mut client, &mut std::io::sink()).expect("it is read")
    };
    let said = ["query_bytes_limit", "message_limit"];
    let large = 6 * 15_000 * 800;
    let sent = within(Duration::from_secs(120), || {
        let length = read("identity");
        let page = exporter.get("/").body;
        length > large && said.iter().all(|words| page.contains(words))
    });
    assert!(sent, "not all have sent what they have: {}", exporter.log());
    // Many read at once, and ask for each encoding.
    std::thread::scope(|scope| {
        for number in 0..8 {
            let read = &read;
            scope.spawn(move || read(["identity", "gzip", "zstd"][number % 3]));
        }
    });
    let peak = memory(&exporter, "VmHWM");
    assert!(
        peak > before + 10 * 1024,
        "{before} kB, and {peak} kB at most"
    );
    exporter.write_config(&text);
    exporter.signal(Signal::HUP);
    let begun = Instant::now();
    let mut now = 0;
    let back = within(Duration::from_secs(30), || {
        std::thread::sleep(Duration::from_secs(1));
        exporter.metrics();
        now = memory(&exporter, "VmRSS");
        now < before + 10 * 1024
    });
    println!(
        "{before} kB, {peak} kB at most, {now} kB after {:?}",
        begun.elapsed()
    );
    assert!(
        back,
        "{before} kB before, {peak} kB at most, {now} kB after 30 s"
    );
}
