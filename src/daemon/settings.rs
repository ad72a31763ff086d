//! What the configuration means for each room.

use std::sync::Arc;

use super::process::memory;
use crate::config::{Main, ManagementTls, port_ranges};
use crate::http;
use crate::kubernetes;
use crate::management;
use crate::scrape::ScrapeSettings;
use crate::security::tls::ListenerTls;
use crate::targets::{self, CollectorChoice, Loaded, SocketOptions};
use crate::telemetry::LogSettings;

/// Settings of the log.
pub(super) fn log(main: &Main) -> LogSettings {
    LogSettings {
        log_type: main.log_type,
        level: main.log_level,
        path: main.log_path.clone(),
        rotation_age: main.log_rotation_age,
        rotation_size: main.log_rotation_size,
        line_prefix: main.log_line_prefix.clone(),
        mode: main.log_mode,
        format: main.log_format,
    }
}

/// Settings of all scrapes.
pub(super) fn scrape(main: &Main) -> ScrapeSettings {
    ScrapeSettings {
        interval: main.collector_interval,
        query_text: main.query_text_length,
        label_value: main.label_value_length,
        memory: memory::samples(main.total_bytes_limit),
        cache_age: main.metrics_cache_max_age,
        cache_size: main.metrics_cache_max_size,
        session_max_age: main.session_max_age,
    }
}

/// Settings of the ports, with room for so many connections each.
pub(super) fn http(
    main: &Main,
    tls: Option<Arc<ListenerTls>>,
    connections: usize,
) -> Arc<http::HttpSettings> {
    Arc::new(http::HttpSettings {
        blocking_timeout: main.blocking_timeout,
        openmetrics: main.openmetrics,
        nodelay: main.nodelay,
        keep_alive: main.keep_alive,
        tls,
        max_connections: connections,
        ..http::HttpSettings::default()
    })
}

/// Settings of the management listeners, with room for so many connections each.
pub(super) fn management(
    loaded: &Loaded,
    connections: usize,
) -> Arc<management::ManagementSettings> {
    let main = &loaded.configuration.main;
    Arc::new(management::ManagementSettings {
        authentication_timeout: main.authentication_timeout,
        blocking_timeout: main.blocking_timeout,
        admin_verifiers: Arc::clone(&loaded.admin_verifiers),
        tls: loaded.management_tls.clone(),
        require_tls: main.management_tls == ManagementTls::Require,
        max_connections: connections,
    })
}

/// Settings of the servers of a cluster: as for those of the file.
pub(super) fn kubernetes(main: &Main) -> Arc<kubernetes::KubernetesSettings> {
    Arc::new(kubernetes::KubernetesSettings {
        timeouts: targets::timeouts(main),
        limits: targets::byte_limits(main),
        collectors: CollectorChoice {
            include: main.collectors.clone(),
            exclude: main.exclude_collectors.clone(),
            extensions: (!main.extensions.is_empty()).then(|| main.extensions.clone()),
        },
        keep_session: main.cache,
        session_databases: main.session_databases.max(1),
        socket: SocketOptions {
            nodelay: main.nodelay,
            keep_alive: main.keep_alive,
        },
        allow_local_hosts: main.kubernetes_allow_local_hosts,
        allowed_hosts: main.kubernetes_allowed_hosts.clone(),
        // The file was checked.
        allowed_ports: port_ranges(&main.kubernetes_allowed_ports).unwrap_or_default(),
        max_samples: main.kubernetes_max_samples_per_target,
        max_targets: main.kubernetes_max_targets_per_namespace,
    })
}
