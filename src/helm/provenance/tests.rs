use super::*;

const ARCHIVE: &[u8] = b"archive";

/// What Helm signs, with a signature that is none.
pub(super) fn message(sums: &str) -> String {
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\napiVersion: v2\nname: demo\nsources:\n- - x\nversion: 1.2.3\n\n...\n{sums}-----BEGIN PGP SIGNATURE-----\n\nabc=\n-----END PGP SIGNATURE-----\n"
    )
}

pub(super) fn sums() -> String {
    format!("files:\n  demo-1.2.3.tgz: {}\n", Digest::sha256_of(ARCHIVE))
}

#[test]
fn says_whether_an_archive_is_the_one_that_was_signed() {
    let provenance = Provenance::read_unverified(message(&sums()).as_bytes()).unwrap();
    provenance.check_archive("demo-1.2.3.tgz", ARCHIVE).unwrap();
    let other = provenance
        .check_archive("demo-1.2.4.tgz", ARCHIVE)
        .unwrap_err();
    assert_eq!(
        other.to_string(),
        "the provenance is not about `demo-1.2.4.tgz`: it names demo-1.2.3.tgz"
    );
    let other = provenance
        .check_archive("demo-1.2.3.tgz", b"other")
        .unwrap_err();
    assert!(matches!(other, ProvenanceError::OtherDigest { .. }));
    assert!(other.is_distrust());
    let windows = message(&sums()).replace('\n', "\r\n");
    assert_eq!(
        Provenance::read_unverified(windows.as_bytes()).unwrap(),
        provenance
    );
}

#[test]
fn text_around_the_message_and_other_shapes_are_refused() {
    let good = message(&sums());
    for (bad, reason) in [
        (
            format!("trust me\n{good}"),
            "it does not begin with a clear-signed message",
        ),
        (
            format!("{good}trust me\n"),
            "it does not end with its signature",
        ),
        (
            good.replace("Hash:", "Hush:"),
            "it has a header that no clear-signed message has",
        ),
        (
            good.replace("- - x", "-x"),
            "it has a line that is not escaped",
        ),
        (
            good.replace("-----BEGIN PGP SIGNATURE-----", ""),
            "it has a line that is not escaped",
        ),
        (
            good.replace("-----END PGP SIGNATURE-----", ""),
            "it does not end with its signature",
        ),
        (good.replace("\n...\n", "\n"), "the digests are missing"),
        (
            good.replace("version: 1.2.3\n", "\n...\n"),
            "it has more than two parts",
        ),
        (message("files: {}\n"), "it names no file"),
        (message(""), "provenance: the file is not a mapping"),
        (
            String::new(),
            "it does not begin with a clear-signed message",
        ),
    ] {
        let error = Provenance::read_unverified(bad.as_bytes()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("not a provenance file: {reason}"),
            "{bad}"
        );
    }
    let large = vec![b'x'; MAX_PROVENANCE_BYTES + 1];
    Provenance::read_unverified(&large).unwrap_err();
    Provenance::read_unverified(b"\xff").unwrap_err();
}

#[test]
fn keyrings_come_in_three_forms() {
    let binary = [0x99, 0x01, 0x0d, 1, 2, 3];
    let keyring = Keyring::read(&binary).unwrap();
    assert_eq!(format!("{keyring:?}"), "Keyring(6 bytes)");
    let armored = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\nmQEN\nAQID\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
    assert_eq!(Keyring::read(armored.as_bytes()).unwrap(), keyring);
    let twice = Keyring::read(format!("# two\n{armored}{armored}").as_bytes()).unwrap();
    assert_eq!(twice.bytes(), [binary, binary].concat());
    Keyring::read(b"\0\0\0\x20\x01\x01\0\x02KBXf").unwrap();
    for (bad, reason) in [
        (&b""[..], "it is empty"),
        (b"hello", "it does not begin with a public key"),
        (b"\x95\x01", "it holds a private key"),
        (
            b"-----BEGIN PGP PRIVATE KEY BLOCK-----",
            "it holds a private key",
        ),
        (
            b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQEN\n",
            "its armor is damaged",
        ),
    ] {
        let error = Keyring::read(bad).unwrap_err();
        assert_eq!(error.to_string(), format!("not a keyring: {reason}"));
    }
}
