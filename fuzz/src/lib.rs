//! What the fuzz targets share: a vault whose key never changes, so that what is encrypted in a
//! corpus can be decrypted.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;

use pgexporter::management::document::{AdminRequest, encode_response, parse_request};
use pgexporter::management::wire::frame::Framing;
use pgexporter::security::Vault;

/// The master key of the corpora's vault. It protects nothing.
const MASTER_KEY: &str = "VW5zYWZlLWJ5LWRlc2lnbjE=\nAAECAwQFBgcICQoLDA0ODw==\n";
/// The home directory that holds it: a process of libFuzzer has no end in which it could remove one
/// of its own.
const HOME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/home");

/// The vault.
pub static VAULT: LazyLock<Vault> = LazyLock::new(|| {
    write_master_key(&Path::new(HOME).join(".pgexporter")).expect("it can be written");
    let vault = Vault::new(Some(Path::new(HOME)));
    vault.key().expect("a key");
    vault
});

/// Others may do the same at the same time.
fn write_master_key(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let beside = folder.join(format!("master.key.{}", std::process::id()));
    fs::write(&beside, MASTER_KEY)?;
    fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
    fs::rename(&beside, folder.join("master.key"))
}

/// Reads a document as the dispatcher does. What can be read must survive being written again, and
/// every answer is JSON.
pub fn dispatch(framing: Framing, document: &[u8]) {
    let answer = match parse_request(framing, document) {
        Ok(AdminRequest {
            command,
            header,
            request: arguments,
        }) => {
            let verb = command.verb();
            let text = serde_json::to_vec(&command.request()).expect("JSON");
            let again = parse_request(Framing::Id(verb.id()), &text).expect("it was read before");
            assert_eq!(again.command, command);
            encode_response(header, arguments, Ok(command.request()), Default::default())
        }
        Err(bad) => {
            assert!(!bad.message.is_empty() && bad.error > 0);
            encode_response(
                bad.header,
                Default::default(),
                Ok(Default::default()),
                Default::default(),
            )
        }
    };
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert!(answer["Response"]["ServerVersion"].is_string());
}
