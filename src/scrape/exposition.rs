//! The answer to one scrape, in pieces that are shared and never copied.

use bytes::Bytes;

use crate::exposition::Format;

/// What one scrape brought. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    /// Pieces of the text format, in order.
    pub(crate) text: Vec<Bytes>,
    /// The same scrape in OpenMetrics; only heads differ.
    pub(crate) open_metrics: Vec<Bytes>,
}

impl Exposition {
    /// The pieces of the body in that format, each to be sent as it is.
    #[must_use]
    pub fn chunks(&self, format: Format) -> &[Bytes] {
        match format {
            Format::Text => &self.text,
            Format::OpenMetrics => &self.open_metrics,
        }
    }
}
