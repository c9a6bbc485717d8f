use super::*;
use crate::helm::provenance::tests::{message, sums};

const FINGERPRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

fn valid(hash: u8) -> String {
    format!("[GNUPG:] VALIDSIG SUB 2026-11-23 1 0 4 0 22 {hash} 01 {FINGERPRINT}\n")
}

fn good() -> String {
    format!(
        "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 0123 A%3cB <a@b>\n{}",
        valid(10)
    )
}

#[test]
fn a_good_signature_has_a_signer() {
    let signer = Signer {
        user_id: "A<B <a@b>".to_owned(),
        fingerprint: FINGERPRINT.to_owned(),
    };
    assert_eq!(signers(&good()).unwrap(), std::slice::from_ref(&signer));
    assert_eq!(
        signers(&good().repeat(2)).unwrap(),
        [signer.clone(), signer]
    );
}

#[test]
fn every_other_signature_is_refused() {
    for (status, message) in [
        (String::new(), "gpgv found no valid signature"),
        (valid(10), "gpgv says too little about it"),
        (
            "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 0123 A\n".to_owned(),
            "gpgv found no valid signature",
        ),
        (
            "[GNUPG:] BADSIG 0123 A\n".to_owned(),
            "the text was changed after A signed it",
        ),
        (
            "[GNUPG:] EXPSIG 0123 A\n".to_owned(),
            "the signature of A has expired",
        ),
        (
            "[GNUPG:] EXPKEYSIG 0123 A\n".to_owned(),
            "the key of A has expired",
        ),
        (
            "[GNUPG:] REVKEYSIG 0123 A\n".to_owned(),
            "the key of A was revoked",
        ),
        (
            good().replace(&valid(10), &valid(2)),
            "it uses a hash that can be forged",
        ),
        (
            format!("{}[GNUPG:] NEWSIG\n", good()),
            "gpgv found no valid signature",
        ),
        (
            format!("{}[GNUPG:] BADSIG 1 B\n", good()),
            "the text was changed after B signed it",
        ),
    ] {
        let error = signers(&status).unwrap_err();
        assert!(error.is_distrust());
        let expected = format!("the signature of the provenance is not good: {message}");
        assert_eq!(error.to_string(), expected);
    }
    let unknown = format!(
        "{}[GNUPG:] ERRSIG 99 1 8 00 1 9\n[GNUPG:] NO_PUBKEY 99\n",
        good()
    );
    assert!(matches!(signers(&unknown), Err(ProvenanceError::UnknownKey { key }) if key == "99"));
}

/// A program in place of gpgv: shows how it is called, whatever is installed here.
async fn verify_with(script: &str) -> Result<(Provenance, Vec<Signer>), ProvenanceError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gpgv");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let gpgv = Gpgv::find(Some(&path)).unwrap();
    let keyring = Keyring::read(&[0x99]).unwrap();
    let message = message(&sums());
    loop {
        match gpgv.verify(message.as_bytes(), &keyring).await {
            // Another test has started a process while the script was open for writing here; that
            // process lets go of it when it becomes another program.
            Err(ProvenanceError::Run(error))
                if error.kind() == io::ErrorKind::ExecutableFileBusy =>
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            result => return result,
        }
    }
}

const COPY: &str = "[ -f keyring.gpg ] || exit 9\n[ -z \"$HOME\" ] || exit 8\n\
    while read -r line; do case \"$line\" in '') break;; esac; done < message.prov\n\
    /bin/sed -e '1,3d' -e '/^-----BEGIN PGP SIG/,$d' -e 's/^- //' message.prov > message\n";

#[tokio::test]
async fn only_what_gpgv_verified_is_believed() {
    let status = format!("cat <<'E'\n{}E", good());
    let path = "PATH=/bin:/usr/bin\n";
    let (provenance, signers) = verify_with(&format!("{path}{COPY}{status}")).await.unwrap();
    assert!(provenance.files.contains_key("demo-1.2.3.tgz"));
    assert_eq!(signers[0].fingerprint, FINGERPRINT);

    let other = format!("{path}echo other > message\n{status}");
    let error = verify_with(&other).await.unwrap_err();
    assert!(
        error.to_string().contains("gpgv reads another text"),
        "{error}"
    );

    let bad = format!("{path}{COPY}echo '[GNUPG:] BADSIG 1 A'\nexit 1");
    assert!(verify_with(&bad).await.unwrap_err().is_distrust());
    let failed = format!("{path}{COPY}{status}\nexit 2");
    let error = verify_with(&failed).await.unwrap_err();
    assert!(matches!(error, ProvenanceError::Run(_)), "{error}");
    assert!(verify_with("exit 0").await.unwrap_err().is_distrust());
}

#[test]
fn a_host_without_gpgv_is_told_what_to_do() {
    let error = Gpgv::find(Some(Path::new("/nowhere/gpgv"))).unwrap_err();
    assert!(error.hint().unwrap().starts_with("install gpgv"));
}
