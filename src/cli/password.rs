//! Where a command line's passwords come from: the terminal, the input, or chance.

use std::io::{self, BufRead, Write};

use zeroize::Zeroizing;

use crate::security::{Secret, is_strong_password};

/// How often two passwords may differ before we give up.
const TRIES: usize = 3;
/// Characters of generated passwords. Quotes, backslash and space are left out: they break where
/// people paste.
const ALPHABET: &[u8] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*()-_=+[]{}|;:,.<>/?~";

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum PasswordError {
    #[error("the two passwords differed {TRIES} times; nothing is changed")]
    Differ,
    #[error("cannot read the terminal: {0}")]
    Terminal(io::Error),
    #[error("the system gave no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

/// Asks on the terminal, without echo, until two answers are the same.
pub(super) fn ask_twice(prompt: &str) -> Result<String, PasswordError> {
    let width = prompt.len().max("Verify".len());
    let ask = |what: &str| {
        rpassword::prompt_password(format!("{what:width$}: "))
            .map(Zeroizing::new)
            .map_err(PasswordError::Terminal)
    };
    for _ in 0..TRIES {
        let mut password = ask(prompt)?;
        if password == ask("Verify")? {
            return Ok(std::mem::take(&mut *password));
        }
        let _ = writeln!(io::stderr(), "The passwords differ, try again.");
    }
    Err(PasswordError::Differ)
}

/// A line of the standard input without its end; `None` when there is none.
pub(super) fn read_line() -> Result<Option<Zeroizing<String>>, PasswordError> {
    let mut line = Zeroizing::new(String::new());
    let read = io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(PasswordError::Terminal)?;
    if read == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(Some(Zeroizing::new(text.to_owned())))
}

/// A password of independent, evenly drawn characters that is strong enough for a master key.
pub(super) fn generate(length: usize) -> Result<Secret, PasswordError> {
    // Bytes from here on would favour the first characters.
    let even = 256 - 256 % ALPHABET.len();
    loop {
        let mut text = Zeroizing::new(String::with_capacity(length));
        while text.len() < length {
            let mut bytes = Zeroizing::new([0; 64]);
            getrandom::fill(bytes.as_mut_slice()).map_err(PasswordError::NoRandomness)?;
            let wanted = length - text.len();
            text.extend(
                bytes
                    .iter()
                    .map(|&byte| usize::from(byte))
                    .filter(|&byte| byte < even)
                    .map(|byte| char::from(ALPHABET[byte % ALPHABET.len()]))
                    .take(wanted),
            );
        }
        if is_strong_password(&text) {
            return Ok(Secret::new(std::mem::take(&mut *text)));
        }
    }
}
