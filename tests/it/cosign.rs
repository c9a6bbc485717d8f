//! Signatures and keys are cosign's: what the program signs, stock cosign and OpenSSL verify
//! offline; what cosign signs, the program accepts; and the key files go both ways.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{
    netns::NetNs,
    tools::{Finished, Home, require, run},
};

const PASSWORD: &str = "tr0ub4dor & 3";

/// A small bundle that somebody signed, with the files that cosign needs.
struct Signed {
    home: Home,
}

impl Signed {
    /// Signed with the key pair in `maker.key` and `maker.pub`.
    fn with(home: Home) -> Self {
        std::fs::write(home.path().join("file.txt"), "carried\n").unwrap();
        let mut create = home.bundle();
        create.args(["create", "--add-file", "file.txt", "--key", "maker.key"]);
        create.args(["--name", "small", "-o", "bundle"]);
        create.env("COSIGN_PASSWORD", PASSWORD);
        run(create).success();
        for (document, file) in [("root", "root.json"), ("signature", "signature.json")] {
            let inspect = ["inspect", "bundle", "--raw", document];
            let bytes = home.run_bundle(inspect).success().stdout;
            std::fs::write(home.path().join(file), bytes).unwrap();
        }
        Self { home }
    }

    /// Signed with a key pair that the program made.
    fn by_our_key() -> Self {
        let home = Home::new();
        our_keys(&home, "maker");
        Self::with(home)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn verify_blob(&self, key: &str, signature: &str, blob: &str) -> Command {
        let mut cosign = self.home.tool("cosign");
        cosign.args(["verify-blob", "--key", key, "--bundle", signature]);
        cosign.args(["--insecure-ignore-tlog=true", blob]);
        cosign
    }

    fn sign_blob(&self, key: &str, blob: &str, signature: &str) -> Command {
        let mut cosign = self.home.tool("cosign");
        cosign.args(["sign-blob", "--yes", "--key", key, "--bundle", signature]);
        // Without a transparency log, which is the public's or a company's, outside the gap.
        cosign.args(["--use-signing-config=false", "--tlog-upload=false", blob]);
        cosign.env("COSIGN_PASSWORD", PASSWORD);
        cosign
    }

    fn verify(&self, arguments: &[&str]) -> Finished {
        let verify = ["verify", "bundle"].iter().chain(arguments);
        self.home.run_bundle(verify)
    }
}

fn our_keys(home: &Home, prefix: &str) {
    let mut keygen = home.bundle();
    keygen.args(["keygen", "--output-key-prefix", prefix]);
    keygen.env("COSIGN_PASSWORD", PASSWORD);
    run(keygen).success();
}

fn cosign_keys(home: &Home, prefix: &str) {
    let mut cosign = home.tool("cosign");
    cosign.args(["generate-key-pair", "--output-key-prefix", prefix]);
    cosign.env("COSIGN_PASSWORD", PASSWORD);
    run(cosign).success();
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn cosign_accepts_our_signature_offline_and_nothing_like_it() {
    require!("cosign", "root");
    let signed = Signed::by_our_key();
    our_keys(&signed.home, "other");
    // Nothing but loopback is there.
    let netns = NetNs::new();
    let verify = |key: &str, signature: &str, blob: &str| {
        run(netns.wrap(&signed.verify_blob(key, signature, blob)))
    };
    let accepted = verify("maker.pub", "signature.json", "root.json").success();
    assert!(accepted.stderr.contains("Verified OK"), "{accepted:?}");

    let root = std::fs::read(signed.file("root.json")).unwrap();
    let mut changed = root.clone();
    *changed.last_mut().unwrap() ^= 1;
    write(&signed.file("changed.json"), &changed);
    write(&signed.file("longer.json"), &[&root[..], b"\n"].concat());
    verify("maker.pub", "signature.json", "changed.json").failure();
    verify("maker.pub", "signature.json", "longer.json").failure();
    verify("other.pub", "signature.json", "root.json").failure();
}

#[test]
fn cosign_accepts_an_approval() {
    require!("cosign");
    let signed = Signed::by_our_key();
    our_keys(&signed.home, "officer");
    let mut sign = signed.home.bundle();
    sign.args(["sign", "bundle", "--key", "officer.key", "-o", "a.json"]);
    sign.env("COSIGN_PASSWORD", PASSWORD);
    run(sign).success();
    run(signed.verify_blob("officer.pub", "a.json", "root.json")).success();
    run(signed.verify_blob("maker.pub", "a.json", "root.json")).failure();
}

#[test]
fn openssl_verifies_the_raw_signature() {
    require!("openssl");
    let signed = Signed::by_our_key();
    our_keys(&signed.home, "other");
    let bundle = std::fs::read(signed.file("signature.json")).unwrap();
    let bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let signature = &bundle["messageSignature"]["signature"];
    let signature = STANDARD.decode(signature.as_str().unwrap()).unwrap();
    write(&signed.file("signature.der"), &signature);
    let verify = |key: &str, blob: &str| {
        let mut openssl = signed.home.tool("openssl");
        openssl.args(["dgst", "-sha256", "-verify", key]);
        openssl.args(["-signature", "signature.der", blob]);
        run(openssl)
    };
    let answer = verify("maker.pub", "root.json").success();
    assert_eq!(answer.text(), "Verified OK\n");
    verify("other.pub", "root.json").failure();
    verify("maker.pub", "signature.json").failure();
}

#[test]
fn a_signature_by_cosign_counts_like_our_own() {
    require!("cosign", "root");
    let signed = Signed::by_our_key();
    cosign_keys(&signed.home, "officer");
    let netns = NetNs::new();
    let sign = signed.sign_blob("officer.key", "root.json", "officer.json");
    run(netns.wrap(&sign)).success();

    let alone = ["--key", "officer.pub", "--signature", "officer.json"];
    let verified = signed.verify(&alone).success().text();
    assert!(verified.contains("signed by officer.pub"), "{verified}");
    let both = ["--key", "maker.pub", "--threshold", "2"];
    signed.verify(&[&both[..], &alone[..]].concat()).success();
    signed.verify(&[&both[..], &alone[..2]].concat()).exits(4);

    // Over something else than the root, it counts for nothing.
    run(signed.sign_blob("officer.key", "file.txt", "file.json")).success();
    let other = ["--key", "officer.pub", "--signature", "file.json"];
    let refused = signed.verify(&other).exits(4);
    assert!(refused.stderr.contains("file.json"), "{refused:?}");
    // And what is named is read, even where it is not needed.
    let absent = ["--key", "maker.pub", "--signature", "absent.json"];
    signed.verify(&absent).failure();
}

#[test]
fn a_key_pair_of_cosign_signs_a_bundle() {
    require!("cosign");
    let home = Home::new();
    cosign_keys(&home, "maker");
    let signed = Signed::with(home);
    signed.verify(&["--key", "maker.pub"]).success();
    run(signed.verify_blob("maker.pub", "signature.json", "root.json")).success();

    let mut create = signed.home.bundle();
    create.args(["create", "--add-file", "file.txt", "--key", "maker.key"]);
    create.args(["-o", "never"]).env("COSIGN_PASSWORD", "wrong");
    let refused = run(create).exits(2);
    assert!(!refused.stderr.contains(PASSWORD) && !refused.stderr.contains("wrong\n"));
    assert!(!signed.file("never").exists());
}

#[test]
fn our_key_pair_signs_in_cosign() {
    require!("cosign");
    let signed = Signed::by_our_key();
    run(signed.sign_blob("maker.key", "file.txt", "file.json")).success();
    run(signed.verify_blob("maker.pub", "file.json", "file.txt")).success();
    let mut wrong = signed.sign_blob("maker.key", "file.txt", "never.json");
    wrong.env("COSIGN_PASSWORD", "wrong");
    run(wrong).failure();

    // cosign finds the public key in the private one, and it is the one that we wrote.
    let mut public = signed.home.tool("cosign");
    public.args(["public-key", "--key", "maker.key"]);
    public.env("COSIGN_PASSWORD", PASSWORD);
    let ours = std::fs::read_to_string(signed.file("maker.pub")).unwrap();
    assert_eq!(run(public).success().text(), ours);
}

#[test]
fn a_key_without_password_is_one_for_cosign_too() {
    require!("cosign");
    let home = Home::new();
    let keygen = ["keygen", "--no-password", "--output-key-prefix", "maker"];
    home.run_bundle(keygen).success();
    let mut public = home.tool("cosign");
    public.args(["public-key", "--key", "maker.key"]);
    public.env("COSIGN_PASSWORD", "");
    let ours = std::fs::read_to_string(home.path().join("maker.pub")).unwrap();
    assert_eq!(run(public).success().text(), ours);
}
