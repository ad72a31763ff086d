//! The schema refuses what is wrong before the controller sees it, in words.

use super::bed::*;

#[test]
fn each_rule_of_the_schema_takes_a_good_resource_and_refuses_a_bad_one_in_words() {
    let namespace = api().namespace("rules");
    let with = |spec: &str| {
        let credentials = "credentials: {username: monitor}";
        format!("{{host: db, {credentials}, {spec}}}")
    };
    let host = |host: &str| format!("{{host: \"{host}\", credentials: {{username: monitor}}}}");
    let credentials = |text: &str| format!("{{host: db, credentials: {text}}}");
    let cases = [
        (host("orders-rw.shop.svc"), host("/run/postgresql"), "host takes a DNS name or an address alone"),
        (host("fd00::17"), host("me@db"), "host takes a DNS name or an address alone"),
        (host("10.0.0.7"), host("db:5432"), "host takes a DNS name or an address alone"),
        (with("port: 65535"), with("port: 65536"), "port takes 1 to 65535"),
        (with("port: 1"), with("port: 0"), "port takes 1 to 65535"),
        (with("labels: {team: shop}"), with("labels: {team-a: shop}"), "letters, digits and _ only"),
        (with("labels: {_x9: ''}"), with("labels: {server: other}"), "not yours to set"),
        (with("labels: {x__: z}"), with("labels: {__name__: z}"), "not yours to set"),
        (with("labels: {app: z}"), with("labels: {application_name: z}"), "not yours to set"),
        (with("timeouts: {connect: 500ms}"), with("timeouts: {connect: 5}"), "connect"),
        (with("timeouts: {query: 10s}"), with("timeouts: {query: soon}"), "number above 0 with ms, s or m"),
        (with("timeouts: {lock: 1m}"), with("timeouts: {lock: 0s}"), "number above 0 with ms, s or m"),
        (
            credentials("{secretRef: {name: a}}"),
            credentials("{secretRef: {name: a}, username: b}"),
            "credentials come from one source",
        ),
        (credentials("{username: b}"), credentials("{}"), "credentials come from one source"),
        (
            credentials("{secretRef: {name: a.b-c}}"),
            credentials("{secretRef: {name: ../b}}"),
            "the name of an object in this namespace",
        ),
        (
            credentials("{secretRef: {name: a, passwordKey: pg.pass}}"),
            credentials("{secretRef: {name: a, passwordKey: a/b}}"),
            "a key of a Secret",
        ),
        (
            with("tls: {mode: require, caRef: {name: ca}}"),
            with("tls: {mode: disable, caRef: {name: ca}}"),
            "mode disable speaks no TLS",
        ),
        (
            with("tls: {caRef: {name: ca}, serverName: orders-rw}"),
            with("tls: {mode: verify-ca, serverName: orders-rw}"),
            "serverName is checked with mode verify-full alone",
        ),
        (
            "{host: 10.0.0.7, credentials: {username: m}, tls: {mode: verify-full, serverName: db}}".into(),
            "{host: 10.0.0.7, credentials: {username: m}, tls: {mode: verify-full}}".into(),
            "no name to verify",
        ),
        (with("tls: {mode: prefer}"), with("tls: {mode: sometimes}"), "Unsupported value"),
        (with("databases: {include: ['shop*']}"), with("databases: {include: ['']}"), "databases"),
        (
            with("databases: {exclude: ['s?op $ 1']}"),
            with("databases: {exclude: ['[a-z]+']}"),
            "regular expressions and sets are not known",
        ),
        (with("collectors: {exclude: [bloat]}"), with("collectors: {exclude: ['']}"), "collectors"),
        (
            with("collectors: {include: [stat_db]}"),
            with("collectors: {include: ['stat*']}"),
            "without patterns",
        ),
        (
            with("extensions: []"),
            with("extensions: ['pg stat']"),
            "name extensions as CREATE EXTENSION does",
        ),
        (with("sampleLimit: 1"), with("sampleLimit: 0"), "sampleLimit takes 1 to 1000000"),
        (with("bytesLimit: 65536"), with("bytesLimit: 65535"), "bytesLimit takes 65536 (64 KiB) to 4294967295"),
        (
            with("metrics: [{configMapRef: {name: m}}]"),
            with("metrics: [{configMapRef: {name: m, key: ../m}}]"),
            "a key of a Secret or ConfigMap",
        ),
        (
            with("metrics: [{configMapRef: {name: m, key: a.json}}]"),
            with("metrics: [{configMapRef: {name: M}}]"),
            "the name of an object in this namespace",
        ),
        (with("requireAuth: scram-sha-256"), with("requireAuth: scram"), "requireAuth takes none"),
        (with("requireAuth: 'md5, none'"), with("requireAuth: 'md5,!none'"), "requireAuth takes none"),
        (with("requireAuth: '!none'"), with("requireAuth: ','"), "requireAuth takes none"),
        (with("paused: true"), with("socket: /tmp"), "socket"),
    ];
    for (good, bad, words) in cases {
        if let Err(said) = api().try_apply(&target(&namespace, "t", &good)) {
            panic!("{good} is refused: {said}");
        }
        let said = api().try_apply(&target(&namespace, "bad", &bad)).err();
        let said = said.unwrap_or_else(|| panic!("{bad} is taken"));
        assert!(said.contains(words), "{bad}: {said}");
    }
    let kept = api().get_json("pgt", &namespace, "t").unwrap();
    assert_eq!(kept["spec"]["port"], 5432);
    assert_eq!(kept["spec"]["database"], "postgres");
    assert_eq!(kept["spec"]["databases"]["exclude"][0], "template*");
    assert_eq!(kept["spec"]["sampleLimit"], 50_000);
}
