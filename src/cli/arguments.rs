//! The command line of `pgexporter-cli`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::management::{AdminCommand, Compression, Encryption};

#[derive(Debug, Parser)]
#[command(
    name = "pgexporter-cli",
    version,
    about = "Command line utility for pgexporter",
    disable_help_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Without -h the exporter of this machine is asked, through the Unix socket that its \
                  configuration names. Without -P a password is taken from PGPASSWORD, or asked \
                  for on the terminal.\n\n\
                  Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no connection or no \
                  access."
)]
pub(super) struct CliArguments {
    #[command(flatten)]
    pub options: CliOptions,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where the exporter is, and how it is talked with.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct CliOptions {
    /// The pgexporter.conf file
    #[arg(short, long, global = true, value_name = "FILE", conflicts_with_all = ["host", "port"])]
    pub config: Option<PathBuf>,
    /// The host to connect to
    #[arg(short = 'h', long, global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// The management port to connect to
    #[arg(short, long, global = true, value_name = "PORT")]
    pub port: Option<u16>,
    /// The admin's name
    #[arg(short = 'U', long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The admin's password; it is visible to everyone in the list of processes
    #[arg(short = 'P', long, global = true)]
    pub password: Option<String>,
    /// Also write errors to this file
    #[arg(short = 'L', long, global = true, value_name = "FILE")]
    pub logfile: Option<PathBuf>,
    /// Say whether the command succeeded
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Format of the output; text without it
    #[arg(short = 'F', long, global = true, value_enum)]
    pub format: Option<OutputFormat>,
    /// Compress requests and answers
    #[arg(
        short = 'C',
        long,
        global = true,
        value_enum,
        default_value = "none",
        hide_default_value = true
    )]
    pub compress: Compress,
    /// Encrypt requests and answers with the master key
    #[arg(
        short = 'E',
        long,
        global = true,
        value_enum,
        default_value = "none",
        hide_default_value = true
    )]
    pub encrypt: Encrypt,
    /// Show this help
    #[arg(short = '?', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// `-F`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// Lines of `Key: value`
    Text,
    /// Indented JSON
    Json,
    /// The answer as received
    Raw,
}

/// `-C`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Compress {
    #[default]
    None,
    #[value(alias = "gzip")]
    Gz,
    #[value(alias = "zstd")]
    Zstd,
    Lz4,
    #[value(alias = "bzip2")]
    Bz2,
}

/// `-E`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Encrypt {
    #[default]
    None,
    Aes,
    Aes256,
    Aes192,
    Aes128,
}

impl Compress {
    pub(super) fn method(self) -> Compression {
        match self {
            Compress::None => Compression::None,
            Compress::Gz => Compression::Gzip,
            Compress::Zstd => Compression::Zstd,
            Compress::Lz4 => Compression::Lz4,
            Compress::Bz2 => Compression::Bzip2,
        }
    }
}

impl Encrypt {
    pub(super) fn method(self) -> Encryption {
        match self {
            Encrypt::None => Encryption::None,
            Encrypt::Aes | Encrypt::Aes256 => Encryption::Aes256,
            Encrypt::Aes192 => Encryption::Aes192,
            Encrypt::Aes128 => Encryption::Aes128,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check that the exporter answers
    #[command(disable_help_flag = true)]
    Ping,
    /// Stop the exporter
    #[command(disable_help_flag = true)]
    Shutdown,
    /// Show the servers, and whether they answer
    #[command(disable_help_flag = true)]
    Status(Status),
    /// Show and change the configuration
    #[command(
        disable_help_flag = true,
        disable_help_subcommand = true,
        subcommand_required = true,
        arg_required_else_help = true
    )]
    Conf {
        #[command(subcommand)]
        verb: Conf,
    },
    /// Clear cached metrics
    #[command(
        disable_help_flag = true,
        disable_help_subcommand = true,
        subcommand_required = true,
        arg_required_else_help = true
    )]
    Clear {
        #[command(subcommand)]
        verb: Clear,
    },
    /// List the servers with their state, as a table
    #[command(disable_help_flag = true)]
    Targets(WatchArguments),
    /// Scrape a server once, and show how long each query takes
    #[command(disable_help_flag = true)]
    Scrape {
        /// Its name, as `targets` lists it
        server: String,
    },
    /// Change the level of the log until the next reload
    #[command(
        disable_help_flag = true,
        disable_help_subcommand = true,
        subcommand_required = true,
        arg_required_else_help = true
    )]
    Log {
        #[command(subcommand)]
        verb: Log,
    },
    /// Encrypt a file with the master key
    #[command(disable_help_flag = true)]
    Encrypt(Files),
    /// Decrypt a file that `encrypt` wrote
    #[command(disable_help_flag = true)]
    Decrypt(Files),
    /// Check what a reload would change and what the role may see; with --offline, check only files
    #[command(disable_help_flag = true)]
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub watch: WatchArguments,
    #[command(subcommand)]
    pub more: Option<StatusMore>,
}

