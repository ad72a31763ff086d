//! Certificates and keys out of PEM (RFC 7468), with errors that say what else was there.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_cert::der::Decode;

use super::TlsError;

pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError::Damaged(e.to_string()))?;
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
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(TlsError::Lacks {
            wanted: "private key (BEGIN PRIVATE KEY)",
            found: kinds(text),
        }),
        Err(e) => Err(TlsError::Damaged(e.to_string())),
    }
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

/// What a text holds, for people: `BEGIN PRIVATE KEY`, or that it is no PEM at all.
fn kinds(text: &[u8]) -> String {
    let mut labels: Vec<String> = String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| {
            let label = line
                .trim()
                .strip_prefix("-----BEGIN ")?
                .strip_suffix("-----")?;
            // A label is a few capital letters; anything else is not shown.
            (label.len() < 40 && label.bytes().all(|b| b.is_ascii_uppercase() || b == b' '))
                .then(|| format!("BEGIN {label}"))
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
