//! Every family of the catalogue, on every major version: by name, label set and type, and with
//! the values that the test itself made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "catalog/databases.rs"]
mod databases;
#[path = "catalog/families.rs"]
mod families;
#[path = "catalog/lint.rs"]
mod lint;
#[path = "catalog/scene.rs"]
mod scene;
#[path = "catalog/settings.rs"]
mod settings;
#[path = "catalog/truth.rs"]
mod truth;

use scene::Scene;
use support::Exporter;

fn everything_is_there_and_right(major: u32) {
    let scene = Scene::start(major);
    let exporter = Exporter::on(&[("primary", &scene.primary), ("replica", &scene.replica)]);
    let (body, samples) = scene.scrape(&exporter);
    let mut wrong = families::check(&samples, major);
    wrong.extend(truth::of_the_scene(&scene, &samples));
    wrong.extend(settings::of_the_settings(&scene, &samples));
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), exporter.log());
    lint::assert_clean(&body);
    drop(exporter);

    let exporter = Exporter::builder()
        .server_as("primary", &scene.primary, "mon", None)
        .start();
    let wrong = databases::of_a_monitor(&exporter.metrics(), major);
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), exporter.log());
}

#[test]
fn every_family_of_postgresql_13_is_there_with_its_labels_type_and_value() {
    everything_is_there_and_right(13);
}

#[test]
fn every_family_of_postgresql_14_is_there_with_its_labels_type_and_value() {
    everything_is_there_and_right(14);
}

#[test]
fn every_family_of_postgresql_15_is_there_with_its_labels_type_and_value() {
    everything_is_there_and_right(15);
}

#[test]
fn every_family_of_postgresql_16_is_there_with_its_labels_type_and_value() {
    everything_is_there_and_right(16);
}

#[test]
fn every_family_of_postgresql_17_is_there_with_its_labels_type_and_value() {
    everything_is_there_and_right(17);
}

#[test]
fn every_family_of_postgresql_18_is_there_with_its_labels_type_and_value() {
    everything_is_there_and_right(18);
}

#[test]
fn the_contract_holds_the_inherited_families_and_the_built_in_catalogue_no_other() {
    let expected = families::of(None);
    assert_eq!(expected.len(), 253);
    let catalog = pgexporter::catalog::load(&[]).expect("the built-in catalogue is sound");
    let wrong: Vec<String> = catalog
        .families
        .iter()
        .filter(|family| {
            !expected.iter().any(|one| {
                one.name == family.name
                    && one.kind == family.kind.as_str()
                    && one.collector == family.collector
            })
        })
        .map(|family| format!("{}, {}", family.name, family.source))
        .collect();
    assert!(wrong.is_empty(), "not in the contract: {wrong:#?}");
    assert_eq!(catalog.families.len(), expected.len());
}

#[test]
fn what_cannot_be_filled_here_cannot_be_asked_for_at_the_server_either() {
    let server = support::Postgres::start(18);
    let refused = support::client::text(
        &server.config("postgres"),
        "SELECT * FROM pg_catalog.pg_shmem_allocations_numa",
    )
    .expect_err("NUMA is to be had: take its families off the list of what cannot be filled");
    let said = support::client::describe(&refused);
    assert!(said.contains("libnuma"), "{said}");
    for (name, reason) in families::UNFILLED {
        assert!(
            families::of(Some(18))
                .iter()
                .any(|family| family.name == name),
            "{name}, {reason}"
        );
    }
}
