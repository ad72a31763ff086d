//! Which hosts and ports a target may have. Pure. A name is checked here by its text; each connect
//! checks the addresses that it resolves to.

use std::net::IpAddr;

use crate::kubernetes::api::{Rejection, RejectionReason};
use crate::kubernetes::settings::KubernetesSettings;
use crate::model::{glob, is_local};

/// Checks host and port of a target.
///
/// # Errors
/// A target may not be there; says why and what to do.
pub(super) fn check_host(
    host: &str,
    port: u16,
    settings: &KubernetesSettings,
) -> Result<(), Rejection> {
    let refuse = |message: String| Err(Rejection::new(RejectionReason::InvalidHost, message));
    let address = host.parse::<IpAddr>().ok();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if host.is_empty() || (address.is_none() && !host.chars().all(plain)) {
        return refuse("host takes a DNS name or an address alone".to_owned());
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let local =
        address.is_some_and(is_local) || name == "localhost" || name.ends_with(".localhost");
    if local && !settings.allow_local_hosts {
        return refuse(format!(
            "{host} is the exporter's own pod or node, or no unicast address of a network, which a \
             target may not name; give the server's Service or address (or set \
             kubernetes_allow_local_hosts = on for all)"
        ));
    }
    let allowed = &settings.allowed_hosts;
    // Names are the same in small and capital letters, and with the dot of the root at their end.
    let plain = |pattern: &str| pattern.trim_end_matches('.').to_ascii_lowercase();
    let matches = |pattern: &String| glob(plain(pattern).as_bytes(), name.as_bytes());
    if !allowed.is_empty() && !allowed.iter().any(matches) {
        return refuse(format!(
            "kubernetes_allowed_hosts does not let targets name {host}; it takes {}",
            allowed.join(", ")
        ));
    }
    let ports = &settings.allowed_ports;
    let within = |(first, last): &(u16, u16)| (*first..=*last).contains(&port);
    if !ports.is_empty() && !ports.iter().any(within) {
        let ports: Vec<String> = ports.iter().map(range).collect();
        return refuse(format!(
            "kubernetes_allowed_ports does not let targets name port {port}; it takes {}",
            ports.join(", ")
        ));
    }
    Ok(())
}

fn range((first, last): &(u16, u16)) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}
