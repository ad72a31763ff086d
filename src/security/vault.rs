//! The vault: the master key in the home directory.
//!
//! In goes a home directory; out comes the key that encrypts and decrypts. The files are those of
//! the C program's 0.8 and later: its load here and ours load there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Secret;
use super::encryption::{FileKey, SALT};
use super::vault_error::VaultError;

/// A key file is two short lines; whatever is larger is something else.
const LARGEST_KEY_FILE: u64 = 64 * 1024;

#[derive(PartialEq, Eq)]
struct MasterKey {
    password: Zeroizing<Vec<u8>>,
    salt: Vec<u8>,
}

/// The vault of a home directory. One for the whole process: the slow key derivation runs once,
/// and again only when the key file changed.
pub struct Vault {
    folder: Option<PathBuf>,
    derived: Mutex<Option<(MasterKey, Arc<FileKey>)>>,
}

impl Vault {
    /// The vault under a home directory. Nothing is read yet.
    #[must_use]
    pub fn new(home: Option<&Path>) -> Self {
        Self {
            folder: home.map(|home| home.join(".pgexporter")),
            derived: Mutex::new(None),
        }
    }

    /// The path of the master key, for messages.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn key_path(&self) -> Result<PathBuf, VaultError> {
        Ok(self.folder()?.join("master.key"))
    }

    /// Whether a master key is there, of whatever quality.
    ///
    /// # Errors
    /// There is no home directory.
    pub fn has_key(&self) -> Result<bool, VaultError> {
        Ok(self.key_path()?.symlink_metadata().is_ok())
    }

    fn folder(&self) -> Result<&Path, VaultError> {
        self.folder.as_deref().ok_or(VaultError::NoHome)
    }

    /// The key for blobs. Reads the master key's file; takes some 0.2 s of CPU the first time.
    ///
    /// # Errors
    /// No home directory, no key, wrong mode, wrong text.
    pub fn key(&self) -> Result<Arc<FileKey>, VaultError> {
        let master = read_master_key(self.folder()?)?;
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, key)) = derived.as_ref()
            && *known == master
        {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(FileKey::derive(&master.password, &master.salt));
        *derived = Some((master, Arc::clone(&key)));
        Ok(key)
    }

    /// Creates the master key, and its folder if there is none. The key appears whole or not at
    /// all, and an existing one is left alone, also when two create it at once.
    ///
    /// # Errors
    /// The password is weak, the key exists, the folder has a wrong mode or cannot be written.
    pub fn create_key(&self, password: &Secret) -> Result<PathBuf, VaultError> {
        if !is_strong_password(password.expose()) {
            return Err(VaultError::WeakPassword);
        }
        let folder = self.folder()?;
        let path = folder.join("master.key");
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(VaultError::io("create the folder", folder, e));
            }
            _ => check_folder(folder)?,
        }
        if self.has_key()? {
            return Err(VaultError::MasterKeyExists(path));
        }

        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|e| VaultError::NoRandomness(e.to_string()))?;
        let encoded = Zeroizing::new(STANDARD.encode(password.expose()));
        let text = Zeroizing::new(format!("{}\n{}\n", *encoded, STANDARD.encode(salt)));

        let temporary = folder.join(format!(".master.key.{}", std::process::id()));
        // Left by a program with our number that died: nobody else can hold it now.
        let _ = fs::remove_file(&temporary);
        let written = write_whole(&temporary, text.as_bytes())
            .map_err(|e| VaultError::io("write", &temporary, e))
            // A link fails when the name is taken, a rename would replace what is there.
            .and_then(|()| match fs::hard_link(&temporary, &path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    Err(VaultError::MasterKeyExists(path.clone()))
                }
                other => other.map_err(|e| VaultError::io("create", &path, e)),
            });
        let _ = fs::remove_file(&temporary);
        written?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| VaultError::io("flush", folder, e))?;
        Ok(path)
    }
}

/// Creates a file that only its owner may read, and returns when it is on the disk.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Whether a text may be the master password: at least 8 characters, with an upper case letter, a
/// lower case letter, a digit and a special character.
#[must_use]
pub fn is_strong_password(password: &str) -> bool {
    let has = |kind: fn(char) -> bool| password.chars().any(kind);
    password.chars().count() >= 8
        && has(char::is_uppercase)
        && has(char::is_lowercase)
        && has(|c| c.is_ascii_digit())
        && has(|c| !c.is_alphanumeric() && !c.is_control())
}

fn check_folder(folder: &Path) -> Result<(), VaultError> {
    let about = fs::metadata(folder).map_err(|e| VaultError::io("read", folder, e))?;
    if !about.is_dir() {
        return Err(VaultError::WrongKind {
            path: folder.to_owned(),
            wanted: "a folder",
        });
    }
    check_mode(folder, &about, 0o700)
}

