//! What the ports need of files: certificates, and the admins.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load_errors::ConfigNotice;
use crate::config::{Main, TlsFiles};
use crate::security::tls::{ListenerFiles, ListenerTls, TlsError};
use crate::security::{AdminSource, AdminVerifiers, Environment, Vault, VaultError};

/// The admins file where none is named: as the C program finds it.
const ADMINS_FILE: &str = "pgexporter_admins.conf";

/// TLS of the metrics port.
pub(super) fn metrics(main: &Main) -> Result<Option<Arc<ListenerTls>>, TlsError> {
    listener(&main.metrics_tls_files, &["http/1.1"])
}

/// TLS of the management port.
pub(super) fn management(main: &Main) -> Result<Option<Arc<ListenerTls>>, TlsError> {
    if !main.tls || main.management.is_none() {
        return Ok(None);
    }
    listener(&main.tls_files, &[])
}

fn listener(files: &TlsFiles, alpn: &[&str]) -> Result<Option<Arc<ListenerTls>>, TlsError> {
    let (Some(certificate), Some(key)) = (&files.cert, &files.key) else {
        return Ok(None);
    };
    let files = ListenerFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_ca: files.ca.clone(),
    };
    Ok(Some(Arc::new(ListenerTls::load(files, alpn)?)))
}

/// The admins file or folder that is named, else the one that would lie beside the configuration.
pub(super) fn admins_place(named: Option<&Path>, configuration: &Path) -> PathBuf {
    match named {
        Some(path) => path.to_owned(),
        None => configuration.with_file_name(ADMINS_FILE),
    }
}

/// Who may manage the exporter from afar. Nobody is asked for while that port is off.
pub(super) fn admin_verifiers(
    named: Option<&Path>,
    configuration: &Path,
    main: &Main,
    notices: &mut Vec<ConfigNotice>,
) -> Result<Arc<AdminVerifiers>, VaultError> {
    let source = AdminSource::new(&admins_place(named, configuration));
    let vault = Arc::new(Vault::new(Environment::of_process().home.as_deref()));
    // One that is named is to be there and right, also while the port is off.
    let admin_verifiers = match named {
        Some(_) => AdminVerifiers::load(source, vault)?,
        None if main.management.is_some() => AdminVerifiers::nobody(source, vault)?,
        None => AdminVerifiers::nobody(AdminSource::new(Path::new("")), vault)?,
    };
    if main.management.is_some() && admin_verifiers.is_empty() {
        let text = format!(
            "management: there are no admins in {}, so nobody can log in; add one with \
             `pgexporter-admin -f FILE -U NAME user add`",
            admin_verifiers.path().display()
        );
        notices.push(text.into());
    }
    Ok(Arc::new(admin_verifiers))
}
