//! Who signed, and what: only a signature by a trusted key over exactly this root makes a bundle
//! trusted. Everything else ends with exit code 4 (3 where the root itself is damaged, 2 where no
//! key is named), and nobody is asked anything.

use sneakernet::trust::{KeyPair, SigningKey, SigstoreBundle};

use crate::support::{
    attempt::{Bench, QUICK, assert_refused, watch},
    forge::{CONFIG, CONTENT, Forge, manifest, stream_of},
};

fn signed_root(bundle: &[u8]) -> Vec<u8> {
    let stream = stream_of(bundle);
    let at = |offset: usize| {
        let size = std::str::from_utf8(&stream[offset + 124..offset + 135]).unwrap();
        u64::from_str_radix(size, 8).unwrap() as usize
    };
    let root = 1024 + 512 + at(1024).next_multiple_of(512);
    stream[root + 512..root + 512 + at(root)].to_vec()
}

#[test]
fn only_a_trusted_key_over_exactly_this_root_counts() {
    let bench = Bench::new();
    let key = || bench.key("cosign");
    let other = || bench.key("other");
    let good = Forge::honest().signed_by(key()).build();
    bench.accepts("signed", good.clone());
    let root = signed_root(&good);
    let signature = key().sign_root(&root).unwrap();
    bench.accepts(
        "signed from outside",
        Forge::honest().signature(signature.to_json()).build(),
    );

    let another = manifest(CONFIG, &[CONTENT, b"more"]);
    let another = Forge::default()
        .image(
            "quay.io/a/one:1",
            "application/vnd.oci.image.manifest.v1+json",
            &[&another],
            &[CONFIG, CONTENT, b"more"],
        )
        .signed_by(key())
        .build();
    let of_another = key().sign_root(&signed_root(&another)).unwrap().to_json();
    let text = String::from_utf8(signature.to_json()).unwrap();
    let respaced = String::from_utf8(root.clone()).unwrap().replace(',', ", ");
    let of_respaced = key().sign_root(respaced.as_bytes()).unwrap().to_json();
    let replaced = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replacen(from, to, 1).into_bytes()
    };
    let good_digest = signature.message_digest();
    let with = |bytes: Vec<u8>| {
        let hint = key().public().hint();
        SigstoreBundle::for_message(bytes, *good_digest, hint).to_json()
    };
    let der = signature.signature().to_vec();
    let mut flipped = der.clone();
    flipped[10] ^= 1;
    let longer = [der.as_slice(), &[0]].concat();
    let psychic = vec![0x30, 6, 2, 1, 0, 2, 1, 0];
    let embedded_key = {
        // The key that made it travels with it; that does not make it trusted.
        let made = other().sign_root(&root).unwrap().to_json();
        let made = String::from_utf8(made).unwrap();
        let pem = other().public().to_pem().replace('\n', "\\n");
        made.replacen('{', &format!("{{\"key\":\"{pem}\","), 1)
            .into_bytes()
    };
    let container = br#"{"critical":{"identity":{"docker-reference":"a"},"type":"cosign container image signature"}}"#;
    let mut digest_of_another = other().sign_root(&root).unwrap().to_json();
    digest_of_another.extend_from_slice(b"\n{}");
    let junk: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("spaces", b"   \n".to_vec()),
        ("JSON of another kind", b"{\"a\":1}".to_vec()),
        ("null", b"null".to_vec()),
        ("not JSON", b"\x00\xff\x1b[2J".to_vec()),
        ("the public key", key().public().to_pem().into_bytes()),
        ("raw bytes", der.clone()),
        ("that of another root", of_another),
        ("that of the same root with spaces", of_respaced),
        (
            "that of a container image",
            key().sign_root(container).unwrap().to_json(),
        ),
        (
            "one by another key",
            other().sign_root(&root).unwrap().to_json(),
        ),
        ("one by another key, with that key", embedded_key),
        ("a flipped bit", with(flipped)),
        ("bytes behind the signature", with(longer)),
        ("r and s zero", with(psychic)),
        ("an empty signature", with(vec![])),
        (
            "version 0.1 of the format",
            replaced("v0.3+json", "v0.1+json"),
        ),
        (
            "version 0.4 of the format",
            replaced("v0.3+json", "v0.4+json"),
        ),
        (
            "a DSSE envelope",
            replaced("messageSignature", "dsseEnvelope"),
        ),
        ("another hash", replaced("SHA2_256", "SHA2_512")),
        (
            "base64 that is none",
            replaced("\"signature\":\"", "\"signature\":\"!!"),
        ),
        ("two documents", digest_of_another),
        ("deep brackets", "[".repeat(60_000).into_bytes()),
    ];
    for (what, signature) in junk {
        let bundle = Forge::honest().signature(signature).build();
        bench.refuses_head(what, bundle, 4, "");
    }
    bench.refuses_head("no signature", Forge::honest().build(), 4, "no signature");
    bench.refuses_head(
        "another key",
        Forge::honest().signed_by(other()).build(),
        4,
        "",
    );
    // A good signature among bad ones is enough.
    let both = Forge::honest()
        .signature(b"junk".to_vec())
        .signed_by(other())
        .signed_by(key());
    bench.accepts("a bad one, another's and a good one", both.build());
    // Root and signature of one bundle, all the rest of another.
    let (ours, theirs) = (stream_of(&good), stream_of(&another));
    assert_ne!(ours, theirs);
    for at in [1024, 2048, ours.len() / 2] {
        let at = at.min(theirs.len()) & !511;
        let mixed = [&ours[..at], &theirs[at..]].concat();
        if mixed != ours && mixed != theirs {
            let mixed = crate::support::forge::framed(&mixed, 8 << 20);
            bench.refuses("two bundles mixed", mixed, 3, "");
        }
    }
}

