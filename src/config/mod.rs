//! `pgexporter.conf`: text goes in, a checked [`Configuration`] or a list of all its errors comes
//! out.
//!
//! ```text
//! bytes ─► ini (sections, lines) ─► read (keys, by the table in keys/) ─► check ─► Configuration
//!                                                                                      │
//!                                    values (listing) ◄── compare, merge (reload) ◄────┘
//! ```
//!
//! The table of [`keys`] is the one source of names, kinds and defaults: reading, listing,
//! comparing and `docs/configuration.md` all come from it.

mod check;
mod compare;
mod configuration;
pub mod docs;
mod errors;
mod field;
mod given;
mod ini;
pub mod keys;
mod load;
mod read;
mod set;
mod value;
mod values;

#[cfg(test)]
mod tests;

pub use check::{PortRangeError, port_ranges};
pub use compare::{ConfigChanges, KeyChange, ServerChange, compare, merge};
pub use configuration::*;
pub use errors::{ConfigErrors, Problem, UnknownKey};
pub use load::{
    DEFAULT_DIRECTORY, DIRECTORY_VARIABLE, FILE_NAME, find, load, parse, socket_folder,
};
pub use read::LoadedConfiguration;
/// Hidden: for the fuzzer, whose bytes are no text.
#[doc(hidden)]
pub use read::parse_bytes;
pub use set::{SetError, changed_from, set};
pub use value::{Value, ValueError, ValueKind};
pub use values::{get, values};
