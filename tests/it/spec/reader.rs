//! `bundle-spec/reader.py`, which was written from the text alone, and the program agree: on what is in a bundle,
//! and on what is none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sneakernet::{
    bundle::{FileFrames, SeekTable, Untrusted},
    oci::Digest,
};

use super::{
    golden::{self, Golden, committed_file, tar_of},
    spec_file,
};
use crate::support::{
    distribution::{Options, Registry},
    helm::ChartFiles,
    images::{Family, sample_index},
    tools::{Finished, Home, require, run},
};

fn reader(home: &Home, file: &Path, keys: &[PathBuf]) -> Finished {
    let mut python = home.tool("python3");
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python.arg(spec_file("reader.py")).arg(file);
    for key in keys {
        python.arg("--key").arg(key);
    }
    if keys.is_empty() {
        python.arg("--allow-unsigned");
    }
    let threshold = keys.len().max(1).to_string();
    python.args(["--threshold", &threshold, "--format", "json"]);
    run(python)
}

fn keys(golden: &Golden) -> Vec<PathBuf> {
    let keys = golden.keys.iter();
    keys.map(|key| spec_file(&format!("golden/{key}.pub")))
        .collect()
}

/// Digests of all members and the number of frames, as the program's library sees them.
fn as_the_library_sees(file: &[u8]) -> (Vec<String>, u64) {
    let frames = FileFrames::open(std::sync::Arc::new(file.to_vec())).unwrap();
    let accepted = Untrusted::read(frames, false).unwrap();
    let accepted = accepted.accept(|_, _, _, _| ()).unwrap();
    let plan = &accepted.metadata.plan;
    let members = plan.contents.members().iter();
    let digests = members.map(|member| member.digest.to_string());
    (digests.collect(), u64::from(plan.layout.frames()))
}

#[track_caller]
fn agrees(report: &serde_json::Value, file: &[u8]) {
    let (members, frames) = as_the_library_sees(file);
    assert_eq!(report["members"], serde_json::json!(members));
    assert_eq!(report["frames"], frames);
    assert_eq!(report["tar"], Digest::sha256_of(&tar_of(file)).to_string());
}

#[test]
fn the_second_reader_accepts_the_golden_bundles() {
    require!("python3", "zstd", "openssl");
    let home = Home::new();
    for golden in golden::all() {
        let path = home.path().join("golden.bundle.tar.zst");
        let file = committed_file(&golden);
        fs::write(&path, &file).unwrap();
        let report = reader(&home, &path, &keys(&golden)).success().json();
        assert_eq!(report["root"], golden.made.root.to_string());
        agrees(&report, &file);
        if golden.keys.len() == 2 {
            assert!(report["storedFrames"].as_u64().unwrap() >= 2);
            assert_eq!(report["absent"].as_array().unwrap().len(), 2);
            let charts = report["charts"].as_array().unwrap().iter();
            let archives: Vec<_> = charts
                .map(|c| c["archive"]["name"].as_str().unwrap())
                .collect();
            let expected = [
                "shop-1.2.0+build.5.tgz",
                "database-v0.3.1.tgz",
                "local-0.1.0.tgz",
            ];
            assert_eq!(archives, expected);
            let releases = report["releases"].as_array().unwrap().iter();
            let values: Vec<_> = releases
                .map(|r| r["values"].as_array().map_or(0, Vec::len))
                .collect();
            assert_eq!(values, [3, 0, 1]);
        }
    }
}

#[test]
fn the_second_reader_accepts_what_create_makes() {
    require!("python3", "zstd", "openssl", "docker-registry");
    let registry = Registry::start(Options::default());
    let client = registry.client();
    client.push("team/app", "1", &sample_index(7, Family::Oci));
    client.push("team/old", "1", &sample_index(8, Family::Docker));
    let home = Home::new();
    home.run_bundle(["keygen", "--no-password"]).success();
    fs::write(home.path().join("notes.txt"), vec![b'n'; 3 << 20]).unwrap();
    fs::write(home.path().join("mine.yaml"), "replicas: 3\n").unwrap();
    let chart = ChartFiles::new("shop", "1.0.0+build.5").file("values.yaml", "replicas: 1\n");
    chart.write_to(home.path());
    let from = registry.host();
    let (app, old) = (format!("{from}/team/app:1"), format!("{from}/team/old:1"));
    home.run_bundle([
        "create",
        "--image",
        &app,
        "--image",
        &old,
        "--platform",
        "linux/arm64",
        "--add-file",
        "notes.txt",
        "--chart",
        "shop",
        "--discover",
        "none",
        "--values",
        "mine.yaml",
        "--name",
        "fresh",
        "--key",
        "cosign.key",
        "-o",
        "fresh.zst",
    ])
    .success();
    let path = home.path().join("fresh.zst");
    let report = reader(&home, &path, &[home.path().join("cosign.pub")]);
    let report = report.success().json();
    agrees(&report, &fs::read(&path).unwrap());
    assert_eq!(report["images"].as_array().unwrap().len(), 2);
    assert_eq!(report["files"][0]["name"], "notes.txt");
    assert_eq!(report["absent"].as_array().unwrap().len(), 2);
    let archive = &report["charts"][0]["archive"];
    assert_eq!(archive["name"], "shop-1.0.0+build.5.tgz");
    assert_eq!(report["releases"][0]["values"][0]["name"], "mine.yaml");

    // Another key, and a key twice for a threshold of two.
    let other = spec_file("golden/golden.pub");
    reader(&home, &path, std::slice::from_ref(&other)).exits(4);
    let own = home.path().join("cosign.pub");
    reader(&home, &path, &[own.clone(), own]).exits(4);
    reader(&home, &path, &[]).exits(4);
}

