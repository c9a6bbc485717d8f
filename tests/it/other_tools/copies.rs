//! `skopeo`, `oras` and `crane` copy images out of a bundle into Debian's registry: straight from
//! the file, from the unpacked tar, from a layout that `bundle extract` wrote.

use std::path::Path;

use sneakernet::oci::Digest;

use crate::support::{
    distribution::{Options, Registry},
    embedded::Embedded,
    images::{Blob, artifact, empty_config},
    samples::{Bundled, Kind, Sample, mirrors},
    tools::{Finished, Home, PATIENCE, require, run, run_with},
};

/// The place of a sample in a registry, as tools name it. What has no tag in the bundle gets one.
fn place(registry: &Registry, sample: &Sample) -> String {
    format!("{}/{}:{}", registry.host(), sample.repository, tag(sample))
}

fn tag(sample: &Sample) -> &str {
    if sample.is_untagged() {
        "copied"
    } else {
        &sample.tag
    }
}

#[track_caller]
fn assert_arrived(registry: &Registry, sample: &Sample) {
    let client = registry.client();
    client.assert_holds(&sample.repository, tag(sample), &sample.image);
}

fn skopeo_copy(home: &Home, from: &str, to: &str) -> Finished {
    let mut skopeo = home.tool("skopeo");
    skopeo.args(["copy", "--all", "--preserve-digests"]);
    skopeo.args(["--dest-tls-verify=false", from]);
    skopeo.arg(format!("docker://{to}"));
    run(skopeo)
}

#[test]
fn skopeo_copies_images_straight_from_the_bundle() {
    require!("docker-registry", "zstd", "skopeo");
    let bundled = Bundled::get();
    let registry = Registry::start(Options::default());
    let home = Home::new();
    let images: Vec<&Sample> = of_kind(&bundled, Kind::Oci);
    assert_eq!(images.len(), 5);
    for sample in images {
        let from = format!(
            "oci-archive:{}:{}",
            bundled.file.display(),
            sample.reference
        );
        skopeo_copy(&home, &from, &place(&registry, sample)).success();
        assert_arrived(&registry, sample);
    }
}

#[test]
fn oras_copies_every_entry_of_the_unpacked_bundle() {
    require!("docker-registry", "zstd", "tar", "oras");
    let bundled = Bundled::get();
    let by_name = Registry::start(Options::default());
    let by_digest = Registry::start(Options::default());
    let home = Home::new();
    let oras = |arguments: &[&str]| {
        let mut oras = home.tool("oras");
        oras.args(["cp", "--to-plain-http", "--no-tty"]);
        oras.args(arguments);
        run(oras).success()
    };
    let layout = bundled.unpacked().to_str().unwrap();
    for sample in &bundled.samples {
        let to = place(&by_name, sample);
        oras(&["--from-oci-layout-path", layout, &sample.reference, &to]);
        assert_arrived(&by_name, sample);
        let from = format!("{layout}@{}", sample.digest());
        oras(&["--from-oci-layout", &from, &place(&by_digest, sample)]);
        assert_arrived(&by_digest, sample);
    }
}

#[test]
fn crane_pushes_and_skopeo_copies_what_was_extracted() {
    require!("docker-registry", "zstd", "crane", "skopeo", "oras");
    let bundled = Bundled::get();
    let by_crane = Registry::start(Options::default());
    let by_skopeo = Registry::start(Options::default());
    let by_oras = Registry::start(Options::default());
    let home = Home::new();
    for (number, sample) in bundled.samples.iter().enumerate() {
        let layout = home.path().join(format!("layout-{number}"));
        let layout = layout.to_str().unwrap();
        let mut extract = bundled.bundle(&home, "extract");
        extract.args(["--image", &sample.written, "--output", layout]);
        run(extract).success();
        assert_is_layout_of(Path::new(layout), sample);

        let mut crane = home.tool("crane");
        crane.args(["push", "--insecure", layout]);
        crane.arg(place(&by_crane, sample));
        let pushed = run(crane).success().text();
        assert!(pushed.trim().ends_with(&sample.digest()), "{pushed}");
        assert_arrived(&by_crane, sample);

        let mut oras = home.tool("oras");
        oras.args(["cp", "--to-plain-http", "--no-tty"]);
        oras.args(["--from-oci-layout-path", layout, &sample.reference]);
        oras.arg(place(&by_oras, sample));
        run(oras).success();
        assert_arrived(&by_oras, sample);

        if sample.kind == Kind::Oci {
            let from = format!("oci:{layout}:{}", sample.reference);
            skopeo_copy(&home, &from, &place(&by_skopeo, sample)).success();
            assert_arrived(&by_skopeo, sample);
        }
    }
}

