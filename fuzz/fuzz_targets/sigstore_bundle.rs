//! Signatures: nothing arbitrary verifies; what is accepted is written and read again alike.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sneakernet::trust::{KeyPair, NamedKey, SignatureInput, SigstoreBundle, TrustPolicy};

static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let pair = KeyPair::generate("").expect("a key pair");
    let key = NamedKey {
        name: "the key".into(),
        key: pair.public().clone(),
    };
    TrustPolicy::new(vec![key], 1).expect("one key of one")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(bundle) = SigstoreBundle::parse(bytes) {
        let again = SigstoreBundle::parse(&bundle.to_json()).expect("its own form is accepted");
        assert_eq!(again.signature(), bundle.signature());
        assert_eq!(again.message_digest(), bundle.message_digest());
        assert_eq!(again.hint(), bundle.hint());
    }
    let input = SignatureInput {
        origin: "fuzz".into(),
        bytes: bytes.to_vec(),
    };
    assert!(POLICY.verify(b"the root", &[input]).is_err());
});
