//! A ping, beside what it costs to start a process at all.

use std::time::Duration;

use pgexporter::management::AdminVerb;

use crate::ask::{ask, cli, socket};
use crate::table::{Table, ms, percentile};
use crate::{Rounds, builder};

/// The command line pings, in turns with the same program when it asks nobody.
pub fn measure(table: &mut Table, rounds: Rounds) {
    let exporter = builder()
        .section("[nobody]\nhost = 127.0.0.1\nport = 1\nuser = nobody\n")
        .start();
    let (mut pings, mut starts, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut beyond = Vec::new();
    let socket = socket(&exporter);
    for round in 0..rounds.pings {
        // Who comes second finds the caches warm.
        let start = || cli(&exporter, &["--version"]).1;
        let ping = || cli(&exporter, &["-c", "pgexporter.conf", "ping"]).1;
        let (start, ping) = match round % 2 {
            0 => (start(), ping()),
            _ => {
                let ping = ping();
                (start(), ping)
            }
        };
        starts.push(start);
        pings.push(ping);
        beyond.push(ping.saturating_sub(start));
        bare.push(ask(&socket, AdminVerb::Ping).expect("it answers").1);
    }
    let own = percentile(&mut beyond, 50);
    table.add(
        &format!(
            "`pgexporter-cli ping` through the socket, {} in turn: median beside the process start",
            rounds.pings
        ),
        "≤ 1 ms",
        format!(
            "{}: {} (p95 {}) against {} (p95 {}) for `--version`",
            ms(own),
            ms(percentile(&mut pings, 50)),
            ms(percentile(&mut pings, 95)),
            ms(percentile(&mut starts, 50)),
            ms(percentile(&mut starts, 95)),
        ),
        own <= Duration::from_millis(1),
    );
    table.tell(
        "A ping without a process: from the connection to the end of the answer",
        format!(
            "{} (p95 {})",
            ms(percentile(&mut bare, 50)),
            ms(percentile(&mut bare, 95))
        ),
    );
}
