//! `PostgresTarget` resources as their users have them: applied to a real API server, scraped by
//! the real program under the rights that `deploy/base` gives it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use test_support as support;

#[path = "operator/ambiguous.rs"]
mod ambiguous;
#[path = "operator/away.rs"]
mod away;
#[path = "operator/bed.rs"]
mod bed;
#[path = "operator/costs.rs"]
mod costs;
#[path = "operator/discovery.rs"]
mod discovery;
#[path = "operator/marker.rs"]
mod marker;
#[path = "operator/pages.rs"]
mod pages;
#[cfg(debug_assertions)]
#[path = "operator/panics.rs"]
mod panics;
#[path = "operator/rights.rs"]
mod rights;
#[path = "operator/rotation.rs"]
mod rotation;
#[path = "operator/schema.rs"]
mod schema;
#[path = "operator/shards.rs"]
mod shards;
#[path = "operator/sizes.rs"]
mod sizes;
#[path = "operator/targets.rs"]
mod targets;
#[path = "operator/tenants.rs"]
mod tenants;
#[path = "operator/told.rs"]
mod told;
