//! Helm: chart sources, version constraints, rendering, image discovery.
//!
//! Follows Helm where Helm reads (archives, `Chart.yaml`, `.helmignore`, OCI artifacts,
//! provenance), and is stricter where Helm would follow a hostile input.

pub mod chart;
pub mod discover;
pub mod oci;
pub mod operators;
pub mod package;
pub mod provenance;
pub mod render;
pub mod repository;
pub mod secrets;
pub mod source;
pub mod suggest;
pub mod values;
pub mod version;
