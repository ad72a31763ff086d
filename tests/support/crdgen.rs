//! Writes `crds/postgrestargets.yaml` from the Rust types.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::path::Path;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/postgrestargets.yaml");
    let text = pgexporter::kubernetes::crd_yaml().expect("the types make a resource definition");
    std::fs::write(&path, text).expect("crds/ can be written");
    println!("wrote {}", path.display());
}