fn check_mode(path: &Path, about: &fs::Metadata, wanted: u32) -> Result<(), VaultError> {
    let found = about.permissions().mode() & 0o7777;
    if found & 0o077 != 0 {
        return Err(VaultError::Mode {
            path: path.to_owned(),
            found,
            wanted,
        });
    }
    Ok(())
}

fn read_master_key(folder: &Path) -> Result<MasterKey, VaultError> {
    let path = folder.join("master.key");
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(VaultError::NoMasterKey(path)),
        other => other.map_err(|e| VaultError::io("read", &path, e))?,
    };
    check_folder(folder)?;
    let about = file
        .metadata()
        .map_err(|e| VaultError::io("read", &path, e))?;
    if !about.is_file() || about.len() > LARGEST_KEY_FILE {
        return Err(VaultError::WrongKind {
            path,
            wanted: "a master key",
        });
    }
    check_mode(&path, &about, 0o600)?;
    // As large as the file, so that no half-filled buffer is left behind by growing.
    let mut text = Zeroizing::new(Vec::with_capacity(LARGEST_KEY_FILE as usize + 1));
    file.take(LARGEST_KEY_FILE)
        .read_to_end(&mut text)
        .map_err(|e| VaultError::io("read", &path, e))?;
    parse_master_key(&text).map_err(|(line, problem)| VaultError::BadMasterKey {
        path,
        line,
        problem,
    })
}

/// Whether a text is that of a master key; else the line and what is wrong with it. Hidden: for the
/// fuzzer, which has no time to derive keys.
#[doc(hidden)]
pub fn check_master_key(text: &[u8]) -> Result<(), (usize, &'static str)> {
    parse_master_key(text).map(|_| ())
}

