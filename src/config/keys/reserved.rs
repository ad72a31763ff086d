//! The keys of `[pgexporter]` that are read and checked, and have no effect yet. A notice at start
//! says so.

use std::time::Duration;

use super::key::{Effect::Reload, Effect::Restart, Key};
use crate::config::configuration::Main;
use crate::config::value::{LONGEST, ValueKind};

const ANY_DURATION: ValueKind = ValueKind::Duration(Duration::ZERO, LONGEST);

pub(super) const KEYS: &[Key<Main>] = &[
    Key::reserved(
        "history",
        ValueKind::PortOrOff,
        "0",
        Restart,
        "Port of the history of metrics.",
    ),
    Key::reserved(
        "history_interval",
        ANY_DURATION,
        "0",
        Reload,
        "How often metrics are kept in the history.",
    ),
    Key::reserved(
        "history_retention",
        ANY_DURATION,
        "0",
        Reload,
        "How long metrics are kept in the history.",
    ),
    Key::reserved(
        "history_backend",
        ValueKind::Text,
        "sqlite",
        Restart,
        "What keeps the history of metrics.",
    ),
    Key::reserved(
        "history_path",
        ValueKind::Path,
        "",
        Reload,
        "Where the history of metrics is kept.",
    ),
    Key::reserved(
        "history_cert_file",
        ValueKind::Path,
        "",
        Reload,
        "Certificate of the history port, PEM.",
    ),
    Key::reserved(
        "history_key_file",
        ValueKind::Path,
        "",
        Reload,
        "Private key of the history port, PEM.",
    ),
    Key::reserved(
        "history_ca_file",
        ValueKind::Path,
        "",
        Reload,
        "Authorities of the history port, PEM.",
    ),
    Key::reserved(
        "bridge",
        ValueKind::PortOrOff,
        "0",
        Restart,
        "Port of the metrics of other exporters.",
    ),
    Key::reserved(
        "bridge_endpoints",
        ValueKind::List,
        "",
        Reload,
        "The other exporters, `host:port` each.",
    ),
    Key::reserved(
        "bridge_cache_max_age",
        ANY_DURATION,
        "5m",
        Reload,
        "How long the metrics of other exporters are served again.",
    ),
    Key::reserved(
        "bridge_cache_max_size",
        ValueKind::Size,
        "10M",
        Restart,
        "Metrics of other exporters larger than this are not kept.",
    ),
    Key::reserved(
        "bridge_json",
        ValueKind::PortOrOff,
        "0",
        Restart,
        "Port of the metrics of other exporters as JSON.",
    ),
    Key::reserved(
        "bridge_json_cache_max_size",
        ValueKind::Size,
        "10M",
        Restart,
        "JSON of other exporters larger than this is not kept.",
    ),
    Key::reserved(
        "bridge_history",
        ValueKind::PortOrOff,
        "0",
        Restart,
        "Port of the history of metrics of other exporters.",
    ),
    Key::reserved(
        "bridge_history_interval",
        ANY_DURATION,
        "0",
        Reload,
        "How often metrics of other exporters are kept in the history.",
    ),
    Key::reserved(
        "bridge_history_retention",
        ANY_DURATION,
        "0",
        Reload,
        "How long metrics of other exporters are kept in the history.",
    ),
    Key::reserved(
        "bridge_history_backend",
        ValueKind::Text,
        "sqlite",
        Restart,
        "What keeps the history of metrics of other exporters.",
    ),
    Key::reserved(
        "bridge_history_path",
        ValueKind::Path,
        "",
        Reload,
        "Where the history of metrics of other exporters is kept.",
    ),
    Key::reserved("alerts", ValueKind::Bool, "off", Reload, "Evaluate alerts."),
    Key::reserved(
        "alerts_path",
        ValueKind::Path,
        "",
        Reload,
        "File of your own alerts.",
    ),
    Key::reserved(
        "console",
        ValueKind::PortOrOff,
        "0",
        Restart,
        "Port of the web console.",
    ),
];
