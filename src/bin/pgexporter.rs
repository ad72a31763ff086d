//! pgexporter.

fn main() {}