fn parse_master_key(text: &[u8]) -> Result<MasterKey, (usize, &'static str)> {
    let mut lines = text.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let decode = |text: &[u8]| STANDARD.decode(text).map(Zeroizing::new).ok();
    let password = lines
        .next()
        .filter(|line| !line.is_empty())
        .and_then(decode)
        .ok_or((
            1,
            "this must be the master password in base64; move the file away and create it anew \
             with `pgexporter-admin master-key`",
        ))?;
    let salt = lines
        .next()
        .and_then(decode)
        .filter(|salt| salt.len() == SALT)
        .ok_or((
            2,
            "this must be 16 bytes of salt in base64. A key without it is from a version before \
             0.8: move it away, create a new one with `pgexporter-admin master-key`, and add the \
             users again",
        ))?;
    Ok(MasterKey {
        password,
        salt: salt.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::encryption::{IV, KeySize, TAG};
    use super::*;

    const STRONG: &str = "Sup3r-s3cret master!";

    /// A home with the key file of the vectors below, which Python's `hashlib` and `cryptography`
    /// and OpenSSL's `kdf` made, not this program.
    fn home_of_vectors() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        write_key(
            home.path(),
            "U3VwM3ItczNjcmV0IG1hc3RlciE=\noKGio6SlpqeoqaqrrK2urw==\n",
        );
        home
    }

    fn write_key(home: &Path, text: &str) {
        let folder = home.join(".pgexporter");
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        write_whole(&folder.join("master.key"), text.as_bytes()).unwrap();
    }

    #[test]
    fn texts_that_other_programs_encrypted_are_decrypted() {
        let home = home_of_vectors();
        let key = Vault::new(Some(home.path())).key().unwrap();
        for (size, blob, plain) in [
            (
                KeySize::Aes256,
                "AQEBAQEBAQEBAQEBAQEBAQABAgMEBQYHCAkKC5s/KOun5hkhdSjrRfMX8ZWmFdr/4IrieyiVO9k7miti",
                "monitor-password",
            ),
            (
                KeySize::Aes256,
                "AgICAgICAgICAgICAgICAgECAwQFBgcICQoLDB+B+iA8x4cZhhKI1iDb/mnB+icFmGw+wycZkMq32w==",
                "pässwörd: #1",
            ),
            (
                KeySize::Aes256,
                "AwMDAwMDAwMDAwMDAwMDAwIDBAUGBwgJCgsMDSLN/n2M8wSRDKas22YhiDo=",
                "",
            ),
            (
                KeySize::Aes192,
                "BAQEBAQEBAQEBAQEBAQEBAMEBQYHCAkKCwwNDuR+6xVZmhLmBjGkbZNqqmklHAvSnlqd7fnvFQ==",
                r#"{"frame":1}"#,
            ),
            (
                KeySize::Aes128,
                "BQUFBQUFBQUFBQUFBQUFBQQFBgcICQoLDA0OD6OB0aOOqGVgAaIQma6jRDHzNGa2WcZCfPQL4A==",
                r#"{"frame":1}"#,
            ),
        ] {
            let blob = STANDARD.decode(blob).unwrap();
            assert_eq!(
                key.decrypt(&blob, size).unwrap().as_slice(),
                plain.as_bytes()
            );
        }
    }

    #[test]
    fn what_is_encrypted_is_decrypted_again_and_never_twice_the_same() {
        let home = home_of_vectors();
        let key = Vault::new(Some(home.path())).key().unwrap();
        let token = "token-".repeat(1400);
        for size in [KeySize::Aes128, KeySize::Aes192, KeySize::Aes256] {
            let blob = key.encrypt(token.as_bytes(), size).unwrap();
            assert_ne!(blob, key.encrypt(token.as_bytes(), size).unwrap());
            assert_eq!(
                key.decrypt(&blob, size).unwrap().as_slice(),
                token.as_bytes()
            );
            for at in [0, SALT, SALT + IV, blob.len() - 1] {
                let mut altered = blob.clone();
                altered[at] ^= 1;
                assert!(matches!(
                    key.decrypt(&altered, size),
                    Err(VaultError::WrongKey)
                ));
            }
            assert!(matches!(
                key.decrypt(&blob[..SALT + IV + TAG - 1], size),
                Err(VaultError::TooShort)
            ));
        }
    }

    #[test]
    fn the_slow_derivation_runs_once_until_the_key_file_changes() {
        let home = home_of_vectors();
        let vault = Vault::new(Some(home.path()));
        let first = vault.key().unwrap();
        assert!(Arc::ptr_eq(&first, &vault.key().unwrap()));
        fs::remove_file(vault.key_path().unwrap()).unwrap();
        assert!(matches!(vault.key(), Err(VaultError::NoMasterKey(_))));
        vault.create_key(&Secret::new(STRONG.to_owned())).unwrap();
        assert!(!Arc::ptr_eq(&first, &vault.key().unwrap()));
    }

    #[test]
    fn a_created_key_is_private_and_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let vault = Vault::new(Some(home.path()));
        let path = vault.create_key(&Secret::new(STRONG.to_owned())).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.starts_with("U3VwM3ItczNjcmV0IG1hc3RlciE=\n"));
        assert!(matches!(
            vault.create_key(&Secret::new("An0ther-one!".to_owned())),
            Err(VaultError::MasterKeyExists(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn weak_master_passwords_are_refused() {
        for (password, strong) in [
            ("Aa1!Aa1!", true),
            ("Aa1!Aa1", false),
            ("aaaa111!", false),
            ("AAAA111!", false),
            ("AAAAaaa!", false),
            ("AAAAaaa1", false),
            ("Äaaaaa1 ", true),
        ] {
            assert_eq!(is_strong_password(password), strong, "{password}");
        }
    }

    #[test]
    fn modes_that_let_others_in_are_refused_with_the_command_that_mends_them() {
        let home = home_of_vectors();
        let vault = Vault::new(Some(home.path()));
        let key = vault.key_path().unwrap();
        let folder = key.parent().unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        set(&key, 0o640);
        let error = vault.key().map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{0} has mode 0640, it must have 0600: run `chmod 0600 {0}`",
                key.display()
            )
        );
        set(&key, 0o400);
        set(folder, 0o750);
        let error = vault.key().map(|_| ()).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("`chmod 0700 {}`", folder.display())),
            "{error}"
        );
        assert!(vault.create_key(&Secret::new(STRONG.to_owned())).is_err());
        set(folder, 0o700);
        vault.key().unwrap();
    }

    #[test]
    fn a_wrong_key_file_is_named_with_its_line_and_without_its_text() {
        for (text, line) in [
            ("", 1),
            ("not base64!\noKGio6SlpqeoqaqrrK2urw==\n", 1),
            ("U3VwM3ItczNjcmV0IG1hc3RlciE=", 2),
            ("U3VwM3ItczNjcmV0IG1hc3RlciE=\noKGio6Q=\n", 2),
        ] {
            let home = tempfile::tempdir().unwrap();
            write_key(home.path(), text);
            let vault = Vault::new(Some(home.path()));
            let error = vault.key().map(|_| ()).unwrap_err();
            let path = vault.key_path().unwrap();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("{}:{line}: ", path.display())),
                "{error}"
            );
            assert!(!format!("{error:?}").contains("U3VwM3"), "{error:?}");
        }
        assert!(matches!(Vault::new(None).key(), Err(VaultError::NoHome)));
    }
}
