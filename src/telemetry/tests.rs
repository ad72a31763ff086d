use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tracing::subscriber::with_default;

use super::*;

fn settings(log_type: LogType, path: &Path) -> LogSettings {
    LogSettings {
        log_type,
        level: LogLevel::Info,
        path: path.to_owned(),
        rotation_age: Duration::ZERO,
        rotation_size: 0,
        line_prefix: String::new(),
        mode: LogMode::Append,
        format: LogFormat::Text,
    }
}

/// A log of its own, with a file for standard error.
struct Bench {
    folder: TempDir,
    settings: LogSettings,
}

impl Bench {
    fn new(log_type: LogType) -> Self {
        let folder = TempDir::new().unwrap();
        let settings = settings(log_type, &folder.path().join("logs/x.log"));
        fs::create_dir(folder.path().join("logs")).unwrap();
        Self { folder, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, work: impl FnOnce(&Telemetry)) -> Arc<LogCounters> {
        let console = File::options()
            .append(true)
            .create(true)
            .open(self.path("stderr"))
            .unwrap();
        self.run_with(console, work)
    }

    fn run_with(&self, console: File, work: impl FnOnce(&Telemetry)) -> Arc<LogCounters> {
        let destinations = LogDestinations {
            console: Some(console),
            syslog: self.path("syslog"),
        };
        let (telemetry, layer) = build(&self.settings, destinations).unwrap();
        with_default(tracing_subscriber::registry().with(layer), || {
            work(&telemetry);
        });
        assert!(telemetry.flush());
        telemetry.counters()
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap()
    }

    fn file(&self) -> String {
        fs::read_to_string(&self.settings.path).unwrap()
    }

    /// The rotated files, sorted.
    fn rotated(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = fs::read_dir(self.path("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| *path != self.settings.path)
            .collect();
        found.sort();
        found
    }
}

fn counted(counters: &LogCounters) -> [u64; 6] {
    [
        &counters.info,
        &counters.warn,
        &counters.error,
        &counters.fatal,
        &counters.dropped,
        &counters.diverted,
    ]
    .map(|counter| counter.load(Ordering::Relaxed))
}

#[test]
fn one_event_is_one_line_and_one_counter() {
    let bench = Bench::new(LogType::Console);
    let counters = bench.run(|_| {
        tracing::trace!("unheard");
        tracing::debug!("unheard");
        tracing::info!(target: "t", "one");
        tracing::warn!(target: "t", rows = 2, "two\nlines");
        tracing::error!(target: "t", error = %"no such file", "three");
        crate::fatal!(code = 4, "{}", "four");
    });
    assert_eq!(
        bench.stderr(),
        "INFO t: one\n\
         WARN t: two\\nlines rows=2\n\
         ERROR t: three error=\"no such file\"\n\
         FATAL pgexporter::telemetry::tests: four code=4\n"
    );
    assert_eq!(counted(&counters), [1, 1, 1, 1, 0, 0]);
}

#[test]
fn at_the_level_fatal_an_ordinary_error_is_neither_written_nor_counted() {
    let mut bench = Bench::new(LogType::Console);
    bench.settings.level = LogLevel::Fatal;
    let counters = bench.run(|_| {
        tracing::error!("unheard");
        crate::fatal!("heard");
    });
    assert_eq!(
        bench.stderr(),
        "FATAL pgexporter::telemetry::tests: heard\n"
    );
    assert_eq!(counted(&counters), [0, 0, 0, 1, 0, 0]);
}

#[test]
fn the_fields_of_the_spans_around_an_event_are_in_its_line() {
    let bench = Bench::new(LogType::Console);
    bench.run(|_| {
        let outer = tracing::info_span!("scrape", server = "primary", step = "outer");
        let _outer = outer.enter();
        let inner = tracing::info_span!("query", step = "inner", rows = tracing::field::Empty);
        let _inner = inner.enter();
        inner.record("rows", 7);
        tracing::info!(target: "t", "done");
    });
    assert_eq!(
        bench.stderr(),
        "INFO t: done step=inner rows=7 server=primary\n"
    );
}

#[test]
fn chatty_dependencies_are_heard_from_warn_up_unless_the_level_is_trace() {
    let mut bench = Bench::new(LogType::Console);
    let chat = |_: &Telemetry| {
        tracing::debug!(target: "hyper::proto", "a");
        tracing::info!(target: "rustls", "b");
        tracing::warn!(target: "h2::codec", "c");
        tracing::debug!(target: "hyperspace", "d");
    };
    bench.settings.level = LogLevel::Debug;
    bench.run(chat);
    assert_eq!(bench.stderr(), "WARN h2::codec: c\nDEBUG hyperspace: d\n");
    bench.settings.level = LogLevel::Trace;
    bench.run(chat);
    assert!(
        bench
            .stderr()
            .contains("DEBUG hyper::proto: a\nINFO rustls: b\n")
    );
}

#[test]
fn a_reload_changes_level_prefix_and_format_of_the_lines_after_it() {
    let bench = Bench::new(LogType::File);
    bench.run(|telemetry| {
        tracing::debug!("unheard");
        tracing::info!(target: "t", "before");
        assert!(telemetry.flush());
        let mut settings = bench.settings.clone();
        settings.level = LogLevel::Debug;
        settings.line_prefix = "[100%%]".to_owned();
        settings.log_type = LogType::Console;
        settings.path = bench.path("elsewhere");
        telemetry.reload(&settings).unwrap();
        tracing::debug!(target: "t", "after");
        settings.format = LogFormat::Json;
        telemetry.reload(&settings).unwrap();
        tracing::debug!(target: "t", "json");
    });
    let text = bench.file();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("INFO t: before"));
    assert_eq!(lines.next(), Some("[100%] DEBUG t: after"));
    let object: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(object["message"], "json");
    assert_eq!(bench.stderr(), "");
}

#[test]
fn a_prefix_that_is_no_strftime_format_is_refused_and_changes_nothing() {
    let bench = Bench::new(LogType::Console);
    bench.run(|telemetry| {
        let mut settings = bench.settings.clone();
        settings.line_prefix = "%Y %".to_owned();
        settings.level = LogLevel::Error;
        let error = telemetry.reload(&settings).unwrap_err().to_string();
        assert!(error.contains("'%Y %'") && error.contains("%%"), "{error}");
        tracing::info!(target: "t", "as before");
    });
    assert_eq!(bench.stderr(), "INFO t: as before\n");
}

#[test]
fn append_keeps_what_a_file_has_and_create_begins_it_anew() {
    let mut bench = Bench::new(LogType::File);
    bench.run(|_| tracing::info!(target: "t", "one"));
    bench.run(|_| tracing::info!(target: "t", "two"));
    assert_eq!(bench.file(), "INFO t: one\nINFO t: two\n");
    bench.settings.mode = LogMode::Create;
    bench.run(|_| tracing::info!(target: "t", "three"));
    assert_eq!(bench.file(), "INFO t: three\n");
}

#[test]
fn a_file_that_cannot_be_opened_is_named_at_start() {
    let mut bench = Bench::new(LogType::File);
    bench.settings.path = bench.path("no/such/folder/x.log");
    let destinations = LogDestinations {
        console: None,
        syslog: bench.path("syslog"),
    };
    let error = build(&bench.settings, destinations)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no/such/folder/x.log"), "{error}");
}

#[test]
fn a_file_that_would_become_too_large_is_renamed_and_no_line_is_lost() {
    let mut bench = Bench::new(LogType::File);
    bench.settings.rotation_size = 64;
    bench.run(|_| {
        for number in 10..20 {
            tracing::info!(target: "t", "line {number}");
        }
    });
    // "INFO t: line 10\n" is 16 bytes: four fill a file, and three names are needed in one second.
    let rotated = bench.rotated();
    assert_eq!(rotated.len(), 2, "{rotated:?}");
    let mut all: Vec<String> = Vec::new();
    for path in rotated.iter().chain([&bench.settings.path]) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.len() <= 64);
        all.extend(text.lines().map(str::to_owned));
    }
    all.sort();
    let expected: Vec<String> = (10..20).map(|n| format!("INFO t: line {n}")).collect();
    assert_eq!(all, expected);
}

