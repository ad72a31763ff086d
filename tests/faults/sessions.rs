//! What a server, a database, a role, a proxy or a user's own query can do to a session of the
//! exporter: nothing that changes what the next query shows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::bed::{ROLE, all_failures, furnish, is_active, nothing_lost, scrape_within};
use crate::support::hostile::message;
use crate::support::{DEADLINE, Exporter, Hostile, PgBouncer, Postgres, Samples, within};

/// What the role of the exporter can be given to make its session another one.
const HOSTILE_SETTINGS: &[(u32, &str, &str)] = &[
    (0, "default_transaction_isolation", "'serializable'"),
    (0, "default_transaction_deferrable", "on"),
    (0, "default_transaction_read_only", "off"),
    (0, "standard_conforming_strings", "off"),
    (0, "backslash_quote", "off"),
    (0, "quote_all_identifiers", "on"),
    (0, "extra_float_digits", "-15"),
    (0, "datestyle", "'German'"),
    (0, "intervalstyle", "'iso_8601'"),
    (0, "timezone", "'Asia/Kolkata'"),
    (0, "bytea_output", "'escape'"),
    (0, "xmlbinary", "'hex'"),
    (0, "array_nulls", "off"),
    (0, "transform_null_equals", "on"),
    (0, "row_security", "off"),
    (0, "client_min_messages", "'debug5'"),
    (0, "search_path", "evil, pg_catalog"),
    (0, "statement_timeout", "'1ms'"),
    (0, "lock_timeout", "'1ms'"),
    (0, "idle_in_transaction_session_timeout", "'1ms'"),
    (0, "exit_on_error", "on"),
    (14, "idle_session_timeout", "'300ms'"),
    (15, "stats_fetch_consistency", "'none'"),
    (17, "transaction_timeout", "'100ms'"),
];

/// Metrics whose labels and values depend on these settings.
const FORMS: &str = "  - tag: forms
    queries:
      - query: >-
          SELECT '2020-02-03'::date::text, '2020-02-03 04:05:06+00'::timestamptz::text,
          '1 day 2 hours'::interval::text, decode('00ff', 'hex')::text, (0.1::float8 * 3)::text,
          quote_ident('plain'), 'a\\b', (NULL = NULL IS NULL)::text, '{NULL}'::text[]::text,
          current_setting('transaction_isolation'), current_setting('transaction_read_only'),
          current_setting('search_path'), 1::float8 / 3
        columns:
          - {name: date, type: label}
          - {name: timestamp, type: label}
          - {name: interval, type: label}
          - {name: bytes, type: label}
          - {name: float, type: label}
          - {name: ident, type: label}
          - {name: text, type: label}
          - {name: isnull, type: label}
          - {name: nulls, type: label}
          - {name: isolation, type: label}
          - {name: readonly, type: label}
          - {name: path, type: label}
          - {type: gauge, description: A test.}
";

fn give(server: &Postgres, role: &str) {
    let session = server.session("postgres");
    session.execute(
        "CREATE SCHEMA IF NOT EXISTS evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
         CREATE OR REPLACE FUNCTION evil.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'epoch'::timestamptz $$",
    );
    for (since, name, value) in HOSTILE_SETTINGS {
        if server.major() >= *since {
            session.execute(&format!("ALTER ROLE {role} SET {name} = {value}"));
        }
    }
}

/// An exporter's file of metrics.
fn metrics(more: &str) -> String {
    format!(
        "version: 13\nmetrics:\n  - tag: everywhere\n    database: all\n    queries:\n      - query: SELECT 1\n        columns:\n          - {{type: gauge, description: One in each database.}}\n{more}"
    )
}

fn log_of(exporter: &Exporter, needle: &str) -> usize {
    let log = exporter.log();
    log.lines().filter(|line| line.contains(needle)).count()
}

fn errors(samples: &Samples) -> f64 {
    samples
        .value("pgexporter_query_errors_total", &[])
        .expect("an own family")
}

