//! Tests that need a process of their own, for they count or limit what all of it has.

use std::io::Read as _;

use super::*;

/// Runs the test of that name again in a process of its own. True there.
fn alone(name: &str) -> bool {
    const MARK: &str = "PGEXPORTER_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("http::tests::alone::{name}"),
            "--nocapture",
        ])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn a_thousand_clients_that_hang_up_leave_nothing_behind() {
    if !alone("a_thousand_clients_that_hang_up_leave_nothing_behind") {
        return;
    }
    run(async {
        let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let served = Served::new(HttpSettings::default(), |_| waiting(asked.clone(), go));
        let tasks = || {
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
        };
        let (files_before, tasks_before) = (open_files(), tasks());
        for round in 0..1_000 {
            let mut stream = served.connect().await;
            stream
                .write_all(b"GET /wait HTTP/1.1\r\n\r\n")
                .await
                .unwrap();
            asked.notified().await;
            if round % 2 == 0 {
                // By a reset instead of an orderly end.
                stream.set_zero_linger().unwrap();
            }
        }
        served.until_connections(0).await;
        until("all tasks have ended", || tasks() <= tasks_before).await;
        until("all files are closed", || open_files() <= files_before).await;
    });
}

#[test]
fn running_out_of_files_does_not_end_the_port() {
    if !alone("running_out_of_files_does_not_end_the_port") {
        return;
    }
    run(async {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let served = Served::metrics(HttpSettings::default());
        let stream = served.connect().await;
        served.until_connections(1).await;
        let mut waiting = served.connect().await;
        served.until_connections(2).await;
        // From here on each new descriptor is refused, also the server's.
        let before = getrlimit(Resource::Nofile);
        let mut last =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(3),
                maximum: before.maximum,
            },
        )
        .unwrap();
        last.connect(&served.address.into()).unwrap();
        std::io::Write::write_all(
            &mut last,
            b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        // Those that are there are served on.
        waiting.write_all(METRICS.as_bytes()).await.unwrap();
        assert_eq!(read_one(&mut waiting).await.status, 200);
        assert_eq!(served.port.connections(), 2);
        setrlimit(Resource::Nofile, before).unwrap();
        let answer = tokio::task::spawn_blocking(move || {
            last.set_read_timeout(Some(LONG)).unwrap();
            let mut bytes = Vec::new();
            last.read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(Answer::parse(&answer.await.unwrap()).status, 200);
        drop(stream);
    });
}
