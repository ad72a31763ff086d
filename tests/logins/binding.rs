//! Channel binding: who relays a login cannot pass for the server, nor make the exporter go without.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::support::Identity;

/// How a relay treats its next connections.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Relaying {
    /// The bytes as they are: TLS is spoken with the server.
    Bytes,
    /// TLS ends at the relay, with its own certificate, and is spoken with the server as well.
    Tls,
    /// The same, and the list of mechanisms loses the one with channel binding.
    TlsStripped,
    /// TLS ends at the relay, and the server is spoken to without.
    Plain,
}

/// Stands between the exporter and a server, on a port of its own.
struct Relay {
    port: u16,
    how: Arc<AtomicU8>,
    // Ends its tasks when it is dropped.
    _runtime: Runtime,
    ends: tokio::sync::watch::Sender<u64>,
}

impl Relay {
    fn start(server: &Postgres, authority: &Authority, own: &Identity) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let how = Arc::new(AtomicU8::new(Relaying::Bytes as u8));
        let (ends, end) = tokio::sync::watch::channel(0);
        let (chosen, target) = (Arc::clone(&how), server.port());
        let (acceptor, connector) = (acceptor(own), connector(authority));
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let how = match chosen.load(Ordering::Acquire) {
                    0 => Relaying::Bytes,
                    1 => Relaying::Tls,
                    2 => Relaying::TlsStripped,
                    _ => Relaying::Plain,
                };
                let (acceptor, connector) = (acceptor.clone(), connector.clone());
                let mut end = end.clone();
                end.mark_unchanged();
                connections.spawn(async move {
                    tokio::select! {
                        _ = relay(near, target, how, acceptor, connector) => {}
                        _ = end.changed() => {}
                    }
                });
            }
        });
        Self {
            port,
            how,
            _runtime: runtime,
            ends,
        }
    }

    /// Relays in another way from now on, and ends the connections that it has.
    fn relay_by(&self, how: Relaying) {
        self.how.store(how as u8, Ordering::Release);
        self.ends.send_modify(|ends| *ends += 1);
    }

    fn section(&self, name: &str, more: &str) -> String {
        let port = self.port;
        format!("[{name}]\nhost = 127.0.0.1\nport = {port}\nuser = alice\ntls = on\n{more}\n")
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn acceptor(own: &Identity) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate(&own.certificate)],
            PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn connector(authority: &Authority) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(authority.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

async fn relay(
    mut near: TcpStream,
    target: u16,
    how: Relaying,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
) -> io::Result<()> {
    let mut far = TcpStream::connect(("127.0.0.1", target)).await?;
    if how == Relaying::Bytes {
        copy_bidirectional(&mut near, &mut far).await?;
        return Ok(());
    }
    near.read_exact(&mut [0; 8]).await?;
    near.write_all(b"S").await?;
    let near = acceptor.accept(near).await?;
    if how == Relaying::Plain {
        return pass(near, far, false).await;
    }
    far.write_all(&SSL_REQUEST).await?;
    far.read_exact(&mut [0]).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let far = connector.connect(name, far).await?;
    pass(near, far, how == Relaying::TlsStripped).await
}

async fn pass(
    mut near: impl AsyncRead + AsyncWrite + Unpin,
    mut far: impl AsyncRead + AsyncWrite + Unpin,
    strip: bool,
) -> io::Result<()> {
    let mut startup = [0; 4];
    near.read_exact(&mut startup).await?;
    let mut rest = vec![0; u32::from_be_bytes(startup) as usize - 4];
    near.read_exact(&mut rest).await?;
    far.write_all(&[&startup[..], &rest].concat()).await?;
    let mut head = [0; 5];
    far.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
    let mut body = vec![0; length - 4];
    far.read_exact(&mut body).await?;
    let plus = b"SCRAM-SHA-256-PLUS\0";
    if strip && body[4..].starts_with(plus) {
        body.drain(4..4 + plus.len());
    }
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    near.write_all(&[&head[..1], &length, &body].concat())
        .await?;
    near.flush().await?;
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// A server that speaks TLS and takes alice by SCRAM, and one who stands before it.
fn relayed() -> (Postgres, Relay) {
    let authority = Authority::new("first");
    let identity = authority.server(&["127.0.0.1"]);
    let server = Postgres::builder(17)
        .tls(&identity.certificate, &identity.key)
        .hba("host all alice 127.0.0.1/32 scram-sha-256")
        .start();
    server.execute(&format!("CREATE ROLE alice LOGIN PASSWORD '{SECRET}'"));
    let own = Authority::new("another").server(&["127.0.0.1"]);
    let relay = Relay::start(&server, &authority, &own);
    (server, relay)
}

#[test]
fn who_relays_a_login_over_tls_is_refused_by_the_server_itself() {
    let (_server, relay) = relayed();
    relay.relay_by(Relaying::Tls);
    let folder = tempfile::tempdir().unwrap();
    let sections = [relay.section("relayed", "")];
    let exporter = with_password(SECRET, &sections, folder.path()).start();
    let reason = "authentication_failed";
    all_are_refused(&exporter, &[("relayed", reason, "channel binding")]);
    // Nobody is in between: the same server lets the role in.
    relay.relay_by(Relaying::Bytes);
    all_log_in(&exporter, &["relayed"]);
}

#[test]
fn a_server_that_has_used_channel_binding_is_not_let_off_without() {
    for how in [Relaying::Plain, Relaying::TlsStripped] {
        let (_server, relay) = relayed();
        let folder = tempfile::tempdir().unwrap();
        let sections = [
            relay.section("bound", ""),
            relay.section("named", "require_auth = scram-sha-256"),
        ];
        let exporter = with_password(SECRET, &sections, folder.path()).start();
        all_log_in(&exporter, &["bound", "named"]);
        relay.relay_by(how);
        eventually("no session is left", || {
            !is_active(&exporter.metrics(), "bound")
        });
        eventually("it says why", || {
            let page = exporter.get("/").body;
            page.contains("has used channel binding (SCRAM-SHA-256-PLUS) before")
        });
        let samples = exporter.metrics();
        assert!(!is_active(&samples, "bound"), "{}", exporter.log());
        assert!(
            reasons(&samples, "bound").contains(&"authentication_failed".to_owned()),
            "{}",
            exporter.log()
        );
        // Where it is named, SCRAM is taken without. The server itself still sees who only hides it.
        if how == Relaying::Plain {
            eventually("what is named logs in", || {
                is_active(&exporter.metrics(), "named")
            });
        }
        relay.relay_by(Relaying::Bytes);
        all_log_in(&exporter, &["bound", "named"]);
    }
}
