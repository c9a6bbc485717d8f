//! What the targets share.

use std::{collections::BTreeMap, sync::Arc};

use sneakernet::{
    bundle::{
        BundleError, Class, Compressor, FRAME_CONTENT, FileArchive, FileFrames, MemberId,
        SeekTable, StreamArchive, StreamFrames, Untrusted, tar,
    },
    oci::{Digest, Hasher},
};

/// What a bundle gave out: the digests and sizes of its members.
pub type Read = BTreeMap<String, u64>;

/// The file that an input stands for: itself, or a tar stream in the frames that it needs, so that
/// the fuzzer need not find checksums.
pub fn file_of(input: &[u8]) -> Vec<u8> {
    let Some((kind, rest)) = input.split_first() else {
        return Vec::new();
    };
    if kind % 2 == 1 { rest.to_vec() } else { framed(rest) }
}

/// As `gzip` packs it.
pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, content).expect("memory takes everything");
    packed.finish().expect("memory takes everything")
}

fn framed(stream: &[u8]) -> Vec<u8> {
    let content = stream.len().saturating_sub(tar::CLOSING as usize);
    let mut compressor = Compressor::new().expect("zstd has the memory");
    let (mut file, mut sizes, mut start) = (Vec::new(), Vec::new(), 0);
    while start < stream.len() {
        let mut end = (start + FRAME_CONTENT as usize).min(stream.len());
        if end >= content {
            end = stream.len();
        }
        let frame = compressor.encode(&stream[start..end]).expect("zstd has the memory");
        sizes.push((frame.len() as u32, (end - start) as u32));
        file.extend_from_slice(&frame);
        start = end;
    }
    file.extend_from_slice(&SeekTable(sizes).encode());
    file
}

/// Reads everything in a file, at random.
pub fn read_file(file: &[u8]) -> Result<Read, BundleError> {
    let frames = FileFrames::open(Arc::new(file.to_vec()))?;
    let accepted = Untrusted::read(frames, false)?.accept(|_, _, _, _| ())?;
    let archive = Arc::new(FileArchive::open(accepted)?);
    let mut read = Read::new();
    let members = archive.metadata().plan.contents.members();
    for (id, member) in members.iter().enumerate() {
        let mut reader = archive.blob(id as MemberId);
        let mut hasher = Hasher::new(member.digest.algorithm());
        let mut size = 0;
        while let Some(chunk) = reader.next_chunk()? {
            hasher.update(&chunk);
            size += chunk.len() as u64;
        }
        given_out(&mut read, member.digest, hasher.finish(), size);
    }
    Ok(read)
}

/// Reads everything in one pass.
pub fn read_stream(file: &[u8]) -> Result<Read, BundleError> {
    let accepted = Untrusted::read(StreamFrames::new(file), true)?.accept(|_, _, _, _| ())?;
    let mut archive = StreamArchive::new(accepted);
    let plan = archive.metadata().plan.clone();
    let mut read = Read::new();
    for (id, member) in plan.contents.members().iter().enumerate() {
        if member.class <= Class::Document {
            let bytes = archive.read_kept(id as MemberId)?;
            let digest = member.digest.of_same_algorithm(&bytes);
            given_out(&mut read, member.digest, digest, bytes.len() as u64);
        }
    }
    let mut running = None;
    while let Some(chunk) = archive.next_chunk()? {
        let member = plan.contents.member(chunk.id);
        let (hasher, size) = running
            .get_or_insert_with(|| (Hasher::new(member.digest.algorithm()), 0_u64));
        hasher.update(&chunk.bytes);
        *size += chunk.bytes.len() as u64;
        if chunk.last {
            let (hasher, size) = running.take().expect("it was just there");
            given_out(&mut read, member.digest, hasher.finish(), size);
        }
    }
    Ok(read)
}

fn given_out(read: &mut Read, promised: Digest, found: Digest, size: u64) {
    assert_eq!(promised, found, "content without its digest was given out");
    read.insert(promised.to_string(), size);
}
