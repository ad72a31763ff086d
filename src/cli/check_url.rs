//! `pgexporter-cli check --url`: whether `/metrics` at an address is as Prometheus wants it.
//!
//! In goes an address; out comes a line of what was found, or what is wrong. Needs no files and no
//! rights, so that it runs wherever the address can be reached.

use std::future::poll_fn;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::CliError;
use crate::security::tls::{ClientTls, TlsMode, explain_tls};
use crate::text::peer_text;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// What the exporter is told that it may take, as Prometheus does by default.
const SCRAPE_TIMEOUT: &str = "10";
/// A line of more bytes is no sample.
const LONGEST: usize = 1 << 20;

/// Scrapes the address once.
///
/// # Errors
/// Nobody answers there, the answer is none of an exporter, or a server is down.
pub(super) fn check_url(url: &str, ca: Option<&Path>) -> Result<(), CliError> {
    let place = MetricsUrl::parse(url, ca)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Refused(vec![format!("cannot start the runtime: {error}")]))?;
    let begun = Instant::now();
    let found = runtime.block_on(async {
        match tokio::time::timeout(PATIENCE, place.scrape()).await {
            Ok(found) => found,
            Err(_) => Err(place.no_access(format!("no complete answer within {PATIENCE:?}"))),
        }
    });
    // A thread may still wait for the resolver; the program does not wait for it.
    runtime.shutdown_background();
    let found = found?;
    let seconds = begun.elapsed().as_secs_f64();
    // A closed pipe is no failure: the exit status has the result.
    let _ = writeln!(
        io::stdout(),
        "{url}: {} samples of {} families in {seconds:.2} s; servers: {}, {} up",
        found.samples,
        found.families,
        found.up + found.down.len(),
        found.up,
    );
    if found.down.is_empty() {
        return Ok(());
    }
    Err(place.refused(&format!(
        "down: {}; the exporter's page / and `pgexporter-cli status details` say why",
        found.down.join(", ")
    )))
}

/// The address, and TLS for it.
struct MetricsUrl {
    url: String,
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<ClientTls>,
}

impl MetricsUrl {
    fn parse(url: &str, ca: Option<&Path>) -> Result<Self, CliError> {
        let usage = |why: String| CliError::Usage(format!("--url {url}: {why}"));
        let wanted = "expected an address such as http://localhost:5002/metrics";
        let uri: Uri = url
            .parse()
            .map_err(|error| usage(format!("{error}; {wanted}")))?;
        let host = uri.host().ok_or_else(|| usage(wanted.to_owned()))?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP && ca.is_some() => {
                return Err(usage("--ca is only for https:// addresses".to_owned()));
            }
            Some(scheme) if *scheme == Scheme::HTTP => None,
            Some(scheme) if *scheme == Scheme::HTTPS => Some(
                ClientTls::from_files(TlsMode::VerifyFull, ca, None, None)
                    .map_err(|error| CliError::Usage(error.to_string()))?,
            ),
            _ => return Err(usage(wanted.to_owned())),
        };
        let usual = if tls.is_some() { 443 } else { 80 };
        Ok(Self {
            url: url.to_owned(),
            // An address of IPv6 stands in brackets there.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(usual),
            uri,
            tls,
        })
    }

    fn refused(&self, why: &str) -> CliError {
        CliError::Refused(vec![format!("{}: {why}", self.url)])
    }

    fn no_access(&self, why: String) -> CliError {
        CliError::NoAccess(format!("{}: {why}", self.url))
    }

    async fn scrape(&self) -> Result<ExpositionSummary, CliError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.no_access(format!("{error}; does an exporter listen there?")))?;
        let Some(tls) = &self.tls else {
            return self.get_metrics(stream).await;
        };
        let no = |why: String| self.no_access(why);
        let config = tls.config().map_err(|error| no(error.to_string()))?;
        let config = config.ok_or_else(|| no("TLS is switched off".to_owned()))?;
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = tls
            .name(&self.host)
            .map_err(|error| no(error.to_string()))?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| no(explain_tls(&error).unwrap_or_else(|| error.to_string())))?;
        self.get_metrics(stream).await
    }

    async fn get_metrics<S>(&self, stream: S) -> Result<ExpositionSummary, CliError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broke = |error: hyper::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            self.no_access(format!(
                "the connection broke: {}",
                cause.unwrap_or_else(|| error.to_string())
            ))
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broke)?;
        // Ends with the runtime.
        tokio::spawn(connection);
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or("", |whole| whole.as_str());
        let request = Request::get(path)
            .header(HOST, authority.rsplit('@').next().unwrap_or(authority))
            .header(
                USER_AGENT,
                concat!("pgexporter-cli/", env!("CARGO_PKG_VERSION")),
            )
            .header(ACCEPT, "text/plain;version=0.0.4")
            .header("X-Prometheus-Scrape-Timeout-Seconds", SCRAPE_TIMEOUT)
            .body(String::new())
            .map_err(|error| self.refused(&error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broke)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => {
                return Err(self.refused("403: the exporter's metrics are at /metrics"));
            }
            status => return Err(self.refused(&format!("the answer is {status}"))),
        }
        self.collect(response).await
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<ExpositionSummary, CliError> {
        let mut body = response.into_body();
        let mut found = ExpositionSummary::default();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let frame =
                frame.map_err(|error| self.refused(&format!("the answer was cut off: {error}")))?;
            if let Ok(data) = frame.into_data() {
                found.add_bytes(&data).map_err(|why| self.refused(&why))?;
            }
        }
        found.finish().map_err(|why| self.refused(&why))
    }
}

