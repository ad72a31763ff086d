//! Settings of a server before its first start.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};

use super::super::keeper::Keeper;
use super::super::ports::{self, Port};
use super::super::{account, files};
use super::{Postgres, SUPERUSER, install};

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Builder {
    major: u32,
    settings: Vec<(String, String)>,
    port: Option<u16>,
    encoding: String,
    password: Option<String>,
    method: String,
    hba: Vec<String>,
    tls: Option<(String, String)>,
    client_ca: Option<String>,
}

impl Builder {
    pub(super) fn new(major: u32) -> Self {
        Self {
            major,
            settings: Vec::new(),
            port: None,
            encoding: "UTF8".into(),
            password: None,
            method: "trust".into(),
            hba: Vec::new(),
            tls: None,
            client_ca: None,
        }
    }

    /// A line of `postgresql.conf`; quotes are added to the value.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// `shared_preload_libraries`.
    #[must_use]
    pub fn preload(self, libraries: &str) -> Self {
        self.set("shared_preload_libraries", libraries)
    }

    /// `max_connections`, of which 3 are kept for superusers.
    #[must_use]
    pub fn max_connections(self, count: u32) -> Self {
        self.set("max_connections", count)
    }

    /// A port to be used instead of a free one, as that of a server that was there before.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The encoding of all databases, with the locale C. Default `UTF8`.
    #[must_use]
    pub fn encoding(mut self, encoding: &str) -> Self {
        self.encoding = encoding.into();
        self
    }

    /// The superuser's password, asked for by `method`: `scram-sha-256`, `md5` or `password`.
    #[must_use]
    pub fn password(mut self, password: &str, method: &str) -> Self {
        self.password = Some(password.into());
        self.method = method.into();
        let stored = if method == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        };
        self.set("password_encryption", stored)
    }

    /// A line of `pg_hba.conf`; these lines come before the server's own, in the given order.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.into());
        self
    }

    /// TLS with a certificate (chain) and its key, both PEM.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    /// The authority, PEM, by which client certificates are checked (`cert` or `clientcert=` in
    /// [`Self::hba`]).
    #[must_use]
    pub fn client_ca(mut self, certificate: &str) -> Self {
        self.client_ca = Some(certificate.into());
        self
    }

    /// Starts it; fails the test with the server's log when it does not start.
    #[track_caller]
    pub fn start(self) -> Postgres {
        match self.try_start() {
            Ok(server) => server,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// With the server's log when it does not start.
    pub fn try_start(self) -> Result<Postgres> {
        // Somebody else may take the port between our look and the server's; then another one.
        let mut attempts = if self.port.is_some() { 1 } else { 5 };
        loop {
            let server = self.prepare()?;
            match server.launch() {
                Ok(()) if !server.log().contains("could not bind") => return Ok(server),
                Ok(()) if attempts <= 1 => anyhow::bail!("the port is in use: {}", server.log()),
                Err(error) if attempts <= 1 || !error.contains("could not bind") => {
                    anyhow::bail!(error)
                }
                _ => attempts -= 1,
            }
        }
    }

    fn prepare(&self) -> Result<Postgres> {
        let template = install::template(self.major, &self.encoding)?;
        let keeper = Keeper::for_data()?;
        let data = keeper.path().join("data");
        files::copy(&template, &data, &|_| false).context("cannot copy the data folder")?;
        let port = self.port.map_or_else(Port::free, Port::fixed);
        if let Some((certificate, key)) = &self.tls {
            secret(&data.join("server.crt"), certificate)?;
            secret(&data.join("server.key"), key)?;
        }
        if let Some(authority) = &self.client_ca {
            secret(&data.join("clients.crt"), authority)?;
        }
        secret(&data.join("pg_hba.conf"), &self.hba_file())?;
        if let Some(password) = &self.password {
            let literal = password.replace('\'', "''");
            let stored = if self.method == "md5" {
                "md5"
            } else {
                "scram-sha-256"
            };
            let sql = format!(
                "SET password_encryption = '{stored}'; ALTER ROLE {SUPERUSER} PASSWORD '{literal}'"
            );
            install::single_user(self.major, &data, &sql)?;
        }
        configure(&data, keeper.path(), port.number(), &self.settings())?;
        Ok(Postgres {
            major: self.major,
            port,
            password: self.password.clone(),
            server: Mutex::new(None),
            keeper,
        })
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        if self.tls.is_some() {
            settings.push(("ssl".into(), "on".into()));
        }
        if self.client_ca.is_some() {
            settings.push(("ssl_ca_file".into(), "clients.crt".into()));
        }
        settings
    }

    fn hba_file(&self) -> String {
        let mut lines = self.hba.clone();
        let method = &self.method;
        lines.extend([
            "local replication all trust".to_owned(),
            format!("local all all {method}"),
            format!("host all all 127.0.0.1/32 {method}"),
            format!("host all all ::1/128 {method}"),
        ]);
        lines.join("\n") + "\n"
    }
}

/// Writes the settings: those of every test server, then the test's own, which win.
pub(super) fn configure(
    data: &Path,
    sockets: &Path,
    port: u16,
    settings: &[(String, String)],
) -> Result<()> {
    let addresses = if ports::has_ipv6() {
        "127.0.0.1,::1"
    } else {
        "127.0.0.1"
    };
    let mut lines = vec![
        format!("listen_addresses = '{addresses}'"),
        format!("port = {port}"),
        format!("unix_socket_directories = '{}'", sockets.display()),
        // What is written need not outlive the machine, and killed servers leave nothing in
        // /dev/shm.
        "fsync = off".into(),
        "dynamic_shared_memory_type = mmap".into(),
        "logging_collector = off".into(),
        "log_line_prefix = '%m [%p] %q%u@%d %a '".into(),
    ];
    for (name, value) in settings {
        lines.push(format!("{name} = '{}'", value.replace('\'', "''")));
    }
    let file = data.join("postgresql.conf");
    let given = fs::read_to_string(&file)?;
    let given = given.split("# of the test\n").next().unwrap_or_default();
    secret(
        &file,
        &format!("{given}# of the test\n{}\n", lines.join("\n")),
    )
}

/// Writes a file that only the server's user may read, as the server demands of keys.
pub(super) fn secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(account::own(path)?)
}
