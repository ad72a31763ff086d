//! The chart installs where pods may do nothing but run.

use crate::scene::{HOME, READY, Scene, scene};

#[test]
#[ignore = "takes a cluster: make e2e"]
fn the_chart_is_ready_within_half_a_minute_in_a_namespace_of_restricted_pods() {
    let Some(scene) = scene() else { return };
    assert!(
        scene.installed_after <= READY,
        "{:?}",
        scene.installed_after
    );
    assert_eq!(scene.own_pods().len(), 1);
    // One server is away, and `helm test` names it.
    let away = || {
        let samples = scene.scrape().ok()?;
        samples.value(
            "pgexporter_postgresql_active",
            &[("server", "shop/archive")],
        )
    };
    assert!(Scene::soon(|| away() == Some(0.0)), "{:?}", away());
    let said = scene.helm_test().unwrap_err();
    assert!(said.contains("down: shop/archive;"), "{said}");
    // That the namespace enforces it: a pod that asks for nothing special is refused.
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: careless, namespace: {HOME}}}\n\
         spec: {{containers: [{{name: one, image: none}}]}}\n"
    );
    let refused = scene.cluster.try_apply(&pod).unwrap_err();
    assert!(
        refused.contains("violates PodSecurity \"restricted"),
        "{refused}"
    );
    scene.is_whole();
}
