//! `pgexporter-admin`: creates the master key, and keeps the users in a users file.
//!
//! In go arguments, the terminal and the environment; out come files of the vault. Exit status: 0
//! done, 1 failed, 2 wrong usage.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory as _, Parser, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::password::{PasswordError, ask_twice, generate, read_line};
use crate::security::{
    Environment, Secret, UserNameError, UsersFile, Vault, VaultError, check_name,
};
use crate::text::{escaped, escaped_json};

#[derive(Parser)]
#[command(
    name = "pgexporter-admin",
    version,
    about = "Administration utility for pgexporter",
    disable_help_flag = true,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "PGEXPORTER_PASSWORD gives the password when neither -P nor -g does. Without all \
                  three it is asked for on the terminal, or read as a line of the input if that is \
                  no terminal. PGEXPORTER_HOME stands for the home directory, where \
                  .pgexporter/master.key is."
)]
struct AdminArguments {
    /// The users file
    #[arg(short, long, global = true, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The user's name
    #[arg(short = 'U', long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// The password; it is visible to everyone in the list of processes
    #[arg(short = 'P', long, global = true, conflicts_with = "generate")]
    password: Option<String>,
    /// Generate a password
    #[arg(short, long, global = true)]
    generate: bool,
    /// Length of a generated password, 8 to 1024
    #[arg(short, long, global = true, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(8..=1024))]
    length: u16,
    /// Format of the output
    #[arg(short = 'F', long, global = true, value_enum, default_value_t = AdminFormat::Text)]
    format: AdminFormat,
    /// Show this help
    #[arg(short = '?', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(subcommand)]
    command: AdminSubcommand,
}

#[derive(Clone, Copy, ValueEnum)]
enum AdminFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum AdminSubcommand {
    /// Create the master key
    #[command(disable_help_flag = true)]
    MasterKey,
    /// Keep the users in a users file
    #[command(
        disable_help_flag = true,
        disable_help_subcommand = true,
        subcommand_required = true,
        arg_required_else_help = true
    )]
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
}

#[derive(Clone, Copy, Subcommand)]
enum UserCommand {
    /// Add a user
    #[command(disable_help_flag = true)]
    Add,
    /// Give a user a new password
    #[command(disable_help_flag = true)]
    Edit,
    /// Remove a user
    #[command(disable_help_flag = true)]
    Del,
    /// List the users
    #[command(disable_help_flag = true)]
    Ls,
}

impl AdminSubcommand {
    fn name(&self) -> &'static str {
        match self {
            AdminSubcommand::MasterKey => "master-key",
            AdminSubcommand::User { command } => match command {
                UserCommand::Add => "user add",
                UserCommand::Edit => "user edit",
                UserCommand::Del => "user del",
                UserCommand::Ls => "user ls",
            },
        }
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
enum AdminError {
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the users file is missing: give it with -f FILE")]
    NoFile,
    #[error("{0}")]
    BadName(#[from] UserNameError),
    #[error("there is a user '{name}' in {path} already: `user edit` gives a new password")]
    Exists { name: String, path: PathBuf },
    #[error("there is no user '{name}' in {path}: `user ls` lists them")]
    Unknown { name: String, path: PathBuf },
    #[error("the {0} is missing: {1}")]
    Missing(&'static str, &'static str),
    #[error("the password is empty, or holds a zero byte")]
    BadPassword,
    #[error("PGEXPORTER_PASSWORD is not UTF-8 text")]
    BadVariable,
    #[error(transparent)]
    Password(#[from] PasswordError),
}

impl AdminError {
    fn status(&self) -> u8 {
        match self {
            AdminError::NoFile | AdminError::BadName(_) | AdminError::Missing(..) => 2,
            _ => 1,
        }
    }
}

/// What a command has to say when it is done.
#[derive(Default)]
struct AdminOutcome {
    text: String,
    response: serde_json::Map<String, Value>,
}

/// Its command line.
#[must_use]
pub fn command_line() -> clap::Command {
    AdminArguments::command()
}

/// Runs the program with the arguments, the first of which is its own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match AdminArguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come as errors too, and are printed to the standard output.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let (outcome, status) = match arguments.execute() {
        Ok(outcome) => (Ok(outcome), 0),
        Err(error) => {
            let error_text = error.to_string();
            let lines: Vec<_> = error_text.lines().map(escaped).collect();
            let _ = writeln!(io::stderr(), "pgexporter-admin: {}", lines.join("\n"));
            let status = error.status();
            (Err(error), status)
        }
    };
    // A reader that hung up is no reason to fail: the work is done.
    let _ = arguments.print(outcome);
    ExitCode::from(status)
}

impl AdminArguments {
    fn execute(&self) -> Result<AdminOutcome, AdminError> {
        let environment = Environment::of_process();
        let vault = Vault::new(environment.home.as_deref());
        match self.command {
            AdminSubcommand::MasterKey => self.create_master_key(&vault),
            AdminSubcommand::User { command } => {
                let path = self.file.clone().ok_or(AdminError::NoFile)?;
                match command {
                    UserCommand::Add | UserCommand::Edit => {
                        self.set_password(command, path, &vault)
                    }
                    UserCommand::Del => self.remove(path),
                    UserCommand::Ls => list(&path),
                }
            }
        }
    }

