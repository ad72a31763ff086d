//! The image as it is shipped: what is in it, and what is not. `make image` runs it: root on Linux
//! builds the `Dockerfile` as it is, with what stands in for its bases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stderr)]

use test_support as support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::downloads::run;
use support::images::Buildah;

/// Bytes, with the base of 24 MB.
const LIMIT: u64 = 45_000_000;
const PROGRAMS: [&str; 3] = ["pgexporter", "pgexporter-admin", "pgexporter-cli"];
/// The user of the image, as in the chart.
const USER: u32 = 65532;

#[test]
#[ignore = "builds for minutes, as root: make image"]
fn the_image_is_small_and_has_the_three_programs_and_nothing_that_can_be_written() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: building an image here takes root on Linux");
        return;
    }
    let buildah = Buildah::open().unwrap_or_else(|error| panic!("{error:#}"));
    let built = buildah
        .build("release")
        .unwrap_or_else(|error| panic!("{error:#}"));
    let size = built.archive.metadata().unwrap().len();
    eprintln!("image of pgexporter (release): {:.1} MB", size as f64 / 1e6);
    assert!(size <= LIMIT, "{size} bytes");

    let config = &built.config;
    assert_eq!(config["User"], format!("{USER}:{USER}"), "{config}");
    assert_eq!(config["Entrypoint"][0], "/usr/local/bin/pgexporter");
    let label = |name: &str| &config["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!(*label("version"), env!("CARGO_PKG_VERSION"), "{config}");
    assert_eq!(*label("licenses"), "Apache-2.0");

    let folder = tempfile::tempdir().unwrap();
    let root = unpacked(&built.archive, folder.path());
    for program in PROGRAMS {
        let inside = format!("/usr/local/bin/{program}");
        let output = Command::new("chroot")
            .arg(format!("--userspec={USER}:{USER}"))
            .arg(&root)
            .args([&inside, "--version"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{program}: {output:?}");
        assert!(
            said.contains(env!("CARGO_PKG_VERSION")),
            "{program}: {said}"
        );
    }
    let mut writable = Vec::new();
    find_writable(&root, &root, &mut writable);
    writable.sort();
    // The base brings all of them but ours; with a read-only root these two alone are left.
    writable.retain(|path| !["/home/nonroot", "/var/lock", "/var/tmp"].contains(&path.as_str()));
    assert_eq!(writable, ["/run/pgexporter", "/tmp"]);
    for shell in [
        "bin/sh",
        "bin/bash",
        "usr/bin/sh",
        "usr/bin/apt",
        "usr/bin/dpkg",
    ] {
        assert!(!root.join(shell).exists(), "{shell}");
    }
}

#[test]
#[ignore = "takes the list that `make sbom` writes: make image"]
fn the_list_of_what_is_in_it_names_every_crate_with_its_licence() {
    let root = env!("CARGO_MANIFEST_DIR");
    let listed = fs::read(format!("{root}/target/pgexporter.cdx.json")).expect("`make sbom`");
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    assert_eq!(listed["bomFormat"], "CycloneDX");
    let licences: BTreeMap<String, bool> = listed["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            let part = |name: &str| one[name].as_str().unwrap_or_default();
            let licence = &one["licenses"][0];
            let known = licence["expression"].is_string() || licence["license"].is_object();
            (format!("{} v{}", part("name"), part("version")), known)
        })
        .collect();
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--prefix=none", "--format={p}"])
        .args(["--edges=normal,no-proc-macro"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let linked: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.split(" (").next().unwrap_or(line))
        .filter(|line| !line.starts_with("pgexporter v"))
        .collect();
    assert!(linked.len() > 100, "{linked:?}");
    for one in linked {
        assert_eq!(licences.get(one), Some(&true), "{one}");
    }
}

/// The file system of an image.
fn unpacked(archive: &Path, folder: &Path) -> PathBuf {
    let (parts, root) = (folder.join("parts"), folder.join("root"));
    for part in [&parts, &root] {
        fs::create_dir(part).unwrap();
    }
    let tar = |file: &Path, to: &Path| {
        let mut command = Command::new("tar");
        run(command.arg("-xf").arg(file).arg("-C").arg(to)).unwrap();
    };
    tar(archive, &parts);
    let manifest = fs::read(parts.join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        tar(&parts.join(layer.as_str().unwrap()), &root);
    }
    root
}

/// What the user of the image may write, below a folder.
fn find_writable(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            continue;
        }
        let about = entry.metadata().unwrap();
        let mode = about.permissions().mode();
        let ours = about.uid() == USER && mode & 0o200 != 0;
        let group = about.gid() == USER && mode & 0o020 != 0;
        if ours || group || mode & 0o002 != 0 {
            let below = entry.path();
            let below = below.strip_prefix(root).unwrap().display().to_string();
            found.push(format!("/{below}"));
        }
        if kind.is_dir() {
            find_writable(root, &entry.path(), found);
        }
    }
}
