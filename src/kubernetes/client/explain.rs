//! Why there is no way to the API server, in words that hold nothing of what was read: a
//! kubeconfig, the output of a login plugin, and answers hold tokens and keys, and the library's
//! messages repeat parts of them.

use std::error::Error as StdError;
use std::io::ErrorKind;

use kube::client::AuthError;
use kube::config::{InferConfigError, KubeconfigError, LoadDataError};
use kube::runtime::watcher;

use crate::text::peer_text;

/// Why a kubeconfig cannot be used.
#[must_use]
pub fn explain_kubeconfig(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(source, path) if source.kind() == ErrorKind::NotFound => {
            format!(
                "there is no kubeconfig {}: name yours with --kubeconfig or KUBECONFIG",
                path.display()
            )
        }
        KubeconfigError::ReadConfig(source, path) => {
            format!("the kubeconfig {} cannot be read: {source}", path.display())
        }
        KubeconfigError::FindPath => {
            "there is no kubeconfig: name yours with --kubeconfig or KUBECONFIG".to_owned()
        }
        error => format!("the kubeconfig cannot be used: {}", problem(error)),
    }
}

fn problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => {
            let place = error.location().map(|at| (at.line(), at.column()));
            match place {
                Some((line, column)) => {
                    format!("it is no kubeconfig in YAML, at line {line} column {column}")
                }
                None => "it is no kubeconfig in YAML".to_owned(),
            }
        }
        KubeconfigError::LoadContext(_) => "it lacks the context that it names".to_owned(),
        KubeconfigError::LoadClusterOfContext(_) => {
            "it lacks the cluster that its context names".to_owned()
        }
        KubeconfigError::ParseClusterUrl(_) => "the cluster's server is no URL".to_owned(),
        KubeconfigError::ParseProxyUrl(_) => "the cluster's proxy-url is no URL".to_owned(),
        KubeconfigError::LoadCertificateAuthority(error) => {
            format!("certificate-authority: {}", data(error))
        }
        KubeconfigError::LoadClientCertificate(error) => {
            format!("client-certificate: {}", data(error))
        }
        KubeconfigError::LoadClientKey(error) => format!("client-key: {}", data(error)),
        KubeconfigError::ParseCertificates(_) => {
            "certificate-authority: it holds no certificates in PEM".to_owned()
        }
        KubeconfigError::CurrentContextNotSet
        | KubeconfigError::KindMismatch
        | KubeconfigError::ApiVersionMismatch
        | KubeconfigError::MissingClusterUrl
        | KubeconfigError::FindPath => error.to_string(),
        _ => "it cannot be read".to_owned(),
    }
}

fn data(error: &LoadDataError) -> String {
    match error {
        LoadDataError::ReadFile(source, path) => {
            format!("{} cannot be read: {source}", path.display())
        }
        LoadDataError::DecodeBase64(_) => "its data is no base64".to_owned(),
        LoadDataError::NoBase64DataOrFile => "it gives neither a file nor data".to_owned(),
    }
}

/// Why no cluster was found: neither a service account nor a kubeconfig.
pub(in crate::kubernetes) fn explain_infer(error: &InferConfigError) -> String {
    let file = error
        .source()
        .and_then(|source| source.downcast_ref::<KubeconfigError>());
    let file = file.map_or_else(
        || "no kubeconfig can be used".to_owned(),
        explain_kubeconfig,
    );
    format!("there is no service account of a pod; {file}")
}

/// Why the API server gave no answer that can be used.
#[must_use]
pub fn explain_api(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => peer_text(&status.message),
        kube::Error::SerdeError(error) => format!(
            "its answer is not of the expected form, at line {} column {}",
            error.line(),
            error.column()
        ),
        kube::Error::FromUtf8(_) => "its answer is not UTF-8".to_owned(),
        kube::Error::Auth(error) => explain_auth(error),
        kube::Error::InferKubeconfig(error) => explain_kubeconfig(error),
        kube::Error::InferConfig(error) => explain_infer(error),
        // The library's own words for it say nothing.
        kube::Error::Service(cause) => explain_chain(&**cause),
        error => explain_chain(error),
    }
}

/// An error with what is below it, each cause once.
#[must_use]
pub fn explain_chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let (words, ends) = match (error.downcast_ref(), error.downcast_ref()) {
            (Some(error), _) => (explain_auth(error), true),
            (_, Some(error)) => (explain_kubeconfig(error), true),
            _ => (error.to_string(), false),
        };
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        next = error.source().filter(|_| !ends);
    }
    text
}

fn explain_auth(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecStart(source) => {
            format!("the login plugin of the kubeconfig cannot be run: {source}")
        }
        // Its output may be a token.
        AuthError::AuthExecRun { out, .. } => {
            format!("the login plugin of the kubeconfig failed: {}", out.status)
        }
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            "the login plugin of the kubeconfig printed no ExecCredential".to_owned()
        }
        AuthError::ReadTokenFile(source, path) => {
            format!("the token in {} cannot be read: {source}", path.display())
        }
        AuthError::InvalidBasicAuth(_) | AuthError::InvalidBearerToken(_) => {
            "the user's token or password holds bytes that no header may hold".to_owned()
        }
        AuthError::MissingCommand => error.to_string(),
        _ => "the user of the kubeconfig cannot log in".to_owned(),
    }
}

/// What an error of the API server says, without the rest of its answer.
pub(in crate::kubernetes) fn explain_watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(inner)
        | watcher::Error::WatchStartFailed(inner)
        | watcher::Error::WatchFailed(inner) => explain_api(inner),
        watcher::Error::WatchError(status) => peer_text(&status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// The HTTP status that the API server answered with, if it did.
pub(in crate::kubernetes) fn status_code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::config::Kubeconfig;

    use super::*;

    #[test]
    fn a_file_that_is_no_kubeconfig_is_told_with_its_line_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        for text in [
            "MARKER\n",
            "- MARKER\n",
            "users: MARKER\n",
            "users:\n- name: a\n  user: MARKER\n",
            "users:\n- name: a\n  user: {token: [MARKER]}\n",
            "clusters: [{name: a, cluster: {server: MARKER, insecure-skip-tls-verify: MARKER}}]\n",
            "a: b: MARKER\n",
            "\"MARKER\n",
            "-----BEGIN MARKER-----\nMARKER==\n-----END MARKER-----\n",
            "host:5432:db:user:MARKER\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = match Kubeconfig::read_from(&path) {
                Ok(_) => continue,
                Err(error) => explain_kubeconfig(&error),
            };
            assert!(error.contains("cannot be used"), "{text}: {error}");
            assert!(!error.contains("MARKER"), "{text}: {error}");
        }
    }

    #[test]
    fn an_answer_of_another_form_is_not_shown() {
        let wrong = serde_json::from_str::<u8>("\"MARKER\"").unwrap_err();
        let error = explain_api(&kube::Error::SerdeError(wrong));
        assert!(error.contains("line 1"), "{error}");
        assert!(!error.contains("MARKER"), "{error}");
    }
}
