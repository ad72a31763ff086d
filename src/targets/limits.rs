//! What one server may make the exporter hold, in bytes.

/// Limits of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteLimits {
    /// A message of the server before the session is ready, header included. All messages of a
    /// login together may have [`Self::LOGIN_MESSAGES`] times as many bytes.
    pub login_message: usize,
    /// A message after that. A longer row is not held: its query gives no samples.
    pub message: usize,
    /// What one query may give, as text.
    pub result: usize,
    /// What all queries of one scrape may give together, as text.
    pub samples: usize,
}

impl ByteLimits {
    /// How many of the longest messages all messages of a login may be together.
    pub const LOGIN_MESSAGES: usize = 4;
    /// No message is longer, whatever the configuration says: one that announces more ends the
    /// session.
    pub const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

    /// The same, with another limit of samples, which may only be lower.
    #[must_use]
    pub fn with_samples(self, samples: usize) -> Self {
        Self {
            samples: self.samples.min(samples),
            ..self
        }
    }
}

impl Default for ByteLimits {
    fn default() -> Self {
        Self {
            login_message: 64 * 1024,
            message: 4 * 1024 * 1024,
            result: 16 * 1024 * 1024,
            samples: 32 * 1024 * 1024,
        }
    }
}
