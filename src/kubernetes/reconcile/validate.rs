//! The second step of a reconcile: from a resource and what it names to a target. Pure; what CEL
//! has checked is checked again where something depends on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::host::check_host;
use super::resolve::ResolvedRefs;
use crate::catalog::{Catalog, OwnMetrics};
use crate::kubernetes::api::resource::{TargetTlsMode, Tls};
use crate::kubernetes::api::{
    NAMESPACE, PostgresTarget, Rejection, RejectionReason as Reason, find_label_problem,
    is_of_prometheus, server_name,
};
use crate::kubernetes::settings::KubernetesSettings;
use crate::security::RequireAuth;
use crate::targets::{
    Address, ClientTls, DatabaseChoice, Origin, OwnershipTerm, Target, Timeouts, TlsMode,
};

/// What validation needs beside the resource.
#[derive(Debug)]
pub(crate) struct ValidationContext {
    pub settings: Arc<KubernetesSettings>,
    /// Whose families a target's own metrics may not contradict.
    pub catalog: Arc<Catalog>,
    /// The catalogue's labels, which a target may not set.
    pub labels: Arc<BTreeSet<String>>,
    /// Names of the servers of the file, which a resource may not have.
    pub taken: BTreeSet<String>,
    /// How long targets may be served.
    pub tenure: OwnershipTerm,
}

/// The result of a validation.
#[derive(Clone, Debug)]
pub(crate) struct Validated {
    pub target: Target,
    /// What is wrong with what the target adds, and was left out.
    pub left_out: Option<Rejection>,
}

/// Makes the target. What is wrong with what it adds (labels, metrics of its own) costs what it
/// adds; the rest is scraped.
///
/// # Errors
/// What is wrong with the resource or what it names, so that the server cannot be scraped, and what
/// to do.
pub(crate) fn validate(
    resource: &PostgresTarget,
    mut refs: ResolvedRefs,
    context: &ValidationContext,
) -> Result<Validated, Rejection> {
    let spec = &resource.spec;
    let settings = &context.settings;
    let name = server_name(resource);
    if context.taken.contains(&name) {
        return Err(Rejection::new(
            Reason::DuplicateServer,
            format!("a section of pgexporter.conf is called {name} as well; rename one of them"),
        ));
    }
    if spec.port == 0 || spec.database.is_empty() || spec.database.contains('\0') {
        let message = "port takes 1 to 65535, and database the name of one";
        return Err(Rejection::new(Reason::InvalidSpec, message));
    }
    check_host(&spec.host, spec.port, settings)?;
    let mut rejections = Vec::new();
    let labels = labels(resource, &context.labels, &mut rejections);
    let sources = std::mem::take(&mut refs.metrics);
    let metrics = metrics(sources, &labels, context, &mut rejections);
    let mut collectors = settings.collectors.clone();
    if !spec.collectors.include.is_empty() {
        collectors.include.clone_from(&spec.collectors.include);
    }
    collectors.exclude.extend(spec.collectors.exclude.clone());
    if spec.extensions.is_some() {
        collectors.extensions.clone_from(&spec.extensions);
    }
    let limit = usize::try_from(spec.sample_limit).unwrap_or(usize::MAX);
    let target = Target {
        name,
        origin: Origin::Kubernetes,
        address: Address::Tcp {
            host: spec.host.clone(),
            port: spec.port,
        },
        allow_local: settings.allow_local_hosts,
        user: refs.user.clone(),
        user_is_secret: spec.credentials.secret_ref.is_some(),
        password: refs.password.clone(),
        require_auth: require_auth(spec.require_auth.as_deref())?,
        database: spec.database.clone(),
        tls: tls(spec.tls.as_ref(), &spec.host, refs)?,
        databases: DatabaseChoice {
            include: spec.databases.include.clone(),
            exclude: spec.databases.exclude.clone(),
        },
        collectors,
        labels,
        timeouts: timeouts(resource, settings.timeouts)?,
        keep_session: settings.keep_session,
        session_databases: settings.session_databases,
        socket: settings.socket,
        metrics,
        sample_limit: Some(limit.min(settings.max_samples)),
        limits: match spec.bytes_limit {
            Some(limit) => settings
                .limits
                .with_samples(usize::try_from(limit).unwrap_or(usize::MAX)),
            None => settings.limits,
        },
        ownership_term: context.tenure.clone(),
    };
    let mut rejections = rejections.into_iter();
    let left_out = rejections
        .next()
        .map(|first| rejections.fold(first, |all, other| all.and(Some(other))));
    Ok(Validated { target, left_out })
}

