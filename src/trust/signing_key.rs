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

#[cfg(test)]
mod tests {
    use super::super::testing::signing_key;
    use super::super::{NamedKey, SignatureInput, TrustPolicy};
    use super::*;

    const COSIGN_KEY: &str = include_str!("testdata/cosign.key");
    const COSIGN_PUB: &str = include_str!("testdata/cosign.pub");
    const EC: &str = include_str!("testdata/openssl-ec.key");
    const PKCS8: &str = include_str!("testdata/openssl-pkcs8.key");
    const OPENSSL_PUB: &str = include_str!("testdata/openssl.pub");
    const ROOT: &[u8] = include_bytes!("testdata/root.json");
    const COSIGN_SIGNATURE: &[u8] = include_bytes!("testdata/root.json.sigstore.json");

    fn read(pem: &str, password: &str) -> SigningKey {
        SigningKey::from_pem(pem.as_bytes(), password).unwrap()
    }

    fn refusal(pem: &str) -> KeyError {
        SigningKey::from_pem(pem.as_bytes(), "").unwrap_err()
    }

    fn public(pem: &str) -> PublicKey {
        PublicKey::from_pem(pem.as_bytes()).unwrap()
    }

    #[test]
    fn the_nonce_is_derived_as_rfc_6979_says() {
        // RFC 6979, appendix A.2.5, SHA-256.
        let secret = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
        let secret = SecretKey::from_slice(&hex::decode(secret).unwrap()).unwrap();
        let key = SigningKey::from_secret(&secret);
        for (message, r, s) in [
            (
                "sample",
                "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
                // n - s: the vector has the larger of the two values.
                "0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9",
            ),
            (
                "test",
                "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
                "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
            ),
        ] {
            let der = key.sign(message.as_bytes()).unwrap();
            let signature = Signature::from_der(&der).unwrap();
            assert_eq!(hex::encode(signature.to_bytes()), format!("{r}{s}"));
        }
    }

    #[test]
    fn the_same_key_and_message_give_the_same_bytes() {
        let key = signing_key(1);
        let signature = key.sign_root(ROOT).unwrap();
        assert_eq!(signature.to_json(), key.sign_root(ROOT).unwrap().to_json());
        let expected = "304402202240b4a2b7cbd89f06176a325f9c1f1b67cc94520ec08d6a077078172e796ada022004b0315df11ca46b450dd11cd9eb2d3a888116ec6f4de6e5afefe7883ce05320";
        assert_eq!(hex::encode(signature.signature()), expected);
    }

    #[test]
    fn s_is_always_the_smaller_value() {
        for number in 0_u8..64 {
            let der = signing_key(1).sign(&[number]).unwrap();
            let signature = Signature::from_der(&der).unwrap();
            assert_eq!(signature.normalize_s(), signature);
        }
    }

    #[test]
    fn a_damaged_signature_is_not_given_out() {
        let key = signing_key(1);
        let mut signature = key.sign(b"message").unwrap();
        signature[20] ^= 1;
        let result = key.checked(b"message", signature);
        assert!(matches!(result, Err(TrustError::SelfCheck)));
    }

    #[test]
    fn keys_and_signatures_of_cosign_are_accepted() {
        let key = read(COSIGN_KEY, "fixture");
        assert_eq!(key.public(), public(COSIGN_PUB));
        assert_eq!(key.public().to_pem(), COSIGN_PUB);

        let theirs = SigstoreBundle::parse(COSIGN_SIGNATURE).unwrap();
        assert_eq!(theirs.hint(), Some(key.public().hint().as_str()));
        let trusted = NamedKey {
            name: "cosign.pub".into(),
            key: public(COSIGN_PUB),
        };
        let found = SignatureInput {
            origin: "root.json.sigstore.json".into(),
            bytes: COSIGN_SIGNATURE.to_vec(),
        };
        let policy = TrustPolicy::new(vec![trusted], 1).unwrap();
        let verified = policy.verify_root(ROOT.to_vec(), &[found]).unwrap();
        assert_eq!(verified.value(), ROOT);
    }

    #[test]
    fn the_older_label_of_cosign_is_read() {
        let older = COSIGN_KEY.replace("ENCRYPTED SIGSTORE", "ENCRYPTED COSIGN");
        assert_ne!(older, COSIGN_KEY);
        assert_eq!(read(&older, "fixture").public(), public(COSIGN_PUB));
    }

    #[test]
    fn the_empty_password_is_a_password() {
        let pem = include_str!("testdata/empty.key");
        let expected = public(include_str!("testdata/empty.pub"));
        assert_eq!(read(pem, "").public(), expected);
        assert!(matches!(refusal(COSIGN_KEY), KeyError::WrongPassword));
    }

