//! The second step of a reconcile: from a resource and what it names to a target. Pure; what CEL
//! has checked is checked again where something depends on it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::refusal::{Refusal, RefusalReason as Reason};
use super::resolve::Material;
use super::resource::{Mode, PostgresTarget, Tls};
use super::settings::Settings;
use crate::catalog::{Catalog, ColumnKind, OwnMetrics};
use crate::model::{glob, is_local};
use crate::targets::{
    Address, ClientTls, DatabaseChoice, Origin, Target, Tenure, Timeouts, TlsMode,
};

/// Labels that samples have beside those of the catalogue.
pub(super) const OWN_LABELS: [&str; 10] = [
    "server",
    "database",
    "le",
    "quantile",
    "version",
    "minor_version",
    "extension",
    "comment",
    "reason",
    "collector",
];

/// What a resource is checked against, beside itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub settings: &'a Settings,
    /// Whose families a target's own metrics may not contradict.
    pub catalog: &'a Arc<Catalog>,
    /// The catalogue's labels, which a target may not set.
    pub labels: &'a BTreeSet<String>,
    /// Names of the servers of the file.
    pub taken: &'a BTreeSet<String>,
    /// How long targets may be served.
    pub tenure: &'a Tenure,
}

/// The names that columns of a catalogue give to labels.
pub(super) fn labels_of(catalog: &Catalog) -> BTreeSet<String> {
    let queries = catalog.metrics.iter().flat_map(|metric| &metric.queries);
    queries
        .flat_map(|query| &query.columns)
        .filter(|column| column.kind == ColumnKind::Label)
        .map(|column| column.name.clone())
        .collect()
}

/// The value of the label `server`.
pub(super) fn server_name(resource: &PostgresTarget) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (namespace, name) = (&resource.metadata.namespace, &resource.metadata.name);
    format!("{}/{}", part(namespace), part(name))
}

/// Makes the target.
///
/// # Errors
/// What is wrong with the resource or what it names, and what to do.
pub(super) fn validate(
    resource: &PostgresTarget,
    mut material: Material,
    around: Surroundings<'_>,
) -> Result<Target, Refusal> {
    let spec = &resource.spec;
    let settings = around.settings;
    let name = server_name(resource);
    if around.taken.contains(&name) {
        return Err(Refusal::new(
            Reason::DuplicateServer,
            format!("a section of pgexporter.conf is called {name} as well; rename one of them"),
        ));
    }
    host(&spec.host, settings)?;
    if spec.port == 0 || spec.database.is_empty() || spec.database.contains('\0') {
        let message = "port takes 1 to 65535, and database the name of one";
        return Err(Refusal::new(Reason::InvalidSpec, message));
    }
    labels(resource, around.labels)?;
    let metrics = metrics(resource, std::mem::take(&mut material.metrics), around)?;
    let mut collectors = settings.collectors.clone();
    if !spec.collectors.include.is_empty() {
        collectors.include.clone_from(&spec.collectors.include);
    }
    collectors.exclude.extend(spec.collectors.exclude.clone());
    if spec.extensions.is_some() {
        collectors.extensions.clone_from(&spec.extensions);
    }
    Ok(Target {
        name,
        origin: Origin::Kubernetes,
        address: Address::Tcp {
            host: spec.host.clone(),
            port: spec.port,
        },
        allow_local: settings.allow_local_hosts,
        user: material.user.clone(),
        password: material.password.clone(),
        database: spec.database.clone(),
        tls: tls(spec.tls.as_ref(), &spec.host, material)?,
        databases: DatabaseChoice {
            include: spec.databases.include.clone(),
            exclude: spec.databases.exclude.clone(),
        },
        collectors,
        labels: spec.labels.clone().into_iter().collect(),
        timeouts: timeouts(resource, settings.timeouts)?,
        keep_session: settings.keep_session,
        session_databases: settings.session_databases,
        socket: settings.socket,
        metrics,
        sample_limit: usize::try_from(spec.sample_limit).ok(),
        limits: match spec.bytes_limit {
            Some(limit) => settings
                .limits
                .with_samples(usize::try_from(limit).unwrap_or(usize::MAX)),
            None => settings.limits,
        },
        tenure: around.tenure.clone(),
    })
}

/// Reads the target's own metrics, and tries them with the catalogue.
fn metrics(
    resource: &PostgresTarget,
    sources: Vec<(String, String)>,
    around: Surroundings<'_>,
) -> Result<Option<Arc<OwnMetrics>>, Refusal> {
    if sources.is_empty() {
        return Ok(None);
    }
    let refuse = |message: String| Refusal::new(Reason::InvalidMetrics, message);
    let own = OwnMetrics::parse(sources, around.settings.timeouts.query)
        .map_err(|error| refuse(error.to_string()))?;
    own.over(around.catalog)
        .map_err(|error| refuse(error.to_string()))?;
    let labels = &resource.spec.labels;
    if let Some(label) = own.labels().find(|label| labels.contains_key(*label)) {
        return Err(refuse(format!(
            "the label {label} is set by spec.labels and by a column of your metrics as well; \
             rename one of them"
        )));
    }
    Ok(Some(Arc::new(own)))
}

