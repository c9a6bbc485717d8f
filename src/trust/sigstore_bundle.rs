//! Sigstore bundles, version 0.3, as far as a signature by a bare key needs them
//! (sigstore/protobuf-specs, `sigstore_bundle.proto`).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_SIGNATURE_BYTES, clip};

/// Media type of the documents that are written and read.
pub const SIGSTORE_BUNDLE_V0_3: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

const SHA2_256: &str = "SHA2_256";

/// Where the parts that are structs below are in a document.
const OBJECTS: [&str; 4] = [
    "/messageSignature",
    "/messageSignature/messageDigest",
    "/verificationMaterial",
    "/verificationMaterial/publicKey",
];

/// A signature over the SHA-256 of a message.
///
/// Parsing one proves nothing; [`super::TrustPolicy`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigstoreBundle {
    signature: Vec<u8>,
    digest: [u8; 32],
    hint: Option<String>,
}

/// Why a document is not a Sigstore bundle that can be used here.
#[derive(Debug, thiserror::Error)]
pub enum SigstoreBundleError {
    /// Nothing but white space.
    #[error("empty")]
    Empty,
    /// Too large.
    #[error("larger than {MAX_SIGNATURE_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or JSON of another structure.
    #[error("not a Sigstore bundle: {0}")]
    Structure(String),
    /// Another version, or something else altogether.
    #[error("media type `{0}`, expected `{SIGSTORE_BUNDLE_V0_3}`")]
    MediaType(String),
    /// A signature that was made with a certificate.
    #[error("signed with a certificate, and only signatures by a key are supported")]
    Certificate,
    /// An attestation, not a signature of a blob.
    #[error("a DSSE envelope (attestation), and a message signature is needed")]
    Dsse,
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A digest algorithm other than SHA-256.
    #[error("message digest algorithm `{0}`, expected `SHA2_256`")]
    DigestAlgorithm(String),
    /// A binary value that is not padded standard base64, or of the wrong length.
    #[error("{0} is not base64 of the right length")]
    Encoding(&'static str),
}

impl SigstoreBundleError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(
            "`bundle sign`, or `cosign sign-blob --key KEY --bundle FILE` of cosign 3, makes \
             signatures of this kind"
                .to_owned(),
        )
    }
}

