//! What `bundle extract` writes is a whole layout, also where a plain file has the content of a blob.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use sneakernet::oci::Digest;

use super::golden::{everything, key};
use crate::support::tools::{Home, PATIENCE, run_with};

/// A home with the golden bundle `everything` in it, and its key.
fn with_everything() -> (Home, Vec<u8>) {
    let home = Home::new();
    let made = everything().make("everything", &[key("golden")]);
    fs::write(home.path().join("a.zst"), &made.file).unwrap();
    let public = key("golden").public().to_pem();
    fs::write(home.path().join("golden.pub"), public).unwrap();
    (home, made.file)
}

/// All files below a directory with their contents.
pub fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(directory).unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn charts_and_values_come_out_under_their_names_from_a_file_and_from_a_pipe() {
    let (home, bundle) = with_everything();
    let extract = |from: &str, to: &str, input: Vec<u8>| {
        let mut command = home.bundle();
        command.args(["extract", from, "--key", "golden.pub", "--output", to]);
        run_with(command, input, PATIENCE).success();
        tree(&home.path().join(to))
    };
    let out = extract("a.zst", "out", Vec::new());
    assert!(out == extract("-", "piped", bundle), "file and pipe differ");

    let comments = "# a comment\n".repeat(1 << 17).into_bytes();
    let old = vec![0xc4; (1 << 20) + 5];
    let expected: [(&str, &[u8]); 10] = [
        ("charts/database-v0.3.1.tgz", &old),
        (
            "charts/local-0.1.0.tgz",
            b"pretends to be a packaged directory",
        ),
        (
            "charts/shop-1.2.0+build.5.tgz",
            b"pretends to be the shop's archive",
        ),
        ("files/copy of install.md", b"# How to install\n"),
        ("files/empty", b""),
        ("files/install.md", b"# How to install\n"),
        ("values/shop-prod/db-1/large.yaml", &comments),
        ("values/shop-prod/shop/a site's own.yaml", b""),
        ("values/shop-prod/shop/again.yaml", b"# How to install\n"),
        ("values/shop-prod/shop/values.yaml", b"replicas: 3\n"),
    ];
    let named = out.keys().filter(|name| {
        let first = name.components().next().unwrap().as_os_str();
        ["charts", "files", "values"]
            .iter()
            .any(|known| first == *known)
    });
    let named: Vec<_> = named.map(|name| name.to_str().unwrap()).collect();
    assert_eq!(named, expected.map(|(name, _)| name));
    for (name, content) in expected {
        assert!(out[Path::new(name)] == content, "{name}");
    }
    // A chart is an artifact of the layout as well, whole.
    let blob = |content: &[u8]| {
        PathBuf::from(format!("blobs/sha256/{}", Digest::sha256_of(content).hex()))
    };
    assert!(out[&blob(&old)] == old);
    assert!(out.contains_key(&blob(b"pretends to be signed")));
    // What only a release has is not.
    assert!(!out.contains_key(&blob(b"replicas: 3\n")));
    let index: serde_json::Value = serde_json::from_slice(&out[Path::new("index.json")]).unwrap();
    let listed = index["manifests"].as_array().unwrap().iter();
    let name = "org.opencontainers.image.ref.name";
    let listed: Vec<_> = listed
        .map(|entry| entry["annotations"][name].as_str().unwrap())
        .collect();
    assert!(listed.contains(&"charts.example.com/stable/shop:1.2.0_build.5"));
    assert_eq!(listed.len(), 7);
    for (name, content) in &out {
        let mut parts = name.to_str().unwrap().split('/');
        if let (Some("blobs"), Some("sha256"), Some(hex)) =
            (parts.next(), parts.next(), parts.next())
        {
            assert_eq!(Digest::sha256_of(content).hex(), hex);
        }
    }
}

#[test]
fn one_chart_alone_comes_out_as_a_layout() {
    let (home, _) = with_everything();
    let chart = "charts.example.com/stable/shop:1.2.0_build.5";
    let arguments = [
        "extract",
        "a.zst",
        "--image",
        chart,
        "--key",
        "golden.pub",
        "--output",
        "out",
    ];
    home.run_bundle(arguments).success();
    let out = tree(&home.path().join("out"));
    // Layout, index, manifest, configuration, archive, provenance.
    assert_eq!(out.len(), 6, "{:?}", out.keys());
    let archive = b"pretends to be the shop's archive".to_vec();
    assert!(out.values().any(|content| *content == archive));
}

#[test]
fn charts_and_releases_are_shown() {
    let (home, bundle) = with_everything();
    let shown = home.run_bundle(["inspect", "a.zst"]).success().text();
    for line in [
        "4 images, 3 charts",
        "chart      shop 1.2.0+build.5",
        "from https://charts.example.com/stable/shop",
        "chart      database v0.3.1",
        "chart      local 0.1.0",
        "release    shop in shop-prod",
        "values values.yaml, a site's own.yaml, again.yaml",
        "release    shop in staging",
        "release    db-1 in shop-prod",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let chart = "charts.example.com/stable/shop:1.2.0_build.5";
    let alone = home
        .run_bundle(["inspect", "a.zst", chart])
        .success()
        .text();
    for part in [
        "helm.chart.content",
        "helm.chart.provenance",
        "asked for  argument",
    ] {
        assert!(alone.contains(part), "{part}: {alone}");
    }
    let alone = home.run_bundle(["inspect", "a.zst", chart, "--format", "json"]);
    let alone = alone.success().json();
    assert_eq!(alone["charts"].as_array().unwrap().len(), 1);
    assert_eq!(alone["releases"].as_array().unwrap().len(), 2);
    assert_eq!(alone["images"], serde_json::json!([]));
    let raw = home.run_bundle(["inspect", "a.zst", "--raw", chart]);
    let raw = raw.success().json();
    assert_eq!(raw["layers"].as_array().unwrap().len(), 2);
    let inspect = |from: &str, input: Vec<u8>| {
        let mut command = home.bundle();
        command.args(["inspect", from, "--format", "json"]);
        run_with(command, input, PATIENCE).success().json()
    };
    let (of_file, of_pipe) = (inspect("a.zst", Vec::new()), inspect("-", bundle));
    for what in ["charts", "releases", "images", "files", "absent", "root"] {
        assert_eq!(of_file[what], of_pipe[what], "{what}");
    }
    let releases = of_file["releases"].as_array().unwrap().iter();
    let names: Vec<_> = releases
        .map(|release| release["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["shop", "shop", "db-1"]);
    assert_eq!(of_file["charts"][0]["sourceDigest"]["kind"], "match");
}

#[test]
fn a_file_with_the_content_of_a_blob_leaves_the_blob_where_it_is() {
    let home = Home::new();
    let mut maker = everything();
    // The configuration of an artifact in it.
    maker.file("empty.json", b"{}");
    let made = maker.make("everything", &[key("golden")]);
    fs::write(home.path().join("a.zst"), &made.file).unwrap();
    fs::write(
        home.path().join("golden.pub"),
        key("golden").public().to_pem(),
    )
    .unwrap();
    home.run_bundle(["extract", "a.zst", "--key", "golden.pub", "--output", "out"])
        .success();
    let out = home.path().join("out");
    assert_eq!(fs::read(out.join("files/empty.json")).unwrap(), b"{}");
    let blob = format!("blobs/sha256/{}", Digest::sha256_of(b"{}").hex());
    assert_eq!(fs::read(out.join(blob)).unwrap(), b"{}");
    // What is a file and nothing else is not in the layout.
    let file = Digest::sha256_of(b"# How to install\n").hex();
    assert!(!out.join("blobs/sha256").join(file).exists());
}
