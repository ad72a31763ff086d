//! The images of what runs in pods beside ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use super::super::debian::{apt_download, system};
use super::super::downloads::{self, entry, run};
use super::super::golang::Build;
use super::super::monitoring::programs;
use super::{CONFIG_RELOADER, PAUSE, PROMETHEUS, archive, bases};

/// A shell with its tools, psql, and what these and the server need.
const SERVER_PACKAGES: &[&str] = &[
    "base-files",
    "coreutils",
    "dash",
    "gcc-12-base",
    "libacl1",
    "libattr1",
    "libc6",
    "libcom-err2",
    "libcrypt1",
    "libffi8",
    "libgcc-s1",
    "libgmp10",
    "libgnutls30",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "liblz4-1",
    "libnettle8",
    "libp11-kit0",
    "libpcre2-8-0",
    "libpq5",
    "libreadline8",
    "libsasl2-2",
    "libselinux1",
    "libssl3",
    "libstdc++6",
    "libtasn1-6",
    "libtinfo6",
    "libunistring2",
    "libzstd1",
    "postgresql-client-15",
    "zlib1g",
];

/// What a container of the server does: it makes its data folder when there is none, with a role
/// for monitoring that has the password of `MONITOR_PASSWORD`, and TLS when `/tls` has a
/// certificate. The superuser gets in from within the pod alone.
const START: &str = r#"#!/bin/sh
set -eu
export PGDATA=/data/server
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    /postgres/bin/initdb -U postgres --auth-local=trust --auth-host=reject --no-sync \
        --locale=C -E UTF8
    echo "CREATE ROLE monitor LOGIN PASSWORD '$MONITOR_PASSWORD' IN ROLE pg_monitor" |
        /postgres/bin/postgres --single -D "$PGDATA" postgres
    hba=host
    if [ -e /tls/tls.crt ]; then
        # The server wants its key for itself alone.
        install -m 600 /tls/tls.key "$PGDATA/server.key"
        install -m 600 /tls/tls.crt "$PGDATA/server.crt"
        echo 'ssl = on' >>"$PGDATA/postgresql.conf"
        hba=hostssl
    fi
    echo "$hba all all 0.0.0.0/0 scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
exec /postgres/bin/postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp \
    -c fsync=off "$@"
"#;

/// PostgreSQL of a major version, with psql.
pub(super) fn postgres(major: u32) -> Result<PathBuf> {
    let key = format!(
        "image-postgres-{}-{}-1",
        downloads::version(major)?,
        system()?
    );
    let installed = downloads::postgres(major)?;
    made(&key, &super::postgres(major), &|root| {
        apt_download(SERVER_PACKAGES, root)?;
        for unwanted in ["doc", "man", "locale"] {
            let _ = fs::remove_dir_all(root.join("usr/share").join(unwanted));
        }
        run(std::process::Command::new("cp")
            .arg("-a")
            .arg(&installed)
            .arg(root.join("postgres")))?;
        // What Debian's package has in its place finds the newest version by a script in Perl.
        let psql = root.join("usr/bin/psql");
        let _ = fs::remove_file(&psql);
        fs::rename(root.join("usr/lib/postgresql/15/bin/psql"), psql)?;
        let start = root.join("usr/bin/start");
        fs::write(&start, START)?;
        fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
        fs::write(root.join("etc/passwd"), bases::USERS)?;
        Ok(json!({
            "Entrypoint": ["/usr/bin/start"],
            "Env": ["PATH=/usr/bin:/bin:/postgres/bin", "PGHOST=/tmp", "PGUSER=postgres"],
            "User": "65532",
        }))
    })
}

/// Prometheus, where its own image has it.
pub(super) fn prometheus() -> Result<PathBuf> {
    let key = format!("image-prometheus-{}", programs::PROMETHEUS);
    made(&key, PROMETHEUS, &|root| {
        program(root, &programs::prometheus()?, "bin/prometheus")?;
        Ok(json!({"Entrypoint": ["/bin/prometheus"], "User": "65534"}))
    })
}

/// The container that the Prometheus operator puts beside Prometheus.
pub(super) fn config_reloader() -> Result<PathBuf> {
    let key = format!(
        "image-prometheus-config-reloader-{}",
        super::super::definitions::PROMETHEUS_OPERATOR
    );
    made(&key, CONFIG_RELOADER, &|root| {
        let built = programs::operator()?.join("prometheus-config-reloader");
        program(root, &built, "bin/prometheus-config-reloader")?;
        Ok(json!({"Entrypoint": ["/bin/prometheus-config-reloader"], "User": "65534"}))
    })
}

/// What holds a pod's namespaces.
pub(super) fn pause() -> Result<PathBuf> {
    made("image-pause-1", PAUSE, &|root| {
        Build {
            what: "the pause program",
            duration: "a second",
            module: "pause",
            variables: "",
            tags: "",
            packages: &["."],
            hint: "",
        }
        .build_into(&root.join("pause"))?;
        Ok(json!({"Entrypoint": ["/pause"], "User": "65535"}))
    })
}

fn program(root: &Path, from: &Path, to: &str) -> Result<()> {
    let place = root.join(to);
    fs::create_dir_all(place.parent().unwrap_or(root))?;
    fs::copy(from, place)?;
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/passwd"), bases::USERS)?;
    Ok(())
}

/// The archive of an image, whose folder `fill` makes; it gives the configuration.
fn made(key: &str, name: &str, fill: &dyn Fn(&Path) -> Result<Value>) -> Result<PathBuf> {
    let place = entry(key, |folder| {
        let root = folder.join("root");
        fs::create_dir_all(root.join("tmp"))?;
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        let config = fill(&root)?;
        archive::write(&root, name, &config, &folder.join("image.tar"))?;
        Ok(fs::remove_dir_all(root)?)
    })?;
    Ok(place.join("image.tar"))
}
