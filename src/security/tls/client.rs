//! The client's side: how TLS is spoken to a server.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};

use super::verify::{ServerVerifier, Trust};
use super::{TlsError, in_file, pem, provider, read};
use crate::security::Secret;

/// How TLS is spoken to a server. Holds the material itself, not paths, so that a renewed file is
/// a changed target.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientTls {
    /// How strict.
    pub mode: TlsMode,
    /// Authorities to trust, PEM; without it those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Our certificate chain (PEM) and its key (PEM).
    pub client: Option<(Vec<u8>, Secret)>,
    /// The name to verify instead of the host.
    pub server_name: Option<String>,
}

/// How strict TLS is, in the words and with the meaning of libpq's `sslmode` (PostgreSQL
/// documentation, "SSL Mode Descriptions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Never TLS.
    Disable,
    /// TLS if the server can; nothing is checked, also not with a CA given.
    Prefer,
    /// TLS or nothing; with a CA given the certificate is checked against it.
    Require,
    /// The certificate is checked, its name is not.
    VerifyCa,
    /// The certificate and its name are checked.
    VerifyFull,
}

impl ClientTls {
    /// Never TLS.
    #[must_use]
    pub fn disabled() -> Self {
        Self {
            mode: TlsMode::Disable,
            ca_pem: None,
            client: None,
            server_name: None,
        }
    }

    /// Whether a handshake that is done has verified the server's certificate.
    #[must_use]
    pub fn verifies(&self) -> bool {
        match self.mode {
            TlsMode::Disable | TlsMode::Prefer => false,
            TlsMode::Require => self.ca_pem.is_some(),
            TlsMode::VerifyCa | TlsMode::VerifyFull => true,
        }
    }

    /// Reads the files of a server's section and checks what is in them.
    ///
    /// # Errors
    /// A file cannot be read or holds something else; the error names it.
    pub fn from_files(
        mode: TlsMode,
        ca: Option<&Path>,
        certificate: Option<&Path>,
        key: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let ca_pem = match ca {
            Some(path) => {
                let text = read(path)?;
                in_file(path, pem::authorities(&text).map(|_| ()))?;
                Some(text)
            }
            None => None,
        };
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => {
                let chain = read(certificate)?;
                in_file(certificate, pem::certificates(&chain).map(|_| ()))?;
                let text = read(key)?;
                in_file(
                    key,
                    pem::certified_key(&chain, &text, &provider()).map(|_| ()),
                )?;
                // PEM is ASCII; bytes that are not stand outside of the blocks and say nothing.
                let text = String::from_utf8(text)
                    .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
                Some((chain, Secret::new(text)))
            }
            (Some(_), None) => return Err(TlsError::Half("certificate")),
            (None, Some(_)) => return Err(TlsError::Half("key")),
            (None, None) => None,
        };
        Ok(Self {
            mode,
            ca_pem,
            client,
            server_name: None,
        })
    }

    /// What rustls needs to connect; `None` when TLS is not to be spoken. Parses the material and
    /// may read the system's authorities: make it once a target, not once a connection.
    ///
    /// # Errors
    /// The material is wrong, or the certificate is to be checked and there are no authorities.
    pub fn config(&self) -> Result<Option<Arc<ClientConfig>>, TlsError> {
        let trust = match (self.mode, &self.ca_pem) {
            (TlsMode::Disable, _) => return Ok(None),
            (TlsMode::Prefer, _) | (TlsMode::Require, None) => None,
            (_, Some(ca)) => {
                let (roots, given) = pem::authorities(ca)?;
                Some(Trust { roots, given })
            }
            (TlsMode::VerifyCa | TlsMode::VerifyFull, None) => Some(Trust {
                roots: Arc::new(system_authorities()?),
                given: Vec::new(),
            }),
        };
        let provider = provider();
        let verifier = ServerVerifier {
            trust,
            check_name: self.mode == TlsMode::VerifyFull,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| TlsError::Refused(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.client {
            Some((chain, key)) => {
                let certified = pem::certified_key(chain, key.expose().as_bytes(), &provider)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        // As libpq of 17 and later says it; older servers do not look.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Ok(Some(Arc::new(config)))
    }

    /// The name that the server must have and is told that we look for.
    ///
    /// # Errors
    /// The host cannot be the name of anybody.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsError::BadName(name.to_owned()))
    }
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    // Single broken files among hundreds hinder nobody, as with OpenSSL.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    Ok(roots)
}
