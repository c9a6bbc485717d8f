//! Key files: what is accepted is written and read again alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::trust::{PublicKey, SigningKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = PublicKey::from_pem(bytes) {
        let again = PublicKey::from_pem(key.to_pem().as_bytes());
        assert_eq!(again.expect("its own form is accepted"), key);
        assert!(!key.verify(b"message", bytes));
    }
    // Opening the key would spend its time on the password.
    let _ = SigningKey::needs_password(bytes);
});
