//! The keys of a server's section.

use super::key::{Effect::Reload, Key, Required, place};
use crate::config::configuration::Server;
use crate::config::value::ValueKind;

const SERVER_TLS: ValueKind = ValueKind::Word(
    &["off", "try", "on", "verify-ca", "verify-full"],
    &[
        ("false", "off"),
        ("no", "off"),
        ("0", "off"),
        ("true", "on"),
        ("yes", "on"),
        ("1", "on"),
    ],
);

pub(super) const KEYS: &[Key<Server>] = &[
    Key::new(
        "host",
        ValueKind::Host,
        "",
        Reload,
        place!(Server: host),
        "Host name or address of the server, or the folder of its Unix socket.",
    )
    .required(Required::Yes),
    Key::new(
        "port",
        ValueKind::Port,
        "",
        Reload,
        place!(Server: port),
        "Port of the server, also for the name of its Unix socket.",
    )
    .required(Required::Yes),
    Key::new(
        "user",
        ValueKind::Text,
        "",
        Reload,
        place!(Server: user),
        "The role to log in as; `pg_monitor` is enough. Its password does not belong in this file.",
    )
    .required(Required::ForPostgresql),
    Key::new(
        "password_file",
        ValueKind::Path,
        "",
        Reload,
        place!(Server: password_file),
        "File that holds the role's password and nothing else, such as a mounted Secret; it takes \
         precedence over all other sources of the password.",
    ),
    Key::new(
        "require_auth",
        ValueKind::List,
        "",
        Reload,
        place!(Server: require_auth),
        "The ways of authentication that the server may ask for, as libpq's `require_auth`: \
         `scram-sha-256`, `md5`, `password`, `none`, or each with a `!` before it for all others. \
         Without it all are taken, but a password in the clear only where the server's certificate \
         was verified or over a Unix socket, and nothing less than `scram-sha-256` once the server \
         has used that; a method that is named here is always accepted.",
    ),
    Key::new(
        "database",
        ValueKind::Text,
        "postgres",
        Reload,
        place!(Server: database),
        "The database of the session.",
    ),
    Key::new(
        "type",
        ValueKind::Word(&["postgresql", "prometheus"], &[("postgres", "postgresql")]),
        "postgresql",
        Reload,
        place!(Server: kind),
        "What answers there; a server of type `prometheus` is read, and has no effect yet.",
    ),
    Key::new(
        "data_dir",
        ValueKind::Path,
        "",
        Reload,
        place!(Server: data_dir),
        "Folder of the server's data, when it is on this machine; read, and without an effect yet.",
    ),
    Key::new(
        "wal_dir",
        ValueKind::Path,
        "",
        Reload,
        place!(Server: wal_dir),
        "Folder of the server's WAL, when it is on this machine; read, and without an effect yet.",
    ),
    Key::new(
        "tls",
        SERVER_TLS,
        "try",
        Reload,
        place!(Server: tls),
        "Whether TLS is spoken to the server: never, when it can, always, always with a certificate of a known authority, always with one that names `host` too. Without `tls_ca_file` the authorities are those of the system.",
    ),
    Key::new(
        "tls_cert_file",
        ValueKind::Path,
        "",
        Reload,
        place!(Server: tls_files.cert),
        "Client certificate, PEM.",
    ),
    Key::new(
        "tls_key_file",
        ValueKind::Path,
        "",
        Reload,
        place!(Server: tls_files.key),
        "Private key of the client certificate, PEM.",
    ),
    Key::new(
        "tls_ca_file",
        ValueKind::Path,
        "",
        Reload,
        place!(Server: tls_files.ca),
        "Authorities, PEM, of the server's certificate.",
    ),
    Key::new(
        "extensions",
        ValueKind::List,
        "",
        Reload,
        place!(Server: extensions),
        "Extensions to scrape; without it those of the main section.",
    )
    .anywhere(),
    Key::new(
        "databases",
        ValueKind::List,
        "",
        Reload,
        place!(Server: databases),
        "Patterns (`*`, `?`) of the databases that metrics of every database are collected in; without it those of the main section. The database of the session is always among them.",
    ),
    Key::new(
        "exclude_databases",
        ValueKind::List,
        "",
        Reload,
        place!(Server: exclude_databases),
        "Patterns of databases to leave out; without it those of the main section.",
    ),
];
