//! Services as targets: one that is annotated is read as the resource that says the same.
//!
//! ```yaml
//! metadata:
//!   annotations:
//!     pgexporter.io/scrape: "true"
//!     pgexporter.io/secret: orders-monitor
//!     pgexporter.io/port: "5432"            # this is the default
//!     pgexporter.io/database: postgres      # this is the default
//! ```

use std::collections::BTreeMap;

use kube::core::ObjectMeta;

use crate::kubernetes::api::resource::{
    Credentials, CredentialsSecret, PostgresTargetSpec, default_database, default_password_key,
    default_port, default_sample_limit, default_username_key,
};
use crate::kubernetes::api::{PostgresTarget, Rejection, RejectionReason};

const SCRAPE: &str = "pgexporter.io/scrape";
const SECRET: &str = "pgexporter.io/secret";
const PORT: &str = "pgexporter.io/port";
const DATABASE: &str = "pgexporter.io/database";

/// The target that a Service asks for, and what is wrong with its annotations; `None` when it asks
/// for none.
pub(super) fn service_to_target(
    service: &ObjectMeta,
) -> Option<(PostgresTarget, Option<Rejection>)> {
    let none = BTreeMap::new();
    let annotations = service.annotations.as_ref().unwrap_or(&none);
    let (name, namespace) = (service.name.as_ref()?, service.namespace.as_ref()?);
    if annotations.get(SCRAPE).map(String::as_str) != Some("true") {
        return None;
    }
    let mut rejection = None;
    let mut wrong = |message: String| {
        rejection.get_or_insert_with(|| Rejection::new(RejectionReason::InvalidSpec, message));
    };
    let secret = annotations.get(SECRET).cloned().unwrap_or_default();
    if !is_object_name(&secret) {
        wrong(format!(
            "the annotation {SECRET} takes the name of a Secret in the Service's namespace, with \
             the keys username and password"
        ));
    }
    let port = match annotations.get(PORT) {
        None => default_port(),
        Some(text) => text
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .unwrap_or_else(|| {
                wrong(format!("the annotation {PORT} takes 1 to 65535"));
                default_port()
            }),
    };
    let database = annotations.get(DATABASE).cloned();
    let database = database.unwrap_or_else(default_database);
    if database.is_empty() || database.len() > 63 {
        wrong(format!(
            "the annotation {DATABASE} takes the name of a database"
        ));
    }
    let spec = PostgresTargetSpec {
        host: format!("{name}.{namespace}.svc"),
        port,
        database,
        credentials: Credentials {
            secret_ref: Some(CredentialsSecret {
                name: secret,
                username_key: default_username_key(),
                password_key: default_password_key(),
            }),
            username: None,
        },
        tls: None,
        databases: Default::default(),
        collectors: Default::default(),
        extensions: None,
        metrics: Vec::new(),
        labels: BTreeMap::new(),
        timeouts: None,
        require_auth: None,
        sample_limit: default_sample_limit(),
        bytes_limit: None,
        paused: false,
    };
    let mut target = PostgresTarget::new(name, spec);
    target.metadata.namespace = Some(namespace.clone());
    target.metadata.uid.clone_from(&service.uid);
    target
        .metadata
        .creation_timestamp
        .clone_from(&service.creation_timestamp);
    Some((target, rejection))
}

fn is_object_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253 && name.chars().all(plain) && name.starts_with(ends) && name.ends_with(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(annotations: &[(&str, &str)]) -> ObjectMeta {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        ObjectMeta {
            name: Some("orders".to_owned()),
            namespace: Some("shop".to_owned()),
            uid: Some("1-2".to_owned()),
            annotations: Some(annotations.iter().map(pair).collect()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn an_annotated_service_is_the_target_of_its_name() {
        assert!(service_to_target(&service(&[])).is_none());
        assert!(service_to_target(&service(&[(SCRAPE, "yes"), (SECRET, "s")])).is_none());
        let all = [
            (SCRAPE, "true"),
            (SECRET, "s"),
            (PORT, "6432"),
            (DATABASE, "shop"),
        ];
        let (target, rejection) = service_to_target(&service(&all)).unwrap();
        assert_eq!(rejection, None);
        assert_eq!(target.spec.host, "orders.shop.svc");
        assert_eq!(
            (target.spec.port, target.spec.database.as_str()),
            (6432, "shop")
        );
        assert_eq!(target.spec.credentials.secret_ref.unwrap().name, "s");
        assert_eq!(target.metadata.uid.as_deref(), Some("1-2"));
    }

    #[test]
    fn a_wrong_annotation_is_said() {
        for (name, value) in [
            (SECRET, "../s"),
            (SECRET, ""),
            (PORT, "0"),
            (PORT, "x"),
            (DATABASE, ""),
        ] {
            let mut all = vec![(SCRAPE, "true"), (SECRET, "s")];
            all.retain(|(other, _)| *other != name);
            all.push((name, value));
            let (_, rejection) = service_to_target(&service(&all)).unwrap();
            assert!(rejection.unwrap().message.contains(name), "{name} {value}");
        }
    }
}
