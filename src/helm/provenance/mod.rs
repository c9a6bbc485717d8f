//! Provenance files (`NAME-VERSION.tgz.prov`): what a publisher signed about a chart's archive.
//!
//! A provenance file is an OpenPGP clear-signed text: `Chart.yaml`, a line `...`, and the digests of
//! files. Signatures are checked by GnuPG's `gpgv`, which knows about expired and revoked keys what
//! an implementation of our own would have to learn; without it the digest can still be compared,
//! which says that the two files belong together and nothing about who made them.

mod clear_signed;
mod error;
mod gpgv;
mod keyring;

use std::collections::BTreeMap;

use crate::oci::Digest;

use super::chart::clip;

pub use error::ProvenanceError;
pub use gpgv::{Gpgv, Signer};
pub use keyring::Keyring;

/// Largest provenance file that is read, in bytes. It holds a `Chart.yaml` and little more.
pub const MAX_PROVENANCE_BYTES: usize = 5 << 20;

/// What a provenance file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// Digest (`sha256:…`) by file name.
    pub files: BTreeMap<String, String>,
}

impl Provenance {
    /// Reads a provenance file without looking at its signature.
    ///
    /// # Errors
    /// When it is no clear-signed message, or what is signed is not a provenance.
    pub fn read_unverified(provenance: &[u8]) -> Result<Self, ProvenanceError> {
        Self::from_signed_text(&clear_signed::text_of(provenance)?)
    }

    fn from_signed_text(text: &str) -> Result<Self, ProvenanceError> {
        let malformed = |reason: &str| ProvenanceError::Malformed {
            reason: reason.to_owned(),
        };
        // `---` cannot begin a line of a clear-signed text, so Helm writes the other YAML mark.
        let mut parts = text.split("\n...\n").skip(1);
        let sums = parts
            .next()
            .ok_or_else(|| malformed("the digests are missing"))?;
        if parts.next().is_some() {
            return Err(malformed("it has more than two parts"));
        }
        let files = super::chart::text_map_of_yaml("provenance", sums.as_bytes(), "files")
            .map_err(|error| malformed(&error.to_string()))?;
        if files.is_empty() {
            return Err(malformed("it names no file"));
        }
        Ok(Self { files })
    }

    /// Checks that this is the provenance of an archive: that it names the file, with the digest that
    /// the archive has.
    ///
    /// # Errors
    /// When it does not name the file, or with another digest.
    pub fn check_archive(&self, file_name: &str, archive: &[u8]) -> Result<(), ProvenanceError> {
        let Some(signed) = self.files.get(file_name) else {
            let names: Vec<_> = self.files.keys().map(String::as_str).collect();
            return Err(ProvenanceError::OtherFile {
                wanted: clip(file_name),
                named: clip(&names.join(", ")),
            });
        };
        let found = Digest::sha256_of(archive).to_string();
        if *signed != found {
            return Err(ProvenanceError::OtherDigest {
                file: clip(file_name),
                signed: clip(signed),
                found,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
