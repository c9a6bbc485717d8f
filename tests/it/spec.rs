//! The specification in `bundle-spec/`, held against the program: golden bundles, the second reader, the JSON
//! Schemas, the numbers in the text, and the commands for those who do not have the program yet.
//!
//! `UPDATE_GOLDEN=1` writes the committed files anew instead of comparing.

mod extracted;
mod first_contact;
mod golden;
mod maker;
mod reader;
mod schemas;
mod strict;
mod vectors;

use std::{fs, path::PathBuf};

/// A file of `bundle-spec/`.
fn spec_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("bundle-spec")
        .join(name)
}

/// Compares a committed file with what it must be, or writes it.
#[track_caller]
fn committed(name: &str, expected: &[u8]) {
    let path = spec_file(name);
    if updating() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(
        found == expected,
        "bundle-spec/{name} is not up to date; if the change is meant: \
         UPDATE_GOLDEN=1 cargo test --release --test it spec::"
    );
}

/// Whether the committed files are to be written anew.
fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| !value.is_empty())
}