#[test]
fn a_file_that_is_too_old_is_renamed_also_when_the_age_is_set_later() {
    let bench = Bench::new(LogType::File);
    bench.run(|telemetry| {
        tracing::info!(target: "t", "old");
        assert!(telemetry.flush());
        let begun = Instant::now();
        let mut settings = bench.settings.clone();
        settings.rotation_age = Duration::from_millis(1);
        telemetry.reload(&settings).unwrap();
        while begun.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
        tracing::info!(target: "t", "new");
    });
    let rotated = bench.rotated();
    assert_eq!(rotated.len(), 1, "{rotated:?}");
    let name = rotated[0].file_name().unwrap().to_str().unwrap();
    let stamp = name.strip_prefix("x.log.").unwrap();
    assert!(
        stamp.len() == 14 && stamp.bytes().all(|b| b.is_ascii_digit()),
        "{name}"
    );
    assert_eq!(fs::read_to_string(&rotated[0]).unwrap(), "INFO t: old\n");
    assert_eq!(bench.file(), "INFO t: new\n");
}

#[test]
fn a_file_that_somebody_else_renamed_is_made_again() {
    let bench = Bench::new(LogType::File);
    let moved = bench.path("logs/moved");
    let counters = bench.run(|telemetry| {
        tracing::info!(target: "t", "one");
        assert!(telemetry.flush());
        fs::rename(&bench.settings.path, &moved).unwrap();
        tracing::info!(target: "t", "two");
    });
    assert_eq!(fs::read_to_string(&moved).unwrap(), "INFO t: one\n");
    assert_eq!(bench.file(), "INFO t: two\n");
    assert_eq!(counted(&counters), [2, 0, 0, 0, 0, 0]);
}

