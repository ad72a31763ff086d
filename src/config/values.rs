//! The configuration as a list of keys and texts, as `conf ls` and `conf get` show it.

use super::configuration::Configuration;
use super::keys::{main_keys, server_keys};
use super::set::split_key;

/// Every key that works with its value: `log_level` for the main section, `server.primary.port`
/// for a server's. A value is written as the file would hold it, without quotes; none is empty.
/// No key holds a secret.
#[must_use]
pub fn values(configuration: &Configuration) -> Vec<(String, String)> {
    let main = main_keys().filter_map(|key| {
        let place = key.place.as_ref()?;
        Some((
            key.name.to_owned(),
            (place.get)(&configuration.main).to_string(),
        ))
    });
    let servers = configuration.servers.iter().flat_map(|server| {
        server_keys().filter_map(move |key| {
            let place = key.place.as_ref()?;
            let name = format!("server.{}.{}", server.name, key.name);
            Some((name, (place.get)(server).to_string()))
        })
    });
    main.chain(servers).collect()
}

/// The value of one key as [`values`] names it; `pgexporter.log_level` is good for `log_level`.
/// `None` when there is no such key or server.
#[must_use]
pub fn get(configuration: &Configuration, key: &str) -> Option<String> {
    let (server, name) = split_key(key);
    if let Some(server) = server {
        let server = configuration
            .servers
            .iter()
            .find(|known| known.name == server)?;
        let place = server_keys()
            .find(|known| known.name == name)?
            .place
            .as_ref()?;
        return Some((place.get)(server).to_string());
    }
    let place = main_keys()
        .find(|known| known.name == name)?
        .place
        .as_ref()?;
    Some((place.get)(&configuration.main).to_string())
}
