//! Root and lock: what is accepted is exactly what this program would write.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet::bundle::{Lock, Root};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(root) = Root::parse(bytes) {
        assert_eq!(root.to_bytes().expect("it came from there"), bytes);
        let mut sorted = root.clone();
        sorted.sort_entries();
        assert_eq!(sorted, root);
    }
    if let Ok(lock) = Lock::parse(bytes) {
        assert_eq!(lock.to_bytes().expect("it came from there"), bytes);
    }
});
