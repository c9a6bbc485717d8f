//! Helm charts: where they come from, what is in them, and what an installation of them runs.

pub mod render;
pub mod secrets;
