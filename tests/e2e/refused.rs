//! What a team gets wrong is said where the team looks.

use crate::scene::{Scene, scene};

#[test]
#[ignore = "takes a cluster: make e2e"]
fn a_wrong_target_is_refused_and_a_broken_secret_is_a_condition_and_an_event() {
    let Some(scene) = scene() else { return };
    let target = |port: &str, secret: &str| {
        format!(
            "apiVersion: pgexporter.io/v1alpha1
kind: PostgresTarget
metadata: {{name: wrong, namespace: shop}}
spec:
  host: orders-rw.shop.svc
  port: {port}
  credentials: {{secretRef: {{name: {secret}}}}}
"
        )
    };
    let refused = scene
        .cluster
        .try_apply(&target("70000", "none"))
        .unwrap_err();
    assert!(refused.contains("spec.port"), "{refused}");
    assert!(refused.contains("65535"), "{refused}");
    assert!(scene.cluster.get("pgt", "shop", "wrong").is_none());

    // A Secret without the password.
    scene.cluster.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: broken, namespace: shop}\n\
         stringData: {username: monitor}\n",
    );
    scene.cluster.apply(&target("5432", "broken"));
    let accepted = || scene.condition("shop", "wrong", "Accepted");
    assert!(
        Scene::soon(|| accepted()[1] == "SecretKeyMissing"),
        "{:?}",
        accepted()
    );
    let [status, _, message] = accepted();
    assert_eq!(status, "False");
    assert!(
        message.contains("broken") && message.contains("password"),
        "{message}"
    );
    let events = || {
        scene.cluster.kubectl(&[
            "get",
            "events",
            "-n",
            "shop",
            "-o",
            "jsonpath={range .items[?(@.regarding.name==\"wrong\")]}{.reason} {.note}{end}\
             {range .items[?(@.involvedObject.name==\"wrong\")]}{.reason} {.message}{end}",
        ])
    };
    assert!(
        Scene::soon(|| events().contains("SecretKeyMissing")),
        "{}",
        events()
    );

    // Mended, it counts without more.
    scene.cluster.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: broken, namespace: shop}\n\
         stringData: {username: monitor, password: \"of orders, at first\"}\n",
    );
    // The same server twice is no trouble of the Secret's any more.
    assert!(
        Scene::soon(|| accepted()[1] != "SecretKeyMissing"),
        "{:?}",
        accepted()
    );
    scene
        .cluster
        .kubectl(&["delete", "-n", "shop", "pgt/wrong", "secret/broken"]);
    scene.is_whole();
}
