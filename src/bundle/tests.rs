//! The format as a whole: bundles made in memory, read in both ways, and damaged in every way.

use std::{collections::HashMap, io::Write as _, sync::Arc};

use super::{
    frame::{Compressor, encode_stored},
    *,
};
use crate::oci::{Descriptor, Digest, EMPTY_CONTENT, Hasher, media_type};

/// Contents of a bundle in the making.
#[derive(Default)]
struct Sample {
    content: HashMap<Digest, Vec<u8>>,
    entries: Vec<Entry>,
    images: Vec<LockedImage>,
    absent: Vec<Absent>,
}

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

impl Sample {
    fn put(&mut self, media_type: &str, content: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &content);
        self.content.insert(descriptor.digest, content);
        descriptor
    }

    fn image(&mut self, reference: &str, layers: &[(&str, Vec<u8>)]) {
        let config = self.put(
            media_type::OCI_CONFIG,
            format!("{{\"n\":\"{reference}\"}}").into(),
        );
        let layers: Vec<_> = layers
            .iter()
            .map(|(kind, content)| self.put(kind, content.clone()))
            .collect();
        let json = |d: &Descriptor| {
            format!(
                r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
                d.media_type, d.digest, d.size
            )
        };
        let list = layers.iter().map(json).collect::<Vec<_>>().join(",");
        let manifest = format!(
            r#"{{ "schemaVersion": 2, "config": {}, "layers": [{list}] }}"#,
            json(&config)
        );
        let descriptor = self.put(media_type::OCI_MANIFEST, manifest.into());
        let mut sizes: HashMap<Digest, u64> = HashMap::new();
        for part in layers.iter().chain([&config, &descriptor]) {
            sizes.insert(part.digest, part.size);
        }
        self.images.push(LockedImage {
            reference: reference.to_owned(),
            as_written: reference.to_owned(),
            media_type: descriptor.media_type.clone(),
            digest: descriptor.digest,
            size: descriptor.size,
            content_size: sizes.values().sum(),
            platforms: vec![],
            requested_platforms: vec![],
            requested_by: vec![Origin::Argument],
        });
        self.entries.push(Entry {
            kind: EntryKind::Image,
            reference: Some(reference.parse().unwrap()),
            descriptor,
        });
    }

    /// The bytes of the bundle, with `signatures` embedded.
    fn write(mut self, signatures: &[&[u8]]) -> Vec<u8> {
        self.images.sort_by(|a, b| a.reference.cmp(&b.reference));
        let lock = Lock {
            charts: Vec::new(),
            referrer_types: None,
            releases: Vec::new(),
            api_version: API_VERSION.into(),
            kind: "Lock".into(),
            metadata: Name {
                name: "sample".into(),
                version: "1".into(),
            },
            created: "2026-11-23T04:10:00Z".into(),
            platforms: vec![],
            images: self.images.clone(),
            files: vec![],
            absent: self.absent.clone(),
        };
        let mut own = Vec::new();
        let lock_layer = self.put(LOCK_TYPE, lock.to_bytes().unwrap());
        let lock_manifest =
            artifact_manifest(LOCK_TYPE, std::slice::from_ref(&lock_layer), None).unwrap();
        let lock_descriptor = artifact_descriptor(LOCK_TYPE, &lock_manifest);
        let mut root = Root {
            info: BundleInfo {
                name: "sample".into(),
                version: "1".into(),
                created: lock.created.clone(),
                tool: "test".into(),
                unsigned: false,
            },
            lock: lock_descriptor,
            entries: self.entries.clone(),
        };
        root.sort_entries();
        let root_bytes = root.to_bytes().unwrap();
        let subject = root_descriptor(&root_bytes);
        let mut listed = Vec::new();
        own.push(self.put(media_type::OCI_INDEX, root_bytes.clone()));
        own.push(self.put(media_type::OCI_MANIFEST, lock_manifest));
        own.push(self.put(media_type::EMPTY, EMPTY_CONTENT.to_vec()));
        own.push(lock_layer);
        for signature in signatures {
            let layer = self.put(SIGNATURE_TYPE, signature.to_vec());
            let manifest =
                artifact_manifest(SIGNATURE_TYPE, std::slice::from_ref(&layer), Some(&subject))
                    .unwrap();
            listed.push(artifact_descriptor(SIGNATURE_TYPE, &manifest));
            own.push(self.put(media_type::OCI_MANIFEST, manifest));
            own.push(layer);
        }
        let index_json = root.index_json(&root_bytes, &listed).unwrap();
        let own = own.into_iter().map(|d| (d.digest, d.size));
        let absent = self.absent.iter().map(|a| a.digest);
        let mut walk = Walk::new(own, &root, absent).unwrap();
        while let Some(member) = walk.next_document() {
            walk.supply(&self.content[&member.digest]).unwrap();
        }
        let plan = Plan::new(&index_json, walk.finish().unwrap()).unwrap();
        let mut packed = PackedWriter::start(Vec::new(), plan.clone(), &index_json).unwrap();
        while let Some(id) = packed.wants() {
            packed
                .member(&self.content[&plan.contents.member(id).digest])
                .unwrap();
        }
        let (mut file, mut sizes) = packed.finish().unwrap();
        let mut compressor = Compressor::new().unwrap();
        for number in sizes.len() as u32..plan.layout.frames() {
            let span = plan.layout.frame(number, &plan.contents);
            let digest = plan.contents.member(span.member.unwrap()).digest;
            let piece = plan.content_of(number);
            let content = &self.content[&digest][piece.start as usize..piece.end as usize];
            let frame = plan.encode_large(number, content, &mut compressor).unwrap();
            sizes.push((frame.len() as u32, span.content_len() as u32));
            file.extend_from_slice(&frame);
        }
        file.extend_from_slice(&SeekTable(sizes).encode());
        file
    }
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn small() -> Vec<u8> {
    let mut sample = Sample::default();
    sample.image(
        "quay.io/a/one:1",
        &[(GZIP, noise(300, 1)), (PLAIN, noise(40, 2))],
    );
    sample.write(&[b"{\"signature\":1}"])
}

