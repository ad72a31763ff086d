//! What goes wrong with servers in the field: each time the scrape answers by its deadline, says
//! why a server brought nothing, loses nothing of the others, and opens no third connection.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]

use test_support as support;

#[path = "faults/bed.rs"]
mod bed;
#[path = "faults/crowd.rs"]
mod crowd;
#[path = "faults/database_names.rs"]
mod database_names;
#[path = "faults/down.rs"]
mod down;
#[path = "faults/frozen_walk.rs"]
mod frozen_walk;
#[path = "faults/identity.rs"]
mod identity;
#[path = "faults/invented.rs"]
mod invented;
#[path = "faults/names.rs"]
mod names;
#[path = "faults/own_catalogue.rs"]
mod own_catalogue;
#[path = "faults/ports.rs"]
mod ports;
#[path = "faults/queries.rs"]
mod queries;
#[path = "faults/resets.rs"]
mod resets;
#[path = "faults/sessions.rs"]
mod sessions;
#[path = "faults/settings.rs"]
mod settings;
#[path = "faults/shares.rs"]
mod shares;
#[path = "faults/tries.rs"]
mod tries;
#[path = "faults/unix_socket.rs"]
mod unix_socket;
