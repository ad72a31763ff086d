//! What stands in for the bases that the `Dockerfile` names: the same Debian, the same Rust.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::super::debian::{apt_download, system};
use super::super::downloads::{entry, run};
use super::archive;

/// The name in the tests of what stands in for `rust:1.95-bookworm`.
pub(super) const BUILD: &str = "localhost/build-base:e2e";
/// The name in the tests of what stands in for `gcr.io/distroless/cc-debian12:nonroot`.
pub(super) const RUNTIME: &str = "localhost/runtime-base:e2e";

/// A shell, its tools, gcc with the C library, and what these need.
const BUILD_PACKAGES: &[&str] = &[
    "base-files",
    "bash",
    "binutils",
    "binutils-common",
    "binutils-x86-64-linux-gnu",
    "coreutils",
    "cpp",
    "cpp-12",
    "dash",
    "findutils",
    "gcc",
    "gcc-12",
    "gcc-12-base",
    "grep",
    "libacl1",
    "libasan8",
    "libatomic1",
    "libattr1",
    "libbinutils",
    "libc-bin",
    "libc6",
    "libc6-dev",
    "libcc1-0",
    "libcrypt-dev",
    "libcrypt1",
    "libctf-nobfd0",
    "libctf0",
    "libgcc-12-dev",
    "libgcc-s1",
    "libgmp10",
    "libgomp1",
    "libgprofng0",
    "libisl23",
    "libitm1",
    "libjansson4",
    "liblsan0",
    "libmpc3",
    "libmpfr6",
    "libpcre2-8-0",
    "libquadmath0",
    "libselinux1",
    "libstdc++6",
    "libtinfo6",
    "libtsan2",
    "libubsan1",
    "libzstd1",
    "linux-libc-dev",
    "sed",
    "zlib1g",
];

/// What distroless takes for its image `cc`.
const RUNTIME_PACKAGES: &[&str] = &[
    "base-files",
    "ca-certificates",
    "gcc-12-base",
    "libc6",
    "libgcc-s1",
    "libgomp1",
    "libssl3",
    "libstdc++6",
    "netbase",
    "tzdata",
];

/// Users as distroless has them.
pub(super) const USERS: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                                nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n\
                                nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";

/// The archive of what stands in for the image with Rust: Debian's gcc and this machine's Rust.
pub(super) fn build() -> Result<PathBuf> {
    let rust = toolchain()?;
    let version = output(Command::new("rustc").arg("--version"))?;
    let number = version.split(' ').nth(1).context("rustc has a version")?;
    let key = format!("image-build-base-{}-rust-{number}", system()?);
    let place = entry(&key, |folder| {
        let root = folder.join("root");
        fs::create_dir(&root)?;
        apt_download(BUILD_PACKAGES, &root)?;
        symlink("gcc", root.join("usr/bin/cc"))?;
        fs::write(root.join("etc/passwd"), USERS)?;
        let copy = root.join("usr/local/rust");
        fs::create_dir_all(&copy)?;
        for part in ["bin", "lib"] {
            run(Command::new("cp").arg("-a").arg(rust.join(part)).arg(&copy))?;
        }
        let config = json!({"Env": [
            "PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CARGO_HOME=/usr/local/cargo",
        ]});
        archive::write(&root, BUILD, &config, &folder.join("image.tar"))?;
        Ok(fs::remove_dir_all(root)?)
    })?;
    Ok(place.join("image.tar"))
}

/// The archive of what stands in for distroless.
pub(super) fn runtime() -> Result<PathBuf> {
    let place = entry(&format!("image-runtime-base-{}", system()?), |folder| {
        let root = folder.join("root");
        fs::create_dir(&root)?;
        apt_download(RUNTIME_PACKAGES, &root)?;
        for unwanted in ["doc", "doc-base", "man", "lintian", "bug"] {
            let _ = fs::remove_dir_all(root.join("usr/share").join(unwanted));
        }
        authorities(&root)?;
        fs::write(root.join("etc/passwd"), USERS)?;
        let home = root.join("home/nonroot");
        fs::create_dir_all(&home)?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        chown(&home, Some(65532), Some(65532))?;
        let config = json!({
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            ],
            "User": "65532",
            "WorkingDir": "/home/nonroot",
        });
        archive::write(&root, RUNTIME, &config, &folder.join("image.tar"))?;
        Ok(fs::remove_dir_all(root)?)
    })?;
    Ok(place.join("image.tar"))
}

/// The bundle that a script of the package makes when it is installed.
fn authorities(root: &Path) -> Result<()> {
    let folder = root.join("usr/share/ca-certificates/mozilla");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .flatten()
        .map(|file| file.path())
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "ca-certificates has none");
    let mut bundle = String::new();
    for file in files {
        bundle += &fs::read_to_string(file)?;
    }
    let place = root.join("etc/ssl/certs");
    fs::create_dir_all(&place)?;
    Ok(fs::write(place.join("ca-certificates.crt"), bundle)?)
}

/// The folder of the Rust that builds the tests.
fn toolchain() -> Result<PathBuf> {
    output(Command::new("rustc").args(["--print", "sysroot"])).map(PathBuf::from)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run rustc")?;
    ensure!(output.status.success(), "rustc failed");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