fn require_auth(list: Option<&str>) -> Result<RequireAuth, Rejection> {
    RequireAuth::parse(list.unwrap_or_default().split(','))
        .map_err(|error| Rejection::new(Reason::InvalidSpec, format!("requireAuth: {error}")))
}

/// The labels of every sample: the namespace, which nobody else may set, and what the resource adds.
fn labels(
    resource: &PostgresTarget,
    taken: &BTreeSet<String>,
    rejections: &mut Vec<Rejection>,
) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let namespace = resource.metadata.namespace.clone().unwrap_or_default();
    // A metric of the exporter's own files may have it as a column.
    if !taken.contains(NAMESPACE) {
        labels.push((NAMESPACE.to_owned(), namespace));
    }
    for (name, value) in &resource.spec.labels {
        match find_label_problem(name, taken) {
            None => labels.push((name.clone(), value.clone())),
            Some(why) => rejections.push(Rejection::new(
                Reason::InvalidLabels,
                format!("the label {name} {why}"),
            )),
        }
    }
    labels
}

/// Reads the target's own metrics: each source that is right by itself and beside the others.
fn metrics(
    sources: Vec<Result<(String, String), Rejection>>,
    labels: &[(String, String)],
    context: &ValidationContext,
    rejections: &mut Vec<Rejection>,
) -> Option<Arc<OwnMetrics>> {
    let (mut good, mut own) = (Vec::new(), None);
    let read: Vec<(String, String)> = sources
        .into_iter()
        .filter_map(|source| source.map_err(|rejection| rejections.push(rejection)).ok())
        .collect();
    // Nearly always all of them are right.
    if !read.is_empty()
        && let Ok(all) = checked(read.clone(), labels, context)
    {
        return Some(Arc::new(all));
    }
    for source in read {
        good.push(source);
        match checked(good.clone(), labels, context) {
            Ok(all) => own = Some(Arc::new(all)),
            Err(rejection) => {
                rejections.push(rejection);
                good.pop();
            }
        }
    }
    own
}

fn checked(
    sources: Vec<(String, String)>,
    labels: &[(String, String)],
    context: &ValidationContext,
) -> Result<OwnMetrics, Rejection> {
    let refuse = |message: String| Rejection::new(Reason::InvalidMetrics, message);
    let own = OwnMetrics::parse(sources, context.settings.timeouts.query)
        .map_err(|error| refuse(error.to_string()))?;
    own.over(&context.catalog)
        .map_err(|error| refuse(error.to_string()))?;
    if let Some(label) = own.labels().find(|label| is_of_prometheus(label)) {
        return Err(refuse(format!(
            "the label {label} is set by Prometheus or for it; rename the column"
        )));
    }
    if let Some(label) = own
        .labels()
        .find(|label| labels.iter().any(|(name, _)| name == label))
    {
        return Err(refuse(format!(
            "the label {label} is set by spec.labels and by a column of your metrics as well; \
             rename one of them"
        )));
    }
    Ok(own)
}