#[test]
fn without_a_key_nothing_is_loaded_and_unsigned_has_to_be_said_twice() {
    let bench = Bench::new();
    let signed = bench.file(&Forge::honest().signed_by(bench.key("cosign")).build());
    let stripped = bench.file(&Forge::honest().build());
    let unsigned = bench.file(&Forge::honest().made_unsigned().build());
    let host = bench.recording.host();
    for file in [&signed, &stripped, &unsigned] {
        let name = file.to_str().unwrap();
        for arguments in [&["load", name, "--to", &host][..], &["verify", name]] {
            let mut command = bench.home.bundle();
            command.args(arguments);
            let watched = watch(command, Vec::new(), QUICK);
            assert_refused("no key", &watched, 2);
        }
    }
    // Only a bundle that was made without a signature is accepted without one: from the others
    // somebody has taken it away.
    let allow = |file: &std::path::Path| {
        let name = file.to_str().unwrap();
        bench.run(&["verify", name, "--allow-unsigned"], Vec::new())
    };
    assert_refused("its signature taken away", &allow(&stripped), 4);
    assert_refused("signed, and not to be checked", &allow(&signed), 4);
    let watched = allow(&unsigned);
    assert_eq!(watched.finished.code(), Some(0), "{:?}", watched.finished);
    let said = watched.finished.text() + &watched.finished.stderr;
    assert!(said.contains("NOT SIGNED"), "{said}");
    assert_refused("unsigned, with a key", &bench.load(&unsigned, &[]), 4);
    // A key and the wish to do without are a contradiction.
    let both = ["--allow-unsigned", "--key", "cosign.pub"];
    assert_refused("both", &bench.load(&signed, &both), 2);
    bench.recording.assert_untouched();

    // `inspect` shows without a key, and says that it has not checked.
    let mut inspect = bench.home.bundle();
    inspect.args(["inspect"]).arg(&stripped);
    let shown = watch(inspect, Vec::new(), QUICK).finished.success().text();
    assert!(shown.contains("not checked"), "{shown}");
    let name = stripped.to_str().unwrap();
    assert_refused(
        "inspect with a key",
        &bench.run(&["inspect", name], vec![]),
        4,
    );
}

