//! How one gets to the API server as its admin: over HTTPS, and as a kubeconfig.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use super::super::certificates::Identity;

/// The admin's connection, which trusts the server's authority alone.
pub(in super::super) struct Connection {
    url: String,
    authority: String,
    identity: Identity,
    agent: ureq::Agent,
}

impl Connection {
    pub(in super::super) fn new(port: u16, authority: &str, identity: &Identity) -> Self {
        let certificate = |pem: &str| Certificate::from_pem(pem.as_bytes()).expect("a certificate");
        let key = PrivateKey::from_pem(identity.key.as_bytes()).expect("a key");
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[certificate(authority)]))
            .client_cert(Some(ClientCert::new_with_certs(
                &[certificate(&identity.certificate)],
                key,
            )))
            .build();
        let agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(30)))
            // A connection to a server that was killed is not to be used again.
            .max_idle_connections(0)
            .build()
            .into();
        Self {
            url: format!("https://127.0.0.1:{port}"),
            authority: authority.into(),
            identity: identity.clone(),
            agent,
        }
    }

    /// Status and body.
    pub(in super::super) fn get(&self, path: &str) -> Result<(u16, String), String> {
        let mut answer = self
            .agent
            .get(format!("{}{path}", self.url))
            .call()
            .map_err(|error| error.to_string())?;
        let body = answer
            .body_mut()
            .with_config()
            .limit(1 << 28)
            .read_to_string()
            .map_err(|error| error.to_string())?;
        Ok((answer.status().as_u16(), body))
    }

    /// A kubeconfig of the admin.
    pub(in super::super) fn kubeconfig(&self) -> String {
        let user = json!({
            "client-certificate-data": BASE64_STANDARD.encode(&self.identity.certificate),
            "client-key-data": BASE64_STANDARD.encode(&self.identity.key),
        });
        self.kubeconfig_of(&user, "default")
    }

    /// A kubeconfig of whoever has the token.
    pub(in super::super) fn kubeconfig_with(&self, token: &str, namespace: &str) -> String {
        self.kubeconfig_of(&json!({ "token": token }), namespace)
    }

    /// As JSON, which is YAML as well.
    fn kubeconfig_of(&self, user: &Value, namespace: &str) -> String {
        let cluster = json!({
            "server": self.url,
            "certificate-authority-data": BASE64_STANDARD.encode(&self.authority),
        });
        let context = json!({ "cluster": "test", "user": "test", "namespace": namespace });
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": context }],
            "current-context": "test",
        })
        .to_string()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Connection")
            .field(&self.url)
            .finish()
    }
}
