//! What the text forbids and a writer with a key could still write: refused by the program and by the second reader.

use std::{cell::Cell, fs, io::Read, path::PathBuf};

use sneakernet::bundle::{BundleError, StreamFrames, Untrusted};

use super::{
    golden::{everything, image, key},
    maker::Made,
    spec_file,
};
use crate::support::{
    forge::Forge,
    tools::{Home, require, run},
};

/// Asserts that neither reader accepts a bundle that is signed well.
#[track_caller]
fn both_refuse(what: &str, made: &Made) {
    let home = Home::new();
    let path = home.path().join("odd.zst");
    fs::write(&path, &made.file).unwrap();
    let key: PathBuf = spec_file("golden/golden.pub");
    for from_pipe in [false, true] {
        let mut verify = home.bundle();
        verify.arg("verify").arg("--key").arg(&key);
        let input = match from_pipe {
            true => made.file.clone(),
            false => Vec::new(),
        };
        verify.arg(if from_pipe {
            "-".as_ref()
        } else {
            path.as_os_str()
        });
        let patience = crate::support::tools::PATIENCE;
        let finished = crate::support::tools::run_with(verify, input, patience);
        assert_eq!(finished.code(), Some(3), "{what}: {finished:?}");
    }
    let mut python = home.tool("python3");
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg(spec_file("reader.py")).arg(&path);
    let finished = run({
        python.arg("--key").arg(&key);
        python
    });
    assert_eq!(finished.code(), Some(3), "{what}: {finished:?}");
}

#[test]
fn own_artifacts_have_one_form() {
    require!("python3", "zstd", "openssl");
    let mut maker = image();
    maker.odd_annotation = true;
    both_refuse(
        "an annotation on the lock's layer",
        &maker.make("odd", &[key("golden")]),
    );
}

#[test]
fn a_signature_is_no_place_for_megabytes() {
    require!("python3", "zstd", "openssl");
    let sign = |root: &[u8]| {
        let signature = key("golden").sign_root(root).unwrap().to_json();
        vec![signature, vec![b' '; (64 << 10) + 1]]
    };
    both_refuse(
        "a large signature",
        &image().make_signed("odd", false, sign),
    );
}

#[test]
fn the_lock_knows_the_size_of_what_it_leaves_out() {
    require!("python3", "zstd", "openssl");
    let mut maker = everything();
    maker.absent.values_mut().next().unwrap().size += 1;
    both_refuse("another size", &maker.make("odd", &[key("golden")]));
}

#[test]
fn forged_charts_and_releases_are_refused_by_both() {
    require!("python3", "zstd", "openssl");
    let home = Home::new();
    let key_file = spec_file("golden/golden.pub");
    // Opened once: that takes its time, on purpose.
    let signer = std::sync::Arc::new(key("golden"));
    let second = |what: &str, forge: Forge| {
        let path = home.path().join("odd.zst");
        let signed = forge.signed_by(std::sync::Arc::clone(&signer));
        fs::write(&path, signed.build()).unwrap();
        let mut python = home.tool("python3");
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        python.arg(spec_file("reader.py")).arg(&path);
        python.arg("--key").arg(&key_file);
        let finished = run(python);
        assert!(
            !finished.stderr.contains("Traceback"),
            "{what}: {finished:?}"
        );
        finished
    };
    // By the program they are refused in `tampering`.
    for (what, forge, _) in crate::tampering::charts::cases() {
        assert_eq!(second(&what, forge).code(), Some(3), "{what}");
    }
    second("an honest one", Forge::honest_chart()).success();
}

/// Endless input of small frames, which counts what was taken of it.
struct Endless<'a>(&'a [u8], &'a Cell<usize>);

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.1.get();
        assert!(taken < 1 << 20, "frame after frame is read");
        for (n, byte) in buffer.iter_mut().enumerate() {
            *byte = self.0[(taken + n) % self.0.len()];
        }
        self.1.set(taken + buffer.len());
        Ok(buffer.len())
    }
}

#[test]
fn frames_in_the_head_are_full_or_the_last() {
    // Single segment, no content, checksum: 13 bytes that hold nothing.
    let empty = b"\x28\xb5\x2f\xfd\x24\0\x01\0\0\x99\xe9\xd8\x51";
    let taken = Cell::new(0);
    let frames = StreamFrames::new(Endless(empty, &taken));
    let error = Untrusted::read(frames, true).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, BundleError::Cut { number: 0, .. }) && taken.get() < 100,
        "{error}"
    );
}