#[test]
fn a_threshold_counts_keys_not_signatures() {
    let bench = Bench::new();
    let home = bench.home.path();
    let once = bench.file(&Forge::honest().signed_by(bench.key("cosign")).build());
    let both = Forge::honest()
        .signed_by(bench.key("cosign"))
        .signed_by(bench.key("other"));
    let both = bench.file(&both.build());
    // The same key in another file, and in another form.
    let pem = std::fs::read_to_string(home.join("cosign.pub")).unwrap();
    std::fs::write(home.join("again.pub"), &pem).unwrap();
    std::fs::write(home.join("crlf.pub"), pem.replace('\n', "\r\n") + "\n\n").unwrap();
    let two = |file: &std::path::Path, keys: &[&str]| {
        let mut arguments = vec!["--threshold", "2"];
        arguments.extend(keys.iter().flat_map(|key| ["--key", key]));
        bench.load(file, &arguments)
    };
    let keys = ["cosign.pub", "other.pub"];
    assert_refused("one of two", &two(&once, &keys), 4);
    for again in ["cosign.pub", "again.pub", "crlf.pub"] {
        assert_refused("one key twice", &two(&once, &["cosign.pub", again]), 2);
        assert_refused("one key twice", &two(&both, &["cosign.pub", again]), 2);
        let keys = ["cosign.pub", again, "other.pub"];
        assert_refused("one key twice, and another", &two(&once, &keys), 4);
    }
    // The signature in the bundle and the same beside it are one.
    let root = signed_root(&std::fs::read(&once).unwrap());
    let beside = home.join("beside.sigstore.json");
    std::fs::write(
        &beside,
        bench.key("cosign").sign_root(&root).unwrap().to_json(),
    )
    .unwrap();
    let arguments = [
        "--threshold",
        "2",
        "--key",
        "cosign.pub",
        "--key",
        "other.pub",
        "--signature",
        "beside.sigstore.json",
    ];
    assert_refused(
        "the same signature beside it",
        &bench.load(&once, &arguments),
        4,
    );
    for (threshold, code) in [("0", 2), ("3", 2), ("-1", 2), ("300", 2), ("two", 2)] {
        let arguments = [
            "--key",
            "cosign.pub",
            "--key",
            "other.pub",
            "--threshold",
            threshold,
        ];
        assert_refused(threshold, &bench.load(&both, &arguments), code);
    }
    bench.recording.assert_untouched();

    let verify = |more: &[&str]| {
        let keys = [
            "--key",
            "cosign.pub",
            "--key",
            "other.pub",
            "--threshold",
            "2",
        ];
        let name = both.to_str().unwrap();
        bench.run(&[&["verify", name], &keys[..], more].concat(), vec![])
    };
    assert_eq!(verify(&[]).finished.code(), Some(0));
    // An approval beside the bundle counts.
    std::fs::write(
        &beside,
        bench.key("other").sign_root(&root).unwrap().to_json(),
    )
    .unwrap();
    let name = once.to_str().unwrap();
    let arguments = [&["verify", name], &arguments[..]].concat();
    let approved = bench.run(&arguments, vec![]);
    assert_eq!(approved.finished.code(), Some(0), "{:?}", approved.finished);
}

#[test]
fn files_that_are_no_public_keys_are_refused_by_name() {
    let bench = Bench::new();
    let home = bench.home.path();
    let good = bench.file(&Forge::honest().signed_by(bench.key("cosign")).build());
    let pem = std::fs::read_to_string(home.join("cosign.pub")).unwrap();
    let other = std::fs::read_to_string(home.join("other.pub")).unwrap();
    let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEqmSSBhLz0iWjTw3Rd0EVtWnKgZdOYvRz\nLwmx0Cvjzg3vXc0Y9CvQ0q2A1rXw0F9hQv0v2oB3m1p1o8sKkQm0D0z4mK3kI5w0\ncv0w3z0lCqQ0r3mX0z2n5Yw3F5a8w1bD\n-----END PUBLIC KEY-----\n";
    let cases: [(&str, Vec<u8>); 10] = [
        ("empty.pub", vec![]),
        ("text.pub", b"hello\n".to_vec()),
        (
            "private.pub",
            std::fs::read(home.join("cosign.key")).unwrap(),
        ),
        ("two.pub", (pem.clone() + &other).into_bytes()),
        ("large.pub", vec![b'\n'; 10 << 20]),
        ("cut.pub", pem.as_bytes()[..pem.len() / 2].to_vec()),
        ("p384.pub", p384.as_bytes().to_vec()),
        ("flipped.pub", pem.replacen("MFk", "MFl", 1).into_bytes()),
        ("nul.pub", vec![0; 178]),
        (
            "..pub",
            b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n".to_vec(),
        ),
    ];
    for (name, bytes) in cases {
        std::fs::write(home.join(name), bytes).unwrap();
        for keys in [
            &["--key", name][..],
            &["--key", "cosign.pub", "--key", name],
        ] {
            let watched = bench.load(&good, keys);
            assert_refused(name, &watched, 2);
            assert!(
                watched.finished.stderr.contains(name),
                "{:?}",
                watched.finished
            );
        }
    }
    assert_refused("missing", &bench.load(&good, &["--key", "missing.pub"]), 2);
    std::fs::create_dir(home.join("dir.pub")).unwrap();
    let watched = bench.load(&good, &["--key", "dir.pub"]);
    assert_refused(
        "a directory",
        &watched,
        watched.finished.code().unwrap_or(0),
    );
    assert_ne!(watched.finished.code(), Some(0));
    bench.recording.assert_untouched();
    let pair = KeyPair::generate("secret").unwrap();
    assert!(SigningKey::from_pem(pair.private_pem().as_bytes(), "wrong").is_err());
}