    #[test]
    fn plain_keys_are_read() {
        for pem in [EC, PKCS8, &PKCS8.replace('\n', "\r\n")] {
            assert_eq!(read(pem, "").public(), public(OPENSSL_PUB));
            assert_eq!(read(pem, "unused").public(), public(OPENSSL_PUB));
        }
    }

    #[test]
    fn only_encrypted_keys_need_a_password() {
        let needs = |pem: &str| SigningKey::needs_password(pem.as_bytes());
        assert!(needs(COSIGN_KEY).unwrap());
        assert!(!needs(EC).unwrap());
        assert!(!needs(PKCS8).unwrap());
        assert!(matches!(needs(COSIGN_PUB), Err(KeyError::PublicKeyGiven)));
    }

    #[test]
    fn what_is_no_usable_private_key_is_refused() {
        assert!(matches!(refusal(""), KeyError::NoPem));
        assert!(matches!(refusal(OPENSSL_PUB), KeyError::PublicKeyGiven));
        for two in [
            format!("{PKCS8}{PKCS8}"),
            format!("{PKCS8}{OPENSSL_PUB}"),
            format!("{EC}{EC}"),
        ] {
            assert!(matches!(refusal(&two), KeyError::SeveralKeys));
        }
        for encrypted in [
            include_str!("testdata/openssl-encrypted-ec.key"),
            include_str!("testdata/openssl-encrypted-pkcs8.key"),
        ] {
            assert!(matches!(refusal(encrypted), KeyError::OpensslEncrypted));
        }
        let ed25519 = include_str!("testdata/other-ed25519.key");
        assert!(matches!(
            refusal(ed25519),
            KeyError::UnsupportedAlgorithm(_)
        ));
        for other_curve in [
            include_str!("testdata/other-secp256k1.key"),
            include_str!("testdata/other-secp384r1.key"),
            include_str!("testdata/other-secp521r1.key"),
        ] {
            assert!(matches!(refusal(other_curve), KeyError::InvalidKey(_)));
        }
        let parameters = EC.split("-----BEGIN EC PRIVATE").next().unwrap();
        assert!(matches!(refusal(parameters), KeyError::NoPem));
    }

    #[test]
    fn secrets_out_of_range_and_false_halves_are_refused() {
        let good = signing_key(1).to_pkcs8_der().unwrap();
        let pem = |der: &[u8]| {
            pem_rfc7468::encode_string("PRIVATE KEY", Default::default(), der).unwrap()
        };
        assert_eq!(
            read(&pem(good.as_bytes()), "").public(),
            signing_key(1).public()
        );
        let secret = good
            .as_bytes()
            .windows(32)
            .position(|window| window == [1; 32])
            .unwrap();
        for replacement in [[0; 32], [0xff; 32], [2; 32]] {
            let mut der = good.as_bytes().to_vec();
            der[secret..secret + 32].copy_from_slice(&replacement);
            assert!(matches!(refusal(&pem(&der)), KeyError::InvalidKey(_)));
        }
        let trailing = [good.as_bytes(), &[0]].concat();
        assert!(matches!(refusal(&pem(&trailing)), KeyError::InvalidKey(_)));
    }

    #[cfg(unix)]
    #[test]
    fn an_unprotected_key_that_others_can_read_is_refused() {
        use std::fs::{Permissions, set_permissions, write};
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.key");
        for (pem, password, mode, allowed) in [
            (PKCS8, "", 0o600, true),
            (PKCS8, "", 0o400, true),
            (PKCS8, "", 0o644, false),
            (PKCS8, "unused", 0o640, false),
            (include_str!("testdata/empty.key"), "", 0o604, false),
            (COSIGN_KEY, "fixture", 0o644, true),
        ] {
            write(&path, pem).unwrap();
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let result = SigningKey::read_file(&path, password);
            assert_eq!(result.is_ok(), allowed, "{mode:o}");
            if let Err(error) = result {
                let text = error.to_string();
                assert!(
                    text.contains("k.key") && text.contains(&format!("{mode:04o}")),
                    "{text}"
                );
            }
            // For the next round, and whoever runs the tests without being root.
            set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = read(PKCS8, "");
        let shown = format!("{key:?}");
        assert_eq!(shown, format!("SigningKey({})", key.public().fingerprint()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.key");
        std::fs::write(&path, COSIGN_KEY).unwrap();
        let error = SigningKey::read_file(&path, "hunter2").unwrap_err();
        assert!(!format!("{error}{error:?}{:?}", error.hint()).contains("hunter2"));
    }
}
