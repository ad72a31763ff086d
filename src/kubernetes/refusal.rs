//! Why a resource is not accepted, as its condition says it.

/// A refusal. The message is for people and never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Refusal {
    /// Of a closed set.
    pub reason: RefusalReason,
    /// What is wrong and what to do.
    pub message: String,
}

/// The reason of `Accepted=False`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    SecretNotFound,
    SecretKeyMissing,
    ConfigMapNotFound,
    ConfigMapKeyMissing,
    /// RBAC does not let us read what the resource names.
    Forbidden,
    InvalidTls,
    InvalidHost,
    InvalidLabels,
    InvalidSpec,
    DuplicateServer,
}

impl RefusalReason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            RefusalReason::SecretNotFound => "SecretNotFound",
            RefusalReason::SecretKeyMissing => "SecretKeyMissing",
            RefusalReason::ConfigMapNotFound => "ConfigMapNotFound",
            RefusalReason::ConfigMapKeyMissing => "ConfigMapKeyMissing",
            RefusalReason::Forbidden => "Forbidden",
            RefusalReason::InvalidTls => "InvalidTls",
            RefusalReason::InvalidHost => "InvalidHost",
            RefusalReason::InvalidLabels => "InvalidLabels",
            RefusalReason::InvalidSpec => "InvalidSpec",
            RefusalReason::DuplicateServer => "DuplicateServer",
        }
    }

    /// Whether what the resource named is gone, so that its last good configuration goes as well.
    pub(super) fn takes_credentials(self) -> bool {
        matches!(
            self,
            RefusalReason::SecretNotFound | RefusalReason::SecretKeyMissing
        )
    }
}

impl Refusal {
    pub(super) fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
