//! Private keys: what a sender or an officer signs with.

use std::fmt;
use std::path::Path;

use p256::SecretKey;
use p256::ecdsa::{Signature, signature::Signer};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, PrivateKeyInfoRef, SecretDocument};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    KeyError, MAX_KEY_FILE_BYTES, PublicKey, SigstoreBundle, TrustError, encrypted, pem,
    read_capped,
};

/// Label of an encrypted private key, as cosign writes it now.
pub(super) const SIGSTORE_LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// The same as older versions of cosign wrote it.
const COSIGN_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// An ECDSA private key on the curve P-256. Wiped from memory when dropped.
pub struct SigningKey {
    key: p256::ecdsa::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// Reads one PEM encoded private key: encrypted as cosign does, or plain PKCS #8
    /// (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`). The password of a plain key is not used;
    /// a key that was encrypted with no password has the empty one.
    ///
    /// # Errors
    /// A wrong password, other algorithms and curves, a public key, several keys, damage.
    pub fn from_pem(pem: &[u8], password: &str) -> Result<Self, KeyError> {
        let block = private_block(pem)?;
        let secret = match block.label.as_str() {
            SIGSTORE_LABEL | COSIGN_LABEL => {
                let der = encrypted::open(&block.der, password.as_bytes())?;
                from_pkcs8_der(&der)?
            }
            "PRIVATE KEY" => from_pkcs8_der(&block.der)?,
            "EC PRIVATE KEY" => SecretKey::from_sec1_der(&block.der)
                .map_err(|_| KeyError::InvalidKey("damaged, or on another curve than P-256"))?,
            _ => return Err(block.unsupported()),
        };
        Ok(Self::from_secret(&secret))
    }

    /// Reads a private key file of at most [`MAX_KEY_FILE_BYTES`].
    ///
    /// # Errors
    /// As [`Self::from_pem`], with the name of the file. A key that no password protects is
    /// refused when others than the owner of the file can read it.
    pub fn read_file(file: &Path, password: &str) -> Result<Self, TrustError> {
        let (bytes, metadata) = read_capped(file, MAX_KEY_FILE_BYTES)?;
        let bytes = Zeroizing::new(bytes);
        let key = Self::from_pem(&bytes, password).and_then(|key| {
            let protected = !password.is_empty() && Self::needs_password(&bytes)?;
            refuse_exposed(&metadata, protected)?;
            Ok(key)
        });
        key.map_err(|reason| match reason {
            KeyError::WrongPassword => TrustError::WrongPassword {
                file: file.to_owned(),
            },
            reason => TrustError::BadKeyFile {
                file: file.to_owned(),
                reason,
            },
        })
    }

    /// Whether the private key in `pem` is encrypted, so that asking for a password makes sense.
    ///
    /// # Errors
    /// What is no private key at all.
    pub fn needs_password(pem: &[u8]) -> Result<bool, KeyError> {
        let block = private_block(pem)?;
        Ok(matches!(
            block.label.as_str(),
            SIGSTORE_LABEL | COSIGN_LABEL
        ))
    }

    /// A new key from the random numbers of the operating system.
    pub(super) fn generate() -> Result<Self, TrustError> {
        let mut scalar = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(scalar.as_mut_slice()).map_err(TrustError::Random)?;
            // Zero or not below the order of the group: once in 2^32 tries.
            if let Ok(secret) = SecretKey::from_slice(scalar.as_slice()) {
                return Ok(Self::from_secret(&secret));
            }
        }
    }

    pub(super) fn from_secret(secret: &SecretKey) -> Self {
        let key = p256::ecdsa::SigningKey::from(secret);
        let public = PublicKey::from_verifying_key(*key.verifying_key());
        Self { key, public }
    }

    /// The PKCS #8 encoding, unencrypted.
    pub(super) fn to_pkcs8_der(&self) -> Result<SecretDocument, TrustError> {
        self.key.to_pkcs8_der().map_err(|_| TrustError::Encode)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// Signs the SHA-256 of `message`: DER encoded ECDSA-Sig-Value (RFC 3279).
    ///
    /// The nonce is derived from key and message (RFC 6979) and s is the smaller of its two
    /// values, so the same key and message give the same bytes, on every machine.
    ///
    /// # Errors
    /// [`TrustError::SelfCheck`] when the signature does not verify, as after a memory fault; a
    /// wrong signature with a derived nonce could give the key away, so it is never returned.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TrustError> {
        let signature: Signature = self
            .key
            .try_sign(message)
            .map_err(|_| TrustError::SelfCheck)?;
        let der = signature.normalize_s().to_der().as_bytes().to_vec();
        self.checked(message, der)
    }

    /// Signs the exact bytes of a root, in the form that travels with the bundle.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn sign_root(&self, root: &[u8]) -> Result<SigstoreBundle, TrustError> {
        let signature = self.sign(root)?;
        Ok(SigstoreBundle::for_message(
            signature,
            Sha256::digest(root).into(),
            self.public.hint(),
        ))
    }

    fn checked(&self, message: &[u8], signature: Vec<u8>) -> Result<Vec<u8>, TrustError> {
        if self.public.verify(message, &signature) {
            Ok(signature)
        } else {
            Err(TrustError::SelfCheck)
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.fingerprint())
    }
}

/// The only private key in `pem`.
fn private_block(pem: &[u8]) -> Result<pem::Block, KeyError> {
    let mut blocks = pem::blocks(pem)?;
    // `openssl ecparam -genkey` puts the curve into a block of its own; the key repeats it.
    if blocks[0].label == "EC PARAMETERS" {
        blocks.remove(0);
    }
    let block = blocks.pop().ok_or(KeyError::NoPem)?;
    if !blocks.is_empty() {
        return Err(KeyError::SeveralKeys);
    }
    match block.label.as_str() {
        SIGSTORE_LABEL | COSIGN_LABEL | "PRIVATE KEY" | "EC PRIVATE KEY" => Ok(block),
        "PUBLIC KEY" => Err(KeyError::PublicKeyGiven),
        _ => Err(block.unsupported()),
    }
}

fn from_pkcs8_der(der: &[u8]) -> Result<SecretKey, KeyError> {
    let info = PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::InvalidKey("damaged DER"))?;
    super::public_key::require_p256(&info.algorithm)?;
    SecretKey::from_pkcs8_der(der)
        .map_err(|_| KeyError::InvalidKey("secret and public half do not belong together"))
}

#[cfg(unix)]
fn refuse_exposed(metadata: &std::fs::Metadata, protected: bool) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;

    let mode = metadata.permissions().mode() & 0o7777;
    // Pipes and the like have no readers beyond this process.
    if metadata.is_file() && !protected && mode & 0o077 != 0 {
        return Err(KeyError::Exposed { mode });
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_exposed(_: &std::fs::Metadata, _: bool) -> Result<(), KeyError> {
    Ok(())
}
