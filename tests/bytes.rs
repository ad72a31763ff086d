//! What a server sends costs the exporter so much memory as its limits say, whatever it announces
//! and however much it sends; what exceeds a limit is left out alone, and the memory goes back.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use test_support as support;

#[path = "bytes/all.rs"]
mod all;
#[path = "bytes/back.rs"]
mod back;
#[path = "bytes/bed.rs"]
mod bed;
#[path = "bytes/labels.rs"]
mod labels;
#[path = "bytes/limit.rs"]
mod limit;
#[path = "bytes/wire.rs"]
mod wire;
