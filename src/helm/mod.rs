//! Helm charts: where they come from, what is in them, and which images they make a cluster pull.

pub mod oci;
pub mod repository;
pub mod source;
pub mod version;
