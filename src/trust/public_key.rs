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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::testing::signing_key;
    use super::*;

    const PUB: &str = include_str!("testdata/openssl.pub");
    const COMPRESSED: &str = include_str!("testdata/openssl-compressed.pub");
    const PRIVATE: &str = include_str!("testdata/openssl-pkcs8.key");

    fn read(pem: &str) -> PublicKey {
        PublicKey::from_pem(pem.as_bytes()).unwrap()
    }

    fn refusal(pem: &str) -> KeyError {
        PublicKey::from_pem(pem.as_bytes()).unwrap_err()
    }

    /// A SubjectPublicKeyInfo for P-256 around a point.
    fn pem_of_point(point: &[u8]) -> String {
        let mut der = hex::decode("301306072a8648ce3d020106082a8648ce3d030107").unwrap();
        der.extend([3, u8::try_from(point.len() + 1).unwrap(), 0]);
        der.extend(point);
        der.splice(0..0, [0x30, u8::try_from(der.len()).unwrap()]);
        pem_rfc7468::encode_string("PUBLIC KEY", LineEnding::LF, &der).unwrap()
    }

    #[test]
    fn a_key_is_the_same_however_its_file_was_written() {
        let key = read(PUB);
        let mut set = HashSet::new();
        for pem in [
            PUB,
            COMPRESSED,
            PUB.trim_end(),
            &PUB.replace('\n', "\r\n"),
            &format!("key of the border\n{PUB}\n\n"),
            &key.to_pem(),
        ] {
            assert_eq!(read(pem), key);
            assert_eq!(read(pem).fingerprint(), key.fingerprint());
            set.insert(read(pem));
        }
        assert_eq!(set.len(), 1);
        assert_eq!(key.to_pem(), PUB);
        assert_ne!(key, signing_key(1).public());
    }

    #[test]
    fn the_fingerprint_is_that_of_the_public_key_info() {
        // openssl pkey -pubin -in openssl.pub -outform der | sha256sum
        let digest = "0fd1c8b4f8828341acbac3baff01f31ace2a650ef7b2be37cd758ae56c14bfe8";
        assert_eq!(read(PUB).fingerprint(), format!("SHA256:{digest}"));
        assert_eq!(read(PUB).key_id(), digest[..16]);
        assert_eq!(
            format!("{:?}", read(PUB)),
            format!("PublicKey(SHA256:{digest})")
        );
    }

    #[test]
    fn other_algorithms_are_refused_by_name() {
        for (pem, name) in [
            (include_str!("testdata/other-secp384r1.pub"), "ECDSA P-384"),
            (include_str!("testdata/other-secp521r1.pub"), "ECDSA P-521"),
            (
                include_str!("testdata/other-secp256k1.pub"),
                "ECDSA secp256k1",
            ),
            (
                include_str!("testdata/openssl-explicit.pub"),
                "ECDSA without a named curve",
            ),
            (include_str!("testdata/other-ed25519.pub"), "Ed25519"),
            (include_str!("testdata/other-rsa1024.pub"), "RSA"),
            (include_str!("testdata/other-rsa-pss.pub"), "RSA-PSS"),
        ] {
            match refusal(pem) {
                KeyError::UnsupportedAlgorithm(found) => assert_eq!(found, name),
                other => panic!("{name}: {other}"),
            }
        }
        let pkcs1 = "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n";
        assert!(matches!(refusal(pkcs1), KeyError::UnsupportedAlgorithm(_)));
    }

    #[test]
    fn points_that_are_none_are_refused() {
        let good = read(PUB).key.to_sec1_point(false).as_bytes().to_vec();
        assert_eq!(read(&pem_of_point(&good)), read(PUB));
        let mut off_curve = good.clone();
        off_curve[64] ^= 1;
        let mut compact = good[..33].to_vec();
        compact[0] = 5;
        let beyond = [&[2][..], &[0xff; 32]].concat();
        for point in [
            &off_curve[..],
            &good[..64],
            &[good.clone(), vec![0]].concat(),
            &[0],
            &[],
            &[4; 65],
            &compact,
            &beyond,
        ] {
            let error = refusal(&pem_of_point(point));
            assert!(
                matches!(error, KeyError::InvalidKey(_)),
                "{point:?}: {error}"
            );
        }
        let hybrid = include_str!("testdata/openssl-hybrid.pub");
        assert!(matches!(refusal(hybrid), KeyError::InvalidKey(_)));
    }

    #[test]
    fn a_private_key_in_the_place_of_a_public_one_is_refused() {
        for pem in [
            PRIVATE,
            include_str!("testdata/cosign.key"),
            include_str!("testdata/openssl-ec.key"),
            include_str!("testdata/openssl-encrypted-pkcs8.key"),
            &format!("{PUB}{PRIVATE}"),
            &format!("{PRIVATE}{PUB}"),
        ] {
            let error = refusal(pem);
            assert!(matches!(error, KeyError::PrivateKeyGiven), "{error}");
            assert!(error.hint().unwrap().contains(".pub"));
        }
    }

    #[test]
    fn which_of_two_keys_is_never_guessed() {
        for pem in [format!("{PUB}{PUB}"), format!("{PUB}{COMPRESSED}")] {
            assert!(matches!(refusal(&pem), KeyError::SeveralKeys));
        }
    }

    #[test]
    fn other_files_are_refused() {
        let block = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        assert!(matches!(refusal(""), KeyError::NoPem));
        assert!(matches!(
            refusal(&block("CERTIFICATE")),
            KeyError::CertificateGiven
        ));
        assert!(matches!(
            refusal(&block("PUBLIC KEY")),
            KeyError::InvalidKey(_)
        ));
        assert!(matches!(
            refusal(&block("SSH2 PUBLIC KEY")),
            KeyError::UnsupportedLabel(_)
        ));
        let long = refusal(&block(&"X".repeat(10_000))).to_string();
        assert!(long.len() < 200, "{long}");
    }

    #[test]
    fn a_broken_key_file_is_an_error_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("..key");
        std::fs::write(&path, vec![b'A'; 10 << 20]).unwrap();
        let error = PublicKey::read_file(&path).unwrap_err();
        assert!(
            matches!(
                &error,
                TrustError::BadKeyFile {
                    reason: KeyError::TooLarge,
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("..key"), "{error}");
        for unreadable in [dir.path().join("absent"), dir.path().to_owned()] {
            let error = PublicKey::read_file(&unreadable).unwrap_err();
            assert!(matches!(error, TrustError::Io { .. }), "{error}");
        }
        std::fs::write(&path, PUB).unwrap();
        assert_eq!(PublicKey::read_file(&path).unwrap(), read(PUB));
    }

    /// `SEQUENCE { INTEGER r, INTEGER s }` of values as they are, whether DER or not.
    fn sequence(r: &[u8], s: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for value in [r, s] {
            body.extend([2, u8::try_from(value.len()).unwrap()]);
            body.extend(value);
        }
        body.splice(0..0, [0x30, u8::try_from(body.len()).unwrap()]);
        body
    }

    /// The shortest INTEGER for an unsigned value.
    fn integer(value: &[u8]) -> Vec<u8> {
        let start = value
            .iter()
            .position(|&b| b != 0)
            .unwrap_or(value.len() - 1);
        let mut bytes = value[start..].to_vec();
        if bytes[0] & 0x80 != 0 {
            bytes.insert(0, 0);
        }
        bytes
    }

    #[test]
    fn a_signature_has_one_encoding() {
        let key = signing_key(1);
        let public = key.public();
        let good = key.sign(b"message").unwrap();
        let (r, s) = Signature::from_der(&good).unwrap().split_bytes();
        let (r, s) = (integer(&r), integer(&s));
        assert_eq!(sequence(&r, &s), good);
        assert!(public.verify(b"message", &good));

        let padded = |value: &[u8]| [&[0], value].concat();
        let mut long_form = good.clone();
        long_form.insert(1, 0x81);
        let mut indefinite = good.clone();
        indefinite[1] = 0x80;
        indefinite.extend([0, 0]);
        let mut set = good.clone();
        set[0] = 0x31;
        let extra = {
            let mut extra = [&good[..], &[5, 0]].concat();
            extra[1] += 2;
            extra
        };
        for bad in [
            &[][..],
            &[0x30, 0],
            &good[..good.len() - 1],
            &[&good[..], &[0]].concat(),
            &extra,
            &long_form,
            &indefinite,
            &set,
            &sequence(&padded(&r), &s),
            &sequence(&r, &padded(&s)),
            &sequence(&[], &s),
            &[r.clone(), s.clone()].concat(),
            &[0x30; 1000],
        ] {
            assert!(!public.verify(b"message", bad), "{}", hex::encode(bad));
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
            .unwrap();
        let mut above = order.clone();
        above[31] += 1;
        let (order, above) = (integer(&order), integer(&above));
        let public = signing_key(1).public();
        let good = signing_key(1).sign(b"message").unwrap();
        let (r, s) = Signature::from_der(&good).unwrap().split_bytes();
        let (r, s) = (integer(&r), integer(&s));
        let huge = integer(&[0xff; 32]);
        let longer = [&[1][..], &[0; 32]].concat();
        let negative = vec![0xff];
        for bad in [&vec![0], &order, &above, &huge, &longer, &negative] {
            for signature in [sequence(bad, &s), sequence(&r, bad), sequence(bad, bad)] {
                assert!(
                    !public.verify(b"message", &signature),
                    "{}",
                    hex::encode(signature)
                );
            }
        }
    }

    #[test]
    fn either_value_of_s_is_accepted() {
        let key = signing_key(1);
        let low = Signature::from_der(&key.sign(b"message").unwrap()).unwrap();
        let high = Signature::from_scalars(low.r(), -*low.s()).unwrap();
        assert_ne!(low, high);
        assert!(key.public().verify(b"message", high.to_der().as_bytes()));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let key = signing_key(1);
        let good = key.sign(b"message").unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.public().verify(b"message", &bad), "bit {bit}");
        }
        assert!(!key.public().verify(b"massage", &good));
        assert!(!signing_key(2).public().verify(b"message", &good));
    }
}
