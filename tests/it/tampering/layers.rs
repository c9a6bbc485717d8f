//! Damage inside a layer: it is found while the layer is read. Its blob is never committed at the
//! destination, no manifest and no tag is written, and the exit code is 3; with `--verify-first`,
//! nobody is asked anything at all. The same from a pipe.

use std::{path::Path, sync::Arc};

use sneakernet::{
    bundle::{FileArchive, FileFrames, SeekTable, Untrusted},
    oci::Digest,
};

use crate::support::{
    attempt::{Bench, QUICK, assert_proper, assert_refused, watch},
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Compression, Entry, Family, Image, ImageBuilder, Layer},
    random::Random,
    tools::require,
};

/// A bundle with blobs of every kind, and where they are in the file.
struct Cargo {
    image: Image,
    bundle: Vec<u8>,
    /// Digest, first byte and past-last byte in the file of each large blob.
    large: Vec<(Digest, usize, usize)>,
}

impl Cargo {
    /// Makes the image, pushes it, and packs it with the program.
    fn new(bench: &Bench) -> Self {
        let noise = Random(7).bytes(3 << 20);
        let text = Random(8).text(20 << 20);
        let file = |name: &str, bytes| vec![Entry::File(name.into(), 0o644, bytes)];
        let image = ImageBuilder::new(Family::Oci, "linux/amd64")
            .layer(&Layer::of(&file("noise", noise), Compression::Gzip))
            .layer(&Layer::of(&file("text", text), Compression::None))
            .layer(&Layer::of(
                &file("small", b"small".to_vec()),
                Compression::Gzip,
            ))
            .build();
        let source = Embedded::start();
        source.client().push("team/app", "1", &image);
        let reference = format!("{}/team/app:1", source.host());
        let arguments = [
            "create",
            "--image",
            &reference,
            "--key",
            "cosign.key",
            "-o",
            "b",
        ];
        bench.home.run_bundle(arguments).success();
        let bundle = std::fs::read(bench.home.path().join("b")).unwrap();
        let frames = FileFrames::open(Arc::new(bundle.clone())).unwrap();
        let accepted = Untrusted::read(frames, false).unwrap();
        let accepted = accepted.accept(|_, _, _, _| ()).unwrap();
        let archive = FileArchive::open(accepted).unwrap();
        let members = archive.metadata().plan.contents.members();
        let large = (0..).zip(members).filter_map(|(id, member)| {
            let (start, len) = (archive.file_offset(id), archive.file_size(id)?);
            Some((member.digest, start as usize, (start + len) as usize))
        });
        let large: Vec<_> = large.collect();
        assert_eq!(large.len(), 2);
        Self {
            large,
            image,
            bundle,
        }
    }

    /// The bundle with this bit at this place flipped; none where the blob decodes to the very same
    /// content all the same: a compressed frame has bits without a meaning.
    fn damaged(&self, digest: Digest, at: usize, bit: u8) -> Option<Vec<u8>> {
        let (_, start, end) = *self.large.iter().find(|(d, ..)| *d == digest).unwrap();
        let mut bundle = self.bundle.clone();
        bundle[at] ^= bit;
        let decoded = |file: &[u8]| zstd::decode_all(&file[start..end]).ok();
        let same = decoded(&bundle) == decoded(&self.bundle);
        (!same).then_some(bundle)
    }

    /// Places inside the large blobs: the blob, and the offset in the file.
    fn places(&self, random: &mut Random) -> Vec<(Digest, usize)> {
        let mut places = Vec::new();
        for (digest, start, end) in &self.large {
            let middle = start + random.below((end - start) as u64) as usize;
            places.extend(
                [start + 4, start + 20, start + 600, middle, end - 1].map(|at| (*digest, at)),
            );
        }
        places
    }
}

#[track_caller]
fn assert_nothing_names_it(what: &str, registry: &Embedded, damaged: Digest) {
    assert_eq!(registry.manifests_put(), [""; 0], "{what}");
    assert_eq!(registry.client().tags("team/app"), [""; 0], "{what}");
    assert_eq!(registry.client().blob("team/app", damaged), None, "{what}");
    let hex = damaged.hex();
    let kept = registry
        .store()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    assert!(!kept.exists(), "{what}");
}