/// Waits until a server answers a scrape whole.
fn first(exporter: &Exporter, name: &str) -> Samples {
    let mut last = None;
    let scraped = within(DEADLINE, || {
        let samples = exporter.metrics();
        let active = is_active(&samples, name);
        last = Some(samples);
        active
    });
    assert!(scraped, "{name} is not scraped: {}", exporter.log());
    last.expect("a scrape")
}

#[test]
fn no_setting_of_a_role_changes_what_is_shown_or_ends_the_session() {
    for major in [13, 18] {
        let server = Postgres::start(major);
        furnish(&server);
        // As long as it is open, a deferrable transaction waits for its snapshot.
        let writer = server.session("postgres");
        writer.execute("CREATE TABLE busy (a int)");
        writer.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO busy VALUES (1)");
        let replica = server.replica();
        let bouncer = PgBouncer::start_with(&server, "transaction", &[(ROLE, "")]);
        let start = || {
            let exporter = Exporter::builder()
                .set("metrics_path = {dir}/metrics.yaml")
                .file("metrics.yaml", &metrics(FORMS))
                .server_as("primary", &server, ROLE, None)
                .server_as("replica", &replica, ROLE, None)
                .section(&format!(
                    "[pooled]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
                    bouncer.port()
                ))
                .start();
            for name in ["primary", "replica", "pooled"] {
                first(&exporter, name);
            }
            exporter
        };
        let plain = start();
        let before = plain.metrics();
        drop(plain);
        give(&server, ROLE);
        server.wait_for_replay(&replica);
        let exporter = start();
        let log = exporter.log();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(700));
            let after = exporter.metrics();
            for name in ["primary", "replica", "pooled"] {
                assert!(is_active(&after, name), "{name}: {}", exporter.log());
                nothing_lost(&before, &after, name);
                let (was, is) = (
                    before.with("pgexporter_forms", &[("server", name)]),
                    after.with("pgexporter_forms", &[("server", name)]),
                );
                assert_eq!(was, is, "{major} {name}");
                assert_eq!(is[0].labels["readonly"], "on");
                assert_eq!(all_failures(&after, name), 0.0, "{}", exporter.log());
            }
            assert_eq!(errors(&after), 0.0, "{}", exporter.log());
        }
        assert_eq!(exporter.log(), log, "nothing more is told");
        drop(writer);
    }
}

#[test]
fn limits_of_the_role_that_end_the_session_at_its_first_statement_cost_no_scrape() {
    for (major, state) in [(13, "57014"), (17, "25P04"), (18, "57014")] {
        let server = Postgres::start(major);
        furnish(&server);
        let port = server.port();
        // A busy server, whose role has `exit_on_error` and a time limit of a millisecond: the first
        // answer of two sessions is that they are over.
        let busy = Hostile::start(move |guest| {
            let ends = guest.number < 2;
            guest.relay(port, |_, _, is_ready| {
                (is_ready && ends).then(|| {
                    let text = format!("SFATAL\0VFATAL\0C{state}\0Mcanceling statement\0\0");
                    message(b'E', text.as_bytes())
                })
            })
        });
        let exporter = Exporter::builder()
            .section(&busy.section("busy", ROLE))
            .start();
        let samples = first(&exporter, "busy");
        assert_eq!(all_failures(&samples, "busy"), 0.0, "{}", exporter.log());
        assert!(!exporter.log().contains("down:"), "{}", exporter.log());
    }
}

