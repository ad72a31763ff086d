//! What of management may change while it runs.

use std::time::Duration;

/// Settings of the listeners. New connections take them from a watch channel.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a peer may take for its login, and how long for its request.
    pub authentication_timeout: Duration,
    /// How long a peer may take none of its answer.
    pub blocking_timeout: Duration,
}
