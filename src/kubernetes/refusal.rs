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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Whether what was scraped so far is given up as well: its credentials are gone, it may not be
    /// where it is, or it has no place in the list.
    pub(super) fn ends_scraping(self) -> bool {
        matches!(
            self,
            RefusalReason::SecretNotFound
                | RefusalReason::SecretKeyMissing
                | RefusalReason::InvalidHost
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

    /// The same with another one, which is told beside it.
    pub(super) fn and(self, other: Option<Self>) -> Self {
        match other {
            None => self,
            Some(other) => Self {
                message: format!("{}; {}", self.message, other.message),
                ..self
            },
        }
    }
}