#[test]
fn the_second_reader_refuses_what_the_program_refuses() {
    require!("python3", "zstd", "openssl");
    let home = Home::new();
    let bundles = golden::all();
    let everything = bundles
        .iter()
        .find(|golden| golden.keys.len() == 2)
        .unwrap();
    let file = committed_file(everything);
    let keys = keys(everything);
    let (frames_end, table) = table_of(&file);
    let first_stored = u64::from(table.0[0].0) as usize;

    let mut damaged: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("half", file[..file.len() / 2].to_vec()),
        ("one byte less", file[..file.len() - 1].to_vec()),
        ("one byte more", [&file[..], b"\0"].concat()),
        ("another copy behind", [&file[..], &file[..]].concat()),
        (
            "a skippable frame in front",
            [b"\x50\x2a\x4d\x18\0\0\0\0", &file[..]].concat(),
        ),
        ("no seek table", file[..frames_end].to_vec()),
    ];
    for (what, at) in [
        ("a bit in the head", 300),
        ("the window of a stored frame", first_stored + 5),
        ("a stored block's header", first_stored + 10),
        ("a byte of a stored blob", first_stored + 2_000),
        (
            "the checksum of a stored frame",
            table_checksum(&table, 1) as usize,
        ),
        ("a byte of a compressed blob", frames_end - 30),
        ("the seek table's first size", frames_end + 8),
        ("the seek table's magic", file.len() - 1),
    ] {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        damaged.push((what, changed));
    }
    // The same tar stream in frames that are cut or written in another way.
    let stream = tar_of(&file);
    for (what, cut) in [
        ("frames of 1 MiB", 1 << 20),
        ("frames of 8 MiB throughout", 8 << 20),
    ] {
        damaged.push((what, framed(&stream, cut)));
    }
    for (what, changed) in damaged {
        let path = home.path().join("damaged.zst");
        fs::write(&path, changed).unwrap();
        let mut verify = home.bundle();
        verify.arg("verify").arg(&path);
        verify.arg("--key").arg(&keys[0]);
        let program = run(verify);
        let second = reader(&home, &path, &keys);
        assert_eq!(
            (program.code(), second.code()),
            (Some(3), Some(3)),
            "{what}: {second:?}"
        );
        assert!(second.stderr.starts_with("error: "), "{what}: {second:?}");
    }
}

/// Where the frames end, and the seek table behind them.
fn table_of(file: &[u8]) -> (usize, SeekTable) {
    let footer: &[u8; 9] = file[file.len() - 9..].try_into().unwrap();
    let frames = SeekTable::frames_in_footer(footer).unwrap();
    let at = file.len() - SeekTable::encoded_len(frames) as usize;
    (at, SeekTable::decode(&file[at..]).unwrap())
}

/// Offset of a byte of the checksum of a frame.
fn table_checksum(table: &SeekTable, frame: usize) -> u64 {
    let sizes = table.0[..=frame].iter();
    sizes.map(|(len, _)| u64::from(*len)).sum::<u64>() - 2
}

/// A tar stream in compressed frames of one size.
fn framed(stream: &[u8], cut: usize) -> Vec<u8> {
    let mut compressor = sneakernet::bundle::Compressor::new().unwrap();
    let mut file = Vec::new();
    let mut sizes = Vec::new();
    for piece in stream.chunks(cut) {
        let frame = compressor.encode(piece).unwrap();
        sizes.push((frame.len() as u32, piece.len() as u32));
        file.extend_from_slice(&frame);
    }
    file.extend_from_slice(&SeekTable(sizes).encode());
    file
}
