//! Services as targets, where that is switched on.

use super::bed::*;
use super::support::exporter::can_name_hosts;
use super::support::*;

fn service(namespace: &str, name: &str, annotations: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  \
         annotations: {{{annotations}}}\nspec: {{ports: [{{port: 5432}}]}}\n"
    )
}

/// Removes all annotations that tests set.
fn bare(namespace: &str, name: &str) {
    let plain = "pgexporter.io/scrape-";
    api().kubectl(&["annotate", "service", name, "-n", namespace, plain]);
}

#[test]
fn an_annotated_service_is_a_target_until_its_annotation_is_gone() {
    let (server, namespace) = (server(), api().namespace("discover"));
    // The rights for one namespace, with those for discovery.
    let rights = api().kustomized(&namespace, "overlays/namespaced", &["discover"]);
    api().apply(&rights);
    api().apply(&secret(&namespace, "s", SECRET));
    let port = server.port();
    let asked = format!(
        "pgexporter.io/scrape: 'true', pgexporter.io/secret: s, pgexporter.io/port: '{port}'"
    );
    api().apply(&service(&namespace, "orders", &asked));
    api().apply(&service(
        &namespace,
        "silent",
        "other.example/scrape: 'true'",
    ));
    let twin = asked.clone();
    api().apply(&service(&namespace, "twin", &twin));
    api().apply(&target(&namespace, "twin", &at(&server, "s", "")));
    let wrong = "pgexporter.io/scrape: 'true', pgexporter.io/secret: s, pgexporter.io/port: none";
    api().apply(&service(&namespace, "wrong", wrong));
    let builder = exporter(api(), &namespace)
        .set("kubernetes_discover = services")
        .variable("KUBECONFIG", api().kubeconfig_for(&namespace, "pgexporter"));
    let named = can_name_hosts();
    let exporter = if named {
        let hosts = format!("127.0.0.1 localhost\n127.0.0.1 orders.{namespace}.svc\n");
        builder.hosts(&hosts).start()
    } else {
        builder.start()
    };
    let [orders, silent, twin, wrong] =
        ["orders", "silent", "twin", "wrong"].map(|name| format!("{namespace}/{name}"));
    if named {
        eventually_active(&exporter, &orders);
    } else {
        // Nobody resolves the name of a Service here.
        eventually("it is in the list", || {
            active(&exporter, &orders) == Some(0.0)
        });
    }
    let page = exporter.get("/").body;
    assert!(page.contains(&orders), "{page}");
    assert!(
        page.contains(&format!("orders.{namespace}.svc:{port}")),
        "{page}"
    );
    assert_eq!(active(&exporter, &silent), None);
    assert_eq!(active(&exporter, &wrong), Some(0.0));
    // The resource has the name, and is scraped once.
    eventually_active(&exporter, &twin);
    assert_eq!(
        of_server(&exporter.metrics(), "pgexporter_postgresql_active", &twin),
        1
    );
    let refused = |name: &str, reason: &str| {
        let all = events(api(), &namespace, name);
        all.iter()
            .any(|event| event["reason"] == reason && event["regarding"]["kind"] == "Service")
    };
    eventually("a wrong one is told", || refused("wrong", "InvalidSpec"));
    eventually("one that has no name left is told", || {
        refused("twin", "DuplicateServer")
    });
    // Without its Secret it is refused, as a resource is.
    api().kubectl(&["delete", "secret", "s", "-n", &namespace]);
    let not_accepted = || {
        let samples = exporter.metrics();
        of_server(&samples, "pgexporter_postgresql_not_accepted", &orders)
    };
    eventually("it is no longer scraped", || not_accepted() == 1);
    eventually("why is told", || refused("orders", "SecretNotFound"));
    api().apply(&secret(&namespace, "s", SECRET));
    eventually("it is back", || not_accepted() == 0);
    bare(&namespace, "orders");
    eventually("it is gone with its annotation", || {
        active(&exporter, &orders).is_none()
    });
    // The Service takes over where the resource goes.
    api().kubectl(&["delete", "pgt", "twin", "-n", &namespace]);
    let page = || exporter.get("/").body;
    eventually("the Service has the name", || {
        page().contains(&format!("twin.{namespace}.svc"))
    });
    assert!(!exporter.log().contains("Xyzzy"));
}

#[test]
fn services_are_not_looked_at_unless_that_is_switched_on() {
    let (server, namespace) = (server(), api().namespace("hidden"));
    api().apply(&secret(&namespace, "s", SECRET));
    let asked = "pgexporter.io/scrape: 'true', pgexporter.io/secret: s";
    api().apply(&service(&namespace, "orders", asked));
    api().apply(&target(&namespace, "db", &at(&server, "s", "")));
    let exporter = exporter(api(), &namespace).start();
    eventually_active(&exporter, &format!("{namespace}/db"));
    assert_eq!(active(&exporter, &format!("{namespace}/orders")), None);
    assert!(!exporter.get("/").body.contains("orders"));
}
