//! `pgexporter-cli check --offline`: whether the exporter would start with these files.
//!
//! In go the paths of the command line; out come all problems, one a line on standard error, or a
//! line that says what was found.

use std::io::{self, Write};

use super::arguments::{Check, CliOptions};
use super::error::CliError;
use crate::targets::{LoadErrors, Loaded, Sources};

/// Reads the files.
///
/// # Errors
/// Something is wrong with them.
pub(super) fn check_files(options: &CliOptions, check: &Check) -> Result<(), CliError> {
    let sources = Sources {
        config: options.config.clone(),
        directory: check.directory.clone(),
        users: check.users.clone(),
        admins: check.admins.clone(),
        metrics: check.metrics.clone(),
        collectors: Vec::new(),
    };
    let loaded = load_files(&sources).map_err(|errors| CliError::Refused(errors.lines()))?;
    // A closed pipe is no failure: the exit status has the result.
    for notice in &loaded.notices {
        let _ = writeln!(io::stderr(), "pgexporter-cli: {notice}");
    }
    let _ = writeln!(io::stdout(), "{}", summary(&loaded));
    Ok(())
}

fn load_files(sources: &Sources) -> Result<Loaded, LoadErrors> {
    sources.load(sources.configuration()?)
}

fn summary(loaded: &Loaded) -> String {
    let own = loaded.catalog.metrics.iter().filter(|one| !one.builtin);
    let tls = match loaded.metrics_tls {
        Some(_) => "with TLS",
        None => "without TLS",
    };
    format!(
        "{}: good: servers: {}; queries of your own: {}; metrics on port {} {tls}",
        loaded.configuration.path.display(),
        loaded.targets.len(),
        own.count(),
        loaded.configuration.main.metrics,
    )
}
