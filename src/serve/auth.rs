//! Basic authentication (RFC 7617) with one user.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::oci::Digest;

/// The expected credentials, as the digest of `USER:PASSWORD`: comparing digests takes the same
/// time whatever was sent, and its length is not told either.
pub(super) struct BasicAuth(Digest);

impl BasicAuth {
    pub(super) fn new(user: &str, password: &str) -> Self {
        let both = Zeroizing::new(format!("{user}:{password}"));
        Self(Digest::sha256_of(both.as_bytes()))
    }

    /// Whether the request carries the credentials.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let sent = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
            .map(Zeroizing::new);
        let Some(sent) = sent else {
            return false;
        };
        let sent = Digest::sha256_of(&sent);
        let pairs = self.0.raw().iter().zip(sent.raw());
        pairs.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}
