//! Checks a PostgreSQL server's certificate as libpq does.
//!
//! rustls checks by the rules of the web. PostgreSQL servers often hold certificates that these
//! rules refuse and libpq takes, not least those that PostgreSQL's own documentation tells how to
//! make: self-signed ones that are their own authority, ones of X.509 version 1, and ones whose
//! name is in the subject's common name only. These three are checked here.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{AnyRef, Decode, Encode, Header, Reader, SliceReader};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_cert::{Certificate, Version};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");

/// Whom to trust.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    /// The same as certificates, when a user named them; empty for those of the system.
    pub(super) given: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// `None`: any certificate will do.
    pub(super) trust: Option<Trust>,
    pub(super) check_name: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity);
        let by_rustls = parsed.as_ref().map_err(Clone::clone).and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                parsed,
                &trust.roots,
                intermediates,
                now,
                self.algorithms.all,
            )
        });
        if let Err(error) = by_rustls {
            self.verify_as_libpq(trust, end_entity, now, error)?;
        }
        if self.check_name {
            let by_rustls = parsed.and_then(|parsed| verify_server_name(&parsed, server_name));
            if let Err(error) = by_rustls {
                let presented = common_names(end_entity);
                let host = server_name.to_str();
                if !presented.iter().any(|name| name_matches(name, &host)) {
                    return Err(match error {
                        Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                            ..
                        }) if presented.is_empty() => error,
                        _ => CertificateError::NotValidForNameContext {
                            expected: server_name.to_owned(),
                            presented,
                        }
                        .into(),
                    });
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls12_signature(message, cert, dss, &self.algorithms);
        }
        let key = PublicKey::from_certificate(&parse(cert)?)?;
        self.algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == dss.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key.algorithm)
            .any(|algorithm| {
                algorithm
                    .verify_signature(&key.bits, message, dss.signature())
                    .is_ok()
            })
            .then(HandshakeSignatureValid::assertion)
            .ok_or_else(|| CertificateError::BadSignature.into())
    }

    // Also when any certificate will do: SCRAM's channel binding (RFC 5929, section 4) is worth
    // nothing if whoever shows a certificate need not hold its key.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if ParsedCertificate::try_from(cert).is_ok() {
            return verify_tls13_signature(message, cert, dss, &self.algorithms);
        }
        let key = PublicKey::from_certificate(&parse(cert)?)?;
        let info = SubjectPublicKeyInfoDer::from(key.info);
        verify_tls13_signature_with_raw_key(message, &info, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerVerifier {
    /// Takes what rustls refused if it is one of the given certificates itself, or of version 1
    /// and issued by one of them.
    fn verify_as_libpq(
        &self,
        trust: &Trust,
        end_entity: &CertificateDer<'_>,
        now: UnixTime,
        refused: Error,
    ) -> Result<(), Error> {
        let Ok(cert) = parse(end_entity) else {
            return Err(refused);
        };
        let trusted = trust.given.iter().any(|given| given == end_entity)
            || cert.tbs_certificate.version == Version::V1
                && trust
                    .given
                    .iter()
                    .any(|given| self.issued(given, &cert, end_entity));
        if !trusted {
            return Err(match refused {
                // What rustls says of version 1 says nothing about whom to trust.
                Error::InvalidCertificate(CertificateError::Other(_))
                    if cert.tbs_certificate.version == Version::V1 =>
                {
                    CertificateError::UnknownIssuer.into()
                }
                other => other,
            });
        }
        let validity = &cert.tbs_certificate.validity;
        if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
            return Err(CertificateError::Expired.into());
        }
        Ok(())
    }

    /// Whether the authority's key signed the certificate (RFC 5280, section 6.1.3 (a)).
    fn issued(
        &self,
        authority: &CertificateDer<'_>,
        cert: &Certificate,
        der: &CertificateDer<'_>,
    ) -> bool {
        let Ok(authority) = parse(authority) else {
            return false;
        };
        if authority.tbs_certificate.subject != cert.tbs_certificate.issuer
            || cert.tbs_certificate.signature != cert.signature_algorithm
        {
            return false;
        }
        let (Ok(key), Some(signature), Some(signed), Some(used)) = (
            PublicKey::from_certificate(&authority),
            cert.signature.as_bytes(),
            signed_part(der),
            algorithm_contents(&cert.signature_algorithm),
        ) else {
            return false;
        };
        self.algorithms
            .all
            .iter()
            .filter(|algorithm| {
                algorithm.public_key_alg_id().as_ref() == key.algorithm
                    && algorithm.signature_alg_id().as_ref() == used
            })
            .any(|algorithm| {
                algorithm
                    .verify_signature(&key.bits, signed, signature)
                    .is_ok()
            })
    }
}

fn parse(der: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding.into())
}

/// A public key in the pieces that rustls' algorithms take.
struct PublicKey {
    info: Vec<u8>,
    algorithm: Vec<u8>,
    bits: Vec<u8>,
}

impl PublicKey {
    fn from_certificate(cert: &Certificate) -> Result<Self, Error> {
        let info = &cert.tbs_certificate.subject_public_key_info;
        let pieces = || {
            Some(Self {
                info: info.to_der().ok()?,
                algorithm: algorithm_contents(&info.algorithm)?,
                bits: info.subject_public_key.as_bytes()?.to_vec(),
            })
        };
        pieces().ok_or_else(|| CertificateError::BadEncoding.into())
    }
}

/// An algorithm's DER without the header of its sequence, as rustls compares them.
fn algorithm_contents(algorithm: &AlgorithmIdentifierOwned) -> Option<Vec<u8>> {
    let der = algorithm.to_der().ok()?;
    Some(AnyRef::from_der(&der).ok()?.value().to_vec())
}

/// The bytes that the issuer signed, as they were sent.
fn signed_part<'a>(der: &'a CertificateDer<'_>) -> Option<&'a [u8]> {
    let mut reader = SliceReader::new(der).ok()?;
    Header::decode(&mut reader).ok()?;
    reader.tlv_bytes().ok()
}

/// The subject's common names, of a certificate without alternative names (RFC 6125, section
/// 6.4.4). Alternative names, where there are any, are the only truth.
fn common_names(der: &CertificateDer<'_>) -> Vec<String> {
    let Ok(cert) = parse(der) else {
        return Vec::new();
    };
    let tbs = &cert.tbs_certificate;
    let mut extensions = tbs.extensions.iter().flatten();
    if extensions.any(|extension| extension.extn_id == SUBJECT_ALT_NAME) {
        return Vec::new();
    }
    let attributes = tbs.subject.0.iter().flat_map(|rdn| rdn.0.iter());
    attributes
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .filter_map(|attribute| std::str::from_utf8(attribute.value.value()).ok())
        .map(str::to_owned)
        .collect()
}

/// As libpq matches: letters of any case, and `*.` stands for one label.
fn name_matches(pattern: &str, host: &str) -> bool {
    if pattern.eq_ignore_ascii_case(host) {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(parent), Some((label, rest))) => {
            !label.is_empty() && parent.contains('.') && parent.eq_ignore_ascii_case(rest)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_in_a_common_name_stands_for_one_label() {
        for (pattern, host, matches) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.com", "example.com", false),
            ("d*.example.com", "db.example.com", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("", "db", false),
        ] {
            assert_eq!(name_matches(pattern, host), matches, "{pattern} {host}");
        }
    }
}
