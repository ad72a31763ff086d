//! `pgexporter.conf`: text goes in, a checked [`Configuration`] or a list of all its errors comes
//! out.

mod configuration;

pub use configuration::*;
