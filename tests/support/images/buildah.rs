//! Builds the `Dockerfile` as it is, with what stands in for its bases.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::super::debian::{apt_download, library_cache, system};
use super::super::downloads::{cache, entry, lock, run};
use super::super::keeper::Keeper;
use super::{EXPORTER, bases};

const PACKAGES: &[&str] = &[
    "buildah",
    "golang-github-containers-common",
    "golang-github-containers-image",
    "libassuan0",
    "libdevmapper1.02.1",
    "libgpgme11",
    "libseccomp2",
];

/// As the `Dockerfile` names its bases, and what stands in.
const BASES: [(&str, &str); 2] = [
    ("rust:1.95-bookworm", bases::BUILD),
    ("gcr.io/distroless/cc-debian12:nonroot", bases::RUNTIME),
];

/// More layers than this in the store: it is begun anew.
const MANY: usize = 100;

/// The folder of the unpacked packages.
pub(super) fn programs() -> Result<PathBuf> {
    entry(&format!("buildah-{}", system()?), |folder| {
        apt_download(PACKAGES, folder)
    })
}

/// An image that was built.
#[derive(Debug)]
pub struct Built {
    /// As `docker save` writes it.
    pub archive: PathBuf,
    /// What it says of its container.
    pub config: serde_json::Value,
}

/// Buildah with a store of its own in the cache folder, which keeps the layers.
#[derive(Debug)]
pub struct Buildah {
    programs: PathBuf,
    store: PathBuf,
    keeper: Keeper,
    _lock: fs::File,
}

impl Buildah {
    /// Opens the store; waits for another run that uses it. Root only.
    ///
    /// # Errors
    /// Buildah cannot be had, or the bases.
    pub fn open() -> Result<Self> {
        let programs = programs()?;
        let store = cache()?.join("image-store");
        let lock = lock(&cache()?.join("image-store.lock"), "images")?;
        let keeper = Keeper::new()?;
        library_cache(&programs, &keeper.path().join("ld.so.cache"))?;
        let buildah = Self {
            programs,
            store,
            keeper,
            _lock: lock,
        };
        let layers = buildah.output(&["images", "--all", "--quiet"])?;
        if layers.lines().count() > MANY {
            fs::remove_dir_all(&buildah.store)?;
        }
        for (archive, name) in [
            (bases::build()?, bases::BUILD),
            (bases::runtime()?, bases::RUNTIME),
        ] {
            if buildah.output(&["images", "--quiet", name]).is_err() {
                let source = format!("docker-archive:{}", archive.display());
                buildah.run(&["pull", "--policy=always", &source])?;
            }
        }
        Ok(buildah)
    }

    /// Builds our image with a profile of cargo.
    ///
    /// # Errors
    /// With what the build printed.
    pub fn build(&self, profile: &str) -> Result<Built> {
        let begin = Instant::now();
        eprintln!("image of pgexporter ({profile}): building; minutes the first time");
        let name = format!("{EXPORTER}-{profile}");
        let cargo = std::env::var_os("CARGO_HOME").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
            PathBuf::from,
        );
        let crates = cargo.join("registry");
        fs::create_dir_all(&crates)?;
        let mut arguments: Vec<String> = ["bud", "--isolation=chroot", "--layers", "--quiet"]
            .map(str::to_owned)
            .into();
        for (base, stands_in) in BASES {
            arguments.push(format!(
                "--build-context={base}=container-image://{stands_in}"
            ));
        }
        // The network as this machine has it, and what cargo downloaded already.
        for mount in [
            "/etc/ssl/certs:/etc/ssl/certs:ro".to_owned(),
            "/etc/resolv.conf:/etc/resolv.conf:ro".to_owned(),
            format!("{}:/usr/local/cargo/registry", crates.display()),
        ] {
            arguments.push(format!("--volume={mount}"));
        }
        // Nothing new to the base of the image, which has it already.
        arguments.push("--env=SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt".to_owned());
        arguments.push(format!("--build-arg=PROFILE={profile}"));
        arguments.push(format!("--tag={name}"));
        arguments.push(crate::ROOT.to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.run(&arguments)
            .context("the image cannot be built: the first time crates are downloaded")?;
        let archive = self.keeper.path().join(format!("pgexporter-{profile}.tar"));
        let _ = fs::remove_file(&archive);
        let place = format!("docker-archive:{}:{EXPORTER}", archive.display());
        self.run(&["push", "--quiet", &name, &place])?;
        let described = self.output(&["inspect", "--type=image", &name])?;
        let described: serde_json::Value = serde_json::from_str(&described)?;
        let seconds = begin.elapsed().as_secs_f32();
        eprintln!("image of pgexporter ({profile}): ready after {seconds:.0} s");
        Ok(Built {
            archive,
            config: described["OCIv1"]["config"].clone(),
        })
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        run(self.command(arguments).args(&arguments[1..]))
    }

    fn output(&self, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(arguments)
            .args(&arguments[1..])
            .output()
            .context("cannot run unshare")?;
        ensure!(
            output.status.success(),
            "buildah {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Up to the subcommand. It mounts layers, which nobody else need see.
    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.keeper.path();
        let configuration = self.programs.join("etc/containers");
        let mut command = Command::new("nice");
        command
            .args(["-n", "10", "unshare", "--mount", "--propagation=private"])
            .args(["sh", "-c"])
            .arg("mount --bind ld.so.cache /etc/ld.so.cache && exec \"$0\" \"$@\"")
            .arg(self.programs.join("usr/bin/buildah"))
            .arg("--storage-driver=overlay")
            .arg(option("--root", &self.store))
            .arg(option("--runroot", &folder.join("run")))
            .arg(option(
                "--registries-conf",
                &configuration.join("registries.conf"),
            ))
            .arg(arguments[0])
            .env(
                "CONTAINERS_CONF",
                self.programs.join("usr/share/containers/containers.conf"),
            )
            .env("TMPDIR", folder)
            .current_dir(folder);
        if matches!(arguments[0], "bud" | "pull" | "push") {
            command.arg(option(
                "--signature-policy",
                &configuration.join("policy.json"),
            ));
        }
        command
    }
}

fn option(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}
