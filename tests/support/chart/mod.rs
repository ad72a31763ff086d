//! The parts of the chart that are generated: what comes in is the program (its resource
//! definition, its keys) and the comments of `values.yaml`; what goes out are files of
//! `charts/pgexporter`.

mod readme;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pgexporter::config::keys::{Effect, main_keys};

use super::monitoring;

/// The chart's folder.
pub fn folder() -> PathBuf {
    Path::new(crate::ROOT).join("charts/pgexporter")
}

/// Every generated file, with its text as it should be.
///
/// # Errors
/// A source cannot be read or is not what it should be.
pub fn generated() -> Result<Vec<(PathBuf, String)>> {
    let chart = folder();
    let read = |name: &str| {
        fs::read_to_string(chart.join(name)).with_context(|| format!("charts/pgexporter/{name}"))
    };
    let mut restart: Vec<&str> = main_keys()
        .filter(|key| key.effect == Effect::Restart)
        .map(|key| key.name)
        .collect();
    restart.sort_unstable();
    let mut files = vec![
        (
            chart.join("files/crds/postgrestargets.yaml"),
            pgexporter::kubernetes::crd_yaml()?,
        ),
        (
            chart.join("files/restart-keys.txt"),
            restart.join("\n") + "\n",
        ),
        (
            chart.join("values.schema.json"),
            schema::complete(&read("values.schema.json")?)?,
        ),
        (
            chart.join("README.md"),
            readme::page(&read("values.yaml")?)?,
        ),
        (
            Path::new(crate::ROOT).join("docs/examples/prometheus/alerts.rules"),
            monitoring::ALERTS.to_owned(),
        ),
    ];
    for dashboard in monitoring::dashboards::all()? {
        let name = format!("files/dashboards/{}.json", dashboard.name);
        files.push((chart.join(name), dashboard.json()));
    }
    Ok(files)
}

/// Writes every file that is not as it should be, and names it.
///
/// # Errors
/// As [`generated`], or a file cannot be written.
pub fn write() -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (path, text) in generated()? {
        if fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            fs::write(&path, text)?;
            written.push(path);
        }
    }
    Ok(written)
}
