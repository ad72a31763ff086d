//! Where a command line's passwords come from: the terminal, the input, or chance.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::security::{Secret, is_strong_password};

/// How often two passwords may differ before we give up.
const TRIES: usize = 3;
/// How long a signal to ourselves may take. Whoever ignores it gets an error after that.
const SIGNAL_DELIVERY: Duration = Duration::from_secs(1);
/// Characters of generated passwords. Quotes, backslash and space are left out: they break where
/// people paste.
const ALPHABET: &[u8] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!@#$%^&*()-_=+[]{}|;:,.<>/?~";

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum PasswordError {
    #[error("the two passwords differed {TRIES} times; nothing was changed")]
    Differ,
    #[error("cannot read the terminal: {0}")]
    Terminal(io::Error),
    #[error("the operating system did not provide random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

/// Asks on the terminal, without echo.
pub(super) fn ask_once(prompt: &str) -> Result<Secret, PasswordError> {
    let mut terminal = EchoOff::new().map_err(PasswordError::Terminal)?;
    let mut password = terminal.prompt(prompt)?;
    Ok(Secret::new(std::mem::take(&mut *password)))
}

/// Asks on the terminal, without echo, until two answers are the same.
pub(super) fn ask_twice(prompt: &str) -> Result<String, PasswordError> {
    let width = prompt.len().max("Verify".len());
    // Echo stays off between the prompts, so that characters typed before one are not shown either.
    let mut terminal = EchoOff::new().map_err(PasswordError::Terminal)?;
    for _ in 0..TRIES {
        let mut password = terminal.prompt(&format!("{prompt:width$}: "))?;
        if password == terminal.prompt(&format!("{:width$}: ", "Verify"))? {
            return Ok(std::mem::take(&mut *password));
        }
        let _ = terminal.show("The passwords differ, try again.\n");
    }
    Err(PasswordError::Differ)
}

/// The terminal without echo and without signals from its keys, until this is dropped.
///
/// `rpassword` edits the line. It would show its prompt before it turns the echo off, and let
/// Ctrl-C leave the terminal mute: so the terminal's modes are ours.
struct EchoOff {
    terminal: File,
    before: Termios,
}

impl EchoOff {
    fn new() -> io::Result<Self> {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut modes = before.clone();
        modes.local_modes &=
            !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Now, &modes)?;
        Ok(Self { terminal, before })
    }

    fn show(&mut self, text: &str) -> io::Result<()> {
        self.terminal.write_all(text.as_bytes())
    }

    fn prompt(&mut self, prompt: &str) -> Result<Zeroizing<String>, PasswordError> {
        let answer = self.show(prompt).and_then(|()| {
            let keys = TerminalInput(self.terminal.try_clone()?);
            let config = rpassword::ConfigBuilder::new()
                .input_reader(keys)
                .output_discard()
                .build();
            let answer = rpassword::read_password_with_config(config).map(Zeroizing::new);
            self.show("\n")?;
            answer
        });
        answer.map_err(|error| {
            if error
                .get_ref()
                .is_some_and(|error| error.is::<Interrupted>())
            {
                self.restore();
                // Whoever started us, most often a shell, is to see what ended us.
                let _ = kill_process(getpid(), Signal::INT);
                // Another thread may be the one that takes the signal: this one must not end the
                // program in another way before that.
                std::thread::sleep(SIGNAL_DELIVERY);
            }
            PasswordError::Terminal(error)
        })
    }

    fn restore(&self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        self.restore();
    }
}

/// The input of a terminal that sends no signal for Ctrl-C; that key becomes an error.
struct TerminalInput(File);

impl Read for TerminalInput {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(bytes)?;
        if bytes[..count].contains(&b'\x03') {
            return Err(io::Error::other(Interrupted));
        }
        Ok(count)
    }
}

/// Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

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
