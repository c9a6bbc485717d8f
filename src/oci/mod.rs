//! The vocabulary of the OCI specifications: digests, references, descriptors, documents.
//!
//! Thin over [`oci_spec`], and without any input or output: what is here parses, checks and names.
//! The layers below never see a string where a [`Digest`] or a [`Reference`] is meant.

pub mod canonical_json;
mod descriptor;
mod digest;
mod document;
pub mod media_type;
mod platform;
mod reference;
pub mod strict_json;

pub use descriptor::{Descriptor, EMPTY_CONTENT};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use document::{Document, DocumentError, DocumentKind, MAX_DOCUMENT_BYTES};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, Repository, TagOrDigest};
