//! Which password a server's role logs in with.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::Secret;
use super::environment::Environment;
use super::pgpass::{PasswordFile, PasswordRequest};
use super::users::UsersFile;
use super::vault::Vault;
use super::vault_error::VaultError;

/// All places where a password may come from: the vault's users file, else libpq's password file,
/// else `PGPASSWORD`. Read whole when loaded; load it again to see changed files.
#[derive(Default)]
pub struct PasswordSources {
    users: HashMap<String, Secret>,
    file: Option<PasswordFile>,
    variable: Option<Secret>,
    warnings: Vec<String>,
}

impl fmt::Debug for PasswordSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordSources").finish_non_exhaustive()
    }
}

impl PasswordSources {
    /// Reads the sources. `users` is the path of the users file, if there is to be one.
    ///
    /// # Errors
    /// The users file or the master key is missing or wrong. A password file of libpq that cannot
    /// be used is no error, but one of [`Self::warnings`].
    pub fn load(
        users: Option<&Path>,
        vault: &Vault,
        environment: &Environment,
    ) -> Result<Self, VaultError> {
        let users = match users {
            Some(path) => UsersFile::read(path)?.passwords(vault)?,
            None => HashMap::new(),
        };
        let path = environment.libpq_password_file();
        let mut warnings = Vec::new();
        let file = path.and_then(|path| {
            PasswordFile::read(&path).unwrap_or_else(|error| {
                warnings.push(error.to_string());
                None
            })
        });
        Ok(Self {
            users,
            file,
            variable: environment.password.clone(),
            warnings,
        })
    }

    /// What was left aside and why, for the log.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The password to log in with, if any is known.
    #[must_use]
    pub fn find(&self, login: &PasswordRequest<'_>) -> Option<Secret> {
        self.users
            .get(login.user)
            .cloned()
            .or_else(|| self.file.as_ref().and_then(|file| file.find(login)))
            .or_else(|| self.variable.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_vault_comes_before_the_password_file_and_that_before_the_variable() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::new(Some(home.path()));
        vault
            .create_key(&Secret::new("Sup3r-s3cret master!".to_owned()))
            .unwrap();
        let users = home.path().join("users.conf");
        let mut file = UsersFile::empty(&users);
        file.set("vaulted", &Secret::new("from vault".to_owned()), &vault)
            .unwrap();
        fs::write(&users, file.text()).unwrap();
        let pgpass = home.path().join(".pgpass");
        fs::write(&pgpass, "*:*:*:vaulted:no\n*:*:*:filed:from file\n").unwrap();
        fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o600)).unwrap();
        let mut environment = Environment {
            home: Some(home.path().to_owned()),
            password_file: None,
            password: Some(Secret::new("from variable".to_owned())),
        };
        let find = |sources: &PasswordSources, user| {
            let login = PasswordRequest {
                user,
                host: "db",
                port: 5432,
                database: "postgres",
            };
            sources
                .find(&login)
                .map(|secret| secret.expose().to_owned())
        };

        let sources = PasswordSources::load(Some(&users), &vault, &environment).unwrap();
        assert!(sources.warnings().is_empty());
        for (user, password) in [
            ("vaulted", "from vault"),
            ("filed", "from file"),
            ("other", "from variable"),
        ] {
            assert_eq!(find(&sources, user).as_deref(), Some(password));
        }

        fs::set_permissions(&pgpass, fs::Permissions::from_mode(0o644)).unwrap();
        environment.password = None;
        let sources = PasswordSources::load(None, &vault, &environment).unwrap();
        assert_eq!(find(&sources, "filed"), None);
        assert_eq!(sources.warnings().len(), 1);
    }
}
