//! pgexporter-admin.

fn main() {}