    fn create_master_key(&self, vault: &Vault) -> Result<AdminOutcome, AdminError> {
        // Before anybody is asked for a password in vain.
        if vault.has_key()? {
            return Err(VaultError::MasterKeyExists(vault.key_path()?).into());
        }
        let (password, _) = self.take_password("Master key")?;
        let path = vault.create_key(&password)?;
        Ok(AdminOutcome {
            text: format!("The master key is in {}\n", path.display()),
            ..AdminOutcome::default()
        })
    }

    fn set_password(
        &self,
        command: UserCommand,
        path: PathBuf,
        vault: &Vault,
    ) -> Result<AdminOutcome, AdminError> {
        let add = matches!(command, UserCommand::Add);
        let name = self.user_name()?;
        let check = |file: &UsersFile| match (add, file.contains(&name)) {
            (true, true) => Err(AdminError::Exists {
                name: name.clone(),
                path: path.clone(),
            }),
            (false, false) => Err(AdminError::Unknown {
                name: name.clone(),
                path: path.clone(),
            }),
            _ => Ok(()),
        };
        // All that can fail does so before the password is asked for.
        vault.key()?;
        if !add || path.exists() {
            check(&UsersFile::read(&path)?)?;
        }
        let (password, generated) = self.take_password("Password")?;
        // Another may have changed the file while this one was typing.
        UsersFile::change(&path, add, |file| match check(file) {
            Ok(()) => file.set(&name, &password, vault).map(|()| Ok(())),
            Err(error) => Ok(Err(error)),
        })??;

        let done = if add {
            "was added to"
        } else {
            "has a new password in"
        };
        let mut outcome = AdminOutcome {
            text: format!("User '{name}' {done} {}\n", path.display()),
            ..AdminOutcome::default()
        };
        outcome.response.insert("User".to_owned(), json!(name));
        if generated {
            outcome
                .text
                .push_str(&format!("Password: {}\n", password.expose()));
            outcome
                .response
                .insert("Password".to_owned(), json!(password.expose()));
        }
        Ok(outcome)
    }

    fn remove(&self, path: PathBuf) -> Result<AdminOutcome, AdminError> {
        let name = self.user_name()?;
        if !UsersFile::read(&path)?.contains(&name)
            || !UsersFile::change(&path, false, |file| Ok(file.remove(&name)))?
        {
            return Err(AdminError::Unknown { name, path });
        }
        let mut outcome = AdminOutcome {
            text: format!("User '{name}' was removed from {}\n", path.display()),
            ..AdminOutcome::default()
        };
        outcome.response.insert("User".to_owned(), json!(name));
        Ok(outcome)
    }

    fn user_name(&self) -> Result<String, AdminError> {
        let name = match &self.user {
            Some(name) => name.clone(),
            None => {
                if io::stdin().is_terminal() {
                    let _ = write!(io::stderr(), "User name: ");
                }
                let line = read_line()?.ok_or(AdminError::Missing(
                    "user's name",
                    "give it with -U, or as the first line of the input",
                ))?;
                line.to_string()
            }
        };
        check_name(&name)?;
        Ok(name)
    }

    /// The password, and whether we made it up.
    fn take_password(&self, prompt: &str) -> Result<(Secret, bool), AdminError> {
        let password = if let Some(password) = &self.password {
            password.clone()
        } else if self.generate {
            return Ok((generate(usize::from(self.length))?, true));
        } else if let Some(password) = std::env::var_os("PGEXPORTER_PASSWORD") {
            password
                .into_string()
                .map_err(|_| AdminError::BadVariable)?
        } else if io::stdin().is_terminal() {
            ask_twice(prompt)?
        } else {
            let line = read_line()?.ok_or(AdminError::Missing(
                "password",
                "type it on a terminal, give it in PGEXPORTER_PASSWORD or as a line of the input, \
                 or have it generated with -g",
            ))?;
            line.to_string()
        };
        let password = Secret::new(password);
        if password.expose().is_empty() || password.expose().contains('\0') {
            return Err(AdminError::BadPassword);
        }
        Ok((password, false))
    }

    fn print(&self, outcome: Result<AdminOutcome, AdminError>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.format {
            AdminFormat::Text => {
                if let Ok(outcome) = outcome {
                    out.write_all(outcome.text.as_bytes())?;
                }
            }
            AdminFormat::Json => {
                let (status, response) = match outcome {
                    Ok(outcome) => (json!({ "Status": true }), outcome.response),
                    Err(error) => (
                        json!({ "Status": false, "Error": error.to_string() }),
                        serde_json::Map::new(),
                    ),
                };
                let now = jiff::ZonedDateTime::now()
                    .strftime("%Y%m%d%H%M%S")
                    .to_string();
                let document = json!({
                    "Header": {
                        "ClientVersion": env!("CARGO_PKG_VERSION"),
                        "Command": self.command.name(),
                        "Output": "json",
                        "Timestamp": now,
                    },
                    "Outcome": status,
                    "Response": response,
                });
                writeln!(out, "{}", escaped_json(&format!("{document:#}")))?;
            }
        }
        out.flush()
    }
}

fn list(path: &std::path::Path) -> Result<AdminOutcome, AdminError> {
    let file = UsersFile::read(path)?;
    let names: Vec<&str> = file.names().collect();
    let mut outcome = AdminOutcome {
        text: names
            .iter()
            .map(|name| format!("{}\n", escaped(name)))
            .collect(),
        ..AdminOutcome::default()
    };
    outcome.response.insert("Users".to_owned(), json!(names));
    Ok(outcome)
}
