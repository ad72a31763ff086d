//! The command lines.

pub mod admin;
