//! What an administrator may change over the management port, and what is for the exporter's own
//! machine alone.

use crate::remote::{PASSWORD, over_tcp, remote};
use crate::{assert_alive, cli, said};

/// Keys that name a file, an address, a user, TLS or a right, each with a value that would be good
/// on the machine.
const MACHINE: [(&str, &str); 12] = [
    ("metrics_path", "{dir}/marked"),
    ("pgexporter.metrics_path", "{dir}/marked"),
    ("metrics_cert_file", "{dir}/marked"),
    ("log_line_prefix", "FATAL forged: "),
    ("reload_on_change", "on"),
    ("kubernetes_allow_local_hosts", "on"),
    ("server.nobody.host", "127.0.0.2"),
    ("server.nobody.port", "2"),
    ("server.nobody.user", "postgres"),
    ("server.nobody.database", "template1"),
    ("server.nobody.password_file", "{dir}/marked"),
    ("server.nobody.tls", "off"),
];

#[test]
fn what_names_a_file_an_address_a_user_or_a_right_is_changed_on_the_machine_only() {
    let exporter = remote().file("marked", "MARKER-of-a-file\n").start();
    let dir = exporter.folder().display().to_string();
    let before = said(&cli(&exporter, &["conf", "get"])).1;
    for (key, value) in MACHINE {
        let value = value.replace("{dir}", &dir);
        let (status, out, err) = said(&over_tcp(
            &exporter,
            PASSWORD,
            &["conf", "set", key, &value],
        ));
        assert_eq!(status, 1, "{key}: {out}{err}");
        assert!(
            err.contains("only be changed on the local socket"),
            "{key}: {out}{err}"
        );
        assert!(
            !format!("{out}{err}").contains("MARKER"),
            "{key}: {out}{err}"
        );
    }
    assert_eq!(said(&cli(&exporter, &["conf", "get"])).1, before);
    assert!(!exporter.log().contains("MARKER"), "{}", exporter.log());

    // What is harmless is changed from afar, and what there is not is told as everywhere.
    let set = |key, value| said(&over_tcp(&exporter, PASSWORD, &["conf", "set", key, value]));
    assert_eq!(set("lock_timeout", "2s").0, 0);
    assert_eq!(set("server.nobody.extensions", "pgcrypto").0, 0);
    let (_, out, err) = set("colour", "red");
    assert!(out.contains("Unknown configuration key"), "{out}{err}");

    // On the machine the same keys are changed.
    let (status, out, err) = said(&cli(&exporter, &["conf", "set", "server.nobody.port", "2"]));
    assert_eq!(status, 0, "{out}{err}");
    assert_alive(&exporter);
}