#[derive(Debug, Args)]
pub(super) struct WatchArguments {
    /// Show the table of the servers again every so many seconds, 2 without a number
    #[arg(
        short,
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub watch: Option<u16>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum StatusMore {
    /// Show all details of each server
    #[command(disable_help_flag = true)]
    Details,
}

#[derive(Debug, Subcommand)]
pub(super) enum Conf {
    /// Read the configuration again: all of it, or nothing and the reasons
    #[command(disable_help_flag = true)]
    Reload,
    /// List the files of the configuration
    #[command(disable_help_flag = true)]
    Ls,
    /// Show a value of the configuration, or all
    #[command(disable_help_flag = true)]
    Get {
        /// Such as log_level, or server.primary.port
        key: Option<String>,
    },
    /// Change a value until the next reload
    #[command(disable_help_flag = true)]
    Set {
        /// Such as log_level, or server.primary.port
        key: String,
        /// As pgexporter.conf would hold it
        value: String,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Clear {
    /// Clear the cached metrics, and reset the counters to 0
    #[command(disable_help_flag = true)]
    Prometheus,
}

#[derive(Debug, Subcommand)]
pub(super) enum Log {
    /// debug5 to debug1, info, warn, error or fatal
    #[command(disable_help_flag = true)]
    Level {
        /// As `log_level` takes it
        level: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Files {
    /// The file to read
    pub input: PathBuf,
    /// The file to write; without it the same name with .aes, or without it again
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Check only files, without an exporter or a server
    #[arg(long)]
    pub offline: bool,
    /// Scrape this address once, as Prometheus does, and check the answer
    #[arg(
        long,
        value_name = "URL",
        conflicts_with_all = ["offline", "directory", "users", "admins", "metrics", "config", "host", "port"]
    )]
    pub url: Option<String>,
    /// The authorities to trust at an https:// address, in place of the system's
    #[arg(long, value_name = "FILE", requires = "url")]
    pub ca: Option<PathBuf>,
    /// The folder of pgexporter.conf, as `pgexporter -D`
    #[arg(short = 'D', long, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The users file, as `pgexporter -u`
    #[arg(short, long, value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// The admins file, as `pgexporter -A`
    #[arg(short = 'A', long, value_name = "FILE")]
    pub admins: Option<PathBuf>,
    /// More metrics, as `pgexporter -Y` and `-J`
    #[arg(
        short = 'Y',
        long = "yaml",
        visible_short_alias = 'J',
        visible_alias = "json",
        value_name = "FILE_OR_DIR"
    )]
    pub metrics: Vec<PathBuf>,
}

impl Verb {
    /// How often it is asked again; `None`: once.
    pub(super) fn watch(&self) -> Option<Duration> {
        let (Verb::Status(Status { watch, .. }) | Verb::Targets(watch)) = self else {
            return None;
        };
        watch
            .watch
            .map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// What the exporter is asked; `None` for what is done here.
    pub(super) fn command(&self) -> Option<AdminCommand> {
        Some(match self {
            Verb::Ping => AdminCommand::Ping,
            Verb::Shutdown => AdminCommand::Shutdown,
            Verb::Status(status) => match status.more {
                None => AdminCommand::Status,
                Some(StatusMore::Details) => AdminCommand::StatusDetails,
            },
            Verb::Conf { verb } => match verb {
                Conf::Reload => AdminCommand::Reload,
                Conf::Ls => AdminCommand::ConfLs,
                Conf::Get { key } => AdminCommand::ConfGet(key.clone()),
                Conf::Set { key, value } => AdminCommand::ConfSet {
                    key: key.clone(),
                    value: value.clone(),
                },
            },
            Verb::Clear {
                verb: Clear::Prometheus,
            } => AdminCommand::ClearPrometheus,
            Verb::Targets(_) => AdminCommand::Targets,
            Verb::Scrape { server } => AdminCommand::Scrape {
                server: server.clone(),
            },
            Verb::Log {
                verb: Log::Level { level },
            } => AdminCommand::LogLevel {
                level: level.clone(),
            },
            Verb::Check(check) if !check.offline && check.url.is_none() => AdminCommand::Check,
            Verb::Check(_) | Verb::Encrypt(_) | Verb::Decrypt(_) => return None,
        })
    }
}
