//! Public keys: what a recipient trusts.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use p256::pkcs8::{
    AlgorithmIdentifierRef, DecodePublicKey, EncodePublicKey, LineEnding, ObjectIdentifier,
    SubjectPublicKeyInfoRef,
};
use sha2::{Digest, Sha256};

use super::{KeyError, MAX_KEY_FILE_BYTES, TrustError, pem, read_capped};

/// `id-ecPublicKey` (RFC 5480).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// `secp256r1`, also called P-256 and prime256v1 (RFC 5480).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// An ECDSA public key on the curve P-256.
///
/// Two keys are equal when they are the same point, however their files were written.
#[derive(Clone)]
pub struct PublicKey {
    key: VerifyingKey,
    /// SHA-256 over the DER encoded SubjectPublicKeyInfo with the point uncompressed.
    digest: [u8; 32],
}

impl PublicKey {
    /// Reads one PEM encoded SubjectPublicKeyInfo (`-----BEGIN PUBLIC KEY-----`, RFC 7468 section
    /// 13), as `cosign.pub` holds it.
    ///
    /// # Errors
    /// Other algorithms and curves, a private key, a certificate, several keys, damage.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::blocks(pem)?;
        if blocks.iter().any(pem::Block::is_private_key) {
            return Err(KeyError::PrivateKeyGiven);
        }
        let [block] = blocks.as_slice() else {
            return Err(KeyError::SeveralKeys);
        };
        if block.label != "PUBLIC KEY" {
            return Err(block.unsupported());
        }
        Self::from_spki_der(&block.der)
    }

    /// Reads a public key file of at most [`MAX_KEY_FILE_BYTES`].
    ///
    /// # Errors
    /// [`TrustError::Io`] and [`TrustError::BadKeyFile`], both with the name of the file.
    pub fn read_file(file: &Path) -> Result<Self, TrustError> {
        let (bytes, _) = read_capped(file, MAX_KEY_FILE_BYTES)?;
        Self::from_pem(&bytes).map_err(|reason| TrustError::BadKeyFile {
            file: file.to_owned(),
            reason,
        })
    }

    fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::try_from(der)
            .map_err(|_| KeyError::InvalidKey("damaged DER"))?;
        require_p256(&spki.algorithm)?;
        // SEC 1, section 2.3.4: the other tags are the point at infinity, hybrid and "compact"
        // forms, which nobody writes and not every tool reads alike.
        if !matches!(spki.subject_public_key.raw_bytes().first(), Some(2..=4)) {
            return Err(KeyError::InvalidKey("unknown form of the point"));
        }
        let key = p256::PublicKey::from_public_key_der(der)
            .map_err(|_| KeyError::InvalidKey("the point is not on the curve"))?;
        Ok(Self::from_verifying_key(key.into()))
    }

    pub(super) fn from_verifying_key(key: VerifyingKey) -> Self {
        let der = spki_der(&key);
        Self {
            key,
            digest: Sha256::digest(der.as_bytes()).into(),
        }
    }

    /// The key as a PEM encoded SubjectPublicKeyInfo with the point uncompressed, as cosign writes
    /// it.
    pub fn to_pem(&self) -> String {
        pem_rfc7468::encode_string("PUBLIC KEY", LineEnding::LF, spki_der(&self.key).as_bytes())
            .expect("91 bytes are far below the length limit of PEM")
    }

    /// `SHA256:` and the 64 lower-case hex digits of the SHA-256 of the DER encoded
    /// SubjectPublicKeyInfo; the same for every way the key can be written.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", hex::encode(self.digest))
    }

    /// The first 16 hex digits of the fingerprint, for file names. Not for decisions.
    pub fn key_id(&self) -> String {
        hex::encode(&self.digest[..8])
    }

    /// What cosign writes as the hint of a Sigstore bundle: base64 of the digest that
    /// [`Self::fingerprint`] shows in hex.
    pub fn hint(&self) -> String {
        STANDARD.encode(self.digest)
    }

    /// Whether `signature` is a signature of the SHA-256 of `message` by this key: DER encoded
    /// ECDSA-Sig-Value (RFC 3279), strictly DER, r and s in range.
    ///
    /// Both of the two values that s can have are accepted, since cosign writes either. So a
    /// signature can be turned into a second one by anybody: count keys, never signatures.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verify_digest(&Sha256::digest(message).into(), signature)
    }

    /// [`Self::verify`] for a message that is hashed already.
    pub(super) fn verify_digest(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let Ok(parsed) = Signature::from_der(signature) else {
            return false;
        };
        // Exactly one encoding of a signature is accepted.
        parsed.to_der().as_bytes() == signature && self.key.verify_prehash(digest, &parsed).is_ok()
    }
}

/// Refuses every algorithm but ECDSA on P-256, by name.
pub(super) fn require_p256(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<(), KeyError> {
    let curve = algorithm.parameters_oid().ok();
    if algorithm.oid == EC_PUBLIC_KEY && curve == Some(P256) {
        return Ok(());
    }
    Err(KeyError::UnsupportedAlgorithm(algorithm_name(
        algorithm.oid,
        curve,
    )))
}

/// The DER encoded SubjectPublicKeyInfo.
fn spki_der(key: &VerifyingKey) -> p256::pkcs8::Document {
    key.to_public_key_der()
        .expect("the encoding of a P-256 key has a fixed length")
}

fn algorithm_name(algorithm: ObjectIdentifier, curve: Option<ObjectIdentifier>) -> String {
    let curve = curve.map(|oid| oid.to_string());
    match (algorithm.to_string().as_str(), curve.as_deref()) {
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "ECDSA P-384".into(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => "ECDSA P-521".into(),
        ("1.2.840.10045.2.1", Some("1.3.132.0.10")) => "ECDSA secp256k1".into(),
        ("1.2.840.10045.2.1", Some(curve)) => format!("ECDSA on the curve {curve}"),
        ("1.2.840.10045.2.1", None) => "ECDSA without a named curve".into(),
        ("1.2.840.113549.1.1.1", _) => "RSA".into(),
        ("1.2.840.113549.1.1.10", _) => "RSA-PSS".into(),
        ("1.3.101.112", _) => "Ed25519".into(),
        ("1.3.101.113", _) => "Ed448".into(),
        (other, _) => other.to_owned(),
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for PublicKey {}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal points have equal digests.
        self.digest.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}