/// Stored and compressed blobs of one and of several frames.
fn large() -> (Vec<u8>, Vec<Digest>) {
    let mut sample = Sample::default();
    let text = b"all work and no play ".repeat(500_000);
    let blobs = [
        noise(3_000_000, 3),
        noise(9_000_001, 4),
        vec![0; 2_000_000],
        text,
    ];
    sample.image(
        "quay.io/a/two:1",
        &[(GZIP, blobs[0].clone()), (PLAIN, blobs[2].clone())],
    );
    sample.image(
        "quay.io/a/three:1",
        &[(GZIP, blobs[1].clone()), (PLAIN, blobs[3].clone())],
    );
    let digests = blobs.iter().map(|blob| Digest::sha256_of(blob)).collect();
    (sample.write(&[]), digests)
}

fn open(file: Vec<u8>) -> Result<Arc<FileArchive<Vec<u8>>>, BundleError> {
    let untrusted = Untrusted::read(FileFrames::open(Arc::new(file))?, false)?;
    Ok(Arc::new(FileArchive::open(
        untrusted.accept(|_, _, _, _| ())?,
    )?))
}

/// Reads everything at random, as `verify` does.
fn read_file(file: Vec<u8>) -> Result<HashMap<Digest, u64>, BundleError> {
    let archive = open(file)?;
    let contents = &archive.metadata().plan.contents;
    let mut read = HashMap::new();
    for (id, member) in contents.members().iter().enumerate() {
        let mut reader = archive.blob(id as MemberId);
        let mut hasher = Hasher::new(member.digest.algorithm());
        let mut size = 0;
        while let Some(chunk) = reader.next_chunk()? {
            hasher.update(&chunk);
            size += chunk.len() as u64;
        }
        assert_eq!(
            hasher.finish(),
            member.digest,
            "only verified content is given out"
        );
        read.insert(member.digest, size);
    }
    Ok(read)
}

/// Reads everything in one pass.
fn read_stream(file: &[u8]) -> Result<HashMap<Digest, u64>, BundleError> {
    let untrusted = Untrusted::read(StreamFrames::new(file), true)?;
    let mut archive = StreamArchive::new(untrusted.accept(|_, _, _, _| ())?);
    let mut read = HashMap::new();
    let plan = archive.metadata().plan.clone();
    for (id, member) in plan.contents.members().iter().enumerate() {
        if member.class <= Class::Document {
            read.insert(
                member.digest,
                archive.read_kept(id as MemberId)?.len() as u64,
            );
        }
    }
    while let Some(chunk) = archive.next_chunk()? {
        *read
            .entry(plan.contents.member(chunk.id).digest)
            .or_insert(0) += chunk.bytes.len() as u64;
    }
    Ok(read)
}

