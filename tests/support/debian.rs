//! Programs out of Debian's packages, unpacked into a folder and not installed: nobody need be
//! root, and the system stays as it is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::downloads::{cache, lock, run};

/// Downloads Debian packages and unpacks them into `folder`, without installing them.
pub fn apt_download(packages: &[&str], folder: &Path) -> Result<()> {
    let names = match packages {
        [first, _, _, _, ..] => format!("{first} and {} more packages", packages.len() - 1),
        few => few.join(" "),
    };
    let begin = Instant::now();
    eprintln!("{names}: downloading from the system's package mirror");
    let private = cache()?.join("apt");
    for part in ["state", "lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(private.join(part))?;
    }
    let _lock = lock(&cache()?.join("apt.lock"), &names)?;
    let download = tempfile::tempdir_in(folder)?;
    let apt = |own_lists: bool| {
        let mut command = Command::new("apt-get");
        command
            .current_dir(download.path())
            .args(["-qq", "-o", "APT::Sandbox::User=root"]);
        if own_lists {
            for (key, part) in [
                ("State", "state"),
                ("State::lists", "lists"),
                ("Cache", "cache"),
            ] {
                command
                    .arg("-o")
                    .arg(format!("Dir::{key}={}", private.join(part).display()));
            }
        }
        command
    };
    // The system's package lists may be absent or old, and only root may renew them: then lists
    // of our own in the cache folder do.
    let fetched = run(apt(false).arg("download").args(packages))
        .or_else(|_| run(apt(true).arg("download").args(packages)))
        .or_else(|_| {
            run(apt(true).arg("update"))?;
            run(apt(true).arg("download").args(packages))
        });
    fetched.with_context(|| format!("{names}: install it by hand, or run again when online"))?;
    for package in fs::read_dir(download.path())?.flatten() {
        if package
            .path()
            .extension()
            .is_some_and(|extension| extension == "deb")
        {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(package.path())
                .arg(folder))?;
        }
    }
    eprintln!(
        "{names}: ready after {:.1} s",
        begin.elapsed().as_secs_f32()
    );
    Ok(())
}

/// Removes all of `folder` but one file: a package may hold much more than is wanted of it.
pub(super) fn keep_only(folder: &Path, file: &str) -> Result<()> {
    let kept = tempfile::tempdir_in(folder)?;
    let aside = kept.path().join("kept");
    fs::rename(folder.join(file), &aside)?;
    for other in fs::read_dir(folder)?.flatten() {
        if other.path() != kept.path() {
            run(Command::new("rm").arg("-rf").arg(other.path()))?;
        }
    }
    let place = folder.join(file);
    fs::create_dir_all(place.parent().context("a file has a folder")?)?;
    Ok(fs::rename(aside, place)?)
}

/// The libraries that a program needs and the system lacks.
pub(super) fn missing_libraries(program: &Path) -> Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output()?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix("=> not found"))
        .map(|name| name.trim().to_owned())
        .collect())
}

/// `debian-12`, to tell packages of one system release from those of the next.
pub fn system() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("not a Debian-like system")?;
    let value = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    Ok(format!(
        "{}-{}",
        value("ID").unwrap_or_default(),
        value("VERSION_ID").unwrap_or_default()
    ))
}

/// Writes `file`, to be laid over `/etc/ld.so.cache`: with it the programs that were unpacked into
/// `folder` find their libraries, also where they start others with an environment of their own.
///
/// # Errors
/// `ldconfig` fails.
pub fn library_cache(folder: &Path, file: &Path) -> Result<()> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let list = file.with_extension("conf");
    let folder = folder.display();
    fs::write(
        &list,
        format!("include /etc/ld.so.conf\n{folder}/usr/lib/{triplet}\n{folder}/lib/{triplet}\n"),
    )?;
    run(Command::new("/sbin/ldconfig")
        .args(["-X", "-C"])
        .arg(file)
        .arg("-f")
        .arg(list))
}
