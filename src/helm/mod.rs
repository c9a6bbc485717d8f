//! Helm charts: where they come from, what is in them, and which images they make a cluster pull.

pub mod discover;
pub mod operators;
pub mod suggest;