#[test]
fn a_damaged_layer_is_never_committed_and_nothing_refers_to_it() {
    let bench = Bench::new();
    let cargo = Cargo::new(&bench);
    let mut random = Random(0xda);
    for (digest, at) in cargo.places(&mut random) {
        let Some(bundle) = cargo.damaged(digest, at, 1 << random.below(8)) else {
            continue;
        };
        let path = bench.file(&bundle);
        let what = format!("{digest} damaged at {at}");

        let destination = Embedded::start();
        let host = destination.host();
        let from = |file: &str, input: Vec<u8>| {
            let mut command = bench.home.bundle();
            command.args(["load", file, "--to", &host, "--key", "cosign.pub"]);
            watch(command, input, QUICK)
        };
        let watched = from(path.to_str().unwrap(), Vec::new());
        assert_refused(&what, &watched, 3);
        assert_nothing_names_it(&what, &destination, digest);

        let watched = from("-", bundle);
        assert_refused(&format!("{what}, from a pipe"), &watched, 3);
        assert_nothing_names_it(&what, &destination, digest);
        // What was not damaged may be there, and the good file completes it.
        let good = from("-", cargo.bundle.clone());
        assert_eq!(good.finished.code(), Some(0), "{:?}", good.finished);
        destination
            .client()
            .assert_holds("team/app", "1", &cargo.image);

        let early = bench.load(&path, &["--verify-first"]);
        assert_refused(&format!("{what}, --verify-first"), &early, 3);
        let verified = bench.run(&["verify", path.to_str().unwrap()], Vec::new());
        assert_refused(&format!("{what}, verify"), &verified, 3);
        bench.recording.assert_untouched();
    }
}

#[test]
fn a_layer_of_another_bundle_is_not_this_one() {
    let bench = Bench::new();
    let cargo = Cargo::new(&bench);
    let (stored, start, end) = cargo.large[0];
    // The same length, the same framing, right checksums, other bytes: what another bundle holds.
    let mut bundle = cargo.bundle.clone();
    let content = Random(9).bytes(end - start);
    let mut frame = bundle[start..end].to_vec();
    frame[700..1700].copy_from_slice(&content[700..1700]);
    let body = raw_content(&frame);
    let checksum = xxh64(&body) as u32;
    let len = frame.len();
    frame[len - 4..].copy_from_slice(&checksum.to_le_bytes());
    bundle[start..end].copy_from_slice(&frame);
    assert_eq!(
        zstd::decode_all(&bundle[start..end]).unwrap().len(),
        body.len()
    );

    let destination = Embedded::start();
    let path = bench.file(&bundle);
    let host = destination.host();
    let load = bench.run(&["load", path.to_str().unwrap(), "--to", &host], vec![]);
    assert_refused("another layer", &load, 3);
    assert!(
        load.finished.stderr.contains("does not have its digest"),
        "{:?}",
        load.finished
    );
    assert_nothing_names_it("another layer", &destination, stored);
    assert_refused("--verify-first", &bench.load(&path, &["--verify-first"]), 3);
    bench.recording.assert_untouched();
}

/// The content of the raw blocks of a frame with a header of ten bytes.
fn raw_content(frame: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut at = 10;
    loop {
        let header = u32::from_le_bytes([frame[at], frame[at + 1], frame[at + 2], 0]);
        let len = (header >> 3) as usize;
        content.extend_from_slice(&frame[at + 3..at + 3 + len]);
        at += 3 + len;
        if header & 1 == 1 {
            return content;
        }
    }
}

fn xxh64(bytes: &[u8]) -> u64 {
    // libzstd writes the checksum that a reader compares.
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    let frame = encoder.finish().unwrap();
    let last: [u8; 4] = frame[frame.len() - 4..].try_into().unwrap();
    u64::from(u32::from_le_bytes(last))
}

