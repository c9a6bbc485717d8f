//! Two people have to agree: the maker signs the bundle, an officer signs beside it (`bundle sign`),
//! and whoever loads it asks for both (`--threshold 2`). One person is never two.

use std::path::PathBuf;

use crate::support::{
    embedded::Embedded,
    images::{Family, sample_index},
    recording::Recording,
    samples,
    tools::{Finished, Home, run},
};

/// A bundle with one image, made and signed by `maker.key`.
struct Made {
    home: Home,
    image: crate::support::images::Image,
}

impl Made {
    fn new() -> Self {
        let upstream = Embedded::start();
        let image = sample_index(30, Family::Oci);
        upstream.client().push("a/b", "1", &image);
        let home = Home::new();
        for name in ["maker", "officer", "stranger"] {
            let keygen = ["keygen", "--no-password", "--output-key-prefix", name];
            home.run_bundle(keygen).success();
        }
        let mut create = home.bundle();
        create.args(["create", "--image", "registry.example.com/a/b:1"]);
        create.args(["--key", "maker.key", "-o", "bundle"]);
        create.args(samples::mirrors(upstream.host()));
        run(create).success();
        Self { home, image }
    }

    /// The signature that `bundle sign` writes beside the bundle.
    fn sign(&self, key: &str) -> PathBuf {
        let mut sign = self.home.bundle();
        sign.args(["sign", "bundle", "--format", "json", "--key", key]);
        let signed = run(sign).success().json();
        self.home.path().join(signed["signature"].as_str().unwrap())
    }

    fn verify(&self, arguments: &[&str]) -> Finished {
        let fixed = ["verify", "bundle", "--format", "json"];
        self.home.run_bundle(fixed.iter().chain(arguments))
    }

    fn load(&self, to: &str, arguments: &[&str]) -> Finished {
        let fixed = ["load", "bundle", "--to", to];
        self.home.run_bundle(fixed.iter().chain(arguments))
    }
}

const BOTH_KEYS: [&str; 6] = [
    "--key",
    "maker.pub",
    "--key",
    "officer.pub",
    "--threshold",
    "2",
];

fn with<'a>(keys: &[&'a str], signatures: &[&'a str]) -> Vec<&'a str> {
    let signatures = signatures.iter().flat_map(|file| ["--signature", *file]);
    keys.iter().copied().chain(signatures).collect()
}

#[test]
fn maker_and_officer_together_are_two() {
    let made = Made::new();
    let approval = made.sign("officer.key");
    let name = approval.file_name().unwrap().to_str().unwrap().to_owned();
    // FILE.KEY-ID.sigstore.json
    let id = name.strip_prefix("bundle.").unwrap();
    let id = id.strip_suffix(".sigstore.json").unwrap();
    assert!(
        id.len() >= 16 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{name}"
    );

    let checked = made.verify(&with(&BOTH_KEYS, &[&name])).success().json();
    assert_eq!(checked["threshold"], 2);
    let signatures = checked["signatures"].as_array().unwrap();
    let mut keys: Vec<&str> = signatures
        .iter()
        .map(|s| s["key"].as_str().unwrap())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["maker.pub", "officer.pub"]);

    let registry = Embedded::start();
    let receipt = ["--receipt", "receipt.json"];
    let arguments = [with(&BOTH_KEYS, &[&name]), receipt.to_vec()].concat();
    made.load(&registry.host(), &arguments).success();
    registry.client().assert_holds("a/b", "1", &made.image);
    let receipt = std::fs::read_to_string(made.home.path().join("receipt.json")).unwrap();
    assert!(
        receipt.contains("officer.pub") && receipt.contains("maker.pub"),
        "{receipt}"
    );
}

#[test]
fn too_few_signatures_stop_before_any_request() {
    let made = Made::new();
    let approval = made.sign("officer.key");
    let again = made.home.path().join("again.json");
    std::fs::copy(&approval, &again).unwrap();
    let maker_again = made.sign("maker.key");
    let stranger = made.sign("stranger.key");
    let [approval, maker_again, stranger] =
        [&approval, &maker_again, &stranger].map(|path| path.to_str().unwrap());

    let destination = Recording::refusing();
    let one_of = |key| ["--key", key, "--key", "officer.pub", "--threshold", "2"];
    for (arguments, why) in [
        (with(&BOTH_KEYS, &[]), "only the maker"),
        (with(&BOTH_KEYS, &[maker_again]), "the maker twice"),
        (with(&BOTH_KEYS, &[stranger]), "a key that nobody named"),
        (
            with(&one_of("stranger.pub"), &[approval, "again.json"]),
            "the officer twice",
        ),
        (with(&["--key", "stranger.pub"], &[]), "another key"),
    ] {
        let refused = made.verify(&arguments);
        assert_eq!(refused.code(), Some(4), "{why}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{why}: {refused:?}");
        let refused = made.load(&destination.host(), &arguments);
        assert_eq!(refused.code(), Some(4), "{why}: {refused:?}");
    }
    // One key under two names is one key: two of it can never sign.
    let copy = made.home.path().join("copy.pub");
    std::fs::copy(made.home.path().join("maker.pub"), copy).unwrap();
    for second in ["maker.pub", "copy.pub"] {
        let keys = ["--key", "maker.pub", "--key", second, "--threshold", "2"];
        made.verify(&with(&keys, &[maker_again])).exits(2);
        made.load(&destination.host(), &with(&keys, &[maker_again]))
            .exits(2);
    }
    // No key at all is a mistake, never a permission.
    made.load(&destination.host(), &[]).exits(2);
    made.load(&destination.host(), &["--allow-unsigned"])
        .exits(4);
    destination.assert_untouched();
}

#[test]
fn a_bundle_signed_twice_by_its_makers_needs_no_file_beside_it() {
    let made = Made::new();
    std::fs::write(made.home.path().join("file.txt"), "carried").unwrap();
    let keys = ["--key", "maker.key", "--key", "officer.key"];
    let create = ["create", "--add-file", "file.txt", "-o", "two", "--force"];
    made.home.run_bundle(create.iter().chain(&keys)).success();
    let verify = ["verify", "two"];
    made.home
        .run_bundle(verify.iter().chain(&BOTH_KEYS))
        .success();
    // The same key twice makes one signature.
    let keys = ["--key", "maker.key", "--key", "maker.key"];
    made.home.run_bundle(create.iter().chain(&keys)).success();
    made.home
        .run_bundle(verify.iter().chain(&BOTH_KEYS))
        .exits(4);
}

#[test]
fn an_approval_is_the_same_bytes_each_time_and_replaces_nothing() {
    let made = Made::new();
    let before = std::fs::read(made.home.path().join("bundle")).unwrap();
    let approval = made.sign("officer.key");
    let first = std::fs::read(&approval).unwrap();
    let sign = ["sign", "bundle", "--key", "officer.key"];
    let refused = made.home.run_bundle(sign).exits(2);
    assert!(refused.stderr.contains("exists"), "{refused:?}");
    std::fs::remove_file(&approval).unwrap();
    made.home.run_bundle(sign).success();
    assert_eq!(std::fs::read(&approval).unwrap(), first);
    let after = std::fs::read(made.home.path().join("bundle")).unwrap();
    assert!(before == after, "the bundle is left as it is");
}
