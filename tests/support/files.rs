//! Copies of whole folders.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::account;

/// Copies a folder that may change underneath (a running server's): what vanishes is left out.
/// `skip` is asked with the path below `from`. The copy belongs to the user of the servers.
pub fn copy(from: &Path, to: &Path, skip: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    copy_below(from, to, Path::new(""), skip)
}

fn copy_below(
    from: &Path,
    to: &Path,
    below: &Path,
    skip: &dyn Fn(&Path) -> bool,
) -> io::Result<()> {
    let (source, copy) = (from.join(below), to.join(below));
    let Some(kind) = vanished(fs::symlink_metadata(&source))? else {
        return Ok(());
    };
    if kind.is_dir() {
        let mode = kind.permissions().mode() & 0o777;
        make_folder(&copy, mode)?;
        account::own(&copy)?;
        let Some(entries) = vanished(fs::read_dir(&source))? else {
            return Ok(());
        };
        for entry in entries {
            let below = below.join(entry?.file_name());
            if !skip(&below) {
                copy_below(from, to, &below, skip)?;
            }
        }
    } else if kind.is_symlink() {
        symlink(fs::read_link(&source)?, &copy)?;
    } else if kind.is_file() && vanished(fs::copy(&source, &copy))?.is_some() {
        account::own(&copy)?;
    }
    Ok(())
}

/// Makes `to` a copy of the read-only folder `from` out of hard links, or of real copies where
/// the two lie on different file systems.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    make_folder(to, 0o755)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, copy) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            link(&entry.path(), &copy)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &copy)?;
        } else if fs::hard_link(entry.path(), &copy).is_err() {
            fs::copy(entry.path(), &copy)?;
        }
    }
    Ok(())
}

/// Makes a folder that has exactly this mode, whatever the umask.
fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

fn vanished<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
