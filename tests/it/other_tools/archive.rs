//! What archive tools see: one tar stream in zstd frames, the same for GNU tar, for Python and for
//! whoever computes it from the specification.

use std::{collections::BTreeMap, path::Path};

use sneakernet::oci::{Algorithm, Digest, Hasher};

use crate::support::{
    embedded::Embedded,
    images::{Blob, artifact, empty_config},
    samples::Bundled,
    tools::{Home, PATIENCE, require, run, run_with, temp_dir, tool},
};

/// Prints name, size and SHA-256 of every member, and what is unusual about it.
const LIST_WITH_PYTHON: &str = "
import hashlib, sys, tarfile
with tarfile.open(sys.argv[1], 'r:') as archive:
    for member in archive:
        assert member.isreg() and member.mode == 0o644, member
        assert (member.uid, member.gid, member.mtime) == (0, 0, 0), member
        assert (member.uname, member.gname) == ('', ''), member
        content = archive.extractfile(member).read()
        print(member.name, member.size, hashlib.sha256(content).hexdigest())
";

/// A member as a tool reports it: name, size, SHA-256 in hexadecimal.
type Listed = (String, u64, String);

#[test]
fn zstd_tests_and_lists_the_file() {
    require!("docker-registry", "zstd");
    let bundled = Bundled::get();
    let zstd = |option: &str| {
        let mut zstd = tool("zstd");
        zstd.args([option, "-v"]).arg(&bundled.file);
        run(zstd).success()
    };
    zstd("-t");
    let listed = zstd("-l").text();
    let value = |name: &str| {
        let line = listed.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name}: {listed}"));
        line.split_once(": ").unwrap().1.to_owned()
    };
    // `-lv` ends each size with its bytes in parentheses.
    let bytes = |name: &str| {
        value(name)
            .split(['(', ' '])
            .rev()
            .nth(1)
            .map(str::to_owned)
    };
    assert_eq!(value("# Skippable Frames"), "1", "the seek table");
    assert!(value("# Zstandard Frames").parse::<u32>().unwrap() > 3);
    assert!(value("Check").starts_with("XXH64"), "{listed}");
    let size = std::fs::metadata(&bundled.file).unwrap().len();
    assert_eq!(bytes("Compressed Size"), Some(size.to_string()), "{listed}");
    let size = bundled.tar().len();
    assert_eq!(
        bytes("Decompressed Size"),
        Some(size.to_string()),
        "{listed}"
    );
}

#[test]
fn tar_and_python_see_the_same_members() {
    require!("docker-registry", "zstd", "tar", "python3");
    let bundled = Bundled::get();
    let dir = temp_dir("tar");
    let file = dir.path().join("bundle.tar");
    std::fs::write(&file, bundled.tar()).unwrap();
    let by_python = listed_by_python(&file);
    assert_eq!(listed_by_gnu_tar(&file), by_python);

    let names: Vec<&str> = by_python.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names[..2], ["oci-layout", "index.json"]);
    let of_name: BTreeMap<&str, &Listed> = names.iter().copied().zip(&by_python).collect();
    assert_eq!(of_name.len(), names.len(), "no name twice");
    for (name, _, sha256) in &by_python[2..] {
        assert_eq!(name, &format!("blobs/sha256/{sha256}"));
    }
    for sample in &bundled.samples {
        for document in sample.image.documents() {
            let name = format!("blobs/sha256/{}", document.digest.hex());
            let size = of_name[name.as_str()].1;
            assert_eq!(size, document.bytes.len() as u64, "{}", sample.reference);
        }
        for blob in sample.image.all_blobs() {
            let name = format!("blobs/sha256/{}", blob.digest.hex());
            assert_eq!(of_name[name.as_str()].1, blob.bytes.len() as u64);
        }
    }
    for (name, content) in &bundled.files {
        let member = format!("blobs/sha256/{}", Digest::sha256_of(content).hex());
        assert_eq!(of_name[member.as_str()].1, content.len() as u64, "{name}");
    }
}

/// The name of a sha512 blob is too long for a plain ustar header.
#[test]
fn tar_and_python_see_names_with_sha512() {
    require!("zstd", "tar", "python3");
    let content = b"large digest".repeat(100);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&content);
    let digest = hasher.finish();
    let layer = Blob {
        media_type: "text/plain".to_owned(),
        digest,
        bytes: content.clone().into(),
    };
    let image = artifact(None, empty_config(), vec![layer], None);
    let home = Home::new();
    let upstream = Embedded::start();
    upstream.client().push("a/b", "1", &image);
    let reference = format!("{}/a/b:1", upstream.host());
    let create = ["create", "--unsigned", "-o", "b", "--image", &reference];
    home.run_bundle(create).success();
    let mut zstd = home.tool("zstd");
    zstd.args(["-dcf", "b"]);
    let file = home.path().join("bundle.tar");
    std::fs::write(&file, run(zstd).success().stdout).unwrap();
    let listed = listed_by_python(&file);
    assert_eq!(listed_by_gnu_tar(&file), listed);
    let name = format!("blobs/sha512/{}", digest.hex());
    let sha256 = Digest::sha256_of(&content).hex();
    assert!(listed.contains(&(name, content.len() as u64, sha256)));
    let verify = ["verify", "b", "--allow-unsigned"];
    home.run_bundle(verify).success();
}

fn listed_by_python(file: &Path) -> Vec<Listed> {
    let mut python = tool("python3");
    python.args(["-c", LIST_WITH_PYTHON]).arg(file);
    parsed(&run(python).success().text())
}

/// In the order of the archive, each member's content given to a shell of its own.
fn listed_by_gnu_tar(file: &Path) -> Vec<Listed> {
    let mut tar = tool("tar");
    let each = "echo \"$TAR_FILENAME $TAR_SIZE $(sha256sum | cut -c 1-64)\"";
    tar.args(["-x", "--to-command", each, "-f"]).arg(file);
    let finished = run_with(tar, Vec::new(), PATIENCE).success();
    assert_eq!(finished.stderr, "", "no complaint");
    let listed = parsed(&finished.text());

    let mut tar = tool("tar");
    tar.args(["-t", "-v", "--full-time", "--numeric-owner", "--utc", "-f"]);
    tar.arg(file);
    let table = run(tar).success().text();
    let expected: Vec<String> = listed
        .iter()
        .map(|(name, size, _)| format!("-rw-r--r-- 0/0 {size} 1970-01-01 00:00:00 {name}"))
        .collect();
    let table: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(table, expected);
    listed
}

fn parsed(text: &str) -> Vec<Listed> {
    let line = |line: &str| {
        let mut fields = line.split(' ').map(str::to_owned);
        let mut next = || {
            fields
                .next()
                .unwrap_or_else(|| panic!("not a member: {line}"))
        };
        (next(), next().parse().unwrap(), next())
    };
    text.lines().map(line).collect()
}
