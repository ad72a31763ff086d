//! Certificates and keys out of PEM (RFC 7468), with errors that say what else was there.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::der::Decode;

use super::TlsError;

pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|e| damaged(&e))?;
    if found.is_empty() {
        return Err(TlsError::Lacks {
            wanted: "certificate (BEGIN CERTIFICATE)",
            found: kinds(text),
        });
    }
    Ok(found)
}

pub(super) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let has = |needle: &str| {
        text.windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::EncryptedKey);
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::Lacks {
            wanted: "private key (BEGIN PRIVATE KEY)",
            found: kinds(text),
        }),
        Err(e) => Err(damaged(&e)),
    }
}

/// In our words: those of the reader hold the line.
fn damaged(error: &pem::Error) -> TlsError {
    TlsError::Damaged(match error {
        pem::Error::MissingSectionEnd { .. } => "a block has no END line",
        pem::Error::IllegalSectionStart { .. } => {
            "a BEGIN line is not of the form -----BEGIN KIND-----"
        }
        pem::Error::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        pem::Error::SectionTooLarge => "a block is too large",
        _ => "it cannot be read",
    })
}

/// A chain with its key, checked to belong together.
pub(super) fn certified_key(
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(chain)?;
    let signing = provider
        .key_provider
        .load_private_key(private_key(key)?)
        .map_err(|e| TlsError::UnsupportedKey(e.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch),
        // Certificates of version 1, which `openssl x509 -req` made for decades and which
        // PostgreSQL takes from its clients, are unreadable to rustls, but it need not read them.
        Err(Error::InvalidCertificate(_))
            if certified
                .cert
                .first()
                .is_some_and(|cert| x509_cert::Certificate::from_der(cert).is_ok()) =>
        {
            Ok(certified)
        }
        Err(e) => Err(TlsError::BadCertificate(e.to_string())),
    }
}

/// The authorities in a PEM text, as rustls keeps them and as they are.
pub(super) fn authorities(
    text: &[u8],
) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>), TlsError> {
    let given = certificates(text)?;
    let mut roots = RootCertStore::empty();
    for cert in &given {
        roots
            .add(cert.clone())
            .map_err(|e| TlsError::BadCertificate(e.to_string()))?;
    }
    Ok((Arc::new(roots), given))
}

/// Kinds of blocks that keys and certificates are mistaken for (RFC 7468, and what OpenSSL writes).
const KINDS: [&str; 16] = [
    "CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "CERTIFICATE REQUEST",
    "NEW CERTIFICATE REQUEST",
    "X509 CRL",
    "PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "EC PARAMETERS",
    "DH PARAMETERS",
    "PKCS7",
];

/// What a text holds, for people: `BEGIN PRIVATE KEY`, or that it is no PEM at all.
fn kinds(text: &[u8]) -> String {
    let mut labels: Vec<String> = String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let label = line
                .trim()
                .strip_prefix("-----BEGIN ")?
                .strip_suffix("-----")?;
            // One that is known; anything else is not shown.
            let known = KINDS.contains(&label).then(|| format!("BEGIN {label}"));
            Some(known.unwrap_or_else(|| "a block of another kind".to_owned()))
        })
        .collect();
    labels.dedup();
    match (labels.is_empty(), text.first()) {
        (false, _) => labels.join(", "),
        (true, None) => "nothing: it is empty".to_owned(),
        (true, Some(0x30)) => {
            "what looks like DER: convert it with `openssl x509 -inform der` (a key with \
             `openssl pkey -inform der`)"
                .to_owned()
        }
        (true, Some(_)) => "no PEM at all".to_owned(),
    }
}
