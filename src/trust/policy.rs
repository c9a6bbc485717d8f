//! The decision: which signatures count, and whether they are enough.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::{
    AcceptedSignature, Decision, MAX_KEYS, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, PublicKey,
    RejectReason, RejectedSignature, SigstoreBundle, SigstoreBundleError, TrustError, clip,
    read_capped,
};

/// A trusted key and what people call it, usually the name of its file.
#[derive(Clone, Debug)]
pub struct NamedKey {
    /// For messages and reports only.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

/// A signature document that was found, not yet looked at.
#[derive(Clone, Debug)]
pub struct SignatureInput {
    /// Where it was found: `embedded 1`, or the name of a file.
    pub origin: String,
    /// A Sigstore bundle, supposedly.
    pub bytes: Vec<u8>,
}

impl SignatureInput {
    /// Reads a detached signature file, up to just over [`MAX_SIGNATURE_BYTES`]; a larger one is
    /// rejected with the others that do not count.
    ///
    /// # Errors
    /// [`TrustError::Io`]: a signature that was named and cannot be read is never passed over.
    pub fn read_file(file: &Path) -> Result<Self, TrustError> {
        let (bytes, _) = read_capped(file, MAX_SIGNATURE_BYTES)?;
        Ok(Self {
            origin: file.display().to_string(),
            bytes,
        })
    }
}

/// Which keys are trusted, and how many of them must have signed.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    /// Distinct keys.
    keys: Vec<NamedKey>,
    threshold: usize,
}

impl TrustPolicy {
    /// A policy that asks for good signatures by `threshold` different keys out of `keys`. The
    /// same key under several names is one key, known by its first name.
    ///
    /// # Errors
    /// No keys, more than [`MAX_KEYS`], a threshold of zero or above the number of distinct keys.
    pub fn new(keys: Vec<NamedKey>, threshold: usize) -> Result<Self, TrustError> {
        if keys.is_empty() {
            return Err(TrustError::NoKeys);
        }
        if keys.len() > MAX_KEYS {
            return Err(TrustError::TooManyKeys {
                have: keys.len(),
                max: MAX_KEYS,
            });
        }
        let mut distinct: Vec<NamedKey> = Vec::with_capacity(keys.len());
        for key in keys {
            if !distinct.iter().any(|known| known.key == key.key) {
                distinct.push(key);
            }
        }
        if threshold == 0 || threshold > distinct.len() {
            return Err(TrustError::BadThreshold {
                threshold,
                keys: distinct.len(),
            });
        }
        Ok(Self {
            keys: distinct,
            threshold,
        })
    }

    /// The distinct trusted keys.
    pub fn keys(&self) -> &[NamedKey] {
        &self.keys
    }

    /// How many of them must have signed.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Decides whether enough trusted keys signed exactly these bytes. Signatures that do not
    /// count do no harm; they are listed with the reason.
    ///
    /// # Errors
    /// [`TrustError::NoSignature`], [`TrustError::TooManySignatures`],
    /// [`TrustError::NoTrustedSignature`], [`TrustError::BelowThreshold`].
    pub fn verify(
        &self,
        message: &[u8],
        signatures: &[SignatureInput],
    ) -> Result<Decision, TrustError> {
        if signatures.is_empty() {
            return Err(TrustError::NoSignature);
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(TrustError::TooManySignatures {
                have: signatures.len(),
                max: MAX_SIGNATURES,
            });
        }
        // Once: a root can have 64 MiB, and there can be many signatures and keys.
        let digest: [u8; 32] = Sha256::digest(message).into();
        let mut signed = vec![false; self.keys.len()];
        let mut accepted = Vec::new();
        let mut rejected = Vec::new();
        for SignatureInput { origin, bytes } in signatures {
            match self.signer(&digest, bytes) {
                Ok(index) if signed[index] => rejected.push(RejectedSignature {
                    origin: origin.clone(),
                    reason: RejectReason::AlreadyCounted {
                        name: self.keys[index].name.clone(),
                    },
                }),
                Ok(index) => {
                    signed[index] = true;
                    let NamedKey { name, key } = &self.keys[index];
                    accepted.push(AcceptedSignature {
                        name: name.clone(),
                        fingerprint: key.fingerprint(),
                        origin: origin.clone(),
                    });
                }
                Err(reason) => rejected.push(RejectedSignature {
                    origin: origin.clone(),
                    reason,
                }),
            }
        }
        if accepted.is_empty() {
            return Err(TrustError::NoTrustedSignature { reasons: rejected });
        }
        if accepted.len() < self.threshold {
            return Err(TrustError::BelowThreshold {
                have: accepted.len(),
                need: self.threshold,
                reasons: rejected,
            });
        }
        Ok(Decision {
            accepted,
            rejected,
            threshold: self.threshold,
        })
    }

