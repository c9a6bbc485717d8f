//! Values files: searched for secrets and read as Helm does; no secret is in what is reported.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::helm::{chart::parse_values, operators::Catalogue, secrets};

fuzz_target!(|text: &str| {
    let _ = parse_values("values.yaml", text.as_bytes());
    let _ = Catalogue::parse(text);
    if let Ok(found) = secrets::scan(text) {
        for field in found {
            assert!(field.path.len() < text.len() + 1000);
        }
    }
});
