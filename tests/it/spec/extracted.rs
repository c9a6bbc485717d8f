//! What `bundle extract` writes is a whole layout, also where a plain file has the content of a blob.

use std::fs;

use sneakernet::oci::Digest;

use super::golden::{everything, key};
use crate::support::tools::Home;

#[test]
fn a_file_with_the_content_of_a_blob_leaves_the_blob_where_it_is() {
    let home = Home::new();
    let mut maker = everything();
    // The configuration of an artifact in it.
    maker.file("empty.json", b"{}");
    let made = maker.make("everything", &[key("golden")]);
    fs::write(home.path().join("a.zst"), &made.file).unwrap();
    fs::write(
        home.path().join("golden.pub"),
        key("golden").public().to_pem(),
    )
    .unwrap();
    home.run_bundle(["extract", "a.zst", "--key", "golden.pub", "--output", "out"])
        .success();
    let out = home.path().join("out");
    assert_eq!(fs::read(out.join("files/empty.json")).unwrap(), b"{}");
    let blob = format!("blobs/sha256/{}", Digest::sha256_of(b"{}").hex());
    assert_eq!(fs::read(out.join(blob)).unwrap(), b"{}");
    // What is a file and nothing else is not in the layout.
    let file = Digest::sha256_of(b"# How to install\n").hex();
    assert!(!out.join("blobs/sha256").join(file).exists());
}