/// Counts what a text in Prometheus' exposition format 0.0.4 holds. The text is read in pieces and not
/// kept: that of a thousand servers may be larger than the memory of a pod.
#[derive(Debug, Default)]
struct ExpositionSummary {
    samples: usize,
    families: usize,
    up: usize,
    /// Names of the servers that do not answer.
    down: Vec<String>,
    /// It is an exporter of ours.
    own: bool,
    lines: usize,
    /// The incomplete line at the end of what was read.
    begun: Vec<u8>,
}

impl ExpositionSummary {
    /// # Errors
    /// It is no such text.
    fn add_bytes(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.begun);
            line.extend_from_slice(&bytes[..end]);
            self.add_line(&line)?;
            line.clear();
            self.begun = line;
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() > LONGEST {
            return Err(
                "a line is too long; check that the address is that of an exporter".to_owned(),
            );
        }
        Ok(())
    }

    /// # Errors
    /// It broke off, or is none of pgexporter.
    fn finish(self) -> Result<Self, String> {
        if !self.begun.is_empty() {
            return Err("the last line is incomplete".to_owned());
        }
        if !self.own {
            return Err("the answer does not come from pgexporter; check the address".to_owned());
        }
        Ok(self)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), String> {
        self.lines += 1;
        let number = self.lines;
        let wrong = || format!("line {number} is not a sample");
        let line = std::str::from_utf8(line).map_err(|_| wrong())?;
        if line.starts_with("# TYPE ") {
            self.families += 1;
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (series, value) = line.rsplit_once(' ').ok_or_else(wrong)?;
        let value: f64 = value.parse().map_err(|_| wrong())?;
        self.samples += 1;
        self.own |= series.starts_with("pgexporter_state");
        if let Some(labels) = series.strip_prefix("pgexporter_postgresql_active{") {
            if value > 0.0 {
                self.up += 1;
            } else {
                self.down.push(peer_text(&server(labels)));
            }
        }
        Ok(())
    }
}

/// The label `server`. The names of servers hold nothing that is escaped.
fn server(labels: &str) -> String {
    let name = labels
        .split_once("server=\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    name.map_or(labels, |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(body: &[u8], piece: usize) -> Result<ExpositionSummary, String> {
        let mut found = ExpositionSummary::default();
        body.chunks(piece)
            .try_for_each(|bytes| found.add_bytes(bytes))?;
        found.finish()
    }

    #[test]
    fn what_is_down_is_named_and_what_is_no_metrics_is_refused() {
        let text =
            b"# HELP pgexporter_state x\n# TYPE pgexporter_state gauge\npgexporter_state 1\n\
                     pgexporter_postgresql_active{server=\"a\"} 1\n\
                     pgexporter_postgresql_active{namespace=\"n\",server=\"n/b\"} 0\n\
                     x{a=\"b c\"} NaN\ny +Inf\n";
        for piece in [1, 7, text.len()] {
            let found = read(text, piece).unwrap();
            assert_eq!((found.samples, found.families, found.up), (5, 1, 1));
            assert_eq!(found.down, ["n/b"]);
        }
        let endless = vec![b'a'; LONGEST + 1];
        for (body, why) in [
            (&b"<html> x\n"[..], "line 1 is not a sample"),
            (b"pgexporter_state 1\nx{} 1,5\n", "line 2 is not a sample"),
            (b"pgexporter_state 1", "is incomplete"),
            (b"up 1\n", "not come from pgexporter"),
            (b"", "not come from pgexporter"),
            (b"\xff\n", "line 1 is not a sample"),
            (&endless, "a line is too long"),
        ] {
            assert!(read(body, 64 * 1024).unwrap_err().contains(why), "{why}");
        }
    }
}
