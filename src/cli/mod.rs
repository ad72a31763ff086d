//! The command lines.

pub mod admin;
pub mod check;
mod password;
