//! What a failed handshake means and what to do about it.

use std::error::Error as StdError;
use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::text::peer_text;

/// Words for people, if the error or one of its sources came from TLS.
#[must_use]
pub fn explain_tls(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<Error>() {
            // Names in a certificate are a peer's words.
            return Some(peer_text(&explain(error)));
        }
        // An I/O error hides what it wraps from `source`.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        next = wrapped.or_else(|| error.source());
    }
    None
}

fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error),
        Error::AlertReceived(alert) => explain_alert(*alert),
        Error::PeerIncompatible(problem) => format!(
            "the server and this program have no TLS version and cipher in common ({problem:?}): \
             the server must offer TLS 1.2 or 1.3 (ssl_min_protocol_version, ssl_ciphers)"
        ),
        Error::InvalidMessage(_) => {
            "the server does not speak TLS: check the host and port, and whether a proxy is in \
             between"
                .to_owned()
        }
        other => format!("TLS failed: {other}"),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: renew it, or set this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: set the clock of this machine, or of the \
             one that made it"
                .to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate was not issued by an authority that is trusted: give the \
             one that issued it (tls_ca_file)"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the server's certificate has a wrong signature: the given authority has the issuer's \
             name but another key (tls_ca_file), or this is an attack on the connection"
                .to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = match presented.as_slice() {
                [] => "no name".to_owned(),
                names => {
                    let names: Vec<&str> = names.iter().map(|name| bare(name)).collect();
                    names.join(", ")
                }
            };
            format!(
                "the server's certificate is for {names}, not for {}: connect with a name in the \
                 certificate, or have a certificate issued for this name; verify-ca does not check \
                 the name",
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => {
            "the server's certificate is for another name: connect with a name in the certificate, \
             or have a certificate issued for this name; verify-ca does not check the name"
                .to_owned()
        }
        CertificateError::Revoked => "the server's certificate was revoked".to_owned(),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not meant for servers: its extended key usage lacks \
             serverAuth"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate uses a signature that is no longer secure, such as SHA-1, or \
             a key that is too short: have a new one issued"
                .to_owned()
        }
        other => format!("the server's certificate was refused: {other}"),
    }
}

fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the server asks for a client certificate: give one (tls_cert_file, tls_key_file)"
                .to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the server says that the client certificate has expired: renew it (tls_cert_file)"
                .to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => format!(
            "the server refused the client certificate ({alert:?}): it must be issued by an \
             authority in the server's ssl_ca_file (tls_cert_file, tls_key_file)"
        ),
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => format!(
            "the server and this program have no TLS version and cipher in common ({alert:?}): the \
             server must offer TLS 1.2 or 1.3 (ssl_min_protocol_version, ssl_ciphers)"
        ),
        other => format!("the server ended the TLS handshake: {other:?}"),
    }
}

/// `db` out of `DnsName("db")`, `10.0.0.1` out of `IpAddress(10.0.0.1)`.
fn bare(name: &str) -> &str {
    match name.split_once('(') {
        Some((_, rest)) => rest.trim_end_matches(')').trim_matches('"'),
        None => name,
    }
}
