//! Carry container images across an air gap in one signed, seekable OCI archive.

#![forbid(unsafe_code)]

<<<<<<< HEAD
pub mod bundle;
=======
pub mod cli;
>>>>>>> cli
pub mod oci;
pub mod progress;
pub mod registry;
pub mod request;
pub mod serve;
pub mod trust;
