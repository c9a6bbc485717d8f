//! What an interrupted run left in its partial file, as far as it is whole.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    frame::{Compressor, Decompressor, FRAME_CONTENT, FrameHeader, MAX_FRAME_CONTENT},
    frames::decode,
    io_at::ReadAt,
    tar,
    writer::Plan,
};
use crate::oci::{Digest, Hasher};

/// Packed bytes that are looked at; what lies behind is fetched again.
const MOST_PACKED: usize = 32 << 20;

/// Collects the members of the packed part of a partial file whose frames are whole, by digest.
/// Nothing that is found is believed: content is kept only if it has its digest.
pub fn salvage_packed(file: &impl ReadAt) -> HashMap<Digest, Bytes> {
    let mut stream = Vec::new();
    let mut offset = 0;
    while stream.len() < MOST_PACKED {
        let Some((content, encoded)) = read_frame(file, offset, None) else {
            break;
        };
        offset += encoded.len() as u64;
        let full = content.len() as u64 == FRAME_CONTENT;
        stream.extend_from_slice(&content);
        if !full {
            break;
        }
    }
    let stream = Bytes::from(stream);
    let mut found = HashMap::new();
    let mut at = 0;
    while let Some(header) = stream.get(at..at + tar::BLOCK as usize) {
        let digits = std::str::from_utf8(&header[124..135]).unwrap_or_default();
        let Ok(size) = usize::from_str_radix(digits, 8) else {
            break;
        };
        let name_len = header.iter().position(|b| *b == 0).unwrap_or(100).min(100);
        at += tar::BLOCK as usize;
        let Some(end) = at.checked_add(size).filter(|end| *end <= stream.len()) else {
            break;
        };
        let name = std::str::from_utf8(&header[..name_len]).unwrap_or_default();
        if let Some(hex) = name.strip_prefix("blobs/sha256/")
            && let Ok(digest) = format!("sha256:{hex}").parse::<Digest>()
        {
            let content = stream.slice(at..end);
            if digest.of_same_algorithm(&content) == digest {
                found.insert(digest, content);
            }
        }
        at = end + tar::padding(size as u64) as usize;
    }
    found
}

/// Reads the whole frames of compressed blobs that start at `offset` with frame `number`, for as long
/// as they are what they should be. Returns their sizes and, for the blob in which the last one
/// lies, the hash of its content so far.
pub fn salvage_compressed(
    file: &impl ReadAt,
    plan: &Plan,
    mut number: u32,
    mut offset: u64,
) -> (Vec<(u32, u32)>, Option<Hasher>) {
    let mut sizes = Vec::new();
    let mut hasher = None;
    let Ok(mut compressor) = Compressor::new() else {
        return (sizes, hasher);
    };
    while number < plan.layout.frames() {
        let span = plan.layout.frame(number, &plan.contents);
        let Some(id) = span.member else { break };
        let Some((content, encoded)) = read_frame(file, offset, Some(span.content_len())) else {
            break;
        };
        let Ok(piece) = super::content_piece(plan, &span, id, 0, &content) else {
            break;
        };
        // The same content can be compressed in many ways; the bundle has it in one.
        let ours = plan.encode_large(number, &content[piece.clone()], &mut compressor);
        if ours.ok().as_ref() != Some(&encoded) {
            break;
        }
        let member = plan.contents.member(id);
        let frames = plan.layout.frames_of(id);
        if number == frames.start {
            hasher = Some(Hasher::new(member.digest.algorithm()));
        }
        let Some(hash) = &mut hasher else { break };
        hash.update(&content[piece]);
        if number + 1 == frames.end && hash.clone().finish() != member.digest {
            // The blob is not what it should be: none of its frames is kept.
            let whole = sizes.len() - (frames.end - 1 - frames.start) as usize;
            sizes.truncate(whole);
            return (sizes, None);
        }
        sizes.push((encoded.len() as u32, content.len() as u32));
        number += 1;
        offset += encoded.len() as u64;
    }
    (sizes, hasher)
}

/// Reads one compressed frame whose length is not known: its content, and its bytes in the file.
fn read_frame(
    file: &impl ReadAt,
    offset: u64,
    expected: Option<u64>,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let available = file.size().ok()?.checked_sub(offset)?;
    let most = zstd::zstd_safe::compress_bound(MAX_FRAME_CONTENT as usize) as u64;
    let mut encoded = vec![0; available.min(most) as usize];
    file.read_exact_at(&mut encoded, offset).ok()?;
    let header = FrameHeader::parse(&encoded).ok()?;
    let expected = expected.unwrap_or(header.content_size);
    let len = zstd::zstd_safe::find_frame_compressed_size(encoded.as_slice()).ok()?;
    let mut content = Vec::new();
    let decoder = &mut Decompressor::default();
    decode(&encoded[..len], expected, false, decoder, &mut content).ok()?;
    encoded.truncate(len);
    Some((content, encoded))
}
