//! pgexporter-cli.

fn main() {}
