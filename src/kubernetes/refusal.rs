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
    InvalidMetrics,
    DuplicateServer,
    /// The namespace has as many targets as it may.
    TooManyTargets,
}

impl RefusalReason {
    /// All of them, for metrics that start at 0.
    pub(super) const ALL: [Self; 12] = [
        RefusalReason::SecretNotFound,
        RefusalReason::SecretKeyMissing,
        RefusalReason::ConfigMapNotFound,
        RefusalReason::ConfigMapKeyMissing,
        RefusalReason::Forbidden,
        RefusalReason::InvalidTls,
        RefusalReason::InvalidHost,
        RefusalReason::InvalidLabels,
        RefusalReason::InvalidSpec,
        RefusalReason::InvalidMetrics,
        RefusalReason::DuplicateServer,
        RefusalReason::TooManyTargets,
    ];

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
            RefusalReason::InvalidMetrics => "InvalidMetrics",
            RefusalReason::DuplicateServer => "DuplicateServer",
            RefusalReason::TooManyTargets => "TooManyTargets",
        }
    }

    /// Whether the last good configuration goes as well: its credentials are gone, or it has no
    /// place in the list.
    pub(super) fn ends_scraping(self) -> bool {
        matches!(
            self,
            RefusalReason::SecretNotFound
                | RefusalReason::SecretKeyMissing
                | RefusalReason::DuplicateServer
                | RefusalReason::TooManyTargets
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