#[test]
fn everything_extracted_is_a_layout_with_the_files_beside_it() {
    require!("docker-registry", "zstd");
    let bundled = Bundled::get();
    let home = Home::new();
    let mut extract = bundled.bundle(&home, "extract");
    extract.args(["--output", "everything"]);
    run(extract).success();
    let dir = home.path().join("everything");
    for (name, content) in &bundled.files {
        assert_eq!(
            &std::fs::read(dir.join("files").join(name)).unwrap(),
            content
        );
    }
    for sample in &bundled.samples {
        assert_has(&dir, sample);
    }
    let names = names_in(&dir);
    let mut expected: Vec<&str> = bundled
        .samples
        .iter()
        .map(|s| s.reference.as_str())
        .collect();
    expected.sort_unstable();
    assert_eq!(names, expected);

    // The same from a pipe.
    let mut extract = home.bundle();
    extract.args(["extract", "-", "--output", "piped", "--key"]);
    extract.arg(&bundled.public);
    let input = std::fs::read(&bundled.file).unwrap();
    run_with(extract, input, PATIENCE).success();
    let mut diff = home.tool("diff");
    diff.args(["-r", "everything", "piped"]);
    run(diff).success();
}

/// A plain file with the content of an image's layer is that layer's blob, too.
#[test]
fn a_file_that_is_also_a_layer_is_extracted_as_both() {
    let upstream = Embedded::start();
    let home = Home::new();
    let content = b"layer and file";
    let layer = Blob::new("text/plain", &content[..]);
    let image = artifact(None, empty_config(), vec![layer], None);
    let sample = Sample {
        written: "registry.example.com/a/b:1".to_owned(),
        reference: "registry.example.com/a/b:1".to_owned(),
        repository: "a/b".to_owned(),
        tag: "1".to_owned(),
        image,
        kind: Kind::Artifact,
    };
    upstream.client().push("a/b", "1", &sample.image);
    for name in ["one.txt", "two.txt"] {
        std::fs::write(home.path().join(name), content).unwrap();
    }
    let mut create = home.bundle();
    create.args([
        "create",
        "--unsigned",
        "-o",
        "b",
        "--image",
        &sample.written,
    ]);
    create.args(["--add-file", "one.txt", "--add-file", "two.txt"]);
    create.args(mirrors(upstream.host()));
    run(create).success();
    let extract = ["extract", "b", "--allow-unsigned", "--output", "out"];
    home.run_bundle(extract).success();
    let out = home.path().join("out");
    for name in ["one.txt", "two.txt"] {
        assert_eq!(
            std::fs::read(out.join("files").join(name)).unwrap(),
            content
        );
    }
    assert_is_layout_of(&out, &sample);
}

fn of_kind(bundled: &Bundled, kind: Kind) -> Vec<&Sample> {
    let samples = bundled.samples.iter();
    samples.filter(|sample| sample.kind == kind).collect()
}

/// An index with this image only.
#[track_caller]
fn assert_is_layout_of(dir: &Path, sample: &Sample) {
    assert_eq!(names_in(dir), [sample.reference.as_str()]);
    assert_has(dir, sample);
}

#[track_caller]
fn assert_has(dir: &Path, sample: &Sample) {
    let blob = |digest: &Digest| {
        let path = dir.join("blobs").join(digest.to_string().replace(':', "/"));
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    for document in sample.image.documents() {
        assert_eq!(blob(&document.digest), document.bytes);
    }
    for content in sample.image.all_blobs() {
        assert!(blob(&content.digest) == content.bytes, "{}", content.digest);
    }
}

/// The names in a layout's index, sorted.
fn names_in(dir: &Path) -> Vec<String> {
    let layout = std::fs::read(dir.join("oci-layout")).unwrap();
    let layout: serde_json::Value = serde_json::from_slice(&layout).unwrap();
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    let index = std::fs::read(dir.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let name = |entry: &serde_json::Value| {
        let name = &entry["annotations"]["org.opencontainers.image.ref.name"];
        name.as_str().expect("a name").to_owned()
    };
    let mut names: Vec<String> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect();
    names.sort();
    names
}
