//! Certificates for tests: an authority, and what it signs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A certificate authority that lives for the test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    /// An authority called `name`.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// The authority's own certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate for DNS names and addresses.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.sign(
            names,
            "server",
            None,
            ExtendedKeyUsagePurpose::ServerAuth,
            false,
        )
    }

    /// A server's certificate that ended in the year 2021.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        self.sign(
            names,
            "server",
            None,
            ExtendedKeyUsagePurpose::ServerAuth,
            true,
        )
    }

    /// A client's certificate with `name` as its common name.
    pub fn client(&self, name: &str) -> Identity {
        self.sign(&[], name, None, ExtendedKeyUsagePurpose::ClientAuth, false)
    }

    /// The same with an organization, which Kubernetes takes for the group of the user `name`.
    pub fn member(&self, name: &str, organization: &str) -> Identity {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.sign(&[], name, Some(organization), usage, false)
    }

    /// TLS for `tokio_postgres` that trusts this authority alone, and shows a certificate when
    /// given one.
    pub fn connector(&self, identity: Option<&Identity>) -> MakeRustlsConnect {
        let certificate =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.pem)).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        MakeRustlsConnect::new(match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(
                    vec![certificate(&identity.certificate)],
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key"),
                )
                .expect("an identity"),
        })
    }

    fn sign(
        &self,
        names: &[&str],
        common_name: &str,
        organization: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
        expired: bool,
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        if let Some(organization) = organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params.extended_key_usages = vec![usage];
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        Identity {
            certificate,
            key: key.serialize_pem(),
        }
    }
}