fn host(host: &str, settings: &Settings) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(Reason::InvalidHost, message));
    let address = host.parse::<IpAddr>().ok();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if host.is_empty() || (address.is_none() && !host.chars().all(plain)) {
        return refuse("host takes a DNS name or an address alone".to_owned());
    }
    let local = address.is_some_and(is_local)
        || host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
    if local && !settings.allow_local_hosts {
        return refuse(format!(
            "{host} is the exporter's own pod or node, which a target may not name; give the \
             server's Service or address (or set kubernetes_allow_local_hosts = on for all)"
        ));
    }
    let allowed = &settings.allowed_hosts;
    // Names are the same in small and capital letters, and with the dot of the root at their end.
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let matches = |pattern: &String| glob(plain(pattern).as_bytes(), plain(host).as_bytes());
    if !allowed.is_empty() && !allowed.iter().any(matches) {
        return refuse(format!(
            "kubernetes_allowed_hosts does not let targets name {host}; it takes {}",
            allowed.join(", ")
        ));
    }
    Ok(())
}

fn labels(resource: &PostgresTarget, taken: &BTreeSet<String>) -> Result<(), Refusal> {
    for name in resource.spec.labels.keys() {
        let first = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let why = if !first || !plain {
            "has letters, digits and _ only, and begins with no digit"
        } else if taken.contains(name)
            || OWN_LABELS.contains(&name.as_str())
            || name.starts_with("__")
        {
            "is set by the exporter itself; choose another name"
        } else {
            continue;
        };
        return Err(Refusal::new(
            Reason::InvalidLabels,
            format!("the label {name} {why}"),
        ));
    }
    Ok(())
}

fn tls(tls: Option<&Tls>, host: &str, material: Material) -> Result<ClientTls, Refusal> {
    let refuse = |message: String| Refusal::new(Reason::InvalidTls, message);
    let mode = match tls.and_then(|tls| tls.mode) {
        Some(Mode::Disable) => TlsMode::Disable,
        Some(Mode::Prefer) => TlsMode::Prefer,
        Some(Mode::Require) => TlsMode::Require,
        Some(Mode::VerifyCa) => TlsMode::VerifyCa,
        Some(Mode::VerifyFull) => TlsMode::VerifyFull,
        None if material.ca.is_some() => TlsMode::VerifyFull,
        None => TlsMode::Prefer,
    };
    let alone = |ca_pem, client| ClientTls {
        mode: TlsMode::VerifyCa,
        ca_pem,
        client,
        server_name: None,
    };
    let client = match material.client {
        Some((chain, key, place)) => {
            // Beside any authority, so that the message names what is wrong.
            let checked = ClientTls {
                mode: TlsMode::Require,
                ..alone(None, Some((chain.clone(), key.clone())))
            };
            checked
                .config()
                .map_err(|error| refuse(format!("{place}: {error}")))?;
            Some((chain, key))
        }
        None => None,
    };
    let ca_pem = match material.ca {
        Some((pem, place)) => {
            alone(Some(pem.clone()), None)
                .config()
                .map_err(|error| refuse(format!("{place}: {error}")))?;
            Some(pem)
        }
        None => None,
    };
    let made = ClientTls {
        mode,
        ca_pem,
        client,
        server_name: tls.and_then(|tls| tls.server_name.clone()),
    };
    made.config().map_err(|error| refuse(error.to_string()))?;
    if mode == TlsMode::VerifyFull {
        made.name(host).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(made)
}

fn timeouts(resource: &PostgresTarget, limits: Timeouts) -> Result<Timeouts, Refusal> {
    let Some(given) = &resource.spec.timeouts else {
        return Ok(limits);
    };
    let capped = |name: &str, given: &Option<String>, limit: Duration| match given {
        None => Ok(limit),
        Some(text) => duration(text).map(|one| one.min(limit)).ok_or_else(|| {
            let message = format!("timeouts.{name} = {text}: give a number with ms, s or m");
            Refusal::new(Reason::InvalidSpec, message)
        }),
    };
    Ok(Timeouts {
        connect: capped("connect", &given.connect, limits.connect)?,
        query: capped("query", &given.query, limits.query)?,
        lock: capped("lock", &given.lock, limits.lock)?,
    })
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_millis)
}
