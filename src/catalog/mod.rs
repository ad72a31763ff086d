//! Metrics as data. YAML or JSON goes in, the built-in and the user's own in one format; out comes
//! a [`Catalog`]: every family with its type and help, and the queries that a given server runs.

mod bounds;
mod builtin;
mod choose;
pub mod docs;
mod error;
mod explain;
mod files;
mod join;
mod metric;
mod own;
mod parse;
mod raw;
mod tags;

/// The name that users leave the settings out by. They stand in no catalogue: each is a family.
pub const SETTINGS: &str = "pg_settings";

pub use choose::{Choice, Chosen};
pub use error::CatalogError;
pub use files::load;
pub use join::{claims, is_reserved};
pub use metric::{
    Catalog, Column, ColumnKind, Family, Metric, Query, Scope, Side, Source, Version,
};
pub use own::OwnMetrics;
