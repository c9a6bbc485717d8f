//! Manifests and indexes, as each media type: what is accepted is one JSON object.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::oci::{Document, media_type};

fuzz_target!(|bytes: &[u8]| {
    for kind in [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_LIST,
    ] {
        if let Ok(document) = Document::parse(bytes, kind) {
            let value: serde_json::Value = serde_json::from_slice(bytes).expect("it is JSON");
            let listed = |key: &str| value[key].as_array().map_or(0, Vec::len);
            if media_type::is_index(kind) {
                assert_eq!(document.children().len(), listed("manifests"));
                assert_eq!(document.blobs().count(), 0);
            } else {
                assert_eq!(document.blobs().count(), 1 + listed("layers"));
                assert!(document.children().is_empty());
            }
        }
    }
});
