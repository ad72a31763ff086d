//! The bytes of a connection to an exporter.

use std::io::{Read, Write};
use std::time::Duration;

/// How long to wait for an exporter. `scrape` and `check` take as long as their servers.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// A connection to an exporter, ready for a frame.
pub(super) trait SyncStream: Read + Write {}

impl<T: Read + Write> SyncStream for T {}
