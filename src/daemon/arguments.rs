//! The command line of `pgexporter`.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::targets::Sources;

/// The options of the C program, with the same meaning.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pgexporter",
    about = "Prometheus exporter for PostgreSQL",
    disable_help_flag = true,
    disable_version_flag = true
)]
pub(super) struct DaemonArguments {
    /// Set the path to the pgexporter.conf file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set the path to the pgexporter_users.conf file
    #[arg(short = 'u', long = "users", value_name = "FILE")]
    pub users: Option<PathBuf>,
    /// Set the path to the pgexporter_admins.conf file
    #[arg(short = 'A', long = "admins", value_name = "FILE")]
    pub admins: Option<PathBuf>,
    /// Set the folder of the configuration files
    #[arg(short = 'D', long = "directory", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Add metrics from a YAML file or a folder
    #[arg(short = 'Y', long = "yaml", value_name = "FILE_OR_DIR")]
    pub yaml: Option<PathBuf>,
    /// Add metrics from a JSON file or a folder
    #[arg(short = 'J', long = "json", value_name = "FILE_OR_DIR")]
    pub json: Option<PathBuf>,
    /// Run only these collectors
    #[arg(
        short = 'C',
        long = "collectors",
        value_name = "a,b",
        value_delimiter = ','
    )]
    pub collectors: Vec<String>,
    /// Run in the background
    #[arg(short = 'd', long = "daemon")]
    pub daemon: bool,
    /// Display the version
    #[arg(short = 'V', long = "version", action = ArgAction::SetTrue)]
    pub version: bool,
    /// Display this help
    #[arg(short = '?', long = "help", action = ArgAction::Help)]
    pub help: Option<bool>,
}

impl DaemonArguments {
    /// Which files to read.
    pub(super) fn sources(&self) -> Sources {
        Sources {
            config: self.config.clone(),
            directory: self.directory.clone(),
            users: self.users.clone(),
            admins: self.admins.clone(),
            metrics: self.yaml.iter().chain(&self.json).cloned().collect(),
            collectors: self.collectors.clone(),
        }
    }
}