fn tls(tls: Option<&Tls>, host: &str, refs: ResolvedRefs) -> Result<ClientTls, Rejection> {
    let refuse = |message: String| Rejection::new(Reason::InvalidTls, message);
    let mode = match tls.and_then(|tls| tls.mode) {
        Some(TargetTlsMode::Disable) => TlsMode::Disable,
        Some(TargetTlsMode::Prefer) => TlsMode::Prefer,
        Some(TargetTlsMode::Require) => TlsMode::Require,
        Some(TargetTlsMode::VerifyCa) => TlsMode::VerifyCa,
        Some(TargetTlsMode::VerifyFull) => TlsMode::VerifyFull,
        None if refs.ca.is_some() => TlsMode::VerifyFull,
        None => TlsMode::Prefer,
    };
    let alone = |ca_pem, client| ClientTls {
        mode: TlsMode::VerifyCa,
        ca_pem,
        client,
        server_name: None,
    };
    let client = match refs.client {
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
    let ca_pem = match refs.ca {
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

fn timeouts(resource: &PostgresTarget, limits: Timeouts) -> Result<Timeouts, Rejection> {
    let Some(given) = &resource.spec.timeouts else {
        return Ok(limits);
    };
    let capped = |name: &str, given: &Option<String>, limit: Duration| match given {
        None => Ok(limit),
        Some(text) => duration(text).map(|one| one.min(limit)).ok_or_else(|| {
            let message = format!("timeouts.{name}: give a number with ms, s or m");
            Rejection::new(Reason::InvalidSpec, message)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(spec: serde_json::Value, metrics: &[&str]) -> Result<Validated, Rejection> {
        let mut resource: PostgresTarget = serde_json::from_value(json!({
            "apiVersion": "pgexporter.io/v1alpha1",
            "kind": "PostgresTarget",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"host": "orders-rw.shop.svc", "credentials": {"username": "monitor"}},
        }))
        .unwrap();
        let mut whole = serde_json::to_value(&resource.spec).unwrap();
        for (name, value) in spec.as_object().unwrap() {
            whole[name] = value.clone();
        }
        resource.spec = serde_json::from_value(whole).unwrap();
        let sources = metrics.iter().enumerate();
        let refs = ResolvedRefs {
            user: "monitor".to_owned(),
            metrics: sources
                .map(|(at, text)| Ok((format!("ConfigMap {at}"), (*text).to_owned())))
                .collect(),
            ..ResolvedRefs::default()
        };
        let context = ValidationContext {
            settings: Arc::default(),
            catalog: Arc::default(),
            labels: Arc::new(BTreeSet::from(["datname".to_owned()])),
            taken: BTreeSet::new(),
            tenure: OwnershipTerm::unlimited(),
        };
        validate(&resource, refs, &context)
    }

    #[test]
    fn labels_of_others_are_left_out_and_the_namespace_is_the_targets_own() {
        // Resources of an older schema may have them.
        let labels = json!({"namespace": "prod", "job": "x", "exported_pod": "y", "datname": "z", "team": "shop"});
        let made = made(json!({"labels": labels, "sampleLimit": 900_000}), &[]).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            made.target.labels,
            [pair("namespace", "shop"), pair("team", "shop")]
        );
        assert_eq!(made.target.sample_limit, Some(1_000));
        let rejections = made.left_out.unwrap();
        assert_eq!(rejections.reason, Reason::InvalidLabels);
        for name in ["namespace", "job", "exported_pod", "datname"] {
            assert!(rejections.message.contains(name), "{rejections}");
        }
    }

    #[test]
    fn sources_of_metrics_that_are_wrong_leave_the_others() {
        let text = |tag: &str, label: &str, kind: &str| {
            format!(
                "- {{tag: {tag}, query: SELECT 1, columns: [{{name: {label}, type: label}}, {{type: \
                 {kind}}}]}}\n"
            )
        };
        let (one, clash) = (text("a", "x", "gauge"), text("a", "x", "counter"));
        let (sly, two) = (text("c", "instance", "gauge"), text("b", "x", "gauge"));
        let made = made(json!({}), &[&one, &clash, &sly, "[[[", &two]).unwrap();
        let own = made.target.metrics.unwrap();
        let names: Vec<&str> = own.families().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["pgexporter_a", "pgexporter_b"]);
        let rejections = made.left_out.unwrap().message;
        for words in [
            "tag a is defined twice",
            "the label instance",
            "ConfigMap 3",
        ] {
            assert!(rejections.contains(words), "{words}: {rejections}");
        }
    }

    #[test]
    fn a_place_that_a_target_may_not_have_refuses_it() {
        for spec in [
            json!({"host": "169.254.169.254"}),
            json!({"host": "64:ff9b::a9fe:a9fe"}),
            json!({"host": "LOCALHOST."}),
            json!({"host": "db.localhost"}),
            json!({"port": 443}),
        ] {
            let rejection = made(spec.clone(), &[]).unwrap_err();
            assert_eq!(rejection.reason, Reason::InvalidHost, "{spec}");
        }
        assert!(
            made(json!({"host": "10.0.0.1"}), &[])
                .unwrap()
                .left_out
                .is_none()
        );
    }
}