#[test]
fn both_readers_read_what_was_written() {
    for file in [small(), large().0] {
        let at_random = read_file(file.clone()).unwrap();
        assert_eq!(at_random, read_stream(&file).unwrap());
    }
    let (file, digests) = large();
    let read = read_file(file).unwrap();
    assert!(digests.iter().all(|digest| read.contains_key(digest)));
}

#[test]
fn the_decompressed_stream_is_an_image_layout() {
    let (file, digests) = large();
    let mut decoded = Vec::new();
    zstd::stream::copy_decode(file.as_slice(), &mut decoded).unwrap();
    let mut names = Vec::new();
    for entry in ::tar::Archive::new(decoded.as_slice()).entries().unwrap() {
        names.push(entry.unwrap().path().unwrap().display().to_string());
    }
    assert_eq!(names[..2], ["oci-layout", "index.json"]);
    // Stored before compressed, each in the order of first reference (three comes before two).
    let order = [1, 0, 3, 2].map(|n| tar::blob_name(&digests[n]));
    assert_eq!(names[names.len() - 4..], order);
}

#[test]
fn every_flipped_bit_is_refused_or_changes_nothing() {
    let file = small();
    let mut decoded = Vec::new();
    zstd::stream::copy_decode(file.as_slice(), &mut decoded).unwrap();
    let mut harmless = 0;
    for bit in 0..file.len() * 8 {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        for result in [read_file(changed.clone()), read_stream(&changed)] {
            if result.is_ok() {
                let mut again = Vec::new();
                zstd::stream::copy_decode(changed.as_slice(), &mut again).unwrap();
                assert!(
                    again == decoded,
                    "bit {bit} was accepted with other content"
                );
                harmless += 1;
            }
        }
    }
    // Window sizes and the like: bits of the head's frame that no decoder needs.
    assert!(harmless < 100, "{harmless} flips were accepted");
}

#[test]
fn every_truncation_and_every_addition_is_refused() {
    let file = small();
    for len in 0..file.len() {
        assert!(
            read_file(file[..len].to_vec()).is_err(),
            "{len} bytes were accepted"
        );
        assert!(
            read_stream(&file[..len]).is_err(),
            "{len} bytes were accepted from a pipe"
        );
    }
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let additions = [
        b"\0".as_slice(),
        &[0; 512],
        &file,
        &skippable,
        b"PK\x05\x06",
    ];
    for tail in additions {
        let longer = [&file, tail].concat();
        // A whole second copy ends in a seek table too, one that does not describe all.
        assert!(
            read_file(longer.clone()).is_err(),
            "{} bytes more were accepted",
            tail.len()
        );
        assert!(read_stream(&longer).is_err());
        let prefixed = [tail, &file].concat();
        assert!(read_file(prefixed.clone()).is_err());
        assert!(read_stream(&prefixed).is_err());
    }
}

#[test]
fn damage_inside_a_layer_shows_before_its_last_byte_is_given_out() {
    let (file, digests) = large();
    let archive = open(file.clone()).unwrap();
    let id = archive.metadata().plan.contents.find(&digests[1]).unwrap();
    let end = archive.file_offset(id) + archive.file_size(id).unwrap();
    for at in [archive.file_offset(id) + 5_000_000, end - 100, end - 1] {
        let mut changed = file.clone();
        changed[at as usize] ^= 1;
        let archive = open(changed.clone()).expect("the damage is not in the metadata");
        let mut reader = archive.blob(id);
        let mut given = 0;
        let error = loop {
            match reader.next_chunk() {
                Ok(Some(chunk)) => given += chunk.len(),
                Ok(None) => panic!("damage at {at} was not noticed"),
                Err(error) => break error,
            }
        };
        assert!(given < 9_000_001, "all was given out in spite of {error}");
        assert!(read_stream(&changed).is_err());
    }
}

/// Cuts the tar stream of `file` anew after `edit` changed it, as an attacker without the key would.
fn reframed(file: &[u8], cut: usize, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut stream = Vec::new();
    zstd::stream::copy_decode(file, &mut stream).unwrap();
    edit(&mut stream);
    let mut compressor = Compressor::new().unwrap();
    let mut out = Vec::new();
    let mut sizes = Vec::new();
    for piece in stream.chunks(cut) {
        let frame = compressor.encode(piece).unwrap();
        sizes.push((frame.len() as u32, piece.len() as u32));
        out.write_all(&frame).unwrap();
    }
    out.extend_from_slice(&SeekTable(sizes).encode());
    out
}

