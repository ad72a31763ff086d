//! The API server goes away, comes back, or says that it has forgotten.

use super::bed::*;
use super::support::*;

#[test]
fn scraping_goes_on_without_the_api_server_and_changes_count_when_it_is_back() {
    let api = prepared();
    let (server, namespace) = (server(), api.namespace("away"));
    api.apply(&secret(&namespace, "s", SECRET));
    api.apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(&api, &namespace).start();
    let name = format!("{namespace}/db");
    eventually_active(&exporter, &name);
    let pid =
        || server.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgexporter'");
    let kept = pid();
    api.stop();
    eventually("it is noticed", || {
        exporter.log().contains("cannot be watched")
    });
    assert_eq!(active(&exporter, &name), Some(1.0));
    api.start_again();
    api.apply(&target(&namespace, "more", &at(&server, "s", "")));
    let more = format!("{namespace}/more");
    eventually("the new one is scraped", || {
        active(&exporter, &more) == Some(1.0)
    });
    assert_eq!(active(&exporter, &name), Some(1.0));
    assert!(
        server
            .text("SELECT pid::text FROM pg_stat_activity WHERE application_name = 'pgexporter'")
            .iter()
            .any(|row| row[0].as_deref() == Some(&kept)),
        "its session was not kept"
    );
}
