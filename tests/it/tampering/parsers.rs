//! What this program accepts, other readers of tar and zstd understand in the same way: the same
//! members in the same order with the same content, by GNU tar, by Python's `tarfile` and by the
//! `tar` crate.

use std::io::Read;

use sneakernet::oci::{Digest, media_type};

use crate::support::{
    attempt::Bench,
    embedded::Embedded,
    forge::{CONFIG, CONTENT, Forge, manifest, stream_of},
    images::{Family, sample_index},
    tools::{require, run_with, temp_dir, tool},
};

/// Name, size and SHA-256 of each member, in order.
type Listing = Vec<(String, u64, String)>;

fn by_the_crate(stream: &[u8]) -> Listing {
    let mut archive = tar::Archive::new(stream);
    let entries = archive.entries().unwrap();
    let read = entries.map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
        let name = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (
            name,
            content.len() as u64,
            Digest::sha256_of(&content).hex().to_string(),
        )
    });
    read.collect()
}

fn by_gnu_tar(stream: &[u8]) -> Listing {
    let mut list = tool("tar");
    list.args(["--list", "--file", "-"]);
    let patience = std::time::Duration::from_secs(60);
    let listed = run_with(list, stream.to_vec(), patience).success();
    assert_eq!(listed.stderr, "", "GNU tar warns");
    let dir = temp_dir("tar");
    let mut extract = tool("tar");
    extract
        .args(["--extract", "--file", "-", "--directory"])
        .arg(dir.path());
    let extracted = run_with(extract, stream.to_vec(), patience).success();
    assert_eq!(extracted.stderr, "", "GNU tar warns");
    let read = listed.text();
    let read = read.lines().map(|name| {
        let content = std::fs::read(dir.path().join(name)).unwrap();
        (
            name.to_owned(),
            content.len() as u64,
            Digest::sha256_of(&content).hex().to_string(),
        )
    });
    read.collect()
}

const PYTHON: &str = "
import sys, io, json, hashlib, tarfile
archive = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode='r:', errorlevel=2)
found = []
for member in archive:
    assert member.isreg(), member.name
    content = archive.extractfile(member).read()
    found.append([member.name, member.size, hashlib.sha256(content).hexdigest()])
print(json.dumps(found))
";

fn by_python(stream: &[u8]) -> Listing {
    let mut command = tool("python3");
    command.args(["-c", PYTHON]);
    let patience = std::time::Duration::from_secs(60);
    let read = run_with(command, stream.to_vec(), patience).success();
    serde_json::from_slice(&read.stdout).unwrap()
}

#[track_caller]
fn assert_all_agree(what: &str, bundle: &[u8]) {
    let stream = stream_of(bundle);
    let listing = by_the_crate(&stream);
    assert!(listing.len() > 5, "{what}: {listing:?}");
    assert_eq!(by_gnu_tar(&stream), listing, "{what}: GNU tar");
    assert_eq!(by_python(&stream), listing, "{what}: Python");
    let mut names: Vec<_> = listing.iter().map(|(name, ..)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), listing.len(), "{what}: a name twice");
    for (name, _, hex) in &listing[2..] {
        let right = name == &format!("blobs/sha256/{hex}") || name.starts_with("blobs/sha512/");
        assert!(right, "{what}: {name} holds {hex}");
    }
}

#[test]
fn other_readers_find_in_a_bundle_what_this_program_finds() {
    require!("tar", "python3");
    let bench = Bench::new();
    let sign = |forge: Forge| forge.signed_by(bench.key("cosign")).build();
    let two = manifest(
        CONFIG,
        &[CONTENT, &[b'x'; 511], &[b'y'; 512], &[b'z'; 513], b""],
    );
    let blobs: [&[u8]; 6] = [
        CONFIG,
        CONTENT,
        &[b'x'; 511],
        &[b'y'; 512],
        &[b'z'; 513],
        b"",
    ];
    let sizes =
        Forge::default().image("quay.io/a/two:1", media_type::OCI_MANIFEST, &[&two], &blobs);
    for (what, bundle) in [
        ("one image", sign(Forge::honest())),
        ("sizes around a block", sign(sizes)),
        ("made unsigned", Forge::honest().made_unsigned().build()),
    ] {
        if what != "made unsigned" {
            bench.accepts(what, bundle.clone());
        }
        assert_all_agree(what, &bundle);
    }
    // And what the program itself writes, with large blobs and files.
    let source = Embedded::start();
    for (name, family) in [("oci", Family::Oci), ("docker", Family::Docker)] {
        source.client().push(name, "1", &sample_index(4, family));
    }
    let noise = crate::support::random::Random(3).bytes(5 << 20);
    std::fs::write(bench.home.path().join("large.bin"), noise).unwrap();
    std::fs::write(bench.home.path().join("empty"), b"").unwrap();
    let images = ["oci", "docker"].map(|name| format!("{}/{name}:1", source.host()));
    let arguments = [
        "create",
        "--image",
        &images[0],
        "--image",
        &images[1],
        "--add-file",
        "large.bin",
        "--add-file",
        "empty",
        "--key",
        "cosign.key",
        "-o",
        "made",
    ];
    bench.home.run_bundle(arguments).success();
    let made = std::fs::read(bench.home.path().join("made")).unwrap();
    bench.accepts("what create made", made.clone());
    assert_all_agree("what create made", &made);
}
