//! Image references: what is accepted is written in one form, which means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::oci::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        let again: Reference = written.parse().expect("its own form is accepted");
        assert_eq!(again.to_string(), written);
        assert_eq!(again.repository().path(), reference.repository().path());
        assert_eq!((again.tag(), again.digest()), (reference.tag(), reference.digest()));
        assert!(!written.contains(|c: char| c.is_control() || c.is_whitespace()));
        assert!(!written.split('/').any(|part| part == ".." || part == "."));
    }
});
