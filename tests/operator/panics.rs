//! The controller panics.

use std::fs;

use super::bed::*;
use super::support::*;

#[test]
fn a_controller_that_panics_ends_the_program_with_status_1_and_one_line() {
    let (server, namespace) = (server(), api().namespace("panic"));
    api().apply(&secret(&namespace, "s", SECRET));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    for task in ["controller", "status", "lease"] {
        let file = api().folder().join(format!("panic-{task}"));
        let mut exporter = exporter(api(), &namespace)
            .set("kubernetes_shards = lease")
            .variable(
                "PGEXPORTER_TEST_PANIC",
                format!("{task}={}", file.display()),
            )
            .start();
        eventually_active(&exporter, &format!("{namespace}/db"));
        fs::write(&file, "on purpose").unwrap();
        let status = exporter.wait_exit();
        let log = exporter.log();
        assert_eq!(status.code(), Some(1), "{log}");
        let lines: Vec<&str> = log.lines().filter(|one| one.contains("panicked")).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(&format!("task={task}")), "{log}");
        eventually("the session is gone", || {
            let open =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgexporter'";
            server.value(open) == "0"
        });
    }
}
