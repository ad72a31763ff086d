//! Real bytes over real sockets.

mod alone;
mod answers;
mod ending;
mod hostile;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::serve::HttpPort;
use super::{HttpSettings, bind, health, metrics};
use crate::connection_limit::{ConnectionLimit, DisplacedConnections, ListenerPort};
use crate::exposition::Format;
use crate::scrape::Scraper;
use crate::shutdown::Shutdown;
use crate::supervision::TaskName;

/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(20);
/// A limit that a test waits for.
const SHORT: Duration = Duration::from_millis(300);

/// A port on 127.0.0.1 (or where it was told), and the means to look at it.
struct Served {
    address: SocketAddr,
    port: Arc<HttpPort>,
    shutdown: Shutdown,
    settings: watch::Sender<Arc<HttpSettings>>,
}

impl Served {
    fn new(
        settings: HttpSettings,
        router: impl FnOnce(watch::Receiver<Arc<HttpSettings>>) -> Router,
    ) -> Self {
        Self::on("127.0.0.1", settings, router)
    }

    fn on(
        host: &str,
        settings: HttpSettings,
        router: impl FnOnce(watch::Receiver<Arc<HttpSettings>>) -> Router,
    ) -> Self {
        let listeners = bind(host, 0, 128).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (sender, receiver) = watch::channel(Arc::new(settings));
        let shutdown = Shutdown::new();
        let port = HttpPort::new(
            "test port",
            router(receiver.clone()),
            receiver,
            true,
            ConnectionLimit::new(ListenerPort::Metrics, DisplacedConnections::default()),
        )
        .spawn(TaskName::Metrics, listeners, &shutdown)
        .unwrap();
        Self {
            address,
            port,
            shutdown,
            settings: sender,
        }
    }

    fn metrics(settings: HttpSettings) -> Self {
        Self::new(settings, |settings| {
            metrics::router(Scraper::default(), settings)
        })
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a new connection and reads until the server closes it.
    async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await;
        stream.write_all(request.as_ref()).await.unwrap();
        Answer::read(&mut stream).await
    }

    async fn get(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.ask(format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"
        ))
        .await
    }

    async fn until_connections(&self, wanted: usize) {
        until(&format!("{wanted} connections"), || {
            self.port.connections() == wanted
        })
        .await;
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    async fn read<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Self {
        let mut bytes = Vec::new();
        timeout(LONG, stream.read_to_end(&mut bytes))
            .await
            .expect("the server closes the connection")
            .unwrap();
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(bytes)));
        let head = String::from_utf8(bytes[..end + 2].to_vec()).unwrap();
        let mut answer = Self {
            status: head[9..12].parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        };
        if answer.header("transfer-encoding") == Some("chunked") && !answer.body.is_empty() {
            answer.body = unchunk(&answer.body);
        }
        answer
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Undoes RFC 9112 section 7.1, and insists on the last chunk.
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        bytes = &bytes[end + 2..];
        if size == 0 {
            assert_eq!(bytes, b"\r\n");
            return body;
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

/// A scrape of `pieces` pieces of 64 KiB that look like metrics.
fn big_body(pieces: usize) -> Vec<Bytes> {
    let line = "pgexporter_pg_locks_count{server=\"primary\",mode=\"accesssharelock\"} 12\n";
    let text = line.repeat(64 * 1024 / line.len());
    vec![Bytes::from(text); pieces]
}

/// Routes with a body of 64 KiB times `pieces` at `/big`, beside the real ones.
fn with_big(pieces: usize) -> impl FnOnce(watch::Receiver<Arc<HttpSettings>>) -> Router {
    move |settings| {
        let big = big_body(pieces);
        Router::new()
            .route(
                "/big",
                any(move || async move { metrics::stream(big.clone().into_iter(), Format::Text) }),
            )
            .layer(metrics::compression())
            .merge(metrics::router(Scraper::default(), settings))
    }
}

const METRICS: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// Reads the head and the (short, chunked) body of one answer on a connection that stays open.
async fn read_one(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n0\r\n\r\n") {
        let mut byte = [0; 512];
        let n = timeout(LONG, stream.read(&mut byte))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&byte[..n]);
    }
    Answer::parse(&bytes)
}

/// Waits until the server has closed the connection, by whichever way.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = timeout(LONG, stream.read_to_end(&mut bytes)).await;
    end.expect("the server closes the connection").ok();
    bytes
}

/// A route at `/wait` that answers when it is told, and says when it was asked.
fn waiting(asked: Arc<Notify>, go: Arc<Notify>) -> Router {
    Router::new().route(
        "/wait",
        any(move || async move {
            asked.notify_one();
            go.notified().await;
            metrics::stream(big_body(1).into_iter(), Format::Text)
        }),
    )
}
