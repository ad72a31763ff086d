//! The ports of the running program: real clients, real PostgreSQL behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use support::{
    Authority, Exporter, Identity, Postgres, Samples, eventually, ports, promtool_check,
};

/// An answer as its bytes came, chunks laid together.
struct Raw {
    status: u16,
    head: String,
    chunked: bool,
    body: Vec<u8>,
}

impl Raw {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// Sends one request and reads to the end.
fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
) -> io::Result<Raw> {
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let chunked = head.contains("transfer-encoding: chunked");
    let rest = &bytes[end + 4..];
    let body = if chunked && method != "HEAD" {
        dechunk(rest)?
    } else {
        rest.to_vec()
    };
    Ok(Raw {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        head,
        chunked,
        body,
    })
}

/// RFC 9112 section 7.1; an answer that was cut off is an error.
fn dechunk(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .and_then(|text| usize::from_str_radix(text, 16).ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest.get(end + 2..end + 2 + size);
        body.extend_from_slice(chunk.ok_or(io::ErrorKind::UnexpectedEof)?);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).unwrap();
    stream
}

fn ask(exporter: &Exporter, method: &str, path: &str, headers: &str) -> Raw {
    exchange(connect(exporter.port("metrics")), method, path, headers).expect("an answer")
}

fn active(text: &str, server: &str) -> Option<f64> {
    Samples::parse(text).value("pgexporter_postgresql_active", &[("server", server)])
}

