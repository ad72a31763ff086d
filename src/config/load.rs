//! Finding the file and reading it from disk.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::check::explain_io_error;
use super::errors::{ConfigErrors, ProblemList};
use super::ini;
use super::keys::MAIN_SECTION;
use super::read::{LoadedConfiguration, parse_bytes};

/// The name of the file in a folder of configuration.
pub const FILE_NAME: &str = "pgexporter.conf";
/// The folder that is looked into last.
pub const DEFAULT_DIRECTORY: &str = "/etc/pgexporter";
/// The environment variable that names a folder of configuration.
pub const DIRECTORY_VARIABLE: &str = "PGEXPORTER_CONFIG_DIR";

/// No one writes a larger one, and a device would never end.
const LARGEST: u64 = 16 << 20;

/// Reads a file.
///
/// # Errors
/// All that is wrong with it, at once.
pub fn load(path: &Path) -> Result<LoadedConfiguration, ConfigErrors> {
    parse_bytes(path, &read_bytes(path)?)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ConfigErrors> {
    let wrong = |message: String| ConfigErrors::whole(path, message);
    let file = File::open(path).map_err(|error| wrong(explain_io_error(&error)))?;
    let mut bytes = Vec::new();
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(explain_io_error(&error)))?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong(
            "is larger than 16 MiB, so it is not a configuration file".to_owned(),
        ));
    }
    Ok(bytes)
}

/// The folder of the management socket, as the file says it, whatever else is wrong with the file:
/// a running exporter can be asked for what is.
///
/// # Errors
/// The file cannot be read, or names no folder.
pub fn socket_folder(path: &Path) -> Result<PathBuf, ConfigErrors> {
    const KEY: &str = "unix_socket_dir";
    let bytes = read_bytes(path)?;
    let sections = ini::parse_sections(&bytes, &mut ProblemList::new(path));
    let main = sections.iter().filter(|one| one.name == MAIN_SECTION);
    main.flat_map(|section| &section.entries)
        .find(|entry| entry.key == KEY && !entry.value.is_empty())
        .map(|entry| PathBuf::from(&entry.value))
        .ok_or_else(|| ConfigErrors::whole(path, format!("does not say {KEY}")))
}

/// Reads the text of a file; `path` is for messages, and for [`super::Configuration::path`].
///
/// # Errors
/// All that is wrong with it, at once.
pub fn parse(path: &Path, text: &str) -> Result<LoadedConfiguration, ConfigErrors> {
    parse_bytes(path, text.as_bytes())
}

/// Finds the file: `config` (of `-c`) as it stands, else `pgexporter.conf` in `directory` (of
/// `-D`), or in the folder that the environment names with `PGEXPORTER_CONFIG_DIR`, else in
/// `/etc/pgexporter`.
///
/// # Errors
/// Lists where it looked when there is none.
pub fn find(
    config: Option<&Path>,
    directory: Option<&Path>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf, ConfigErrors> {
    if let Some(path) = config {
        return Ok(path.to_owned());
    }
    let directory = match directory {
        Some(directory) => Some(directory.to_owned()),
        None => environment(DIRECTORY_VARIABLE)
            .filter(|directory| !directory.is_empty())
            .map(PathBuf::from),
    };
    let places = directory
        .into_iter()
        .chain([PathBuf::from(DEFAULT_DIRECTORY)]);
    let places: Vec<PathBuf> = places.map(|directory| directory.join(FILE_NAME)).collect();
    // A file that may not be looked at is still the one that is meant; reading it tells why not.
    let is_there = |path: &&PathBuf| path.try_exists().unwrap_or(true);
    if let Some(path) = places.iter().find(is_there) {
        return Ok(path.clone());
    }
    let looked: Vec<_> = places
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let message = format!(
        "there is no such file (looked at {}); name one with -c, or its folder with -D or \
         {DIRECTORY_VARIABLE}",
        looked.join(", ")
    );
    Err(ConfigErrors::whole(Path::new(FILE_NAME), message))
}
