//! The server's side: TLS on a port of ours, with certificates that are renewed while we run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::super::permissions::open_mode;
use super::{TlsError, in_file, pem, provider, read, server_end_point};

/// How often the files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFiles {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// With it, clients must show a certificate that one of these authorities issued. PEM.
    pub client_ca: Option<PathBuf>,
}

/// TLS on a port. Share it with `Arc`; ask it for [`Self::config`] at each connection.
#[derive(Debug)]
pub struct ListenerTls {
    files: ListenerFiles,
    alpn: Vec<Vec<u8>>,
    state: Mutex<ListenerState>,
    pub(super) look_every: Duration,
}

#[derive(Debug)]
struct ListenerState {
    config: Arc<ServerConfig>,
    /// The channel binding of the certificate that `config` shows.
    binding: Option<Arc<[u8]>>,
    /// What the files looked like when `config` was made of them.
    seen: Vec<CertificateStamp>,
    /// What they looked like when they were last found wrong, so that one change warns once.
    refused: Option<Vec<CertificateStamp>>,
    looked: Instant,
}

/// A configuration, and the channel binding of its certificate.
type BuiltConfig = (Arc<ServerConfig>, Option<Arc<[u8]>>);

/// Tells one version of a file from another. `None` for a file that is not there.
type CertificateStamp = Option<(u64, u64, u64, i64, i64)>;

impl ListenerTls {
    /// Reads the files. `alpn` are the protocols spoken on the port, such as `http/1.1`.
    ///
    /// # Errors
    /// A file cannot be read, holds something else, or key and certificate do not fit.
    pub fn load(files: ListenerFiles, alpn: &[&str]) -> Result<Self, TlsError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Before they are read, so that a change in between is seen at the next look.
        let seen = files.stamps();
        let (config, binding) = files.config(&alpn)?;
        files.warn_of_open_key();
        Ok(Self {
            files,
            alpn,
            state: Mutex::new(ListenerState {
                config,
                binding,
                seen,
                refused: None,
                looked: Instant::now(),
            }),
            look_every: LOOK_EVERY,
        })
    }

    /// The files it was loaded from.
    #[must_use]
    pub fn files(&self) -> &ListenerFiles {
        &self.files
    }

    /// What to accept the next connection with. Looks at most every two seconds whether the files
    /// changed, which costs three `stat`; while they are wrong, the old ones serve on and one
    /// warning is logged.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config_and_binding().0
    }

    /// The same, with the channel binding of the certificate that is shown; `None` for a
    /// certificate that has none, see [`super::server_end_point`].
    #[must_use]
    pub fn config_and_binding(&self) -> (Arc<ServerConfig>, Option<Arc<[u8]>>) {
        let mut state = self.state();
        if state.looked.elapsed() >= self.look_every {
            state.looked = Instant::now();
            let now = self.files.stamps();
            if now != state.seen {
                match self.files.config(&self.alpn) {
                    Ok(made) => self.install_config(&mut state, made, now),
                    Err(error) => {
                        // A renewal writes one file after the other: this may be its middle.
                        if state.refused.as_ref() != Some(&now) {
                            tracing::warn!(
                                "the renewed certificate cannot be used; the old one stays in use: \
                                 {error}"
                            );
                        }
                        state.refused = Some(now);
                    }
                }
            }
        }
        (Arc::clone(&state.config), state.binding.clone())
    }

    /// Reads the files now, changed or not.
    ///
    /// # Errors
    /// As [`Self::load`]; then the old ones serve on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let now = self.files.stamps();
        let made = self.files.config(&self.alpn)?;
        let mut state = self.state();
        state.looked = Instant::now();
        self.install_config(&mut state, made, now);
        Ok(())
    }

    fn install_config(
        &self,
        state: &mut ListenerState,
        made: BuiltConfig,
        seen: Vec<CertificateStamp>,
    ) {
        if state.seen != seen {
            tracing::info!(
                "the certificate in {} was renewed",
                self.files.certificate.display()
            );
            self.files.warn_of_open_key();
        }
        (state.config, state.binding) = made;
        state.seen = seen;
        state.refused = None;
    }

    fn state(&self) -> MutexGuard<'_, ListenerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ListenerFiles {
    fn all(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.client_ca)
            .map(PathBuf::as_path)
    }

    fn stamps(&self) -> Vec<CertificateStamp> {
        self.all()
            .map(|path| {
                // Follows links: Kubernetes renews a mounted Secret by turning one.
                let about = fs::metadata(path).ok()?;
                Some((
                    about.dev(),
                    about.ino(),
                    about.size(),
                    about.mtime(),
                    about.mtime_nsec(),
                ))
            })
            .collect()
    }

    fn config(&self, alpn: &[Vec<u8>]) -> Result<BuiltConfig, TlsError> {
        let provider = provider();
        let chain = read(&self.certificate)?;
        in_file(&self.certificate, pem::certificates(&chain).map(|_| ()))?;
        let key = Zeroizing::new(read(&self.key)?);
        let certified = in_file(&self.key, pem::certified_key(&chain, &key, &provider))?;
        let binding = certified.cert.first().and_then(server_end_point);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Refused(e.to_string()))?;
        let builder = match &self.client_ca {
            Some(path) => {
                let (roots, _) = in_file(path, pem::authorities(&read(path)?))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|e| TlsError::Refused(e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(FixedCertificate(Arc::new(certified))));
        config.alpn_protocols = alpn.to_vec();
        Ok((Arc::new(config), binding.map(Into::into)))
    }

    fn warn_of_open_key(&self) {
        if let Some(mode) = open_mode(&self.key) {
            tracing::warn!(
                "the private key {0} has mode {mode:04o}, others can read it: run `chmod 0600 {0}`",
                self.key.display()
            );
        }
    }
}

/// Shows the one certificate, whatever name the client asks for.
#[derive(Debug)]
struct FixedCertificate(Arc<CertifiedKey>);

impl ResolvesServerCert for FixedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