#[test]
fn a_password_that_a_server_repeats_when_it_ends_a_session_is_shown_nowhere() {
    const PASSWORD: &str = "marker-of-a-password";
    let server = Postgres::start(17);
    furnish(&server);
    let port = server.port();
    // Once it is told to, it ends each session behind an answer, and says what only the exporter
    // should know.
    let ends = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&ends);
    let repeats = Hostile::start(move |guest| {
        guest.relay(port, |kind, _, is_ready| {
            let now = is_ready && kind == b'Z' && shared.load(Ordering::Acquire) > 0;
            now.then(|| {
                let text = format!("SFATAL\0VFATAL\0C57P01\0Mno {PASSWORD} for you\0\0");
                [message(b'Z', b"I"), message(b'E', text.as_bytes())].concat()
            })
        })
    });
    let exporter = Exporter::builder()
        .variable("PGPASSWORD", PASSWORD)
        .section(&repeats.section("repeats", ROLE))
        .start();
    first(&exporter, "repeats");
    ends.store(1, Ordering::Release);
    let ended = within(DEADLINE, || {
        exporter.metrics();
        exporter.log().contains("ended the session: no ")
    });
    assert!(ended, "{}", exporter.log());
    for _ in 0..3 {
        let (page, metrics) = (exporter.get("/"), exporter.get("/metrics"));
        let shown = format!("{}{page:?}{metrics:?}", exporter.log());
        assert!(!shown.contains(PASSWORD), "{shown}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Functions by which a query tries to get more than it should have.
const ATTEMPTS: &str = "
CREATE TABLE IF NOT EXISTS public.loot (what text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE FUNCTION public.try_local() RETURNS int LANGUAGE plpgsql AS $$
BEGIN PERFORM set_config('transaction_read_only', 'off', true); INSERT INTO public.loot VALUES ('local'); RETURN 1; END $$;
CREATE FUNCTION public.try_nested() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  BEGIN SET TRANSACTION READ WRITE; EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN PERFORM set_config('transaction_read_only', 'off', false); EXCEPTION WHEN OTHERS THEN NULL; END;
  INSERT INTO public.loot VALUES ('nested'); RETURN 1;
END $$;
CREATE FUNCTION public.spoil() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('default_transaction_read_only', 'off', false);
  PERFORM set_config('default_transaction_isolation', 'serializable', false);
  PERFORM set_config('search_path', 'nowhere', false);
  PERFORM set_config('statement_timeout', '1', false);
  PERFORM set_config('lock_timeout', '1', false);
  PERFORM set_config('standard_conforming_strings', 'off', false);
  PERFORM set_config('timezone', 'Asia/Kolkata', false);
  PERFORM set_config('extra_float_digits', '-15', false);
  PERFORM set_config('client_encoding', 'LATIN1', false);
  PERFORM set_config('role', 'pg_monitor', false);
  PERFORM pg_advisory_lock(77);
  LISTEN spoil;
  RETURN 1;
END $$;
";

fn attempt(tag: &str, scope: &str, sql: &str) -> String {
    format!(
        "  - tag: {tag}\n{scope}    queries:\n      - query: >-\n          {sql}\n        columns:\n          - {{type: gauge, description: A test.}}\n"
    )
}

fn attempts() -> String {
    let settled = "SELECT (current_setting('transaction_read_only') = 'on' AND current_setting('transaction_isolation') = 'read committed' AND current_setting('search_path') = 'pg_catalog, public' AND current_setting('statement_timeout') <> '1ms' AND current_setting('lock_timeout') <> '1ms' AND current_setting('timezone') = 'UTC' AND current_setting('extra_float_digits') = '1' AND current_setting('client_encoding') = 'UTF8' AND current_setting('standard_conforming_strings') = 'on' AND current_user = session_user AND NOT EXISTS (SELECT FROM pg_listening_channels()))::int";
    let own = "";
    let all = "    database: all\n";
    [
        attempt("a_spoil", own, "SELECT spoil()"),
        attempt("b_settled", own, settled),
        attempt("c_local", own, "SELECT try_local()"),
        attempt("d_nested", own, "SELECT try_nested()"),
        attempt("e_commit", own, "COMMIT"),
        attempt("f_two", own, "SELECT 1; COMMIT; SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; INSERT INTO loot VALUES ('two'); COMMIT"),
        attempt("g_write", own, "SET TRANSACTION READ WRITE"),
        attempt("h_do", own, "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO loot VALUES ('do'); END $$"),
        attempt("i_own", "    timeout: 5s\n", "SELECT spoil()"),
        attempt("j_settled", own, settled),
        attempt("k_comment", own, "SELECT 1 -- no end of line"),
        attempt("l_spoil", all, "SELECT public.spoil()"),
        attempt("m_settled", all, settled),
        attempt("n_nested", all, "SELECT public.try_nested()"),
        // Each ends the session that it runs in.
        attempt("o_timeout", own, "SELECT set_config('transaction_timeout', '20', false)::text IS NULL FROM pg_sleep(0.3)"),
        attempt("p_suicide", own, "SELECT pg_terminate_backend(pg_backend_pid())::int"),
    ]
    .concat()
}

#[test]
fn a_users_query_leaves_neither_its_transaction_nor_anything_behind() {
    for (major, pool) in [
        (13, None),
        (18, None),
        (17, Some("session")),
        (17, Some("transaction")),
        (17, Some("statement")),
    ] {
        let case = format!("{major} {pool:?}");
        let server = Postgres::start(major);
        furnish(&server);
        server.execute(ATTEMPTS);
        server.execute_in("d1", ATTEMPTS);
        server.execute(&format!(
            "ALTER DATABASE postgres OWNER TO {ROLE}; ALTER DATABASE d1 OWNER TO {ROLE}"
        ));
        let bouncer = pool.map(|pool| PgBouncer::start_with(&server, pool, &[(ROLE, "")]));
        let port = bouncer.as_ref().map_or(server.port(), PgBouncer::port);
        let exporter = Exporter::builder()
            .set("metrics_path = {dir}/metrics.yaml")
            .file("metrics.yaml", &metrics(&attempts()))
            .section(&format!(
                "[sick]\nhost = 127.0.0.1\nport = {port}\nuser = {ROLE}\n"
            ))
            .start();
        let failed = all_failures(&first(&exporter, "sick"), "sick");
        // What kind of pool it is shows at the first scrape alone.
        assert!(failed == 0.0 || pool == Some("statement"), "{case}");
        for turn in 0..3 {
            let samples = exporter.metrics();
            assert!(is_active(&samples, "sick"), "{case}: {}", exporter.log());
            let value = |name: &str, database: &str| {
                samples.value(
                    &format!("pgexporter_{name}"),
                    &[("server", "sick"), ("database", database)],
                )
            };
            let settled = [
                ("b_settled", "postgres"),
                ("j_settled", "postgres"),
                ("m_settled", "postgres"),
                ("m_settled", "d1"),
            ];
            for (name, database) in settled {
                assert_eq!(
                    value(name, database),
                    Some(1.0),
                    "{case}, {turn}, {name} in {database}: {}",
                    exporter.log()
                );
            }
            assert_eq!(value("k_comment", "postgres"), Some(1.0), "{case}");
            assert_eq!(
                value("a_spoil", "postgres"),
                Some(1.0),
                "{case}: {}",
                exporter.log()
            );
            assert_eq!(
                all_failures(&samples, "sick"),
                failed,
                "{case}: {}",
                exporter.log()
            );
        }
        for database in ["postgres", "d1"] {
            let loot = server
                .session(database)
                .text("SELECT what FROM public.loot");
            assert!(loot.is_empty(), "{case}: {loot:?}");
        }
        let held = server.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
        // Behind a statement pool a lock of a session is nobody's to release.
        if pool != Some("statement") {
            assert_eq!(held, "0", "{case}: locks are left");
        }
    }
}

/// A proxy that refuses a startup packet with options.
struct Picky {
    port: u16,
    refused: Arc<AtomicUsize>,
}

impl Picky {
    /// `answer` is what it says before it closes.
    fn before(server: &Postgres, answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let refused = Arc::new(AtomicUsize::new(0));
        let (count, target) = (Arc::clone(&refused), server.port());
        std::thread::spawn(move || {
            // Ends with the test's process.
            for client in listener.incoming().flatten() {
                let (count, answer) = (Arc::clone(&count), answer.clone());
                std::thread::spawn(move || serve(client, target, &count, &answer));
            }
        });
        Self { port, refused }
    }
}

fn serve(mut client: TcpStream, target: u16, refused: &AtomicUsize, answer: &[u8]) -> Option<()> {
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length).ok()?;
        let size = usize::try_from(u32::from_be_bytes(length)).ok()?;
        let mut body = vec![0; size.checked_sub(4)?];
        client.read_exact(&mut body).ok()?;
        // SSLRequest.
        if body == [4, 210, 22, 47] {
            client.write_all(b"N").ok()?;
            continue;
        }
        if body.windows(8).any(|part| part == b"options\0") {
            refused.fetch_add(1, Ordering::Relaxed);
            client.write_all(answer).ok()?;
            return None;
        }
        let mut server = TcpStream::connect(("127.0.0.1", target)).ok()?;
        server.write_all(&length).ok()?;
        server.write_all(&body).ok()?;
        let (mut from, mut to) = (server.try_clone().ok()?, client.try_clone().ok()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut client, &mut server);
        let _ = server.shutdown(Shutdown::Both);
        return None;
    }
}

fn error_response(code: &str, message: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, text) in [(b'S', "FATAL"), (b'C', code), (b'M', message)] {
        body.push(field);
        body.extend(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    let mut message = vec![b'E'];
    message.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
    message.extend(body);
    message
}

#[test]
fn a_proxy_that_refuses_startup_options_in_any_words_is_scraped() {
    let server = Postgres::start(17);
    furnish(&server);
    let proxies = [
        (
            "words",
            error_response("0A000", "das kennt dieser Proxy nicht"),
        ),
        ("syntax", error_response("42601", "")),
        ("closes", Vec::new()),
        ("internal", error_response("XX000", "?")),
    ]
    .map(|(name, answer)| (name, Picky::before(&server, answer)));
    let exporter = proxies
        .iter()
        .fold(Exporter::builder(), |builder, (name, proxy)| {
            builder.section(&format!(
                "[{name}]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
                proxy.port
            ))
        })
        .set("cache = off")
        .start();
    for (name, proxy) in &proxies {
        first(&exporter, name);
        for _ in 0..2 {
            assert!(is_active(&exporter.metrics(), name), "{name}");
        }
        // It is found out once, and not at each session.
        assert_eq!(proxy.refused.load(Ordering::Relaxed), 1, "{name}");
        assert_eq!(
            log_of(&exporter, &format!("server={name} reason")),
            0,
            "{}",
            exporter.log()
        );
    }
}

#[test]
fn text_that_cannot_be_utf8_costs_no_row() {
    for (encoding, name, shown) in [
        ("WIN1252", b"gr\xf6\xdfe \x81".as_slice(), "größe \\201"),
        ("LATIN1", b"gr\xf6\xdfe", "größe"),
        ("EUC_JP", b"\xa4\xa2", "あ"),
        ("WIN1251", b"\xcf \x98", "П \\230"),
    ] {
        let server = Postgres::builder(17).encoding(encoding).start();
        furnish(&server);
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let make = format!(
            "DO $do$ BEGIN EXECUTE 'CREATE TABLE \"' || convert_from(decode('{hex}', 'hex'), '{encoding}') || '\" (id int primary key)'; END $do$"
        );
        for database in ["postgres", "d1"] {
            server.execute_in(database, &make);
        }
        // What the exporter asks at each scrape before all else holds it as well.
        server.execute(&format!(
            "DO $do$ BEGIN EXECUTE format('COMMENT ON EXTENSION plpgsql IS %L', convert_from(decode('{hex}', 'hex'), '{encoding}')); END $do$"
        ));
        let bouncer = PgBouncer::start_with(&server, "transaction", &[(ROLE, "")]);
        let text = attempt(
            "labelled",
            "",
            &format!("SELECT convert_from(decode('{hex}', 'hex'), '{encoding}') AS name, 5"),
        )
        .replace(
            "        columns:\n",
            "        columns:\n          - {name: name, type: label}\n",
        );
        let exporter = Exporter::builder()
            .set("metrics_path = {dir}/metrics.yaml")
            .file("metrics.yaml", &metrics(&text))
            .server_as("sick", &server, ROLE, None)
            .section(&format!(
                "[pooled]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
                bouncer.port()
            ))
            .start();
        for name in ["sick", "pooled", "sick", "pooled"] {
            let samples = first(&exporter, name);
            let extension = [
                ("server", name),
                ("extension", "plpgsql"),
                ("comment", shown),
            ];
            assert!(
                samples
                    .value("pgexporter_postgresql_extension_info", &extension)
                    .is_some(),
                "{encoding} {name}: {:?}",
                samples.all("pgexporter_postgresql_extension_info")
            );
            for (family, database) in [
                (
                    "pgexporter_pg_stat_user_tables_vacuum_n_live_tup",
                    "postgres",
                ),
                ("pgexporter_pg_stat_user_tables_vacuum_n_live_tup", "d1"),
                ("pgexporter_pg_statio_all_tables_heap_blks_hit", "postgres"),
            ] {
                let labels = [("server", name), ("relname", shown), ("database", database)];
                assert!(
                    samples.value(family, &labels).is_some(),
                    "{encoding} {name} {family}: {:?} {}",
                    samples.all(family),
                    exporter.log()
                );
            }
            let own = [("server", name), ("name", shown)];
            let own = samples.value("pgexporter_labelled", &own);
            assert_eq!(own, Some(5.0), "{encoding} {name}: {}", exporter.log());
            assert_eq!(errors(&samples), 0.0, "{encoding}: {}", exporter.log());
        }
    }
}

/// A metric that takes a while in one database, and is there in the end.
fn slow(tag: &str, scope: &str, database: &str, seconds: &str, from: &str) -> String {
    attempt(
        tag,
        scope,
        &format!(
            "SELECT count(*) FROM {from}, pg_sleep(CASE WHEN current_database() = '{database}' THEN {seconds} ELSE 0 END)"
        ),
    )
}

/// Does something once, as soon as a query of the exporter is at work that fits.
fn once_at_work(server: &Postgres, condition: &str, then: impl FnOnce()) {
    let sql = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = '{ROLE}' AND state = 'active' AND {condition}"
    );
    assert!(
        within(DEADLINE, || server.value(&sql) == "t"),
        "no such query: {condition}"
    );
    then();
}

#[test]
fn a_session_that_the_server_ends_in_mid_scrape_is_replaced_in_it() {
    let server = Postgres::start(17);
    furnish(&server);
    let text = [
        slow("own", "", "postgres", "2", "pg_class"),
        slow("walked", "    database: all\n", "d2", "2", "pg_class"),
    ]
    .concat();
    let exporter = Exporter::builder()
        .set("metrics_path = {dir}/metrics.yaml")
        .file("metrics.yaml", &metrics(&text))
        .server_as("sick", &server, ROLE, None)
        .start();
    let before = first(&exporter, "sick");
    for database in ["postgres", "d2"] {
        let at_work = format!("datname = '{database}' AND query LIKE '%pg_sleep%'");
        let during = std::thread::scope(|scope| {
            let scrape = scope.spawn(|| scrape_within(&exporter, 25.0).0);
            once_at_work(&server, &at_work, || {
                server.execute(&format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}' AND {at_work}"
                ));
            });
            scrape.join().expect("a scrape")
        });
        assert!(is_active(&during, "sick"), "{database}: {}", exporter.log());
        nothing_lost(&before, &during, "sick");
        assert_eq!(all_failures(&during, "sick"), 0.0, "{database}");
        assert_eq!(errors(&during), 0.0, "{database}: {}", exporter.log());
    }
    assert_eq!(log_of(&exporter, "down:"), 0, "{}", exporter.log());
    assert_eq!(log_of(&exporter, "it is replaced"), 1, "{}", exporter.log());
}