    /// Which trusted key made this signature of the message with this digest.
    fn signer(&self, digest: &[u8; 32], document: &[u8]) -> Result<usize, RejectReason> {
        let bundle = SigstoreBundle::parse(document)
            .map_err(|error: SigstoreBundleError| RejectReason::Format(error.to_string()))?;
        if bundle.message_digest() != digest {
            return Err(RejectReason::OtherContent {
                digest: *bundle.message_digest(),
            });
        }
        // All keys are tried: the hint is not signed, so it may neither help nor hinder.
        self.keys
            .iter()
            .position(|trusted| trusted.key.verify_digest(digest, bundle.signature()))
            .ok_or_else(|| self.unknown_key(bundle.hint()))
    }

    fn unknown_key(&self, hint: Option<&str>) -> RejectReason {
        let named = |hint: &str| self.keys.iter().find(|trusted| trusted.key.hint() == hint);
        match hint {
            Some(hint) => match named(hint) {
                Some(trusted) => RejectReason::Forged {
                    name: trusted.name.clone(),
                },
                None => RejectReason::UnknownKey {
                    claims: Some(readable_hint(hint)),
                },
            },
            None => RejectReason::UnknownKey { claims: None },
        }
    }
}

/// A hint in the form of [`PublicKey::fingerprint`], if it is one as cosign writes it.
fn readable_hint(hint: &str) -> String {
    match STANDARD.decode(hint) {
        Ok(digest) if digest.len() == 32 => format!("SHA256:{}", hex::encode(digest)),
        _ => clip(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{input, named, signing_key};
    use super::*;

    const MESSAGE: &[u8] = b"the root";

    fn signed(number: u8) -> SigstoreBundle {
        signing_key(number).sign_root(MESSAGE).unwrap()
    }

    /// The number's signature of [`MESSAGE`], found as `by NUMBER`.
    fn by(number: u8) -> SignatureInput {
        input(&format!("by {number}"), &signed(number))
    }

    fn junk(bytes: &[u8]) -> SignatureInput {
        SignatureInput {
            origin: "junk".into(),
            bytes: bytes.to_vec(),
        }
    }

    fn policy(keys: &[u8], threshold: usize) -> TrustPolicy {
        TrustPolicy::new(keys.iter().copied().map(named).collect(), threshold).unwrap()
    }

    /// Why the only signature does not count.
    fn rejection(policy: &TrustPolicy, signature: SignatureInput) -> RejectReason {
        match policy.verify(MESSAGE, &[signature]).unwrap_err() {
            TrustError::NoTrustedSignature { mut reasons } => reasons.remove(0).reason,
            other => panic!("{other}"),
        }
    }

    /// r, s and n - s of [`signed`]'s signature, each as DER encoded by hand where that matters.
    fn other_s(signature: &[u8]) -> Vec<u8> {
        let parsed = p256::ecdsa::Signature::from_der(signature).unwrap();
        let (r, s) = parsed.split_scalars();
        let malleated = p256::ecdsa::Signature::from_scalars(r, -*s).unwrap();
        malleated.to_der().as_bytes().to_vec()
    }

    #[test]
    fn no_signature_at_all_is_not_trusted() {
        let error = policy(&[1], 1).verify(MESSAGE, &[]).unwrap_err();
        assert!(matches!(error, TrustError::NoSignature));
        assert!(error.hint().is_some());
        let own = r#"{"schemaVersion":2}"#.as_bytes();
        for bytes in [b"", &b" \n"[..], own, &vec![b' '; MAX_SIGNATURE_BYTES + 1]] {
            let reason = rejection(&policy(&[1], 1), junk(bytes));
            assert!(matches!(reason, RejectReason::Format(_)), "{reason}");
        }
    }

    #[test]
    fn an_unknown_key_is_not_trusted() {
        let error = policy(&[1], 1).verify(MESSAGE, &[by(2)]).unwrap_err();
        let fingerprint = signing_key(2).public().fingerprint();
        assert_eq!(
            error.details(),
            [format!(
                "by 2: not made by a trusted key (it names {fingerprint})"
            )]
        );
    }

    #[test]
    fn a_signature_of_another_bundle_is_not_trusted() {
        let other = signing_key(1).sign_root(b"another root").unwrap();
        let reason = rejection(&policy(&[1], 1), input("s", &other));
        assert!(
            matches!(reason, RejectReason::OtherContent { .. }),
            "{reason}"
        );

        let digest = *signed(1).message_digest();
        let hint = signing_key(1).public().hint();
        // The right digest around a signature of something else ...
        let moved = SigstoreBundle::for_message(other.signature().to_vec(), digest, hint.clone());
        assert_eq!(
            rejection(&policy(&[1], 1), input("s", &moved)),
            RejectReason::Forged {
                name: "key 1".into()
            }
        );
        // ... and the other way round.
        let moved = SigstoreBundle::for_message(
            signed(1).signature().to_vec(),
            *other.message_digest(),
            hint,
        );
        let reason = rejection(&policy(&[1], 1), input("s", &moved));
        assert!(
            matches!(reason, RejectReason::OtherContent { .. }),
            "{reason}"
        );
        // A signature of a prefix of the message.
        let prefix = signing_key(1).sign_root(&MESSAGE[..3]).unwrap();
        let reason = rejection(&policy(&[1], 1), input("s", &prefix));
        assert!(
            matches!(reason, RejectReason::OtherContent { .. }),
            "{reason}"
        );
    }

    #[test]
    fn the_hint_decides_nothing() {
        let digest = *signed(1).message_digest();
        for hint in ["", "whatever", &signing_key(2).public().hint()] {
            let relabelled = SigstoreBundle::for_message(
                signed(1).signature().to_vec(),
                digest,
                hint.to_owned(),
            );
            let decision = policy(&[2, 1], 1)
                .verify(MESSAGE, &[input("s", &relabelled)])
                .unwrap();
            assert_eq!(decision.accepted[0].name, "key 1");
            let claimed = SigstoreBundle::for_message(
                signed(3).signature().to_vec(),
                digest,
                signing_key(1).public().hint(),
            );
            let reason = rejection(&policy(&[1], 1), input("s", &claimed));
            assert_eq!(
                reason,
                RejectReason::Forged {
                    name: "key 1".into()
                }
            );
        }
        let long = SigstoreBundle::for_message(vec![0], digest, "x".repeat(10_000));
        let reason = rejection(&policy(&[1], 1), input("s", &long)).to_string();
        assert!(reason.len() < 200, "{reason}");
    }

    #[test]
    fn keys_are_counted_and_not_signatures() {
        let two = policy(&[1, 2, 3], 2);
        let malleated = SigstoreBundle::for_message(
            other_s(signed(1).signature()),
            *signed(1).message_digest(),
            signing_key(2).public().hint(),
        );
        for signatures in [
            vec![by(1)],
            vec![by(1), by(1)],
            vec![by(1), input("other s", &malleated)],
            vec![by(1), junk(b"{}")],
            vec![by(1), by(4)],
        ] {
            let error = two.verify(MESSAGE, &signatures).unwrap_err();
            let TrustError::BelowThreshold {
                have: 1,
                need: 2,
                reasons,
            } = error
            else {
                panic!("{error}");
            };
            assert_eq!(reasons.len(), signatures.len() - 1);
        }
        let decision = two.verify(MESSAGE, &[by(4), by(1), by(1), by(3)]).unwrap();
        let names: Vec<_> = decision.accepted.iter().map(|a| a.name.as_str()).collect();
        assert_eq!(names, ["key 1", "key 3"]);
        assert_eq!(decision.rejected.len(), 2);
        assert_eq!(decision.threshold, 2);
        let reason = &decision.rejected[1].reason;
        assert_eq!(
            *reason,
            RejectReason::AlreadyCounted {
                name: "key 1".into()
            }
        );
    }

    #[test]
    fn the_same_key_under_two_names_is_one_key() {
        let mut renamed = named(1);
        renamed.name = "the same".into();
        let keys = vec![named(1), renamed];
        let error = TrustPolicy::new(keys.clone(), 2).unwrap_err();
        assert!(matches!(
            error,
            TrustError::BadThreshold {
                threshold: 2,
                keys: 1
            }
        ));
        let policy = TrustPolicy::new(keys, 1).unwrap();
        assert_eq!(policy.keys().len(), 1);
        let decision = policy.verify(MESSAGE, &[by(1)]).unwrap();
        assert_eq!(decision.accepted[0].name, "key 1");
    }

    #[test]
    fn policies_that_check_nothing_or_never_succeed_are_refused() {
        assert!(matches!(
            TrustPolicy::new(vec![], 0),
            Err(TrustError::NoKeys)
        ));
        assert!(matches!(
            TrustPolicy::new(vec![], 1),
            Err(TrustError::NoKeys)
        ));
        for threshold in [0, 2, usize::MAX] {
            assert!(matches!(
                TrustPolicy::new(vec![named(1)], threshold),
                Err(TrustError::BadThreshold { .. })
            ));
        }
        assert!(matches!(
            TrustPolicy::new(vec![named(1); MAX_KEYS + 1], 1),
            Err(TrustError::TooManyKeys { .. })
        ));
    }

    #[test]
    fn a_good_signature_is_found_among_bad_ones_up_to_the_cap() {
        let policy = policy(&[1], 1);
        let mut signatures = vec![junk(b"bad"); MAX_SIGNATURES - 1];
        signatures.push(by(1));
        let decision = policy.verify(MESSAGE, &signatures).unwrap();
        assert_eq!(decision.rejected.len(), MAX_SIGNATURES - 1);
        signatures.insert(0, junk(b"bad"));
        assert!(matches!(
            policy.verify(MESSAGE, &signatures),
            Err(TrustError::TooManySignatures { have: 65, max: 64 })
        ));
    }

    #[test]
    fn a_signature_file_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("absent"), dir.path().to_owned()] {
            let error = SignatureInput::read_file(&path).unwrap_err();
            assert!(
                matches!(error, TrustError::Io { action: "read", .. }),
                "{error}"
            );
        }
        let path = dir.path().join("large");
        std::fs::write(&path, vec![b' '; 3 * MAX_SIGNATURE_BYTES]).unwrap();
        let read = SignatureInput::read_file(&path).unwrap();
        assert_eq!(read.bytes.len(), MAX_SIGNATURE_BYTES + 1);
        let reason = rejection(&policy(&[1], 1), read);
        assert!(reason.to_string().contains("larger than"), "{reason}");
    }
}
