//! The one place that wires: arguments and configuration go in; a running exporter, its reloads and
//! its end come out.

mod arguments;
pub mod process;
mod reload;
mod run;
mod start;

pub use start::main;
