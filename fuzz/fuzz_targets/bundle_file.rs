//! Bundles in files: only content that has its digest is given out.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = sneakernet_fuzz::read_file(&sneakernet_fuzz::file_of(input));
});
