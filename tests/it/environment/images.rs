//! Images made from code are what registries and tools take for images.

use sneakernet::oci::Digest;

use crate::support::{
    distribution::{Options, Registry},
    images::{
        Blob, Compression, Family, Image, ImageBuilder, Layer, artifact, empty_config, sample,
        sample_index,
    },
    seed,
    tools::{Home, require, run},
};

#[test]
fn every_kind_of_image_is_taken_by_the_registry_and_read_by_skopeo() {
    require!("docker-registry", "skopeo");
    let registry = Registry::start(Options::default());
    let client = registry.client();
    let layer = |compression| Layer::sample(7, "kinds", 3 << 20, compression);
    let one = |family, compression| {
        ImageBuilder::new(family, "linux/amd64")
            .layer(&layer(compression))
            .build()
    };
    let kinds = [
        ("oci-gzip", one(Family::Oci, Compression::Gzip)),
        ("oci-zstd", one(Family::Oci, Compression::Zstd)),
        ("oci-plain", one(Family::Oci, Compression::None)),
        ("docker-gzip", one(Family::Docker, Compression::Gzip)),
        ("docker-plain", one(Family::Docker, Compression::None)),
        ("oci-index", sample_index(2, Family::Oci)),
        ("docker-list", sample_index(2, Family::Docker)),
    ];
    let home = Home::new();
    for (tag, image) in &kinds {
        client.push("kinds", tag, image);
        client.assert_holds("kinds", tag, image);
        let mut inspect = home.tool("skopeo");
        let place = format!("docker://{}/kinds:{tag}", registry.host());
        inspect.args(["inspect", "--tls-verify=false", "--config", &place]);
        inspect.args(["--override-os", "linux", "--override-arch", "amd64"]);
        let config = run(inspect).success().json();
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("a list");
        let manifest = image
            .documents()
            .into_iter()
            .find(|d| !d.is_index())
            .unwrap();
        assert_diff_ids(tag, diff_ids, manifest);
    }

    let chart = artifact(
        Some("application/vnd.example.thing"),
        Blob::new("application/vnd.example.config+json", &b"{\"any\":1}"[..]),
        vec![Blob::new("application/vnd.example.data", &b"data"[..])],
        None,
    );
    client.push("artifacts", "1", &chart);
    client.assert_holds("artifacts", "1", &chart);
    let referrer = artifact(
        Some("application/vnd.example.signature"),
        empty_config(),
        vec![empty_config()],
        Some(&chart),
    );
    client.push_untagged("artifacts", &referrer);
    client.assert_holds("artifacts", &referrer.digest.to_string(), &referrer);
    assert_eq!(client.tags("artifacts"), ["1"]);
    assert_eq!(client.repositories(), ["artifacts", "kinds"]);
}

/// The digests that the configuration names are those of the unpacked layers.
fn assert_diff_ids(tag: &str, diff_ids: &[serde_json::Value], manifest: &Image) {
    use std::io::Read;
    let layers = &manifest.blobs[1..];
    assert_eq!(diff_ids.len(), layers.len(), "{tag}");
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let mut tar = Vec::new();
        let mut bytes = layer.bytes.as_ref();
        if layer.media_type.ends_with("gzip") {
            let mut decoder = flate2::read::GzDecoder::new(bytes);
            decoder.read_to_end(&mut tar).unwrap();
        } else if layer.media_type.ends_with("zstd") {
            tar = zstd::decode_all(bytes).unwrap();
        } else {
            bytes.read_to_end(&mut tar).unwrap();
        }
        assert_eq!(*diff_id, Digest::sha256_of(&tar).to_string(), "{tag}");
        assert!(tar::Archive::new(&tar[..]).entries().unwrap().count() >= 3);
    }
}

#[test]
fn the_same_seed_makes_the_same_image() {
    let digest = |seed| sample_index(seed, Family::Oci).digest;
    assert_eq!(digest(3), digest(3));
    assert_ne!(digest(3), digest(4));
    let families = [Family::Oci, Family::Docker].map(|family| sample(3, family, "linux/arm64"));
    assert_ne!(families[0].digest, families[1].digest);
    // Only one of the two families writes manifests that a serializer would write again.
    let again = |image: &Image| {
        let parsed: serde_json::Value = serde_json::from_slice(&image.bytes).unwrap();
        parsed.to_string().as_bytes() == image.bytes
    };
    assert_eq!(families.map(|image| again(&image)), [true, false]);
}

#[test]
fn foreign_layers_are_taken_only_where_their_urls_are_allowed() {
    require!("docker-registry");
    let url = "https://mcr.microsoft.com/v2/windows/blobs/sha256:1";
    let windows = ImageBuilder::new(Family::Docker, "windows/amd64")
        .foreign_layer(Digest::sha256_of(b"far away"), 1 << 30, &[url])
        .build();
    let strict = Registry::start(Options::default());
    let pushed = std::panic::catch_unwind(|| strict.client().push("win", "1", &windows));
    assert!(pushed.is_err(), "Distribution's default refuses urls");
    assert!(strict.client().manifest("win", "1").is_none());

    let lenient = Registry::start(Options {
        allow_urls: vec![seed::WINDOWS_URLS.to_owned()],
        ..Options::default()
    });
    lenient.client().push("win", "1", &windows);
    lenient.client().assert_holds("win", "1", &windows);
    let layer = Digest::sha256_of(b"far away");
    assert!(lenient.client().blob("win", layer).is_none());
}
