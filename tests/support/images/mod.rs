//! Container images: ours, built from the `Dockerfile` as it is, and those that the pods of the
//! tests beside it run. No registry of images is asked: what the `Dockerfile` is based on is made
//! of Debian's packages, and so is the rest.
//!
//! An image is an archive as `docker save` writes it, in the cache folder, and any cluster can
//! load it.

mod archive;
mod bases;
mod buildah;
mod pods;

use std::path::PathBuf;

use anyhow::Result;

pub use buildah::{Buildah, Built};

/// The name of our image in the tests.
pub const EXPORTER: &str = "localhost/pgexporter:e2e";
/// The image of PostgreSQL of a major version.
pub fn postgres(major: u32) -> String {
    format!("localhost/postgres:{major}")
}
/// Prometheus 3.
pub const PROMETHEUS: &str = "localhost/prometheus:e2e";
/// What the Prometheus operator puts beside Prometheus.
pub const CONFIG_RELOADER: &str = "localhost/prometheus-config-reloader:e2e";
/// What holds a pod's namespaces.
pub const PAUSE: &str = "localhost/pause:e2e";

/// The archives of what every pod takes, and of the databases.
///
/// # Errors
/// One is not in the cache and cannot be made.
pub fn databases() -> Result<Vec<PathBuf>> {
    let mut archives = vec![pods::pause()?];
    for major in MAJORS {
        archives.push(pods::postgres(major)?);
    }
    Ok(archives)
}

/// The archives of Prometheus and what its operator puts beside it.
///
/// # Errors
/// One is not in the cache and cannot be made.
pub fn monitoring() -> Result<Vec<PathBuf>> {
    Ok(vec![pods::prometheus()?, pods::config_reloader()?])
}

/// The PostgreSQL that run in pods.
pub const MAJORS: [u32; 2] = [17, 18];

/// What building our image needs beforehand.
///
/// # Errors
/// It cannot be downloaded or made.
pub fn prepare() -> Result<()> {
    bases::build()?;
    bases::runtime()?;
    buildah::programs().map(drop)
}