fn refused(file: &[u8], what: &str) -> BundleError {
    assert!(
        read_stream(file).is_err(),
        "{what} was accepted from a pipe"
    );
    read_file(file.to_vec())
        .err()
        .unwrap_or_else(|| panic!("{what} was accepted"))
}

/// A bundle whose packed part has several frames, its documents in the first one.
fn many_small(blobs: u32, large: bool) -> Vec<u8> {
    let mut sample = Sample::default();
    let layers: Vec<_> = (0..blobs)
        .map(|n| (GZIP, noise(1_000_000, n + 1)))
        .collect();
    sample.image("quay.io/a/one:1", &layers);
    if large {
        sample.image("quay.io/a/two:1", &[(GZIP, noise(2_000_000, 999))]);
    }
    sample.write(&[])
}

/// Replaces the content of the last packed frame.
fn with_last_packed(file: &[u8], edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let archive = open(file.to_vec()).unwrap();
    let plan = &archive.metadata().plan;
    let frames = plan.layout.frames();
    let number = plan.layout.packed_frames() as usize - 1;
    let table_at = file.len() - SeekTable::encoded_len(frames) as usize;
    let mut table = SeekTable::decode(&file[table_at..]).unwrap();
    let start = table.0[..number]
        .iter()
        .map(|(len, _)| *len as usize)
        .sum::<usize>();
    let end = start + table.0[number].0 as usize;
    let mut content = Vec::new();
    zstd::stream::copy_decode(&file[start..end], &mut content).unwrap();
    edit(&mut content);
    let frame = Compressor::new().unwrap().encode(&content).unwrap();
    table.0[number] = (frame.len() as u32, content.len() as u32);
    let mut out = [&file[..start], &frame, &file[end..table_at]].concat();
    out.extend_from_slice(&table.encode());
    out
}

#[test]
fn nothing_hides_behind_the_packed_part() {
    for large in [false, true] {
        let file = many_small(12, large);
        read_stream(&file).unwrap();
        let smuggled = with_last_packed(&file, |content| {
            content.extend_from_slice(&tar::header("../../etc/cron.d/x", 0));
        });
        refused(&smuggled, "a member behind the packed part");
    }
}

#[test]
fn the_end_of_the_stream_is_looked_at_however_much_is_packed() {
    let file = many_small(70, false);
    let changed = with_last_packed(&file, |content| {
        let end = content.len() - 512;
        content[end..].copy_from_slice(&tar::header("x", 0));
    });
    refused(&changed, "a member in the closing blocks");
}

/// An edit of the tar stream.
type Edit = fn(&mut Vec<u8>);

#[test]
fn only_the_canonical_stream_is_accepted() {
    let file = small();
    let whole = FRAME_CONTENT as usize;
    assert_eq!(
        read_file(reframed(&file, whole, |_| ())).unwrap(),
        read_file(file.clone()).unwrap()
    );
    let edits: [(&str, Edit); 16] = [
        ("a duplicated member", |s| {
            let first = s[..1024].to_vec();
            s.splice(0..0, first);
        }),
        ("a removed member", |s| drop(s.drain(..1024))),
        ("a reordered member", |s| s[..4096].rotate_left(1024)),
        ("an extra member in front", |s| {
            s.splice(0..0, tar::header("README", 0));
        }),
        ("an extra member at the end", |s| {
            let at = s.len() - 1024;
            s.splice(at..at, tar::header("evil.sh", 0));
        }),
        ("one closing block less", |s| s.truncate(s.len() - 512)),
        ("one closing block more", |s| s.extend_from_slice(&[0; 512])),
        ("text behind the end", |s| s.extend_from_slice(b"hello")),
        ("another mode", |s| {
            s[100..108].copy_from_slice(b"0000755\0");
            fix_checksum(s);
        }),
        ("a time", |s| {
            s[136..147].copy_from_slice(b"00000000001");
            fix_checksum(s);
        }),
        ("a symbolic link", |s| {
            s[156] = b'2';
            s[157..168].copy_from_slice(b"/etc/passwd");
            fix_checksum(s);
        }),
        ("a hard link", |s| {
            s[156] = b'1';
            fix_checksum(s);
        }),
        ("GNU magic", |s| {
            s[257..265].copy_from_slice(b"ustar  \0");
            fix_checksum(s);
        }),
        ("text in the padding", |s| s[1000] = b'x'),
        ("another name", |s| {
            s[..12].copy_from_slice(b"../oci-layou");
            fix_checksum(s);
        }),
        ("a pax record in front", |s| {
            let mut pax = tar::header("x", 11);
            pax[156] = b'x';
            pax.extend_from_slice(b"11 size=99\n");
            pax.resize(1024, 0);
            fix_checksum(&mut pax);
            s.splice(0..0, pax);
        }),
    ];
    for (what, edit) in edits {
        refused(&reframed(&file, whole, edit), what);
    }
    for cut in [512, 1000, whole / 2] {
        let (large, _) = large();
        refused(&reframed(&large, cut.max(4096), |_| ()), "other cuts");
        if cut < 1024 {
            refused(
                &reframed(&file, cut, |_| ()),
                "other cuts of a small bundle",
            );
        }
    }
}

