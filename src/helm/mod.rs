//! Helm: chart sources, version constraints, rendering, image discovery.
//!
//! Follows Helm where Helm reads (archives, `Chart.yaml`, `.helmignore`, OCI artifacts,
//! provenance), and is stricter where Helm would follow a hostile input.

pub mod chart;
pub mod discover;
pub mod operators;
pub mod suggest;
