//! An image of one layer, as `docker save` writes it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::downloads::run;

/// Writes the folder `root` as the image `name` into the file `archive`. `config` is what the
/// image says of its container: `Env`, `User`, `Entrypoint` and so on.
pub(super) fn write(root: &Path, name: &str, config: &Value, archive: &Path) -> Result<()> {
    let parts = tempfile::tempdir_in(archive.parent().unwrap_or(Path::new(".")))?;
    let layer = parts.path().join("layer.tar");
    // The same folder is the same image, whenever it was unpacked.
    run(Command::new("tar")
        .args(["--sort=name", "--numeric-owner", "--mtime=@0", "-C"])
        .arg(root)
        .arg("-cf")
        .arg(&layer)
        .arg("."))?;
    let mut digest = Sha256::new();
    io::copy(&mut fs::File::open(&layer)?, &mut Hashing(&mut digest))?;
    let hex: String = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let created = "2020-01-01T00:00:00Z";
    let described = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{hex}")]},
        // Buildah refuses a layer without a line of history.
        "history": [{"created": created, "created_by": "the tests of pgexporter"}],
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [name],
        "Layers": ["layer.tar"],
    }]);
    fs::write(parts.path().join("config.json"), described.to_string())?;
    fs::write(parts.path().join("manifest.json"), manifest.to_string())?;
    run(Command::new("tar")
        .arg("-C")
        .arg(parts.path())
        .arg("-cf")
        .arg(archive)
        .args(["manifest.json", "config.json", "layer.tar"]))
}

/// As images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