// In the order of RFC 8785 (keys sorted), so that serialising is canonical.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(skip_serializing, default)]
    dsse_envelope: Option<IgnoredAny>,
    media_type: String,
    message_signature: Option<MessageSignature>,
    verification_material: VerificationMaterial,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageSignature {
    message_digest: MessageDigest,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

/// Log entries and timestamps may be there: they say when a signature was made, and the decision
/// whether to trust its key does not depend on them.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerificationMaterial {
    #[serde(skip_serializing, default)]
    certificate: Option<IgnoredAny>,
    public_key: Option<PublicKeyIdentifier>,
    #[serde(rename = "timestampVerificationData", skip_serializing, default)]
    _timestamps: Option<IgnoredAny>,
    #[serde(rename = "tlogEntries", skip_serializing, default)]
    _log_entries: Option<IgnoredAny>,
    #[serde(skip_serializing, default)]
    x509_certificate_chain: Option<IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicKeyIdentifier {
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl SigstoreBundle {
    /// Wraps a DER encoded signature over a message with the SHA-256 `digest`; `hint` is
    /// [`super::PublicKey::hint`] of the key that made it.
    pub fn for_message(signature: Vec<u8>, digest: [u8; 32], hint: String) -> Self {
        Self {
            signature,
            digest,
            hint: Some(hint),
        }
    }

    /// The DER encoded signature, not yet verified.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The SHA-256 of the message, as the signer states it.
    pub fn message_digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Which key the signer says it used. Good for an explanation, never for a decision.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The document as RFC 8785 canonical JSON: the same bytes for the same signature, always.
    pub fn to_json(&self) -> Vec<u8> {
        let document = Document {
            dsse_envelope: None,
            media_type: SIGSTORE_BUNDLE_V0_3.into(),
            message_signature: Some(MessageSignature {
                message_digest: MessageDigest {
                    algorithm: SHA2_256.into(),
                    digest: STANDARD.encode(self.digest),
                },
                signature: STANDARD.encode(&self.signature),
            }),
            verification_material: VerificationMaterial {
                certificate: None,
                public_key: Some(PublicKeyIdentifier {
                    hint: self.hint.clone(),
                }),
                _timestamps: None,
                _log_entries: None,
                x509_certificate_chain: None,
            },
        };
        serde_json::to_vec(&document).expect("structs of strings always serialise")
    }

    /// Reads a document of at most [`MAX_SIGNATURE_BYTES`].
    ///
    /// # Errors
    /// Every other version, certificates, DSSE envelopes, unknown fields, other encodings.
    pub fn parse(json: &[u8]) -> Result<Self, SigstoreBundleError> {
        if json.len() > MAX_SIGNATURE_BYTES {
            return Err(SigstoreBundleError::TooLarge);
        }
        if json.iter().all(u8::is_ascii_whitespace) {
            return Err(SigstoreBundleError::Empty);
        }
        let structure =
            |error: serde_json::Error| SigstoreBundleError::Structure(clip(&error.to_string()));
        // First what it is: otherwise a document of another version fails on some field of it.
        let value: Value = serde_json::from_slice(json).map_err(structure)?;
        match value["mediaType"].as_str() {
            Some(SIGSTORE_BUNDLE_V0_3) => {}
            Some(other) => return Err(SigstoreBundleError::MediaType(clip(other))),
            None => return Err(SigstoreBundleError::Missing("mediaType")),
        }
        // serde would also take a list of the fields for an object.
        if let Some(path) = OBJECTS
            .iter()
            .find(|path| value.pointer(path).is_some_and(Value::is_array))
        {
            return Err(SigstoreBundleError::Structure(format!("{path} is a list")));
        }
        let document: Document = serde_json::from_slice(json).map_err(structure)?;
        Self::from_document(document)
    }

    fn from_document(document: Document) -> Result<Self, SigstoreBundleError> {
        let material = document.verification_material;
        if material.certificate.is_some() || material.x509_certificate_chain.is_some() {
            return Err(SigstoreBundleError::Certificate);
        }
        if document.dsse_envelope.is_some() {
            return Err(SigstoreBundleError::Dsse);
        }
        let key = material
            .public_key
            .ok_or(SigstoreBundleError::Missing("publicKey"))?;
        let message = document
            .message_signature
            .ok_or(SigstoreBundleError::Missing("messageSignature"))?;
        if message.message_digest.algorithm != SHA2_256 {
            return Err(SigstoreBundleError::DigestAlgorithm(clip(
                &message.message_digest.algorithm,
            )));
        }
        let digest = STANDARD
            .decode(&message.message_digest.digest)
            .ok()
            .and_then(|digest| digest.try_into().ok())
            .ok_or(SigstoreBundleError::Encoding("the message digest"))?;
        let signature = STANDARD
            .decode(&message.signature)
            .ok()
            .filter(|signature| !signature.is_empty())
            .ok_or(SigstoreBundleError::Encoding("the signature"))?;
        Ok(Self {
            signature,
            digest,
            hint: key.hint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> SigstoreBundle {
        SigstoreBundle::for_message(vec![1, 2, 3], [7; 32], "aGludA==".into())
    }

    fn sample_text() -> String {
        String::from_utf8(sample().to_json()).unwrap()
    }

    /// The error for the sample with one replacement, which must have changed it.
    fn refusal(from: &str, to: &str) -> SigstoreBundleError {
        let text = sample_text().replace(from, to);
        assert_ne!(text, sample_text(), "{from}");
        SigstoreBundle::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_bytes_are_fixed() {
        let expected = concat!(
            r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","#,
            r#""messageSignature":{"messageDigest":{"algorithm":"SHA2_256","#,
            r#""digest":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="},"signature":"AQID"},"#,
            r#""verificationMaterial":{"publicKey":{"hint":"aGludA=="}}}"#
        );
        assert_eq!(sample_text(), expected);
        assert_eq!(
            SigstoreBundle::parse(expected.as_bytes()).unwrap(),
            sample()
        );
    }

    #[test]
    fn log_entries_and_timestamps_are_passed_over() {
        let text = sample_text().replace(
            r#""publicKey""#,
            r#""tlogEntries":[{"logIndex":"1","any":[{}]}],"timestampVerificationData":{},"publicKey""#,
        );
        assert_eq!(SigstoreBundle::parse(text.as_bytes()).unwrap(), sample());
        let spaced = format!("\n{}\n", sample_text().replace(',', " , "));
        assert_eq!(SigstoreBundle::parse(spaced.as_bytes()).unwrap(), sample());
    }

    #[test]
    fn a_missing_hint_is_allowed() {
        let text = sample_text().replace(r#""hint":"aGludA==""#, "");
        assert_eq!(SigstoreBundle::parse(text.as_bytes()).unwrap().hint(), None);
    }

    #[test]
    fn other_versions_are_refused() {
        for version in ["v0.1", "v0.2", "v0.4", "v0.30", "", "v0.3\\u0000"] {
            assert!(
                matches!(refusal("v0.3", version), SigstoreBundleError::MediaType(_)),
                "{version}"
            );
        }
        let old = "application/vnd.dev.sigstore.bundle+json;version=0.3";
        assert!(matches!(
            refusal(SIGSTORE_BUNDLE_V0_3, old),
            SigstoreBundleError::MediaType(_)
        ));
        let long = refusal("v0.3", &"x".repeat(10_000)).to_string();
        assert!(long.len() < 300, "{long}");
    }

    #[test]
    fn certificates_and_attestations_are_refused() {
        let key = r#""publicKey":{"hint":"aGludA=="}"#;
        for certificate in [
            r#""certificate":{"rawBytes":""}"#.to_owned(),
            r#""x509CertificateChain":{"certificates":[]}"#.to_owned(),
            format!(r#"{key},"certificate":{{"rawBytes":""}}"#),
        ] {
            assert!(
                matches!(refusal(key, &certificate), SigstoreBundleError::Certificate),
                "{certificate}"
            );
        }
        for signatures in ["", "{}", "{},{}"] {
            let envelope = format!(
                r#""dsseEnvelope":{{"payload":"","signatures":[{signatures}]}},"mediaType""#
            );
            assert!(matches!(
                refusal(r#""mediaType""#, &envelope),
                SigstoreBundleError::Dsse
            ));
        }
    }

    #[test]
    fn other_structures_are_refused() {
        for (from, to) in [
            (r#""messageSignature""#, r#""extra":1,"messageSignature""#),
            (r#""messageSignature""#, r#""message_signature""#),
            (r#""algorithm""#, r#""extra":1,"algorithm""#),
            (r#""hint""#, r#""rawBytes":"","hint""#),
            (
                r#""signature":"AQID""#,
                r#""signature":"AQID","signature":"AQID""#,
            ),
            (r#""signature":"AQID""#, r#""signature":["AQID","AQID"]"#),
            (r#"{"hint":"aGludA=="}"#, r#"["aGludA=="]"#),
            (
                r#"{"publicKey":{"hint":"aGludA=="}}"#,
                r#"[{"hint":"aGludA=="}]"#,
            ),
            (r#""SHA2_256""#, "1"),
            (r#""SHA2_256""#, "1e400"),
            (r#"}}}"#, r#"}}} {}"#),
            (r#"}}}"#, r#"}}"#),
            ("aGludA==", "\u{1}"),
        ] {
            let error = refusal(from, to);
            assert!(
                matches!(error, SigstoreBundleError::Structure(_)),
                "{to}: {error}"
            );
        }
        for other in ["MEUCIQ==", "{", "\u{feff}{}", "{}{}"] {
            let error = SigstoreBundle::parse(other.as_bytes()).unwrap_err();
            assert!(
                matches!(error, SigstoreBundleError::Structure(_)),
                "{other}: {error}"
            );
        }
        let older = r#"{"base64Signature":"AQID","cert":"","rekorBundle":null}"#;
        let list = format!("[{}]", sample_text());
        for other in ["null", "[]", "{}", "1", r#"{"mediaType":1}"#, older, &list] {
            assert!(
                matches!(
                    SigstoreBundle::parse(other.as_bytes()),
                    Err(SigstoreBundleError::Missing("mediaType"))
                ),
                "{other}"
            );
        }
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let entries = format!(r#""tlogEntries":{deep},"publicKey""#);
        assert!(matches!(
            refusal(r#""publicKey""#, &entries),
            SigstoreBundleError::Structure(_)
        ));
    }

    #[test]
    fn missing_parts_are_named() {
        assert!(matches!(
            refusal(r#"{"publicKey":{"hint":"aGludA=="}}"#, "{}"),
            SigstoreBundleError::Missing("publicKey")
        ));
        let without = concat!(
            r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","#,
            r#""verificationMaterial":{"publicKey":{}}}"#
        );
        assert!(matches!(
            SigstoreBundle::parse(without.as_bytes()),
            Err(SigstoreBundleError::Missing("messageSignature"))
        ));
    }

    #[test]
    fn values_are_standard_base64_of_the_right_length() {
        for signature in ["", "AQI", "AQI*", "-_-_", "AQID\\n", "AR=="] {
            assert!(
                matches!(
                    refusal("\"AQID\"", &format!("\"{signature}\"")),
                    SigstoreBundleError::Encoding("the signature")
                ),
                "{signature}"
            );
        }
        for digest in ["", "BwcH", "AQI*"] {
            assert!(
                matches!(
                    refusal(&STANDARD.encode([7; 32]), digest),
                    SigstoreBundleError::Encoding("the message digest")
                ),
                "{digest}"
            );
        }
        for algorithm in ["SHA2_512", "sha256", "HASH_ALGORITHM_UNSPECIFIED"] {
            assert!(matches!(
                refusal("SHA2_256", algorithm),
                SigstoreBundleError::DigestAlgorithm(_)
            ));
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        for nothing in [&b""[..], b" \n\t\r"] {
            assert!(matches!(
                SigstoreBundle::parse(nothing),
                Err(SigstoreBundleError::Empty)
            ));
        }
        let mut padded = sample().to_json();
        padded.resize(MAX_SIGNATURE_BYTES, b' ');
        assert_eq!(SigstoreBundle::parse(&padded).unwrap(), sample());
        padded.push(b' ');
        assert!(matches!(
            SigstoreBundle::parse(&padded),
            Err(SigstoreBundleError::TooLarge)
        ));
    }
}