#[test]
fn a_conflict_with_recovery_costs_a_replica_nothing() {
    let server = Postgres::builder(17).set("autovacuum", "off").start();
    furnish(&server);
    server.execute("CREATE TABLE bulk AS SELECT i FROM generate_series(1, 1000) AS i");
    server.execute(&format!("GRANT SELECT ON bulk TO {ROLE}"));
    let replica = server.replica_with(&[("max_standby_streaming_delay", "0")]);
    let exporter = Exporter::builder()
        .set("metrics_path = {dir}/metrics.yaml")
        .file(
            "metrics.yaml",
            &metrics(&slow("bulk", "", "postgres", "2", "bulk")),
        )
        .server_as("sick", &replica, ROLE, None)
        .start();
    let before = first(&exporter, "sick");
    let during = std::thread::scope(|scope| {
        let scrape = scope.spawn(|| scrape_within(&exporter, 25.0).0);
        once_at_work(&replica, "query LIKE '%FROM bulk%'", || {
            server.execute("DELETE FROM bulk WHERE i > 500");
            server.execute("VACUUM bulk");
        });
        scrape.join().expect("a scrape")
    });
    let conflicts = "SELECT sum(confl_snapshot + confl_lock) FROM pg_stat_database_conflicts";
    assert!(
        within(DEADLINE, || replica.value(conflicts) != "0"),
        "no conflict"
    );
    assert!(is_active(&during, "sick"), "{}", exporter.log());
    assert_eq!(errors(&during), 0.0, "{}", exporter.log());
    assert_eq!(
        during.value("pgexporter_bulk", &[]),
        Some(500.0),
        "{} {}",
        exporter.log(),
        replica.log()
    );
    nothing_lost(&before, &during, "sick");
    assert_eq!(all_failures(&during, "sick"), 0.0);
}

