//! Keys, signatures and the decision whether to trust a bundle.
//!
//! What is signed is the *root*, the OCI index that lists everything in the bundle, byte for byte.
//! Keys and signatures are those of Sigstore's cosign, so that an officer without this program can
//! make and check them: ECDSA over P-256 with SHA-256, key files as `cosign generate-key-pair`
//! writes them ([`SigningKey`], [`PublicKey`], [`KeyPair`]), signatures as Sigstore bundles
//! version 0.3 that hold a message signature ([`SigstoreBundle`]).
//!
//! The algorithm follows from the trusted key alone. Nothing that a signature says about itself
//! (algorithm, key hint) takes part in the decision; the hint only helps to explain a refusal.
//!
//! [`TrustPolicy`] decides, and [`Verified`] is the proof: a value of this type can only come from
//! [`TrustPolicy::verify_root`], so a function that takes one cannot be called with unchecked bytes.

mod decision;
mod encrypted;
mod error;
mod keygen;
mod password;
mod pem;
mod policy;
mod public_key;
mod signing_key;
mod sigstore_bundle;
mod verified;

#[cfg(test)]
mod testing;

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

pub use decision::{AcceptedSignature, Decision, RejectReason, RejectedSignature};
pub use error::{KeyError, TrustError};
pub use keygen::{KeyPair, KeyPairFiles};
pub use password::{PASSWORD_VARIABLES, password_from_env};
pub use policy::{NamedKey, SignatureInput, TrustPolicy};
pub use public_key::PublicKey;
pub use signing_key::SigningKey;
pub use sigstore_bundle::{SIGSTORE_BUNDLE_V0_3, SigstoreBundle, SigstoreBundleError};
pub use verified::{Verified, accept_unsigned};

/// Artifact type of the root of a bundle. A trusted signature over any other document, for example
/// over a container image that was signed with the same key, does not make it a bundle.
pub const ROOT_ARTIFACT_TYPE: &str = crate::bundle::ROOT_TYPE;

/// Largest key file that is read, in bytes.
pub const MAX_KEY_FILE_BYTES: usize = 64 << 10;

/// Largest signature document that is read, in bytes.
pub const MAX_SIGNATURE_BYTES: usize = 64 << 10;

/// Most signatures that are looked at for one bundle, embedded and detached ones together.
pub const MAX_SIGNATURES: usize = crate::bundle::MAX_SIGNATURES;

/// Most keys that one policy may name.
pub const MAX_KEYS: usize = 256;

/// Where a detached signature of `file` by `key` belongs: `FILE.<key id>.sigstore.json`.
pub fn detached_signature_path(file: &Path, key: &PublicKey) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.sigstore.json", key.key_id()));
    PathBuf::from(name)
}

/// Reads at most one byte more than `limit`, so that the caller can tell "too large" from "full".
/// Works on pipes too, where the length is not known beforehand.
fn read_capped(path: &Path, limit: usize) -> Result<(Vec<u8>, Metadata), TrustError> {
    let read = || {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        // All of it at once: a growing vector would leave copies of a private key behind.
        let mut bytes = Vec::with_capacity(limit + 1);
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok((bytes, metadata))
    };
    read().map_err(|cause| TrustError::Io {
        file: path.to_owned(),
        action: "read",
        cause,
    })
}

/// The first characters of a foreign string, for a message.
fn clip(text: &str) -> String {
    crate::human::clip(text, 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detached_signature_is_named_after_file_and_key() {
        let key = testing::signing_key(1).public();
        let path = detached_signature_path(Path::new("dir/a.bundle.tar.zst"), &key);
        let expected = format!("dir/a.bundle.tar.zst.{}.sigstore.json", key.key_id());
        assert_eq!(path, Path::new(&expected));
        assert_eq!(key.key_id().len(), 16);
    }

    #[test]
    fn foreign_strings_are_clipped() {
        assert_eq!(clip("short"), "short");
        assert_eq!(clip(&"ü".repeat(81)), format!("{}…", "ü".repeat(80)));
    }
}
