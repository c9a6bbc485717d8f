//! Sizes, counts and depths that somebody made large: the program stays within 128 MiB of memory
//! and within its time, whether it refuses or accepts.

use bytes::Bytes;
use sneakernet::{
    bundle::{Compressor, FRAME_CONTENT},
    oci::{Digest, media_type},
};

use crate::support::{
    attempt::Bench,
    forge::{CONFIG, CONTENT, Forge, LAYER, descriptor, index, index_of, joined, manifest},
};

const OCI: &str = media_type::OCI_MANIFEST;
const INDEX: &str = media_type::OCI_INDEX;
/// The most that `index.json`, root and lock may have each.
const METADATA: usize = 8 << 20;

/// JSON with as many values as fit into `len` bytes.
fn crowded(open: &str, item: &str, close: &str, len: usize) -> String {
    let count = (len - open.len() - close.len()) / (item.len() + 1);
    let items = vec![item; count].join(",");
    format!("{open}{items}{close}")
}

/// Distinct keys, so that each takes its own place.
fn crowded_map(open: &str, close: &str, len: usize) -> String {
    let mut text = open.to_owned();
    let mut number = 0;
    while text.len() + 24 < len {
        text.push_str(&format!("\"{number:x}\":\"\","));
        number += 1;
    }
    text.push_str("\"z\":\"\"");
    text.push_str(close);
    text
}

#[test]
fn metadata_that_nobody_vouches_for_takes_little_memory() {
    let bench = Bench::new();
    let tail = r#","mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2}"#;
    let texts = [
        ("arrays", crowded("{\"manifests\":[", "[]", "]}", METADATA)),
        ("objects", crowded("{\"manifests\":[", "{}", "]}", METADATA)),
        ("numbers", crowded("{\"manifests\":[", "1", "]}", METADATA)),
        ("many keys", crowded_map("{", "}", METADATA)),
        (
            "many annotations",
            crowded_map(
                "{\"annotations\":{",
                &format!("}},\"manifests\":[]{tail}"),
                METADATA,
            ),
        ),
        (
            "many URLs",
            crowded(
                &format!(
                    "{{\"manifests\":[{{\"digest\":\"{}\",\"mediaType\":\"a\",\"size\":1,\"urls\":[",
                    Digest::sha256_of(b"")
                ),
                "\"\"",
                &format!("]}}]{tail}"),
                METADATA,
            ),
        ),
        (
            "many descriptors",
            crowded(
                "{\"manifests\":[",
                &canonical_descriptor(),
                &format!("]{tail}"),
                METADATA,
            ),
        ),
        (
            "one long text",
            format!(
                "{{\"annotations\":{{\"a\":\"{}\"}}}}",
                "x".repeat(METADATA - 40)
            ),
        ),
    ];
    for (what, text) in texts {
        let same = text.clone();
        let forge = Forge::honest().index_json(move |t| *t = same);
        bench.refuses_head(&format!("index.json: {what}"), forge.build(), 3, "");
        let same = text.replacen("{\"manifests\"", "{\"artifactType\":\"\",\"manifests\"", 1);
        if same.len() <= METADATA {
            let forge = Forge::honest().root_text(move |t| *t = same);
            bench.refuses_head(&format!("root: {what}"), forge.build(), 3, "");
        }
    }
    for length in [METADATA + 1, 100 << 20] {
        let forge = Forge::honest().index_json(move |t| *t = " ".repeat(length));
        bench.refuses_head("a large index.json", forge.build(), 3, "are read");
        let forge = Forge::honest().root_text(move |t| *t = " ".repeat(length));
        bench.refuses_head("a large root", forge.build(), 3, "are read");
        let forge = Forge::honest().lock_text(move |t| *t = " ".repeat(length));
        bench.refuses_head("a large lock", forge.build(), 3, "are read");
        let forge = Forge::honest().signature(vec![b' '; length]);
        bench.refuses_head("a large signature", forge.build(), 3, "are read");
    }
}

