//! Text format 0.0.4 and OpenMetrics 1.0: the one encoder, which owns escaping, type lines and
//! order. Values and labels go in, bytes come out.

mod encode;
mod self_metrics;

pub use encode::{
    FamilyHead, Format, SampleWriter, render_label, split_labels, write_float, write_head,
};
pub use self_metrics::{NotAccepted, SelfMetrics, write_self_metrics};
