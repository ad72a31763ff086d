//! Finding and reading the files of a catalogue.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::bounds::BYTES;
use super::builtin;
use super::error::CatalogError;
use super::join::{join, not_reserved};
use super::metric::Catalog;
use super::parse::parse;

/// The built-in catalogue with the user's own files over it. A tag of the user's replaces the
/// built-in one of that name.
///
/// # Errors
/// A file that cannot be read or is wrong refuses the whole catalogue.
pub fn load(own: &[PathBuf]) -> Result<Catalog, CatalogError> {
    let mut metrics = Vec::new();
    for (name, text) in builtin::FILES {
        metrics.extend(parse(&format!("{}{name}", builtin::PREFIX), text)?);
    }
    let mut users = Vec::new();
    let mut seen = BTreeSet::new();
    for path in own {
        for file in list(path)? {
            // A file may be named, and stand in a folder that is named as well.
            if let Ok(real) = file.canonicalize()
                && !seen.insert(real)
            {
                continue;
            }
            let text = read(&file).map_err(|error| CatalogError::Read {
                path: file.clone(),
                error,
            })?;
            users.extend(parse(&file.display().to_string(), &text)?);
        }
    }
    let replaced: BTreeSet<&str> = users
        .iter()
        .map(|metric| metric.metric.tag.as_str())
        .collect();
    for one in &users {
        not_reserved(one)?;
    }
    metrics.retain(|metric| !replaced.contains(metric.metric.tag.as_str()));
    metrics.extend(users);
    join(metrics)
}

/// The text of a file, or as much of it as shows that it is too long.
fn read(file: &Path) -> std::io::Result<String> {
    let most = u64::try_from(BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(file)?.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > BYTES {
        let words = format!("it has more than {BYTES} bytes; split it up");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, words));
    }
    String::from_utf8(bytes).map_err(|_| {
        let words = "it holds bytes that are no text";
        std::io::Error::new(std::io::ErrorKind::InvalidData, words)
    })
}

fn list(path: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let fail = |error| CatalogError::Read {
        path: path.to_path_buf(),
        error,
    };
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        let known = file
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"));
        if known && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(CatalogError::Empty(path.to_path_buf()));
    }
    files.sort();
    Ok(files)
}
