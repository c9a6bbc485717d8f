//! Why a provenance is not accepted.

use std::io;

/// Why a provenance is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProvenanceError {
    /// Not a provenance file.
    #[error("not a provenance file: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// It is about another file.
    #[error("the provenance is not about `{wanted}`: it names {named}")]
    OtherFile {
        /// The file that it should be about.
        wanted: String,
        /// The files that it is about.
        named: String,
    },
    /// It is about another content of the file.
    #[error("`{file}` has the digest {found}, but its provenance says {signed}")]
    OtherDigest {
        /// The file.
        file: String,
        /// The digest that was signed.
        signed: String,
        /// The digest that the archive has.
        found: String,
    },
    /// Not a keyring.
    #[error("not a keyring: {reason}")]
    Keyring {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is nothing to verify signatures with.
    #[error("cannot verify a provenance: gpgv was not found")]
    NoGpgv,
    /// `gpgv` could not be run.
    #[error("cannot run gpgv: {0}")]
    Run(#[source] io::Error),
    /// `gpgv` did not come to an end.
    #[error("gpgv did not finish within {seconds} seconds")]
    Timeout {
        /// How long it was given.
        seconds: u64,
    },
    /// The signature was made by a key that the keyring does not have.
    #[error("the provenance is signed by the key {key}, which is not in the keyring")]
    UnknownKey {
        /// The key's id.
        key: String,
    },
    /// The signature does not hold.
    #[error("the signature of the provenance is not good: {reason}")]
    BadSignature {
        /// What is wrong with it.
        reason: String,
    },
}

impl ProvenanceError {
    /// What to do next, where that is not obvious.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoGpgv => {
                "install gpgv (Debian and Ubuntu: gpgv; Fedora, Alpine and Homebrew: gnupg), or go on without --keyring"
            }
            Self::Keyring { .. } => "gpg --export KEY > keyring.gpg",
            Self::UnknownKey { .. } => {
                "get the publisher's public key from a place that you trust, and add it to the keyring"
            }
            Self::OtherDigest { .. } => {
                "fetch the chart and its provenance again, both from the publisher"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether this is a matter of trust, not of something that could not be read or run.
    pub fn is_distrust(&self) -> bool {
        matches!(
            self,
            Self::OtherFile { .. }
                | Self::OtherDigest { .. }
                | Self::UnknownKey { .. }
                | Self::BadSignature { .. }
        )
    }
}