#[test]
fn a_pooler_that_ends_idle_sessions_is_told_once() {
    let server = Postgres::start(17);
    furnish(&server);
    let bouncer = PgBouncer::start_with(&server, "transaction", &[(ROLE, "")]);
    bouncer.set("client_idle_timeout = 1");
    let exporter = Exporter::builder()
        .section(&format!(
            "[sick]\nhost = 127.0.0.1\nport = {}\nuser = {ROLE}\n",
            bouncer.port()
        ))
        .start();
    first(&exporter, "sick");
    for _ in 0..4 {
        // Longer than the pooler lets it.
        std::thread::sleep(Duration::from_millis(2_500));
        let samples = exporter.metrics();
        assert!(is_active(&samples, "sick"), "{}", exporter.log());
        assert_eq!(all_failures(&samples, "sick"), 0.0, "{}", exporter.log());
    }
    assert_eq!(log_of(&exporter, "down:"), 0, "{}", exporter.log());
    assert_eq!(log_of(&exporter, "it is replaced"), 1, "{}", exporter.log());
    let made = exporter
        .metrics()
        .value(
            "pgexporter_postgresql_connections_total",
            &[("server", "sick")],
        )
        .expect("counted");
    assert!(made < 15.0, "{made} connections for five scrapes");
}

#[test]
fn a_role_that_may_do_more_than_read_is_told_once() {
    let server = Postgres::start(17);
    furnish(&server);
    server.execute("CREATE ROLE writer LOGIN IN ROLE pg_monitor, pg_write_server_files");
    let exporter = Exporter::builder()
        .server("super", &server)
        .server_as("writer", &server, "writer", None)
        .server_as("monitor", &server, ROLE, None)
        .start();
    for name in ["super", "writer", "monitor"] {
        first(&exporter, name);
    }
    exporter.metrics();
    for (name, right, times) in [
        ("super", "SUPERUSER", 1),
        ("writer", "pg_write_server_files", 1),
        ("monitor", "may do more than read", 0),
    ] {
        let log = exporter.log();
        let told = log.lines().filter(|line| {
            line.contains("may do more than read") && line.contains(&format!("server={name}"))
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), times, "{name}: {log}");
        assert!(told.iter().all(|line| line.contains(right)), "{told:?}");
    }
    let page = exporter.get("/").body;
    assert_eq!(page.matches("may do more than read").count(), 2, "{page}");
}