#[test]
fn while_the_folder_is_gone_lines_go_to_standard_error_and_are_counted() {
    let bench = Bench::new(LogType::File);
    let counters = bench.run(|telemetry| {
        tracing::info!(target: "t", "one");
        assert!(telemetry.flush());
        fs::remove_dir_all(bench.path("logs")).unwrap();
        tracing::info!(target: "t", "two");
        tracing::info!(target: "t", "three");
        assert!(telemetry.flush());
        fs::create_dir(bench.path("logs")).unwrap();
        tracing::info!(target: "t", "four");
    });
    let stderr = bench.stderr();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert_eq!((lines[0], lines[2]), ("INFO t: two", "INFO t: three"));
    assert!(lines[1].contains("cannot be written"), "{}", lines[1]);
    assert_eq!(bench.file(), "INFO t: four\n");
    assert_eq!(counted(&counters), [4, 1, 0, 0, 0, 2]);
}

#[test]
fn syslog_gets_datagrams_with_priority_time_and_tag_and_may_be_started_anew() {
    let mut bench = Bench::new(LogType::Syslog);
    bench.settings.line_prefix = "%Y".to_owned();
    let receive = |socket: &UnixDatagram| {
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut buffer = [0_u8; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let counters = bench.run(|telemetry| {
        let syslog = UnixDatagram::bind(bench.path("syslog")).unwrap();
        tracing::warn!(target: "t", "one");
        let datagram = receive(&syslog);
        // <daemon.warning>Mmm dd hh:mm:ss, with the day padded by a space.
        let (head, content) = datagram.split_at("<28>Jan  1 00:00:00".len());
        assert!(head.starts_with("<28>"), "{head}");
        assert_eq!(head.as_bytes()[7], b' ');
        assert_eq!(head.as_bytes()[10], b' ');
        assert_eq!(
            content,
            format!(" pgexporter[{}]: WARN t: one", std::process::id())
        );

        drop(syslog);
        fs::remove_file(bench.path("syslog")).unwrap();
        tracing::info!(target: "t", "two");
        assert!(telemetry.flush());

        let syslog = UnixDatagram::bind(bench.path("syslog")).unwrap();
        crate::fatal!("three");
        let datagram = receive(&syslog);
        assert!(datagram.starts_with("<26>"), "{datagram}");
        assert!(datagram.ends_with("three"), "{datagram}");
    });
    let stderr = bench.stderr();
    assert!(stderr.contains("INFO t: two\n"), "{stderr}");
    // "two", and what tells that syslog failed.
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert_eq!(counted(&counters), [1, 2, 0, 1, 0, 1]);
}

#[test]
fn a_pipe_that_nobody_reads_stops_nobody_and_the_log_says_how_many_lines_are_missing() {
    let bench = Bench::new(LogType::Console);
    let (reader, writer) = std::io::pipe().unwrap();
    let console = File::from(std::os::fd::OwnedFd::from(writer));
    let lines = 3000;
    let mut reading = None;
    let counters = bench.run_with(console, |telemetry| {
        let text = "x".repeat(1000);
        let begun = Instant::now();
        for _ in 0..lines {
            tracing::info!(target: "t", "{text}");
        }
        // Far below what a blocked write would take, which is for ever.
        assert!(begun.elapsed() < Duration::from_secs(30));
        let dropped = telemetry.counters().dropped.load(Ordering::Relaxed);
        assert!((1000..lines).contains(&dropped), "{dropped} dropped");
        reading = Some(std::thread::spawn(move || {
            let mut seen = Vec::new();
            for line in BufReader::new(reader).lines() {
                seen.push(line.unwrap());
            }
            seen
        }));
        let until = Instant::now() + Duration::from_secs(30);
        while !telemetry.flush() {
            assert!(Instant::now() < until);
        }
        tracing::info!(target: "t", "last");
    });
    let seen = reading.unwrap().join().unwrap();
    let dropped = counters.dropped.load(Ordering::Relaxed);
    let note = format!("{dropped} log lines were dropped here");
    assert!(
        seen[seen.len() - 2].contains(&note),
        "{:?}",
        seen[seen.len() - 2]
    );
    assert_eq!(seen[seen.len() - 1], "INFO t: last");
    assert_eq!(seen.len() as u64, lines - dropped + 2);
}

#[test]
fn a_console_that_was_closed_loses_lines_and_nothing_else() {
    let bench = Bench::new(LogType::Console);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let counters = bench.run_with(File::from(std::os::fd::OwnedFd::from(writer)), |_| {
        tracing::info!("unheard");
    });
    assert_eq!(counted(&counters), [1, 0, 0, 0, 1, 0]);
}

/// The body of the next test, in a process of its own because `init` is global.
#[test]
fn init_hears_records_of_the_older_log_crate_in_a_process_of_its_own() {
    const MARK: &str = "PGEXPORTER_TEST_TELEMETRY_INIT";
    if let Some(path) = std::env::var_os(MARK) {
        let settings = settings(LogType::File, Path::new(&path));
        let telemetry = init(&settings).unwrap();
        tracing::debug!(target: "t", "unheard");
        tracing::info!(target: "t", "heard");
        assert!(matches!(
            init(&settings),
            Err(TelemetryError::AlreadyRunning)
        ));
        // rustls speaks through `log`: at TRACE it is heard, and under its own name.
        let mut more = settings.clone();
        more.level = LogLevel::Trace;
        telemetry.reload(&more).unwrap();
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        drop(telemetry);
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.log");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--test-threads=1"])
        .arg("telemetry::tests::init_hears_records_of_the_older_log_crate_in_a_process_of_its_own")
        .env(MARK, &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("INFO t: heard\n"), "{text}");
    assert!(text.contains("DEBUG rustls::client::hs: "), "{text}");
}