#[test]
fn damage_before_the_layers_and_behind_them_leaves_the_destination_alone() {
    let bench = Bench::new();
    let cargo = Cargo::new(&bench);
    let first = cargo.large[0].1;
    let end = cargo.large.last().unwrap().2;
    let table = cargo.bundle.len() - end;
    let frames = (table as u64 - SeekTable::encoded_len(0)) / 8;
    assert!(frames > 3, "several frames");
    let mut random = Random(0x5eed);
    let mut offsets: Vec<usize> = (0..20)
        .map(|_| random.below(first as u64) as usize)
        .collect();
    offsets.extend((0..40).map(|_| end + random.below(table as u64) as usize));
    for at in offsets {
        let mut bundle = cargo.bundle.clone();
        bundle[at] ^= 1 << random.below(8);
        let head_is_the_same = at < 16
            && zstd::decode_all(&bundle[..first]).ok()
                == zstd::decode_all(&cargo.bundle[..first]).ok();
        if head_is_the_same {
            continue;
        }
        let path = bench.file(&bundle);
        assert_refused(&format!("damage at {at}"), &bench.load(&path, &[]), 3);
        std::fs::remove_file(&path).unwrap();
    }
    for length in (0..10).map(|_| random.below(cargo.bundle.len() as u64) as usize) {
        let path = bench.file(&cargo.bundle[..length]);
        assert_refused(&format!("{length} bytes"), &bench.load(&path, &[]), 3);
    }
    let longer = [cargo.bundle.as_slice(), b"\0"].concat();
    assert_refused("a byte more", &bench.load(&bench.file(&longer), &[]), 3);
    bench.recording.assert_untouched();
}

/// The directories of a registry's storage in which manifests and tags are.
fn manifest_directories(storage: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![storage.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name == "_manifests" {
                    found.push(entry.path().display().to_string());
                }
                left.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn distribution_holds_nothing_of_a_damaged_layer() {
    require!("docker-registry");
    let bench = Bench::new();
    let cargo = Cargo::new(&bench);
    let registry = Registry::start(Options::default());
    let mut random = Random(0xd157);
    let load = |bundle: &[u8]| {
        let path = bench.file(bundle);
        let to = registry.host();
        bench.run(&["load", path.to_str().unwrap(), "--to", to], vec![])
    };
    for (digest, at) in cargo.places(&mut random) {
        let Some(bundle) = cargo.damaged(digest, at, 1 << random.below(8)) else {
            continue;
        };
        assert_refused(&format!("{digest} damaged at {at}"), &load(&bundle), 3);
        let blobs = registry.storage().join("docker/registry/v2/blobs/sha256");
        let hex = digest.hex();
        assert!(
            !blobs.join(&hex[..2]).join(&hex).exists(),
            "{digest} at {at}"
        );
        let named = manifest_directories(&registry.storage());
        assert!(named.is_empty(), "{named:?}");
        // So that the next load has to send everything again.
        let _ = std::fs::remove_dir_all(registry.storage().join("docker"));
    }
    let good = load(&cargo.bundle);
    assert_eq!(good.finished.code(), Some(0), "{:?}", good.finished);
    assert_proper("the good one", &good);
    registry
        .client()
        .assert_holds("team/app", "1", &cargo.image);
}

#[test]
fn a_file_that_is_rewritten_while_it_is_loaded_is_noticed() {
    let bench = Bench::new();
    let cargo = Cargo::new(&bench);
    // The destination takes its time for the first request behind the plan.
    let destination = Embedded::failing("POST:/blobs/uploads/:delay=1500ms:times=1");
    let path = bench.file(&cargo.bundle);
    let mut command = bench.home.bundle();
    let host = destination.host();
    command.args([
        "load",
        path.to_str().unwrap(),
        "--to",
        &host,
        "--key",
        "cosign.pub",
    ]);
    command.args(["--concurrency", "1"]);
    let mut running = crate::support::tools::Running::start(command, Vec::new());
    crate::support::tools::wait_until("an upload begins", QUICK, || {
        !destination.log.mutating().is_empty() || !running.is_running()
    });
    let (digest, start, end) = *cargo.large.last().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let middle = (start + end) / 2;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xaa; 64], middle as u64).unwrap();
    let finished = running.finish(QUICK);
    assert_eq!(finished.code(), Some(3), "{finished:?}");
    assert_nothing_names_it("rewritten", &destination, digest);

    // Replaced by another file, it is still the one that was opened.
    let destination = Embedded::failing("POST:/blobs/uploads/:delay=1500ms:times=1");
    let path = bench.file(&cargo.bundle);
    let mut command = bench.home.bundle();
    let host = destination.host();
    command.args([
        "load",
        path.to_str().unwrap(),
        "--to",
        &host,
        "--key",
        "cosign.pub",
    ]);
    let mut running = crate::support::tools::Running::start(command, Vec::new());
    crate::support::tools::wait_until("an upload begins", QUICK, || {
        !destination.log.mutating().is_empty() || !running.is_running()
    });
    let evil = bench.file(b"something else");
    std::fs::rename(evil, &path).unwrap();
    running.finish(QUICK).success();
    destination
        .client()
        .assert_holds("team/app", "1", &cargo.image);
}
