//! Clients that are no help: they hang up, say nothing, or wait for nothing. And an administrator
//! who reloads every five seconds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::Scope;
use std::time::Duration;

use rustix::process::Signal;

use crate::Stop;
use crate::support::Exporter;

/// Starts them.
pub fn spawn<'scope>(scope: &'scope Scope<'scope, '_>, exporter: &'scope Exporter, stop: &Stop) {
    let reloads = stop.clone();
    scope.spawn(move || {
        let text = exporter.config_text();
        let levels = ["log_level = info", "log_level = warn"];
        let mut round = 0;
        while reloads.wait(Duration::from_secs(5)) {
            exporter.write_config(&text.replace(levels[0], levels[round % 2]));
            exporter.signal(Signal::HUP);
            round += 1;
        }
    });
    let metrics = exporter.port("metrics");
    let (hang_up, silent, impatient) = (stop.clone(), stop.clone(), stop.clone());
    scope.spawn(move || {
        let mut round = 0_u64;
        while hang_up.wait(Duration::from_millis(700)) {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", metrics)) {
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
                // Gone before, within and after the answer's beginning.
                std::thread::sleep(Duration::from_millis(round * 37 % 200));
                let mut some = [0; 512];
                let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
                let _ = stream.read(&mut some);
            }
            round += 1;
        }
    });
    let health = exporter.port("health");
    scope.spawn(move || {
        let mut held = std::collections::VecDeque::new();
        while silent.wait(Duration::from_millis(200)) {
            for port in [metrics, health] {
                held.extend(TcpStream::connect(("127.0.0.1", port)));
            }
            if held.len() > 60 {
                held.drain(..2);
            }
        }
    });
    scope.spawn(move || {
        while impatient.wait(Duration::from_secs(2)) {
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", metrics)) {
                let _ = stream.write_all(
                    b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                      X-Prometheus-Scrape-Timeout-Seconds: 1e-7\r\n\r\n",
                );
                let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
                let mut body = Vec::new();
                let _ = stream.read_to_end(&mut body);
            }
        }
    });
}
