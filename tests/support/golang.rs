//! Programs that Go builds, once, into the cache folder.
//!
//! Each has a module below `kubernetes/go` whose `go.mod` names its version and whose `go.sum`
//! holds the checksums of all that goes into it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::downloads::run;

/// What is built.
#[derive(Clone, Copy, Debug)]
pub struct Build<'a> {
    /// Name and version, for people.
    pub what: &'a str,
    /// How long it takes on two cores, in words.
    pub duration: &'a str,
    /// The folder below `kubernetes/go`.
    pub module: &'a str,
    /// Variables that the linker sets, `-X name=value` each.
    pub variables: &'a str,
    /// Build tags, separated by commas.
    pub tags: &'a str,
    /// The packages; each becomes a program in the folder.
    pub packages: &'a [&'a str],
    /// What else helps when it cannot be built.
    pub hint: &'a str,
}

impl Build<'_> {
    /// Builds into `output`, a file or an existing folder; politely, since it takes minutes and
    /// whoever waits for it may want to do something else.
    ///
    /// # Errors
    /// With what Go said.
    pub fn build_into(&self, output: &Path) -> Result<()> {
        let what = self.what;
        let begin = Instant::now();
        eprintln!("{what}: building, once; {} on two cores", self.duration);
        run(Command::new("nice")
            .args(["-n", "10", "go", "build", "-p", "2", "-mod=readonly"])
            .args(["-trimpath", "-buildvcs=false", "-tags", self.tags])
            .arg("-ldflags")
            .arg(format!("-s -w {}", self.variables))
            .arg("-o")
            .arg(output)
            .args(self.packages)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env_remove("GOFLAGS")
            .current_dir(source(self.module)))
        .with_context(|| {
            format!(
                "{what} cannot be built: Go 1.26 (or newer) and a reachable module proxy are \
                 needed the first time{}",
                self.hint
            )
        })?;
        eprintln!("{what}: ready after {:.0} s", begin.elapsed().as_secs_f32());
        Ok(())
    }
}

/// The folder of the sources of a module that a module of ours depends on.
///
/// # Errors
/// It cannot be downloaded.
pub fn dependency(module: &str, path: &str) -> Result<PathBuf> {
    let output = Command::new("go")
        .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path])
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .current_dir(source(module))
        .output()
        .context("cannot run go: is it installed?")?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if folder.is_empty() {
        // Known, and not in the module cache yet.
        run(Command::new("go")
            .args(["mod", "download", path])
            .env("GOWORK", "off")
            .env_remove("GOFLAGS")
            .current_dir(source(module)))?;
        return dependency(module, path);
    }
    ensure!(output.status.success(), "go list -m {path} failed");
    Ok(PathBuf::from(folder))
}

fn source(module: &str) -> PathBuf {
    Path::new(crate::ROOT)
        .join("tests/support/kubernetes/go")
        .join(module)
}
