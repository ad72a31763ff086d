//! The command lines.

pub mod admin;
mod password;
