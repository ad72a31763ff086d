//! Why a resource is rejected: reason and message of its condition `Accepted`.

/// A rejection. The message is for people and never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Rejection {
    /// The reason, of a closed set.
    pub reason: RejectionReason,
    /// What is wrong and what to do.
    pub message: String,
}

/// The reason of `Accepted=False`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RejectionReason {
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

impl RejectionReason {
    /// All of them, for metrics that start at 0.
    pub(crate) const ALL: [Self; 12] = [
        RejectionReason::SecretNotFound,
        RejectionReason::SecretKeyMissing,
        RejectionReason::ConfigMapNotFound,
        RejectionReason::ConfigMapKeyMissing,
        RejectionReason::Forbidden,
        RejectionReason::InvalidTls,
        RejectionReason::InvalidHost,
        RejectionReason::InvalidLabels,
        RejectionReason::InvalidSpec,
        RejectionReason::InvalidMetrics,
        RejectionReason::DuplicateServer,
        RejectionReason::TooManyTargets,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RejectionReason::SecretNotFound => "SecretNotFound",
            RejectionReason::SecretKeyMissing => "SecretKeyMissing",
            RejectionReason::ConfigMapNotFound => "ConfigMapNotFound",
            RejectionReason::ConfigMapKeyMissing => "ConfigMapKeyMissing",
            RejectionReason::Forbidden => "Forbidden",
            RejectionReason::InvalidTls => "InvalidTls",
            RejectionReason::InvalidHost => "InvalidHost",
            RejectionReason::InvalidLabels => "InvalidLabels",
            RejectionReason::InvalidSpec => "InvalidSpec",
            RejectionReason::InvalidMetrics => "InvalidMetrics",
            RejectionReason::DuplicateServer => "DuplicateServer",
            RejectionReason::TooManyTargets => "TooManyTargets",
        }
    }

    /// Whether the target of an earlier generation is dropped as well: its credentials are gone, its
    /// host is not allowed, its name is taken, or it is beyond the quota.
    pub(crate) fn ends_scraping(self) -> bool {
        matches!(
            self,
            RejectionReason::SecretNotFound
                | RejectionReason::SecretKeyMissing
                | RejectionReason::InvalidHost
                | RejectionReason::DuplicateServer
                | RejectionReason::TooManyTargets
        )
    }
}

impl Rejection {
    pub(crate) fn new(reason: RejectionReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// This rejection with the message of another one appended.
    pub(crate) fn and(self, other: Option<Self>) -> Self {
        match other {
            None => self,
            Some(other) => Self {
                message: format!("{}; {}", self.message, other.message),
                ..self
            },
        }
    }
}
