//! The command line of `kubectl pgexporter`: kubectl's own options, and the commands of
//! `pgexporter-cli`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser};

use super::super::arguments::{OutputFormat, Verb};

/// What the chart and the kustomization put on every pod.
pub(super) const SELECTOR: &str = "app.kubernetes.io/name=pgexporter";

#[derive(Debug, Parser)]
#[command(
    name = "kubectl pgexporter",
    bin_name = "kubectl pgexporter",
    version,
    about = "Asks the pgexporters of a cluster, each in its pod, and shows what they say as one",
    disable_help_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "What changes an exporter (shutdown, conf set, conf reload, clear prometheus, log \
                  level) needs --pod unless there is one pod alone.\n\n\
                  Needed rights in the namespace: get and list of pods; get and create of \
                  pods/exec.\n\n\
                  Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no connection or no \
                  access; of several pods the highest."
)]
pub(super) struct KubectlArguments {
    #[command(flatten)]
    pub options: KubectlOptions,
    #[command(subcommand)]
    pub verb: Verb,
}

impl KubectlArguments {
    /// Reads a command line, the first word of which is the name of the program.
    ///
    /// # Errors
    /// It makes no sense, or asks for help or the version.
    pub(super) fn read(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        // What reads files of this machine, and what is for one exporter alone, is refused with a
        // reason when it is asked for, and not offered.
        let mut command = Self::command();
        for name in ["encrypt", "decrypt"] {
            command = command.mut_subcommand(name, |one| one.hide(true));
        }
        for name in ["status", "targets"] {
            command = command
                .mut_subcommand(name, |one| one.mut_arg("watch", |option| option.hide(true)));
        }
        Self::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

/// Which pods, and how they are reached.
#[derive(Clone, Debug, Args)]
pub(super) struct KubectlOptions {
    /// The namespace of the exporter; without it that of the context
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The context of the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig; without it KUBECONFIG, or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The labels of the exporter's pods
    #[arg(short = 'l', long, global = true, default_value = SELECTOR)]
    pub selector: String,
    /// One pod alone
    #[arg(long, global = true, value_name = "NAME", value_parser = pod_name)]
    pub pod: Option<String>,
    /// The container; without it the pod's default container, or that called pgexporter
    #[arg(short, long, global = true, value_name = "NAME")]
    pub container: Option<String>,
    /// How long to wait for a pod or the API server: 30s, 5m
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        value_parser = duration,
        default_value = "2m"
    )]
    pub request_timeout: Duration,
    /// Format of the output; text without it
    #[arg(short = 'F', long, global = true, value_enum)]
    pub format: Option<OutputFormat>,
    /// Show this help
    #[arg(short = 'h', visible_short_alias = '?', long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// `pod/NAME` is what `kubectl get -o name` prints.
fn pod_name(text: &str) -> Result<String, String> {
    match text.strip_prefix("pod/").unwrap_or(text) {
        "" => Err("a pod has a name".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// As kubectl takes it: seconds, or a number with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map(Duration::from_secs).ok();
    let span = || {
        let span: Option<jiff::SignedDuration> = text.parse().ok();
        span.and_then(|span| Duration::try_from(span).ok())
    };
    seconds
        .or_else(span)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "it is a time such as 30s or 5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<KubectlArguments, clap::Error> {
        KubectlArguments::read(["kubectl-pgexporter"].iter().chain(words).copied())
    }

    #[test]
    fn options_stand_where_kubectl_has_them_and_after_the_command() {
        for words in [
            &["-n", "monitoring", "--pod=pod/a", "status"][..],
            &["status", "--namespace", "monitoring", "--pod", "a"],
        ] {
            let options = parse(words).unwrap().options;
            assert_eq!(options.namespace.as_deref(), Some("monitoring"));
            assert_eq!(options.pod.as_deref(), Some("a"));
            assert_eq!(options.selector, SELECTOR);
            assert_eq!(options.request_timeout, Duration::from_secs(120));
        }
    }

    #[test]
    fn times_are_written_as_for_kubectl() {
        for (text, seconds) in [("5", 5), ("30s", 30), ("2m", 120), ("1m30s", 90)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "-1s", "soon"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn its_help_is_that_of_a_plugin() {
        for help in ["-h", "-?", "--help"] {
            let text = parse(&[help]).unwrap_err().to_string();
            assert!(text.contains("Usage: kubectl pgexporter"), "{text}");
            assert!(!text.contains("encrypt"), "{text}");
        }
    }
}
