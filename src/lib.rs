//! Carry container images across an air gap in one signed, seekable OCI archive.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod cli;
pub mod create;
pub mod extract;
pub mod helm;
pub mod human;
pub mod inspect;
pub mod load;
pub mod oci;
pub mod open;
pub mod progress;
pub mod registry;
pub mod request;
pub mod serve;
pub mod trust;
pub mod verify;
