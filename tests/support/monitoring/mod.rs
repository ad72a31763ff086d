//! What one looks at: the dashboards, made by a program that knows the catalogue, and the alerts.

pub mod dashboards;
mod grafana;
pub mod programs;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use pgexporter::catalog;
use pgexporter::kubernetes;
use pgexporter::scrape::Scraper;
use pgexporter::supervision;

/// The file of alerts, as the chart has it.
pub const ALERTS: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../charts/pgexporter/files/alerts.yaml"
));

/// One rule of the file of alerts.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Alert {
    pub alert: String,
    pub expr: String,
    #[serde(rename = "for")]
    pub wait: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// The alerts, in the order of the file.
///
/// # Errors
/// The file is not one of rules.
pub fn alerts() -> Result<Vec<Alert>> {
    #[derive(serde::Deserialize)]
    struct Group {
        rules: Vec<Alert>,
    }
    #[derive(serde::Deserialize)]
    struct File {
        groups: Vec<Group>,
    }
    let file: File = serde_yaml::from_str(ALERTS).context("alerts.yaml")?;
    Ok(file
        .groups
        .into_iter()
        .flat_map(|group| group.rules)
        .collect())
}

/// The names of all families: of the catalogue, and the exporter's own.
///
/// # Errors
/// The catalogue cannot be read.
pub fn families() -> Result<BTreeSet<String>> {
    let catalog = catalog::load(&[])?;
    let own = Scraper::default().overview();
    Ok(catalog
        .families
        .iter()
        .map(|family| family.name.clone())
        .chain(own.families.iter().map(|family| family.name.clone()))
        .chain(
            kubernetes::FAMILIES
                .iter()
                .chain(&supervision::FAMILIES)
                .map(|head| head.name.to_owned()),
        )
        .collect())
}

/// Refuses a query that asks for a family which does not exist. Settings are families of their
/// own, one for each that a server has, and are left to a real server.
///
/// # Errors
/// Names the family and the query.
pub fn check(query: &str, families: &BTreeSet<String>) -> Result<()> {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (at, _) in query.match_indices("pgexporter_") {
        if query[..at].chars().next_back().is_some_and(letter) {
            continue;
        }
        let name: String = query[at..].chars().take_while(|c| letter(*c)).collect();
        // A label of a family has the prefix too.
        let label = query[at + name.len()..]
            .trim_start()
            .starts_with(['=', '!']);
        let setting = name.starts_with("pgexporter_pg_settings_");
        let bare = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(&name);
        ensure!(
            label || setting || families.contains(&name) || families.contains(bare),
            "there is no family {name}, which is asked for in `{query}`"
        );
    }
    Ok(())
}
