//! The keys of `[pgexporter]` that are read and checked, and have no effect yet. A notice at start
//! says so.

use std::time::Duration;

use super::{Effect::Reload, Effect::Restart, Key};
use crate::config::configuration::Main;
use crate::config::value::{Kind, LONGEST};

const ANY_DURATION: Kind = Kind::Duration(Duration::ZERO, LONGEST);

pub(super) const KEYS: &[Key<Main>] = &[
    Key::later(
        "history",
        Kind::PortOrOff,
        "0",
        Restart,
        "Port of the history of metrics.",
    ),
    Key::later(
        "history_interval",
        ANY_DURATION,
        "0",
        Reload,
        "How often metrics are kept in the history.",
    ),
    Key::later(
        "history_retention",
        ANY_DURATION,
        "0",
        Reload,
        "How long metrics are kept in the history.",
    ),
    Key::later(
        "history_backend",
        Kind::Text,
        "sqlite",
        Restart,
        "What keeps the history of metrics.",
    ),
    Key::later(
        "history_path",
        Kind::Path,
        "",
        Reload,
        "Where the history of metrics is kept.",
    ),
    Key::later(
        "history_cert_file",
        Kind::Path,
        "",
        Reload,
        "Certificate of the history port, PEM.",
    ),
    Key::later(
        "history_key_file",
        Kind::Path,
        "",
        Reload,
        "Private key of the history port, PEM.",
    ),
    Key::later(
        "history_ca_file",
        Kind::Path,
        "",
        Reload,
        "Authorities of the history port, PEM.",
    ),
    Key::later(
        "bridge",
        Kind::PortOrOff,
        "0",
        Restart,
        "Port of the metrics of other exporters.",
    ),
    Key::later(
        "bridge_endpoints",
        Kind::List,
        "",
        Reload,
        "The other exporters, `host:port` each.",
    ),
    Key::later(
        "bridge_cache_max_age",
        ANY_DURATION,
        "5m",
        Reload,
        "How long the metrics of other exporters are served again.",
    ),
    Key::later(
        "bridge_cache_max_size",
        Kind::Size,
        "10M",
        Restart,
        "Metrics of other exporters larger than this are not kept.",
    ),
    Key::later(
        "bridge_json",
        Kind::PortOrOff,
        "0",
        Restart,
        "Port of the metrics of other exporters as JSON.",
    ),
    Key::later(
        "bridge_json_cache_max_size",
        Kind::Size,
        "10M",
        Restart,
        "JSON of other exporters larger than this is not kept.",
    ),
    Key::later(
        "bridge_history",
        Kind::PortOrOff,
        "0",
        Restart,
        "Port of the history of metrics of other exporters.",
    ),
    Key::later(
        "bridge_history_interval",
        ANY_DURATION,
        "0",
        Reload,
        "How often metrics of other exporters are kept in the history.",
    ),
    Key::later(
        "bridge_history_retention",
        ANY_DURATION,
        "0",
        Reload,
        "How long metrics of other exporters are kept in the history.",
    ),
    Key::later(
        "bridge_history_backend",
        Kind::Text,
        "sqlite",
        Restart,
        "What keeps the history of metrics of other exporters.",
    ),
    Key::later(
        "bridge_history_path",
        Kind::Path,
        "",
        Reload,
        "Where the history of metrics of other exporters is kept.",
    ),
    Key::later("alerts", Kind::Bool, "off", Reload, "Evaluate alerts."),
    Key::later(
        "alerts_path",
        Kind::Path,
        "",
        Reload,
        "File of your own alerts.",
    ),
    Key::later(
        "console",
        Kind::PortOrOff,
        "0",
        Restart,
        "Port of the web console.",
    ),
];