fn fix_checksum(stream: &mut [u8]) {
    stream[148..156].copy_from_slice(b"        ");
    let sum: u32 = stream[..512].iter().map(|b| u32::from(*b)).sum();
    stream[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn stored_frames_and_compressed_frames_cannot_stand_in_for_each_other() {
    let blob = b"said to be compressed, but is not ".repeat(60_000);
    let mut sample = Sample::default();
    sample.image("quay.io/a/one:1", &[(GZIP, blob.clone())]);
    let file = sample.write(&[]);
    let archive = open(file.clone()).unwrap();
    let plan = &archive.metadata().plan;
    let id = plan.contents.find(&Digest::sha256_of(&blob)).unwrap();
    let frames = plan.layout.frames_of(id);
    assert_eq!(frames.len(), 1);
    let mut table = SeekTable::decode(
        &file[file.len() - SeekTable::encoded_len(plan.layout.frames()) as usize..],
    )
    .unwrap();
    let start = archive.file_offset(id) as usize;
    let end = start + archive.file_size(id).unwrap() as usize;
    let mut content = Vec::new();
    zstd::stream::copy_decode(&file[start..end], &mut content).unwrap();
    assert!(encode_stored(&content) == file[start..end]);
    let compressed = Compressor::new().unwrap().encode(&content).unwrap();
    let frames_end = file.len() - SeekTable::encoded_len(plan.layout.frames()) as usize;
    let mut changed = [&file[..start], &compressed, &file[end..frames_end]].concat();
    table.0[frames.start as usize].0 = compressed.len() as u32;
    changed.extend_from_slice(&table.encode());
    refused(&changed, "a stored blob in compressed form");
}

#[test]
fn blobs_of_two_bundles_do_not_mix() {
    let make = |seed| {
        let mut sample = Sample::default();
        sample.image("quay.io/a/one:1", &[(GZIP, noise(2_000_000, seed))]);
        sample.write(&[])
    };
    let (a, b) = (make(1), make(2));
    let archive = open(a.clone()).unwrap();
    let large = archive.metadata().plan.large(Class::Stored).next().unwrap();
    let at = archive.file_offset(large) as usize;
    let other = open(b.clone()).unwrap().file_offset(large) as usize;
    let len = archive.file_size(large).unwrap() as usize;
    let mixed = [&a[..at], &b[other..other + len], &a[at + len..]].concat();
    open(mixed.clone()).expect("head and framing are those of the first");
    refused(&mixed, "the blob of another bundle");
    refused(
        &[&a[..at], &b[other..]].concat(),
        "the tail of another bundle",
    );
    refused(
        &[&b[..other], &a[at..]].concat(),
        "the head of another bundle",
    );
}

#[test]
fn what_the_lock_leaves_out_is_not_expected_and_everything_else_is() {
    let mut sample = Sample::default();
    sample.image(
        "quay.io/a/one:1",
        &[(GZIP, noise(300, 1)), (PLAIN, noise(40, 2))],
    );
    let left_out = Digest::sha256_of(&noise(300, 1));
    let absent = |digest| Absent {
        digest,
        size: 300,
        media_type: GZIP.into(),
        reason: AbsentReason::Foreign,
        platform: None,
        urls: vec![],
    };
    sample.absent.push(absent(left_out));
    sample.images[0].content_size -= 300;
    let read = read_file(sample.write(&[])).unwrap();
    assert!(!read.contains_key(&left_out));
}
