//! What the process's environment says about passwords.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::Secret;

/// Where home is, and what libpq's variables say. Read once at start and handed down, so that
/// tests and reloads do not depend on the process.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `PGEXPORTER_HOME`, else `HOME`, else the home directory in `/etc/passwd`.
    pub home: Option<PathBuf>,
    /// `PGPASSFILE`.
    pub password_file: Option<PathBuf>,
    /// `PGPASSWORD`.
    pub password: Option<Secret>,
}

impl Environment {
    /// The environment of this process. An empty variable counts as one that is not set.
    #[must_use]
    pub fn of_process() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::from_variables(variable, Path::new("/etc/passwd"))
    }

    /// The password file of libpq: the one that is named, else `.pgpass` in the home directory.
    #[must_use]
    pub fn libpq_password_file(&self) -> Option<PathBuf> {
        let at_home = || self.home.as_ref().map(|home| home.join(".pgpass"));
        self.password_file.clone().or_else(at_home)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>, accounts: &Path) -> Self {
        Self {
            home: variable("PGEXPORTER_HOME")
                .or_else(|| variable("HOME"))
                .map(PathBuf::from)
                .or_else(|| home_of(rustix::process::geteuid().as_raw(), accounts)),
            password_file: variable("PGPASSFILE").map(PathBuf::from),
            password: variable("PGPASSWORD")
                .and_then(|text| text.into_string().ok())
                .map(Secret::new),
        }
    }
}

/// The sixth field of the account's line: a service manager may start us without `HOME`.
fn home_of(user: u32, accounts: &Path) -> Option<PathBuf> {
    fs::read_to_string(accounts).ok()?.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let home = fields.get(5).filter(|home| !home.is_empty())?;
        (fields.get(2)?.parse() == Ok(user)).then(|| PathBuf::from(home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variable_stands_for_the_home_directory() {
        let all = |name: &str| Some(OsString::from(format!("/{name}")));
        let env = Environment::from_variables(all, Path::new("/nowhere"));
        assert_eq!(env.home.unwrap(), Path::new("/PGEXPORTER_HOME"));
        assert_eq!(env.password_file.unwrap(), Path::new("/PGPASSFILE"));
        assert_eq!(env.password.unwrap().expose(), "/PGPASSWORD");
    }

    #[test]
    fn without_variables_the_account_names_the_home_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let user = rustix::process::geteuid().as_raw();
        fs::write(
            file.path(),
            format!("x:x:4294967290:1::/x:\nme:x:{user}:1:Me:/home/me:/bin/sh\n"),
        )
        .unwrap();
        let env = Environment::from_variables(|_| None, file.path());
        assert_eq!(env.home.unwrap(), Path::new("/home/me"));
        assert!(env.password.is_none());
    }
}
