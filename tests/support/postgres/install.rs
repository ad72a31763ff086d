//! What a server is started from: the installed programs, and a data folder made by initdb once a
//! version and encoding, of which each server gets a copy.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use super::super::downloads::{self, run};
use super::super::keeper::Keeper;
use super::super::{account, files};

/// The installation folder of a major version, reachable for the user who runs the servers.
pub(super) fn server(major: u32) -> Result<PathBuf> {
    let installed = downloads::postgres(major)?;
    if account::reaches(&installed) {
        return Ok(installed);
    }
    // Root's cache folder is closed to the user whom root drops to. A copy of hard links for the
    // life of this process is not; it takes 50 ms and no space.
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    if copies.is_none() {
        *copies = Some(Copies {
            keeper: Keeper::new()?,
            made: HashMap::new(),
        });
    }
    let Some(Copies { keeper, made }) = copies.as_mut() else {
        bail!("just made")
    };
    if let Some(copy) = made.get(&major) {
        return Ok(copy.clone());
    }
    let copy = keeper.path().join(major.to_string());
    files::link(&installed, &copy).context("cannot copy the server's programs")?;
    made.insert(major, copy.clone());
    Ok(copy)
}

/// Statics are never dropped, but the keeper's shell notices the end of the process.
static COPIES: Mutex<Option<Copies>> = Mutex::new(None);

/// Removes the copies now, for a program that says at its end that all is gone. The next server
/// makes them anew; none may be running.
pub fn release() {
    drop(COPIES.lock().unwrap_or_else(PoisonError::into_inner).take());
}

struct Copies {
    keeper: Keeper,
    made: HashMap<u32, PathBuf>,
}

/// A data folder as initdb leaves it, to be copied.
pub(super) fn template(major: u32, encoding: &str) -> Result<PathBuf> {
    let key = format!("data-{}-{encoding}-checksums", downloads::version(major)?);
    downloads::entry(&key, |place| {
        let installed = server(major)?;
        let keeper = Keeper::for_data()?;
        let made = keeper.path().join("data");
        let mut initdb = account::command(&installed.join("bin/initdb"));
        environment(&mut initdb);
        run(initdb
            .arg("-D")
            .arg(&made)
            .args(["-U", super::SUPERUSER, "--auth=trust", "--no-sync"])
            // Checksums are the default since 18.
            .args(["--locale=C", "--data-checksums", "-E", encoding])
            .current_dir(keeper.path()))?;
        Ok(files::copy(&made, &place.join("data"), &|_| false)?)
    })
    .map(|place| place.join("data"))
}

/// Runs one statement in single-user mode, on a data folder that no server uses.
pub(super) fn single_user(major: u32, data: &Path, sql: &str) -> Result<()> {
    let input = data.with_extension("sql");
    fs::write(&input, format!("{sql}\n"))?;
    let mut command = account::command(&server(major)?.join("bin/postgres"));
    environment(&mut command);
    let output = command
        .args(["--single", "-F", "-D"])
        .arg(data)
        .arg("postgres")
        .current_dir(data)
        .stdin(fs::File::open(&input)?)
        .output();
    fs::remove_file(&input)?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("ERROR") {
        bail!("single-user mode failed: {said}");
    }
    Ok(())
}

/// Nothing of the developer's own environment may steer a test server.
pub(super) fn environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env_remove("LANGUAGE");
}
