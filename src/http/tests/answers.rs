//! What a client that behaves gets.

use std::io::Read as _;

use super::*;
use crate::http::health::Readiness;

#[tokio::test]
async fn each_path_and_method_gets_its_answer() {
    let served = Served::metrics(HttpSettings::default());
    let table = [
        ("GET", "/", 200, "text/html; charset=utf-8"),
        (
            "GET",
            "/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "GET",
            "/metrics?x=y",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (
            "GET",
            "http://other/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("HEAD", "/", 200, "text/html; charset=utf-8"),
        (
            "HEAD",
            "/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        ("GET", "/metrics/", 403, "text/plain; charset=utf-8"),
        ("GET", "/favicon.ico", 403, "text/plain; charset=utf-8"),
        (
            "GET",
            "/%2e%2e/etc/passwd",
            403,
            "text/plain; charset=utf-8",
        ),
        ("GET", "//", 403, "text/plain; charset=utf-8"),
        ("HEAD", "/nowhere", 403, "text/plain; charset=utf-8"),
        ("POST", "/nowhere", 403, "text/plain; charset=utf-8"),
        ("OPTIONS", "*", 403, "text/plain; charset=utf-8"),
        ("POST", "/metrics", 405, "text/plain; charset=utf-8"),
        ("DELETE", "/", 405, "text/plain; charset=utf-8"),
        ("OPTIONS", "/metrics", 405, "text/plain; charset=utf-8"),
        ("BREW", "/metrics", 405, "text/plain; charset=utf-8"),
    ];
    for (method, path, status, content_type) in table {
        let answer = served.get(method, path, "").await;
        let what = format!("{method} {path}: {}", answer.head);
        assert_eq!(answer.status, status, "{what}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{what}"
        );
        if method == "HEAD" {
            assert!(answer.body.is_empty(), "{what}");
        }
        if method == "GET" && status == 403 {
            assert!(answer.text().contains("/metrics"), "{what}");
        }
        if status == 405 {
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{what}");
        }
    }
}

#[tokio::test]
async fn the_head_of_an_answer_is_that_of_the_whole_answer() {
    let served = Served::new(HttpSettings::default(), with_big(2));
    for path in ["/", "/metrics", "/big", "/nowhere"] {
        for headers in ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: zstd\r\n"] {
            let mut seen = Vec::new();
            for method in ["HEAD", "GET"] {
                let answer = served.get(method, path, headers).await;
                let mut lines: Vec<_> = answer
                    .head
                    .lines()
                    .map(str::to_ascii_lowercase)
                    // Fields that say how the body is sent may be left out (RFC 9110, 9.3.2).
                    .filter(|l| !l.starts_with("date") && !l.starts_with("transfer-encoding"))
                    .collect();
                lines.sort();
                seen.push(lines);
            }
            assert_eq!(seen[0], seen[1], "{path} {headers}");
        }
    }
}

#[tokio::test]
async fn a_body_goes_out_in_chunks_and_unchanged() {
    let served = Served::new(HttpSettings::default(), with_big(20));
    let want: Vec<u8> = big_body(20).concat();
    let plain = served.get("GET", "/big", "").await;
    assert_eq!(plain.header("transfer-encoding"), Some("chunked"));
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    assert!(plain.body == want);
    // A client of HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
    let old = served.ask("GET /big HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.header("transfer-encoding"), None);
    assert!(old.body == want);
}

#[tokio::test]
async fn a_body_is_compressed_when_asked_for() {
    let served = Served::new(HttpSettings::default(), with_big(20));
    let want: Vec<u8> = big_body(20).concat();
    let gzip = served.get("GET", "/big", "Accept-Encoding: gzip\r\n").await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert_eq!(gzip.header("transfer-encoding"), Some("chunked"));
    assert_eq!(gzip.header("vary"), Some("accept-encoding"));
    assert!(gzip.body.len() < want.len() / 10);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice())
        .read_to_end(&mut unpacked)
        .unwrap();
    assert!(unpacked == want);

    let zstd = served
        .get("GET", "/big", "Accept-Encoding: zstd, gzip;q=0.5\r\n")
        .await;
    assert_eq!(zstd.header("content-encoding"), Some("zstd"));
    assert!(zstd.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    assert!(zstd.body.len() < want.len() / 10);

    for other in ["br", "identity", "deflate", "gzip;q=0"] {
        let answer = served
            .get("GET", "/big", &format!("Accept-Encoding: {other}\r\n"))
            .await;
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (200, None),
            "{other}"
        );
    }
}

#[tokio::test]
async fn openmetrics_is_served_when_it_is_switched_on_and_asked_for() {
    let served = Served::metrics(HttpSettings::default());
    let ask = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let off = served.get("GET", "/metrics", ask).await;
    assert_eq!(
        off.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    served.settings.send_replace(Arc::new(HttpSettings {
        openmetrics: true,
        ..HttpSettings::default()
    }));
    let on = served.get("GET", "/metrics", ask).await;
    assert_eq!(
        on.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert_eq!(on.header("vary"), Some("accept"));
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let served = Served::metrics(HttpSettings::default());
    let fits = served
        .get("GET", &format!("/metrics?{}", "a".repeat(8_000)), "")
        .await;
    assert_eq!(fits.status, 200);
    for length in [8_200, 20_000, 60_000] {
        let url = served
            .get("GET", &format!("/metrics?{}", "a".repeat(length)), "")
            .await;
        assert_eq!(url.status, 414, "{length}");
    }
    let fits = served
        .get("GET", "/metrics", &format!("X: {}\r\n", "a".repeat(16_000)))
        .await;
    assert_eq!(fits.status, 200);
    for length in [16_400, 60_000, 200_000] {
        let header = served
            .get("GET", "/metrics", &format!("X: {}\r\n", "a".repeat(length)))
            .await;
        assert_eq!(header.status, 431, "{length}");
    }
    let many = served.get("GET", "/metrics", &"X: y\r\n".repeat(500)).await;
    assert_eq!(many.status, 431);
    served.until_connections(0).await;
}

#[tokio::test]
async fn rubbish_is_answered_with_an_error_or_with_nothing() {
    let served = Served::metrics(HttpSettings::default());
    let rubbish: &[&[u8]] = &[
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03rubbish\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nA B: c\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: rubbish\r\n\r\n",
        b"CONNECT other:443 HTTP/1.1\r\n\r\n",
        b"GET /%00%ff\xff HTTP/1.1\r\n\r\n",
        &[b'\n'; 100_000],
        &[0xff; 100_000],
    ];
    for bytes in rubbish {
        let mut stream = served.connect().await;
        stream.write_all(bytes).await.ok();
        stream.shutdown().await.ok();
        let answer = until_closed(&mut stream).await;
        let start = String::from_utf8_lossy(&answer[..answer.len().min(12)]);
        assert!(
            start.is_empty() || start.starts_with("HTTP/1.1 4"),
            "{bytes:?}: {start}"
        );
    }
    served.until_connections(0).await;
    assert_eq!(served.get("GET", "/metrics", "").await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_pipelined_ones() {
    let served = Served::metrics(HttpSettings::default());
    let mut stream = served.connect().await;
    for _ in 0..3 {
        stream.write_all(METRICS.as_bytes()).await.unwrap();
        assert_eq!(read_one(&mut stream).await.status, 200);
    }
    let close = METRICS.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    stream
        .write_all([METRICS, METRICS, &close].concat().as_bytes())
        .await
        .unwrap();
    let rest = String::from_utf8(until_closed(&mut stream).await).unwrap();
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 3);
}

#[tokio::test]
async fn both_families_answer() {
    let served = Served::on("*", HttpSettings::default(), |settings| {
        metrics::router(Scraper::default(), settings)
    });
    for host in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(host.parse().unwrap(), served.address.port());
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn the_health_port_says_what_it_lacks() {
    let (sender, receiver) = watch::channel(Readiness {
        ready: false,
        reasons: vec![
            "the configuration is not loaded".to_owned(),
            "two\nlines".to_owned(),
        ],
    });
    let served = Served::new(HttpSettings::default(), |_| health::router(receiver));
    let get = async |path: &str| {
        let answer = served.get("GET", path, "").await;
        (answer.status, answer.text().to_owned())
    };
    assert_eq!(get("/livez").await, (200, "ok".to_owned()));
    assert_eq!(
        get("/readyz").await,
        (
            503,
            "the configuration is not loaded\ntwo lines\n".to_owned()
        )
    );
    assert_eq!(
        get("/readyz?verbose").await,
        (
            503,
            "[+]process ok\n[-]the configuration is not loaded\n[-]two lines\n\
             readyz check failed\n"
                .to_owned()
        )
    );
    sender.send_replace(Readiness {
        ready: true,
        reasons: Vec::new(),
    });
    assert_eq!(get("/readyz").await, (200, "ok".to_owned()));
    assert_eq!(
        get("/readyz?verbose=1").await,
        (200, "[+]process ok\nreadyz check passed\n".to_owned())
    );
    assert_eq!(
        get("/livez?verbose").await,
        (200, "[+]process ok\nlivez check passed\n".to_owned())
    );
    let (status, text) = get("/metrics").await;
    assert_eq!(status, 404);
    assert!(text.contains("/readyz"));
    assert_eq!(served.get("POST", "/livez", "").await.status, 405);
    assert_eq!(served.get("HEAD", "/livez", "").await.status, 200);
}
