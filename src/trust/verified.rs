//! The proof that something was verified, as a type.

use serde::Deserialize;

use super::{Decision, ROOT_ARTIFACT_TYPE, SignatureInput, TrustError, TrustPolicy, clip};

/// A value that comes from bytes which a [`TrustPolicy`] accepted.
///
/// Only [`TrustPolicy::verify_root`] makes one; there is no other way to get it, and no way to
/// exchange the value for one from elsewhere except through [`Self::try_map`], whose function
/// gets the verified value:
///
/// ```compile_fail,E0451
/// # fn decision() -> sneakernet::trust::Decision { unimplemented!() }
/// let forged = sneakernet::trust::Verified { value: b"root".to_vec(), decision: decision() };
/// ```
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    decision: Decision,
}

impl<T> Verified<T> {
    /// The verified value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Gives up the proof and returns the value.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Which signatures led to the decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Derives another value from the verified one, for example by parsing it. `derive` must look
    /// at nothing that is not verified by what it is given.
    ///
    /// # Errors
    /// Those of `derive`.
    pub fn try_map<U, E>(self, derive: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified {
            value: derive(self.value)?,
            decision: self.decision,
        })
    }
}

/// The part of the root that tells it from everything else that the same key may have signed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    artifact_type: Option<String>,
}

impl TrustPolicy {
    /// Decides whether `root` is the root of a bundle, signed by enough trusted keys.
    ///
    /// # Errors
    /// As [`TrustPolicy::verify`], and [`TrustError::NotABundleRoot`] when what is signed has not
    /// the artifact type [`ROOT_ARTIFACT_TYPE`]: keys also sign container images and other files.
    pub fn verify_root(
        &self,
        root: Vec<u8>,
        signatures: &[SignatureInput],
    ) -> Result<Verified<Vec<u8>>, TrustError> {
        let decision = self.verify(&root, signatures)?;
        // Only now: nothing parses the document before its signature is good.
        if !root.starts_with(b"{") {
            return Err(TrustError::NotABundleRoot("no JSON object".into()));
        }
        let kind: Kind = serde_json::from_slice(&root)
            .map_err(|error| TrustError::NotABundleRoot(clip(&error.to_string())))?;
        match kind.artifact_type.as_deref() {
            Some(ROOT_ARTIFACT_TYPE) => Ok(Verified {
                value: root,
                decision,
            }),
            Some(other) => Err(TrustError::NotABundleRoot(format!(
                "artifact type `{}`",
                clip(other)
            ))),
            None => Err(TrustError::NotABundleRoot("no artifact type".into())),
        }
    }
}

/// Accepts the root of a bundle that nobody has signed, because the user said so. `made_unsigned` is
/// what the root itself says: a bundle that was signed once is never accepted this way, for then
/// somebody has taken its signatures away.
///
/// # Errors
/// [`TrustError::NotMadeUnsigned`] for a bundle that does not say of itself that it is unsigned.
pub fn accept_unsigned(
    root: Vec<u8>,
    made_unsigned: bool,
) -> Result<Verified<Vec<u8>>, TrustError> {
    if !made_unsigned {
        return Err(TrustError::NotMadeUnsigned);
    }
    let decision = Decision {
        accepted: Vec::new(),
        rejected: Vec::new(),
        threshold: 0,
    };
    Ok(Verified {
        value: root,
        decision,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{input, named, signing_key};
    use super::*;

    const ROOT: &str = r#"{"artifactType":"application/vnd.sneakernet.bundle.v1+json","manifests":[],"schemaVersion":2}"#;

    fn verify(root: &str) -> Result<Verified<Vec<u8>>, TrustError> {
        let policy = TrustPolicy::new(vec![named(1)], 1).unwrap();
        let signature = signing_key(1).sign_root(root.as_bytes()).unwrap();
        policy.verify_root(root.into(), &[input("embedded 1", &signature)])
    }

    #[test]
    fn a_signed_root_is_verified() {
        let verified = verify(ROOT).unwrap();
        assert_eq!(verified.value(), ROOT.as_bytes());
        assert_eq!(verified.decision().accepted[0].name, "key 1");

        let text = verified.try_map(String::from_utf8).unwrap();
        assert_eq!(text.decision().accepted[0].origin, "embedded 1");
        assert_eq!(text.into_value(), ROOT);
        let failed = verify(ROOT).unwrap().try_map(|_| Err::<(), _>("damaged"));
        assert_eq!(failed.unwrap_err(), "damaged");
    }

    #[test]
    fn a_good_signature_of_something_else_is_not_enough() {
        let simple_signing = r#"{"critical":{"type":"cosign container image signature"}}"#;
        for other in [
            simple_signing,
            "",
            "hello",
            "null",
            r#"["application/vnd.sneakernet.bundle.v1+json"]"#,
            r#"{"artifactType":null}"#,
            r#"{"artifactType":7}"#,
            &ROOT.replace("bundle.v1", "bundle.v2"),
            &ROOT.replace("artifactType", "artifacttype"),
            &ROOT.replace("\"manifests", "\"artifactType\":\"x\",\"manifests"),
            &format!(" {ROOT}"),
            &ROOT[..ROOT.len() - 1],
        ] {
            let error = verify(other).unwrap_err();
            assert!(
                matches!(error, TrustError::NotABundleRoot(_)),
                "{other}: {error}"
            );
        }
    }

    #[test]
    fn other_bytes_with_the_same_meaning_are_not_what_was_signed() {
        let policy = TrustPolicy::new(vec![named(1)], 1).unwrap();
        let signature = input("s", &signing_key(1).sign_root(ROOT.as_bytes()).unwrap());
        for other in [
            ROOT.replace(',', ", "),
            format!("{ROOT}\n"),
            r#"{"schemaVersion":2,"manifests":[],"artifactType":"application/vnd.sneakernet.bundle.v1+json"}"#.to_owned(),
            ROOT[..ROOT.len() - 1].to_owned(),
        ] {
            let result = policy.verify_root(other.into_bytes(), std::slice::from_ref(&signature));
            assert!(matches!(result, Err(TrustError::NoTrustedSignature { .. })));
        }
    }
}