#[test]
fn the_overview_shows_each_server_and_why_one_is_down() {
    let server = Postgres::start(18);
    let gone = Postgres::start(18);
    let exporter = Exporter::on(&[("orders", &server), ("gone", &gone)]);
    gone.stop_immediate();
    eventually("the page shows both", || {
        exporter.get("/metrics");
        let page = ask(&exporter, "GET", "/", "");
        assert_eq!(page.status, 200);
        assert!(
            page.header("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        let text = page.text();
        text.contains("orders") && text.contains("gone") && text.contains("connection refused")
    });
    let page = ask(&exporter, "GET", "/", "");
    assert!(page.text().contains("href=\"/metrics\""));
    assert!(page.text().contains("pgexporter_postgresql_active"));
}

#[test]
fn metrics_come_in_chunks_plain_and_compressed_and_all_the_same() {
    let server = Postgres::start(18);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("metrics_cache_max_age = 1h")
        .set("metrics_cache_max_size = 100M")
        .start();
    let plain = ask(&exporter, "GET", "/metrics", "");
    assert!(plain.status == 200 && plain.chunked, "{}", plain.head);
    assert_eq!(plain.header("content-encoding"), None);
    let kind = plain.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert_eq!(active(plain.text(), "one"), Some(1.0));
    promtool_check(plain.text()).expect("promtool reads it");

    let gzip = ask(&exporter, "GET", "/metrics", "Accept-Encoding: gzip\r\n");
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.chunked);
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    assert!(text == plain.text(), "gzip is another text");

    let zstd = ask(
        &exporter,
        "GET",
        "/metrics",
        "Accept-Encoding: zstd, gzip;q=0.5\r\n",
    );
    assert_eq!(zstd.header("content-encoding"), Some("zstd"));
    // RFC 8878 section 3.1.1.
    assert!(zstd.chunked && zstd.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    assert!(zstd.body.len() * 3 < plain.body.len());

    let identity = ask(
        &exporter,
        "GET",
        "/metrics",
        "Accept-Encoding: identity\r\n",
    );
    assert_eq!(identity.header("content-encoding"), None);
    assert!(identity.body == plain.body);
}

#[test]
fn openmetrics_is_served_only_where_it_is_switched_on_and_asked_for() {
    let server = Postgres::start(18);
    let wish = "Accept: application/openmetrics-text; version=1.0.0\r\n";
    for (setting, on) in [("openmetrics = off", false), ("openmetrics = on", true)] {
        let exporter = Exporter::builder()
            .server("one", &server)
            .set(setting)
            .start();
        let answer = ask(&exporter, "GET", "/metrics", wish);
        let kind = answer.header("content-type").unwrap();
        assert_eq!(
            kind.starts_with("application/openmetrics-text"),
            on,
            "{kind}"
        );
        assert_eq!(answer.text().ends_with("# EOF\n"), on);
        let text = ask(&exporter, "GET", "/metrics", "");
        assert!(text.header("content-type").unwrap().contains("0.0.4"));
    }
}

#[test]
fn other_urls_are_403_other_methods_405_and_head_has_no_body() {
    let server = Postgres::start(18);
    let exporter = Exporter::on(&[("one", &server)]);
    for path in ["/nothing", "/metrics/", "/favicon.ico", "/livez"] {
        assert_eq!(ask(&exporter, "GET", path, "").status, 403, "{path}");
    }
    for (method, path) in [("POST", "/metrics"), ("DELETE", "/"), ("PUT", "/metrics")] {
        let answer = ask(&exporter, method, path, "Content-Length: 0\r\n");
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.header("allow"), Some("get, head"));
    }
    for path in ["/", "/metrics"] {
        let answer = ask(&exporter, "HEAD", path, "");
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn a_star_as_host_answers_on_ipv4_and_ipv6() {
    let server = Postgres::start(18);
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("host = *")
        .start();
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    if ports::has_ipv6() {
        addresses.push(Ipv6Addr::LOCALHOST.into());
    }
    for ip in addresses {
        for (name, path) in [("metrics", "/metrics"), ("health", "/livez")] {
            let address = SocketAddr::new(ip, exporter.port(name));
            let stream = TcpStream::connect(address).expect("it listens");
            assert_eq!(exchange(stream, "GET", path, "").unwrap().status, 200);
        }
    }
}

#[test]
fn health_is_about_the_program_and_not_about_the_servers() {
    let server = Postgres::start(18);
    let exporter = Exporter::on(&[("one", &server)]);
    server.stop_immediate();
    for path in ["/livez", "/readyz"] {
        let stream = connect(exporter.port("health"));
        let answer = exchange(stream, "GET", path, "").unwrap();
        assert_eq!((answer.status, answer.text()), (200, "ok"), "{path}");
    }
    let verbose = exchange(
        connect(exporter.port("health")),
        "GET",
        "/readyz?verbose",
        "",
    );
    assert!(verbose.unwrap().text().contains("readyz check passed"));
}

/// One request over TLS; gives the certificate that was shown, too.
fn over_tls(
    port: u16,
    authority: &Authority,
    client: Option<&Identity>,
) -> io::Result<(Raw, Vec<u8>)> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(client) => {
            let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes()).unwrap();
            let chain = vec![certificate(&client.certificate)];
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, connect(port));
    let answer = exchange(&mut stream, "GET", "/metrics", "")?;
    let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
    Ok((answer, shown))
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart_and_client_certificates_are_asked_for() {
    let server = Postgres::start(18);
    let authority = Authority::new("ours");
    let clients = Authority::new("clients");
    let old = authority.server(&["localhost"]);
    let exporter = Exporter::builder()
        .server("one", &server)
        .file("tls.crt", &old.certificate)
        .file("tls.key", &old.key)
        .file("clients.crt", clients.pem())
        .set("metrics_cert_file = {dir}/tls.crt")
        .set("metrics_key_file = {dir}/tls.key")
        .start();
    let port = exporter.port("metrics");
    let der = |identity: &Identity| {
        CertificateDer::from_pem_slice(identity.certificate.as_bytes())
            .unwrap()
            .to_vec()
    };
    let (answer, shown) = over_tls(port, &authority, None).expect("an answer");
    assert_eq!(active(answer.text(), "one"), Some(1.0));
    assert!(shown == der(&old));
    assert!(
        exchange(connect(port), "GET", "/metrics", "").is_err(),
        "without TLS"
    );
    // Kubelet asks for the health in plain HTTP.
    let health = exchange(connect(exporter.port("health")), "GET", "/livez", "");
    assert_eq!(health.unwrap().status, 200);

    let new = authority.server(&["localhost"]);
    for (name, text) in [("tls.crt", &new.certificate), ("tls.key", &new.key)] {
        let path = exporter.folder().join(name);
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }
    eventually("the new certificate is shown", || {
        over_tls(port, &authority, None).expect("an answer").1 == der(&new)
    });

    let text = exporter.config_text();
    let ca = exporter.folder().join("clients.crt");
    let with_ca = format!("[pgexporter]\nmetrics_ca_file = {}", ca.display());
    exporter.write_config(&text.replace("[pgexporter]", &with_ca));
    exporter.signal(rustix::process::Signal::HUP);
    eventually("clients without a certificate are refused", || {
        over_tls(port, &authority, None).is_err()
    });
    let stranger = Authority::new("strangers").client("stranger");
    assert!(over_tls(port, &authority, Some(&stranger)).is_err());
    let prometheus = clients.client("prometheus");
    let (answer, _) = over_tls(port, &authority, Some(&prometheus)).expect("an answer");
    assert_eq!(answer.status, 200);
}

#[test]
fn the_deadline_of_the_client_is_kept_and_other_servers_are_whole() {
    let (well, frozen) = (Postgres::start(18), Postgres::start(18));
    let exporter = Exporter::on(&[("well", &well), ("frozen", &frozen)]);
    eventually("both answer", || {
        let text = exporter.get("/metrics").body;
        active(&text, "well") == Some(1.0) && active(&text, "frozen") == Some(1.0)
    });
    frozen.freeze();
    let begun = Instant::now();
    let header = "X-Prometheus-Scrape-Timeout-Seconds: 3\r\n";
    let answer = ask(&exporter, "GET", "/metrics", header);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    frozen.thaw();
    assert_eq!(active(answer.text(), "frozen"), Some(0.0));
    assert_eq!(active(answer.text(), "well"), Some(1.0));
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_others_are_served_meanwhile() {
    let server = Postgres::start(18);
    let many = "version: 13\nmetrics:\n  - tag: many\n    query: SELECT repeat('x', 200) || i, i \
                FROM generate_series(1, 60000) AS i\n    columns:\n      \
                - {name: label, type: label}\n      - {name: value, type: gauge}\n";
    let exporter = Exporter::builder()
        .server("one", &server)
        .set("blocking_timeout = 2s")
        .set("metrics_path = {dir}/many.yaml")
        .file("many.yaml", many)
        .start();
    let whole = || {
        let stream = connect(exporter.port("metrics"));
        let answer = exchange(stream, "GET", "/metrics", "Accept-Encoding: gzip\r\n");
        answer.is_ok_and(|answer| answer.status == 200)
    };
    eventually("a scrape is whole", whole);
    let mut slow = connect(exporter.port("metrics"));
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    // The answer has begun, and no more of it is read.
    slow.peek(&mut [0]).unwrap();
    let stalled = Instant::now();
    assert!(whole());
    // The exporter resets the connection: only that makes the socket writable and failed.
    eventually("the slow client is dropped", || {
        slow.take_error().is_ok_and(|error| error.is_some()) || slow.write(b"x").is_err()
    });
    assert!(
        stalled.elapsed() < Duration::from_secs(15),
        "{:?}",
        stalled.elapsed()
    );
    assert!(whole());
}
