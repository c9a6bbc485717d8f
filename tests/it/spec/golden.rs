//! The golden bundles: made anew, they have the committed digests, and what is committed is what they are.

use std::{
    fs,
    io::{Read as _, Write as _},
};

use serde_json::{Value, json};
use sneakernet::{
    bundle::{
        AbsentReason, Discover, EntryKind, FetchedDependency, Origin, Release, Setting,
        SourceDigest,
    },
    oci::{Algorithm, Digest, media_type},
    trust::SigningKey,
};

use super::{
    committed,
    maker::{Made, Maker, digest_of},
    spec_file, updating,
};
use crate::support::tools::Home;

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// One golden bundle.
pub struct Golden {
    /// `NAME.bundle.tar.zst`, or with `.gz` behind where the file is large and says little.
    pub file_name: &'static str,
    /// The key files that verify it; none for an unsigned one.
    pub keys: &'static [&'static str],
    /// The bundle.
    pub made: Made,
}

/// The keys that sign golden bundles. They are public.
pub fn key(name: &str) -> SigningKey {
    let pem = fs::read(spec_file(&format!("golden/{name}.key"))).unwrap();
    SigningKey::from_pem(&pem, "").unwrap()
}

/// All golden bundles.
pub fn all() -> Vec<Golden> {
    vec![
        Golden {
            file_name: "image.bundle.tar.zst",
            keys: &["golden"],
            made: image().make("image", &[key("golden")]),
        },
        Golden {
            file_name: "frames.bundle.tar.zst",
            keys: &[],
            made: frames().make("frames", &[]),
        },
        Golden {
            file_name: "everything.bundle.tar.zst.gz",
            keys: &["golden", "officer"],
            made: everything().make("everything", &[key("golden"), key("officer")]),
        },
    ]
}

/// One image with two small layers.
pub fn image() -> Maker {
    let mut maker = Maker::default();
    let config = maker.blob(
        media_type::OCI_CONFIG,
        r#"{"architecture":"amd64","os":"linux"}"#,
    );
    let layers = vec![
        maker.blob(GZIP, "pretends to be gzip"),
        maker.blob(PLAIN, "pretends to be tar"),
    ];
    let image = maker.manifest(media_type::OCI_MANIFEST, config, layers);
    let reference = "docker.io/library/alpine:3";
    maker.entry(EntryKind::Image, reference, &image, &["linux/amd64"]);
    maker
}

/// Files only: one of more than a frame, one of more than two, one that fills a frame exactly.
fn frames() -> Maker {
    let mut maker = Maker::default();
    maker.file("a-frame-and-more", &vec![b'a'; (8 << 20) + 1]);
    maker.file("two-frames-and-more", &vec![b'b'; (16 << 20) + 12_345]);
    maker.file("exactly-one-frame", &vec![b'c'; (8 << 20) - 512]);
    maker.file("small", b"small\n");
    maker
}