fn canonical_descriptor() -> String {
    let digest = Digest::sha256_of(b"");
    format!(r#"{{"digest":"{digest}","mediaType":"a","size":0}}"#)
}

#[test]
fn many_signatures_are_not_too_many() {
    let bench = Bench::new();
    let junk = |count: u32, len: usize| {
        (0..count).fold(Forge::honest(), |forge, n| {
            let mut bytes = vec![b' '; len];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            forge.signature(bytes)
        })
    };
    let with_good = |forge: Forge| forge.signed_by(bench.key("cosign")).build();
    bench.accepts("63 others and a good one", with_good(junk(63, 100)));
    bench.accepts(
        "63 large others and a good one",
        with_good(junk(63, 60 << 10)),
    );
    bench.refuses_head(
        "64 others and a good one",
        with_good(junk(64, 100)),
        3,
        "more than 64",
    );
    bench.refuses_head(
        "64 signatures of 5 MiB",
        junk(64, 5 << 20).build(),
        3,
        "are read",
    );
    bench.refuses_head(
        "64 signatures that are none",
        junk(64, 60 << 10).build(),
        4,
        "",
    );
}

#[test]
fn a_large_lock_takes_little_memory() {
    let bench = Bench::new();
    let sign = |forge: Forge| forge.signed_by(bench.key("cosign")).build();
    let files = crowded("{\"files\":[", "{}", "]}", METADATA);
    let forge = Forge::honest().lock_text(move |t| *t = files);
    bench.refuses_head("a lock of objects", sign(forge), 3, "");
    let keys = crowded_map("{", "}", METADATA);
    let forge = Forge::honest().lock_text(move |t| *t = keys);
    bench.refuses_head("a lock of keys", sign(forge), 3, "");
    let forge = Forge::honest().lock(|lock| {
        let origin = sneakernet::bundle::Origin::Argument;
        lock.images[0].requested_by = vec![origin; 200_000];
    });
    bench.accepts("two hundred thousand origins", sign(forge));
}

#[test]
fn deep_graphs_and_wide_ones_have_bounds() {
    let bench = Bench::new();
    let sign = |forge: Forge| forge.signed_by(bench.key("cosign")).build();
    let chain = |levels: usize| {
        let mut documents = vec![manifest(CONFIG, &[CONTENT])];
        for level in 0..levels {
            let kind = if level == 0 { OCI } else { INDEX };
            let below = documents.last().unwrap();
            documents.push(index_of(&[descriptor(kind, below.as_bytes())]));
        }
        documents.reverse();
        let documents: Vec<_> = documents.iter().map(String::as_str).collect();
        Forge::default().image("quay.io/a/deep:1", INDEX, &documents, &[CONFIG, CONTENT])
    };
    bench.accepts("seven levels of indexes", sign(chain(7)));
    bench.refuses_head("nine levels of indexes", sign(chain(9)), 3, "levels");
    bench.refuses_head(
        "ten thousand levels of indexes",
        sign(chain(10_000)),
        3,
        "levels",
    );

    // Each level names the two of the level below: 2^7 paths, and the same with the most names that
    // a document holds on each of the levels.
    for names in [2, 20_000] {
        let mut below = manifest(CONFIG, &[CONTENT]);
        let mut documents = vec![below.clone()];
        for level in 0..7 {
            let kind = if level == 0 { OCI } else { INDEX };
            let one = descriptor(kind, below.as_bytes());
            below = index_of(&vec![one; names]);
            documents.push(below.clone());
        }
        documents.reverse();
        let documents: Vec<_> = documents.iter().map(String::as_str).collect();
        let forge = Forge::default();
        let forge = forge.image("quay.io/a/d:1", INDEX, &documents, &[CONFIG, CONTENT]);
        bench.accepts("diamonds", sign(forge));
    }

    let children: Vec<_> = (0..10_000)
        .map(|n| manifest(CONFIG, &[CONTENT]).replacen('{', &format!("{{\"n\":{n},"), 1))
        .collect();
    let top = index(&children.iter().map(String::as_str).collect::<Vec<_>>());
    let mut documents = vec![top.as_str()];
    documents.extend(children.iter().map(String::as_str));
    let forge = Forge::default();
    let wide = forge.image("quay.io/a/wide:1", INDEX, &documents, &[CONFIG, CONTENT]);
    bench.accepts("ten thousand manifests in an index", sign(wide));

    let deep = |depth: usize| {
        let value = "[".repeat(depth) + &"]".repeat(depth);
        let document = manifest(CONFIG, &[CONTENT]);
        let document = document.replacen('{', &format!("{{\"x\":{value},"), 1);
        let forge = Forge::default();
        sign(forge.image("quay.io/a/x:1", OCI, &[&document], &[CONFIG, CONTENT]))
    };
    bench.accepts("brackets 50 deep", deep(50));
    bench.refuses_head("brackets 127 deep", deep(127), 3, "deep");
    bench.refuses_head("brackets 100,000 deep", deep(100_000), 3, "");
}

#[test]
fn documents_may_have_four_mebibytes() {
    let bench = Bench::new();
    let sized = |size: usize, filler: &str| {
        let document = manifest(CONFIG, &[CONTENT]);
        let open = document.trim_end_matches('}').to_owned() + "],\"x\":[";
        let open = open.replacen("]],", "],", 1);
        let missing = size - open.len() - 2;
        let count = missing / filler.len();
        let mut text = open + filler.repeat(count).trim_end_matches(',') + "]}";
        text.push_str(&" ".repeat(size - text.len()));
        let forge = Forge::default();
        let forge = forge.image("quay.io/a/x:1", OCI, &[&text], &[CONFIG, CONTENT]);
        forge.signed_by(bench.key("cosign")).build()
    };
    for (what, filler) in [("objects", "{},"), ("arrays", "[],"), ("numbers", "1,")] {
        bench.accepts(&format!("4 MiB of {what}"), sized(4 << 20, filler));
        bench.refuses_head(
            "a byte more",
            sized((4 << 20) + 1, filler),
            3,
            "larger than 4 MiB",
        );
    }
    let layers: Vec<String> = (0..25_000_u32)
        .map(|n| descriptor(LAYER, &n.to_le_bytes()))
        .collect();
    let blobs: Vec<Vec<u8>> = (0..25_000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    let config = descriptor(media_type::OCI_CONFIG, CONFIG);
    let text = format!(
        r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
        layers.join(",")
    );
    let mut below: Vec<&[u8]> = vec![CONFIG];
    below.extend(blobs.iter().map(Vec::as_slice));
    let forge = Forge::default().image("quay.io/a/x:1", OCI, &[&text], &[]);
    // Adding twenty-five thousand blobs one by one would take longer than all the rest.
    let sizes: u64 = below.iter().map(|blob| blob.len() as u64).sum();
    let parts: Vec<_> = below
        .iter()
        .map(|blob| (Digest::sha256_of(blob), Bytes::copy_from_slice(blob)))
        .collect();
    let forge = forge
        .lock(move |lock| lock.images[0].content_size += sizes)
        .parts(move |all| all.extend(parts));
    bench.accepts(
        "twenty-five thousand layers",
        forge.signed_by(bench.key("cosign")).build(),
    );
}

#[test]
fn a_seek_table_of_frames_that_are_not_there_takes_no_memory() {
    let bench = Bench::new();
    let bundle = Forge::honest().signed_by(bench.key("cosign"));
    let stream = bundle.stream();
    let mut compressor = Compressor::new().unwrap();
    let good = compressor.encode(&stream).unwrap();
    // Frames of twelve bytes are the least that a file can hold: four million of them.
    let mut frames = vec![(good, stream.len())];
    frames.extend(vec![(vec![0; 12], FRAME_CONTENT as usize); 4_000_000]);
    bench.refuses("four million frames", joined(&frames), 3, "");
}
