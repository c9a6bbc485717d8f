//! Bundles on pipes: only content that has its digest is given out, and a pipe and a file are judged
//! alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sneakernet_fuzz::{file_of, read_file, read_stream};

fuzz_target!(|input: &[u8]| {
    let file = file_of(input);
    match (read_stream(&file), read_file(&file)) {
        (Ok(stream), Ok(file)) => assert_eq!(stream, file),
        (Err(_), Err(_)) => {}
        (stream, file) => panic!("from a pipe: {stream:?}, from a file: {file:?}"),
    }
});