/// Everything that the format has: an index with absent platforms, an index in an index, Docker's
/// types, a foreign layer, SHA-512, empty blobs, an artifact, charts, releases, files, and large blobs of
/// all kinds.
pub fn everything() -> Maker {
    let mut maker = Maker::default();
    let platform = |mut descriptor: Value, architecture: &str| {
        descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
        descriptor
    };
    let config = |maker: &mut Maker, architecture: &str| {
        let text = format!(r#"{{"architecture":"{architecture}","os":"linux"}}"#);
        maker.blob(media_type::OCI_CONFIG, text)
    };

    // Shared by two images; of two media types, of which the first decides: stored.
    let shared = vec![b's'; (1 << 20) + 1];
    let amd64_config = config(&mut maker, "amd64");
    let amd64_layers = vec![
        maker.blob(ZSTD, shared.clone()),
        maker.blob(PLAIN, vec![0; (9 << 20) + 7]),
        maker.blob(GZIP, Vec::new()),
    ];
    let amd64 = maker.manifest(media_type::OCI_MANIFEST, amd64_config, amd64_layers);
    let arm64_config = config(&mut maker, "arm64");
    let arm64_layers = vec![
        maker.blob(PLAIN, shared),
        maker.blob_by(Algorithm::Sha512, GZIP, vec![0x5a; 2 << 20]),
        maker.blob_by(Algorithm::Sha512, PLAIN, vec![0xa5; 2 << 20]),
        maker.blob_by(Algorithm::Sha512, GZIP, "small, by SHA-512"),
    ];
    let arm64 = maker.manifest(media_type::OCI_MANIFEST, arm64_config, arm64_layers);
    let riscv = json!({
        "mediaType": media_type::OCI_MANIFEST, "digest": Digest::sha256_of(b"riscv64"), "size": 400,
    });
    maker.leave_out(&riscv, AbsentReason::Platform, Some("linux/riscv64"));
    let inner = maker.index(media_type::OCI_INDEX, vec![platform(arm64, "arm64")]);
    let outer = maker.index(
        media_type::OCI_INDEX,
        vec![platform(amd64, "amd64"), inner, platform(riscv, "riscv64")],
    );
    let both = ["linux/amd64", "linux/arm64"];
    maker.entry(EntryKind::Image, "quay.io/team/app:1.0", &outer, &both);
    // The same image under a second name, by digest.
    let pinned = format!(
        "registry.example:5000/app@{}",
        outer["digest"].as_str().unwrap()
    );
    maker.entry(EntryKind::Image, &pinned, &outer, &both);

    let windows_config = maker.blob(
        media_type::DOCKER_CONFIG,
        r#"{"architecture":"amd64","os":"windows"}"#,
    );
    let foreign = json!({
        "mediaType": FOREIGN, "digest": digest_of(Algorithm::Sha256, b"windows"), "size": 1_700_000_000,
        "urls": ["https://example.com/windows"],
    });
    maker.leave_out(&foreign, AbsentReason::Foreign, None);
    let layer = maker.blob(DOCKER_GZIP, "pretends to be gzip as well");
    let windows = maker.manifest(
        media_type::DOCKER_MANIFEST,
        windows_config,
        vec![foreign, layer],
    );
    let list = maker.index(media_type::DOCKER_LIST, vec![windows]);
    maker.entry(EntryKind::Image, "docker.io/library/win:1", &list, &[]);

    // Its config is a member of the bundle already.
    let empty = maker.blob(media_type::EMPTY, "{}");
    let chart = maker.blob(
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        "pretends to be a chart",
    );
    let artifact = maker.manifest(media_type::OCI_MANIFEST, empty, vec![chart]);
    maker.entry(
        EntryKind::Artifact,
        "ghcr.io/team/chart:0.1.0",
        &artifact,
        &[],
    );

    charts_and_releases(&mut maker);
    maker.file("install.md", b"# How to install\n");
    maker.file("copy of install.md", b"# How to install\n");
    maker.file("empty", b"");
    maker
}

/// A chart with provenance from a classic repository, an old and large one from a registry, and one from a
/// directory; a release with several values files, one without any, and one with a large one.
fn charts_and_releases(maker: &mut Maker) {
    let chart_config = |maker: &mut Maker, name: &str, version: &str| {
        let config = json!({"apiVersion": "v2", "name": name, "version": version});
        maker.blob(media_type::HELM_CONFIG, config.to_string())
    };
    let shop = "charts.example.com/stable/shop:1.2.0_build.5";
    let config = chart_config(maker, "shop", "1.2.0+build.5");
    let archive = maker.blob(
        media_type::HELM_CONTENT,
        "pretends to be the shop's archive",
    );
    let provenance = maker.blob(
        "application/vnd.cncf.helm.chart.provenance.v1.prov",
        "pretends to be signed",
    );
    let layers = vec![archive.clone(), provenance];
    let manifest = maker.manifest(media_type::OCI_MANIFEST, config, layers);
    let identity = ("shop", "1.2.0+build.5");
    maker.chart(shop, &manifest, &archive, identity, |chart| {
        chart.app_version = Some("2.0".into());
        chart.provenance = Some("The Shop <shop@example.com> (0123456789ABCDEF)".into());
        chart.source = "https://charts.example.com/stable/shop".into();
        chart.source_digest = Some(SourceDigest::Match);
    });
    // The old media type, and large: stored, since it ends in `+gzip`.
    let database = "ghcr.io/team/charts/database:v0.3.1";
    let config = chart_config(maker, "database", "v0.3.1");
    let archive = maker.blob(media_type::HELM_CONTENT_LEGACY, vec![0xc4; (1 << 20) + 5]);
    let layers = vec![archive.clone()];
    let manifest = maker.manifest(media_type::OCI_MANIFEST, config, layers);
    let identity = ("database", "v0.3.1");
    maker.chart(database, &manifest, &archive, identity, |chart| {
        chart.source = "oci://ghcr.io/team/charts/database".into();
        chart.requested_by = vec![Origin::File {
            line: 7,
            path: "bundle.yaml".into(),
        }];
    });
    let local = "localhost/local:0.1.0";
    let config = chart_config(maker, "local", "0.1.0");
    let archive = maker.blob(
        media_type::HELM_CONTENT,
        "pretends to be a packaged directory",
    );
    let layers = vec![archive.clone()];
    let manifest = maker.manifest(media_type::OCI_MANIFEST, config, layers);
    maker.chart(local, &manifest, &archive, ("local", "0.1.0"), |chart| {
        chart.dependencies = vec![FetchedDependency {
            digest: Digest::sha256_of(b"cache"),
            name: "cache".into(),
            repository: "https://charts.example.com/stable".into(),
            version: "3.0.0".into(),
        }];
    });

    let release = |chart: &str, name: &str, namespace: &str| Release {
        api_versions: vec![],
        chart: chart.to_owned(),
        discover: Discover::Render,
        kube_version: None,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        relocate: vec![],
        values: vec![],
    };
    let setting = |path: &str, value: &str| Setting {
        path: path.to_owned(),
        value: value.to_owned(),
    };
    let values = vec![
        maker.values("values.yaml", "replicas: 3\n"),
        maker.values("a site's own.yaml", ""),
        // The content of a plain file.
        maker.values("again.yaml", "# How to install\n"),
    ];
    let large = maker.values("large.yaml", "# a comment\n".repeat(1 << 17));
    maker.releases = vec![
        Release {
            api_versions: vec!["monitoring.coreos.com/v1".into(), "policy/v1beta1".into()],
            kube_version: Some("1.31.0".into()),
            relocate: vec![
                setting("global.imageRegistry", "{registry}"),
                setting("installation.imagePath", "{imagePath}"),
            ],
            values,
            ..release(shop, "shop", "shop-prod")
        },
        Release {
            discover: Discover::None,
            ..release(shop, "shop", "staging")
        },
        Release {
            discover: Discover::RenderWithTests,
            values: vec![large],
            ..release(database, "db-1", "shop-prod")
        },
    ];
    let rendered = Origin::Rendered {
        object: "Deployment/shop-prod/shop".into(),
        path: "spec.template.spec.containers[0].image".into(),
        release: "shop".into(),
        template: "shop/templates/deployment.yaml".into(),
    };
    let suggested = Origin::Suggested {
        path: "values.yaml image".into(),
        release: "shop".into(),
    };
    let operator = Origin::Operator {
        operator: "quay.io/team/operator:v1".into(),
        path: "operators.yaml".into(),
    };
    let referrer = Origin::Referrer {
        subject: format!("quay.io/team/app@{}", Digest::sha256_of(b"subject")),
    };
    let origins = vec![Origin::Argument, rendered, suggested, operator, referrer];
    maker.origins.insert("quay.io/team/app:1.0".into(), origins);
    maker.referrer_types = Some(vec![".sig".into(), "application/spdx+json".into()]);
}

/// The tar stream in a bundle.
pub fn tar_of(file: &[u8]) -> Vec<u8> {
    zstd::decode_all(file).unwrap()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The committed file of a golden bundle, unpacked where it is packed.
pub fn committed_file(golden: &Golden) -> Vec<u8> {
    let bytes = fs::read(spec_file(&format!("golden/{}", golden.file_name))).unwrap();
    if !golden.file_name.ends_with(".gz") {
        return bytes;
    }
    let mut file = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice())
        .read_to_end(&mut file)
        .unwrap();
    file
}

#[test]
fn golden_bundles_are_made_again_byte_for_byte() {
    let release = zstd::zstd_safe::version_string();
    let golden = all();
    if updating() {
        for golden in &golden {
            let file = &golden.made.file;
            let packed = golden.file_name.ends_with(".gz").then(|| gzipped(file));
            let path = spec_file(&format!("golden/{}", golden.file_name));
            fs::write(path, packed.as_ref().unwrap_or(file)).unwrap();
        }
    }
    let bundles = golden.iter().map(|golden| {
        let name = golden.file_name.trim_end_matches(".gz");
        let digest = Digest::sha256_of(&golden.made.file);
        let tar = Digest::sha256_of(&tar_of(&golden.made.file));
        let keys = golden.keys.iter().map(|key| format!("{key}.pub"));
        let value = json!({
            "file": digest, "tar": tar, "root": golden.made.root, "keys": keys.collect::<Vec<_>>(),
        });
        (name.to_owned(), value)
    });
    let bundles: serde_json::Map<String, Value> = bundles.collect();
    let recorded = fs::read(spec_file("golden/golden.json")).unwrap_or_default();
    let recorded: Value = serde_json::from_slice(&recorded).unwrap_or_default();
    if updating() || recorded["zstd"] == release {
        let record = json!({"zstd": release, "bundles": bundles});
        committed("golden/golden.json", format!("{record:#}\n").as_bytes());
        for golden in &golden {
            assert!(
                committed_file(golden) == golden.made.file,
                "{}",
                golden.file_name
            );
        }
    }
    // With another release of libzstd the files may differ, the tar streams never.
    for golden in &golden {
        let name = golden.file_name.trim_end_matches(".gz");
        let file = committed_file(golden);
        let record = &recorded["bundles"][name];
        for what in ["tar", "root", "keys"] {
            assert!(
                updating() || record[what] == bundles[name][what],
                "{name}: {what}"
            );
        }
        assert!(tar_of(&file) == tar_of(&golden.made.file), "{name}");
    }
    let total: u64 = fs::read_dir(spec_file("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(
        total <= 200 << 10,
        "{total} bytes are much for the repository"
    );
}

#[test]
fn the_program_accepts_the_golden_bundles_from_a_file_and_from_a_pipe() {
    let home = Home::new();
    for golden in all() {
        let path = home.path().join("golden.bundle.tar.zst");
        let file = committed_file(&golden);
        fs::write(&path, &file).unwrap();
        let mut arguments = vec!["verify".to_owned()];
        for key in golden.keys {
            let key = spec_file(&format!("golden/{key}.pub"));
            arguments.extend(["--key".to_owned(), key.display().to_string()]);
        }
        match golden.keys.len() {
            0 => arguments.push("--allow-unsigned".to_owned()),
            keys => arguments.extend(["--threshold".to_owned(), keys.to_string()]),
        }
        arguments.extend(["--format".to_owned(), "json".to_owned()]);
        let mut from_file = home.bundle();
        from_file.args(&arguments).arg(&path);
        let report = crate::support::tools::run(from_file).success().json();
        assert_eq!(report["root"], golden.made.root.to_string());
        let mut from_pipe = home.bundle();
        from_pipe.args(&arguments).arg("-");
        let patience = crate::support::tools::PATIENCE;
        let report = crate::support::tools::run_with(from_pipe, file, patience);
        assert_eq!(
            report.success().json()["root"],
            golden.made.root.to_string()
        );
    }
}
