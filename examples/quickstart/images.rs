//! Sample images: real layers, configurations, manifests and indexes, made in memory. Every run
//! makes the same bytes.

use std::io::Write as _;

use serde_json::{Value, json};
use sneakernet::oci::{Digest, media_type};

const MIB: usize = 1 << 20;
const PLATFORMS: [(&str, &str); 2] = [("linux", "amd64"), ("linux", "arm64")];

/// A blob, a manifest or an index.
pub struct Content {
    pub media_type: &'static str,
    pub digest: Digest,
    pub bytes: Vec<u8>,
}

/// An image of several platforms, as a registry holds it.
pub struct Image {
    pub repository: &'static str,
    pub tag: &'static str,
    pub blobs: Vec<Content>,
    /// The manifest of each platform.
    pub manifests: Vec<Content>,
    /// What the tag points to.
    pub index: Content,
}

/// The media types of one family.
struct Family {
    layer: &'static str,
    config: &'static str,
    manifest: &'static str,
    index: &'static str,
}

const OCI: Family = Family {
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
    config: media_type::OCI_CONFIG,
    manifest: media_type::OCI_MANIFEST,
    index: media_type::OCI_INDEX,
};

const DOCKER: Family = Family {
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    config: media_type::DOCKER_CONFIG,
    manifest: media_type::DOCKER_MANIFEST,
    index: media_type::DOCKER_LIST,
};

/// Three images of one application, two of the OCI family and one of Docker's. They share the
/// layer of their base.
pub fn samples() -> Vec<Image> {
    vec![
        image("shop/api", "1.4.2", &OCI, 4 * MIB),
        image("shop/web", "1.4.2", &OCI, 3 * MIB),
        image("shop/worker", "1.4.1", &DOCKER, 5 * MIB),
    ]
}

fn image(repository: &'static str, tag: &'static str, family: &Family, size: usize) -> Image {
    let mut blobs = Vec::new();
    let mut manifests = Vec::new();
    let mut listed = Vec::new();
    for (os, architecture) in PLATFORMS {
        let layers = [
            layer("base", architecture, 2 * MIB),
            layer(repository, architecture, size),
        ];
        let diff_ids: Vec<Digest> = layers.iter().map(|(diff_id, _)| *diff_id).collect();
        let config = json!({
            "os": os,
            "architecture": architecture,
            "created": "2026-01-02T03:04:05Z",
            "config": {"Entrypoint": [format!("/usr/share/{repository}/run.sh")]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = document(family.config, &config);
        let layers = layers.map(|(_, bytes)| content(family.layer, bytes));
        let manifest = document(
            family.manifest,
            &json!({
                "schemaVersion": 2,
                "mediaType": family.manifest,
                "config": descriptor(&config),
                "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
            }),
        );
        let mut entry = descriptor(&manifest);
        entry["platform"] = json!({"os": os, "architecture": architecture});
        listed.push(entry);
        manifests.push(manifest);
        blobs.push(config);
        blobs.extend(layers);
    }
    let index = json!({"schemaVersion": 2, "mediaType": family.index, "manifests": listed});
    Image {
        repository,
        tag,
        blobs,
        manifests,
        index: document(family.index, &index),
    }
}

/// A layer that is a gzip-compressed tar archive, and the digest of the archive itself.
fn layer(name: &str, architecture: &str, size: usize) -> (Digest, Vec<u8>) {
    let mut archive = tar::Builder::new(Vec::new());
    let script = format!("#!/bin/sh\necho {name} on {architecture}\n");
    let files = [
        ("run.sh", 0o755, script.into_bytes()),
        (
            "data",
            0o644,
            noise(&format!("{name} {architecture}"), size),
        ),
    ];
    for (file, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        let path = format!("usr/share/{name}/{file}");
        archive
            .append_data(&mut header, path, bytes.as_slice())
            .expect("writing to memory does not fail");
    }
    let archive = archive
        .into_inner()
        .expect("writing to memory does not fail");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive)
        .expect("writing to memory does not fail");
    let compressed = gzip.finish().expect("writing to memory does not fail");
    (Digest::sha256_of(&archive), compressed)
}

/// Bytes that look random and so do not shrink, as most of a real layer's would not: SplitMix64,
/// started from a name.
fn noise(name: &str, size: usize) -> Vec<u8> {
    let mut state = name.bytes().fold(0u64, |state, byte| {
        state.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(number ^ (number >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn document(media_type: &'static str, value: &Value) -> Content {
    content(media_type, value.to_string().into_bytes())
}

fn content(media_type: &'static str, bytes: Vec<u8>) -> Content {
    Content {
        media_type,
        digest: Digest::sha256_of(&bytes),
        bytes,
    }
}

fn descriptor(content: &Content) -> Value {
    json!({
        "mediaType": content.media_type,
        "digest": content.digest,
        "size": content.bytes.len(),
    })
}
