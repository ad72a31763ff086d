//! The same over TLS.

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::*;
use crate::security::tls::{ListenerFiles, ListenerTls};

/// A certificate for `localhost`, with a client that trusts it alone.
fn pair() -> (Arc<ListenerTls>, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = ListenerFiles {
        certificate: file("tls.crt", made.cert.pem()),
        key: file("tls.key", made.signing_key.serialize_pem()),
        client_ca: None,
    };
    let server = ListenerTls::load(files, &["http/1.1"]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), TlsConnector::from(Arc::new(client)))
}

async fn get(served: &Served, client: &TlsConnector) -> std::io::Result<Answer> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = client.connect(name, served.connect().await).await?;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await?;
    Ok(Answer::read(&mut stream).await)
}

#[tokio::test]
async fn tls_is_spoken_and_a_renewed_certificate_is_taken() {
    let (first, trusts_first) = pair();
    let served = Served::new(
        HttpSettings {
            tls: Some(first),
            ..HttpSettings::default()
        },
        with_big(20),
    );
    let answer = get(&served, &trusts_first).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == big_body(20).concat());

    let (second, trusts_second) = pair();
    assert!(get(&served, &trusts_second).await.is_err());
    served.settings.send_replace(Arc::new(HttpSettings {
        tls: Some(second),
        ..HttpSettings::default()
    }));
    assert_eq!(get(&served, &trusts_second).await.unwrap().status, 200);
    assert!(get(&served, &trusts_first).await.is_err());
}

#[tokio::test]
async fn who_does_not_shake_hands_or_read_is_dropped() {
    let (server, client) = pair();
    let served = Served::new(
        HttpSettings {
            tls: Some(server),
            blocking_timeout: SHORT,
            ..HttpSettings::default()
        },
        with_big(1_000),
    );
    let mut silent = served.connect().await;
    let mut plain = served.connect().await;
    plain.write_all(METRICS.as_bytes()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stuck = client.connect(name, served.connect().await).await.unwrap();
    stuck.write_all(b"GET /big HTTP/1.1\r\n\r\n").await.unwrap();
    stuck.flush().await.unwrap();
    assert!(until_closed(&mut silent).await.is_empty());
    until_closed(&mut plain).await;
    served.until_connections(0).await;
    drop(stuck);
}

#[tokio::test]
async fn the_metrics_port_speaks_tls_and_the_health_port_does_not() {
    use crate::connection_limit::DisplacedConnections;
    use crate::http::{Readiness, serve_health, serve_metrics};

    let (server, client) = pair();
    let (_settings, settings) = watch::channel(Arc::new(HttpSettings {
        tls: Some(server),
        ..HttpSettings::default()
    }));
    let (_readiness, readiness) = watch::channel(Readiness::default());
    let shutdown = Shutdown::new();
    let (metrics, health) = (
        bind("127.0.0.1", 0, 16).unwrap(),
        bind("127.0.0.1", 0, 16).unwrap(),
    );
    let metrics_at = metrics[0].local_addr().unwrap();
    let health_at = health[0].local_addr().unwrap();
    serve_metrics(
        metrics,
        Scraper::default(),
        settings.clone(),
        DisplacedConnections::default(),
        &shutdown,
    )
    .unwrap();
    serve_health(
        health,
        readiness,
        settings,
        DisplacedConnections::default(),
        &shutdown,
    )
    .unwrap();

    let name = ServerName::try_from("localhost").unwrap();
    let tcp = TcpStream::connect(metrics_at).await.unwrap();
    let mut tls = client.connect(name, tcp).await.unwrap();
    tls.write_all(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(Answer::read(&mut tls).await.status, 200);
    let mut plain = TcpStream::connect(health_at).await.unwrap();
    plain
        .write_all(b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = Answer::read(&mut plain).await;
    assert_eq!((answer.status, answer.text()), (503, "not ready yet\n"));
    drop((tls, plain));
    shutdown.begin();
    shutdown.finish(LONG).await.unwrap();
}
