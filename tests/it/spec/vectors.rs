//! The numbers and bytes that `format.md` shows are those of the program.

use std::fs;

use serde_json::json;
use sneakernet::{
    bundle::{Contents, EntryKind, FRAME_CONTENT, Layout, Plan, Root, Walk, tar},
    oci::{Algorithm, Descriptor, Digest, media_type},
};

use super::{maker::digest_of, spec_file};

fn hex(digest: &Digest) -> String {
    digest.hex()
}

/// Contents with one stored blob for each size, in this order, without having the blobs.
fn contents(sizes: &[u64]) -> Contents {
    let layers: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(n, size)| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": Digest::sha256_of(&n.to_le_bytes()),
                "size": size,
            })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "config": {"mediaType": media_type::EMPTY, "digest": Digest::sha256_of(b"{}"), "size": 2},
        "layers": layers,
    })
    .to_string();
    let root = Root {
        info: sneakernet::bundle::BundleInfo {
            name: "big".into(),
            version: "1".into(),
            created: "2026-11-23T04:10:00Z".into(),
            tool: "test".into(),
            unsigned: true,
        },
        lock: Descriptor::empty(),
        entries: vec![sneakernet::bundle::Entry {
            kind: EntryKind::Artifact,
            reference: Some("quay.io/a/big:1".parse().unwrap()),
            descriptor: Descriptor::of(media_type::OCI_MANIFEST, manifest.as_bytes()),
        }],
    };
    let mut walk = Walk::new([], &root, []).unwrap();
    walk.next_document().unwrap();
    walk.supply(manifest.as_bytes()).unwrap();
    assert!(walk.next_document().is_none());
    walk.finish().unwrap()
}

#[test]
fn the_vectors_in_the_text_are_right() {
    let text = fs::read_to_string(spec_file("format.md")).unwrap();
    let empty = digest_of(Algorithm::Sha256, b"");
    let empty512 = digest_of(Algorithm::Sha512, b"");
    let zero: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let big = tar::blob_header(&zero, 1 << 33);
    for (what, header) in [
        ("header of `oci-layout`", tar::header("oci-layout", 30)),
        (
            "header of the empty `sha256` blob",
            tar::blob_header(&empty, 0),
        ),
        ("empty `sha512` blob", tar::blob_header(&empty512, 0)),
        ("a `sha256` blob of 2^33 bytes", big.clone()),
    ] {
        let line = text.lines().find(|line| line.contains(what)).unwrap();
        let digest = hex(&Digest::sha256_of(&header));
        assert!(line.contains(&digest), "{what}: {digest}");
    }
    assert_eq!(big[124..136], [0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
    assert!(text.contains("`80 00 00 00 00 00 00 02 00 00 00 00`"));
    assert_eq!(sneakernet::bundle::OCI_LAYOUT.len(), 30);

    // The worked example of a stored frame, as zstd's own decoder reads it.
    let example = text
        .lines()
        .find(|line| line.starts_with("28 b5 2f fd  84"));
    let bytes: Vec<u8> = example
        .unwrap()
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(zstd::decode_all(bytes.as_slice()).unwrap(), b"abc\n");
}

#[test]
fn frames_are_cut_as_the_text_says() {
    let plan = |sizes: &[u64]| Plan::new(b"{}", contents(sizes)).unwrap();
    // The second blob only keeps the first from being the last.
    for (size, expected) in [
        (8_388_096, vec![8_388_608]),
        (8_388_097, vec![8_388_608, 512]),
        ((1 << 20) + 1, vec![1_049_600]),
    ] {
        let plan = plan(&[size, 2 << 20]);
        let first = plan.layout.packed_frames();
        let id = plan.layout.frame(first, &plan.contents).member.unwrap();
        assert_eq!(plan.contents.member(id).size, size);
        let found: Vec<u64> = plan
            .layout
            .frames_of(id)
            .map(|n| plan.layout.frame(n, &plan.contents).content_len())
            .collect();
        assert_eq!(found, expected, "{size}");
    }
    // The longest frame that there can be: full, and with the end of the stream.
    let plan = plan(&[8_388_096]);
    let last = plan.layout.frame(plan.layout.frames() - 1, &plan.contents);
    assert_eq!(last.content_len(), FRAME_CONTENT + 1024);
    assert_eq!(last.stored_len(), Some(8_389_841));
}

/// Layers above 8 GiB, where the size no longer fits the octal field, and bundles up to the limit.
#[test]
fn the_layout_of_huge_layers_adds_up() {
    let sizes = [(1 << 33) - 1, 1 << 33, 20 << 30, (3 << 40) + 5];
    let contents = contents(&sizes);
    let layout = Layout::new(300, &contents).unwrap();
    let mut tar_at = 0;
    for number in 0..layout.packed_frames() {
        tar_at += layout.frame(number, &contents).content_len();
    }
    let large = contents.members().iter().enumerate();
    let large = large.filter(|(_, member)| member.class.is_large());
    for ((id, member), size) in large.zip(sizes) {
        let id = id as u32;
        assert_eq!((member.size, layout.header_at(id)), (size, tar_at));
        let frames = layout.frames_of(id);
        assert_eq!(layout.frame_at(tar_at), frames.start);
        let spans = frames.clone().map(|n| layout.frame(n, &contents));
        let mut content_at = 0;
        for span in spans {
            assert!(span.tar.start == tar_at && span.stored);
            let (content, _) = layout.content_in(&span, id, &contents);
            assert_eq!(content.start, content_at);
            (tar_at, content_at) = (span.tar.end, content.end);
        }
        assert_eq!(content_at, size);
        // What GNU tar, bsdtar and others make of the header.
        let header = tar::blob_header(&member.digest, size);
        let header = ::tar::Header::from_byte_slice(&header).clone();
        assert_eq!(header.entry_size().unwrap(), size);
    }
    assert_eq!(tar_at, layout.tar_len());

    // One PiB is the most: 2^27 frames of 8 MiB.
    let most = (1_u64 << 27) - 2;
    let frames = |sizes: &[u64]| Layout::new(300, &self::contents(sizes)).map(|l| l.frames());
    assert_eq!(frames(&[most * FRAME_CONTENT - 512]), Some(1 + most as u32));
    assert_eq!(frames(&[(most + 2) * FRAME_CONTENT]), None);
    assert_eq!(
        frames(&[i64::MAX as u64, i64::MAX as u64, i64::MAX as u64]),
        None
    );
}
