//! The files of the vault: users with their passwords, and the master key.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pgexporter::security::{KeySize, UsersFile, check_master_key};
use pgexporter_fuzz::VAULT;

fuzz_target!(|bytes: &[u8]| {
    let _ = check_master_key(bytes);
    if let Ok(key) = VAULT.key() {
        for size in [KeySize::Aes256, KeySize::Aes192, KeySize::Aes128] {
            let _ = key.decrypt(bytes, size);
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = Path::new("pgexporter_users.conf");
    let mut users = match UsersFile::parse(path, text) {
        Ok(users) => users,
        Err(error) => {
            assert!(error.to_string().contains("pgexporter_users.conf"));
            return;
        }
    };
    let names: Vec<String> = users.names().map(str::to_owned).collect();
    let again = UsersFile::parse(path, &users.text()).expect("it was written here");
    assert!(again.names().eq(names.iter().map(String::as_str)));
    if let Ok(passwords) = users.passwords(&VAULT) {
        assert_eq!(passwords.len(), names.len());
    }
    for name in &names {
        assert!(users.contains(name) && users.remove(name) && !users.contains(name));
    }
});
