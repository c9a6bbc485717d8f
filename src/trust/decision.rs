//! What a policy found out, for reports and messages.

use std::fmt;

/// What was found out about the signatures of a trusted bundle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decision {
    /// One for each distinct trusted key that signed, at least as many as the threshold.
    pub accepted: Vec<AcceptedSignature>,
    /// The others, which did not count.
    pub rejected: Vec<RejectedSignature>,
    /// How many were needed.
    pub threshold: usize,
}

/// A good signature by a trusted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedSignature {
    /// What the policy calls the key.
    pub name: String,
    /// [`super::PublicKey::fingerprint`].
    pub fingerprint: String,
    /// Where the signature was found.
    pub origin: String,
}

/// A signature that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedSignature {
    /// Where it was found.
    pub origin: String,
    /// Why it does not count.
    pub reason: RejectReason,
}

impl fmt::Display for RejectedSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.reason)
    }
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// Not a Sigstore bundle that can be used here; the text of a [`super::SigstoreBundleError`].
    #[error("{0}")]
    Format(String),
    /// A signature of something else.
    #[error("it signs other content (sha256:{})", hex::encode(.digest))]
    OtherContent {
        /// SHA-256 of what it signs.
        digest: [u8; 32],
    },
    /// It does not verify with any trusted key, and names none of them.
    #[error("not made by a trusted key{}", claim(.claims))]
    UnknownKey {
        /// The key that it names: fingerprint, or the hint as it is.
        claims: Option<String>,
    },
    /// It names a trusted key, but does not verify with it.
    #[error("it names the trusted key `{name}`, but does not verify: forged or damaged")]
    Forged {
        /// What the policy calls the key.
        name: String,
    },
    /// A second signature by the same key.
    #[error("the key `{name}` has signed already, and counts once")]
    AlreadyCounted {
        /// What the policy calls the key.
        name: String,
    },
}

fn claim(claims: &Option<String>) -> String {
    claims
        .as_ref()
        .map_or_else(String::new, |key| format!(" (it names {key})"))
}
