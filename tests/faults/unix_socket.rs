//! Servers behind a Unix socket, which no port tells from others.

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::bed::{ROLE, SLACK, failures, is_active, scrape_within};
use crate::support::{Exporter, eventually};

#[test]
fn a_login_that_hangs_over_a_unix_socket_is_told_and_the_only_one() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let held = Arc::new(Mutex::new(Vec::new()));
    let (count, streams) = (Arc::clone(&accepted), Arc::clone(&held));
    // It takes connections and says nothing. Ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::AcqRel);
            streams.lock().unwrap().push(stream);
        }
    });
    let exporter = Exporter::builder()
        .set("blocking_timeout = 1s")
        .section(&format!(
            "[sick]\nhost = {}\nport = 5432\nuser = {ROLE}\n",
            folder.path().display()
        ))
        .start();
    for _ in 0..8 {
        let (samples, took) = scrape_within(&exporter, 1.0);
        assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
        assert!(!is_active(&samples, "sick"));
        thread::sleep(Duration::from_millis(300));
    }
    let samples = exporter.metrics();
    assert!(
        failures(&samples, "sick", "timeout") > 0.0,
        "{}",
        exporter.log()
    );
    assert_eq!(accepted.load(Ordering::Acquire), 1, "{}", exporter.log());
    // Once that has ended there is another.
    held.lock().unwrap().clear();
    eventually("it is tried again", || {
        scrape_within(&exporter, 1.0);
        accepted.load(Ordering::Acquire) > 1
    });
    thread::sleep(Duration::from_secs(2));
    let open = held.lock().unwrap().len();
    assert!(open <= 2, "{open} logins wait");
}
