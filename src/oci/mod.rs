//! The vocabulary of the OCI specifications: digests, references, descriptors, documents.
//!
//! Thin over [`oci_spec`], and without any input or output: what is here parses, checks and names.
//! The layers below never see a string where a [`Digest`] or a [`Reference`] is meant.

mod digest;
pub mod media_type;
mod reference;

pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use reference::{Reference, ReferenceError, Repository, TagOrDigest};

/// Largest manifest, index or other JSON document that is read, in bytes (distribution
/// specification, "Pushing manifests": registries should accept at least 4 MiB).
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;
