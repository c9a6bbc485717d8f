//! What `helm template` prints: every image that is found is a reference, each once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::helm::discover::discover;

fuzz_target!(|text: &str| {
    let Ok(discovery) = discover(text) else {
        return;
    };
    for pair in discovery.found.windows(2) {
        assert!(pair[0].reference < pair[1].reference, "sorted, each once");
    }
    for found in &discovery.found {
        assert!(!found.places.is_empty(), "{} is named somewhere", found.reference);
    }
});
