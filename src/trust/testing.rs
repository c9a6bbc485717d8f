//! Keys for tests.

use p256::SecretKey;

use super::{NamedKey, SignatureInput, SigningKey, SigstoreBundle};

/// A key that is the same in every run. Numbers from 1.
pub(super) fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_secret(&SecretKey::from_slice(&[number; 32]).unwrap())
}

/// The public half of [`signing_key`], named `key NUMBER`.
pub(super) fn named(number: u8) -> NamedKey {
    NamedKey {
        name: format!("key {number}"),
        key: signing_key(number).public(),
    }
}

/// A signature as it is found.
pub(super) fn input(origin: &str, signature: &SigstoreBundle) -> SignatureInput {
    SignatureInput {
        origin: origin.into(),
        bytes: signature.to_json(),
    }
}
