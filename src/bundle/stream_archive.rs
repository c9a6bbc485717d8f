//! A bundle on a pipe: everything once, in order.

use std::io::Read;

use bytes::Bytes;

use super::{
    contents::{Class, MemberId},
    error::BundleError,
    frames::{Frames, StreamFrames},
    head::{Accepted, Metadata, check_cuts},
    packed::{PackedFrames, PackedReader},
    tar,
};
use crate::oci::Hasher;

/// A bundle that is read from a stream, with metadata that was checked.
#[derive(Debug)]
pub struct StreamArchive<R> {
    accepted: Accepted<StreamFrames<R>>,
    kept: KeptFrames,
    packed: PackedReader,
    /// The member whose content comes next.
    next: MemberId,
    /// The large blob in progress.
    large: Option<Large>,
}

#[derive(Debug)]
struct Large {
    frame: u32,
    end: u32,
    offset: u64,
    file_offset: u64,
    hasher: Hasher,
}

/// A piece of a blob.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The blob.
    pub id: MemberId,
    /// Where in the blob the piece starts, in bytes.
    pub offset: u64,
    /// The piece, up to 8 MiB.
    pub bytes: Bytes,
    /// Whether it is the last one; if so, the digest of the whole blob was found right.
    pub last: bool,
}

/// The compressed frames that hold the manifests, kept until these are pushed.
#[derive(Debug)]
struct KeptFrames(Vec<Bytes>);

impl PackedFrames for KeptFrames {
    fn encoded(&self, number: u32) -> Result<(Bytes, u64), BundleError> {
        let offset = self
            .0
            .iter()
            .take(number as usize)
            .map(|frame| frame.len() as u64)
            .sum();
        let frame = self.0.get(number as usize);
        Ok((frame.ok_or(BundleError::Truncated(offset))?.clone(), offset))
    }
}

impl<R: Read> StreamArchive<R> {
    /// Goes on behind the documents.
    pub fn new(mut accepted: Accepted<StreamFrames<R>>) -> Self {
        let kept = KeptFrames(
            accepted
                .take_kept_frames()
                .into_iter()
                .map(Bytes::from)
                .collect(),
        );
        let contents = &accepted.metadata.plan.contents;
        let blobs = contents
            .members()
            .partition_point(|m| m.class <= Class::Document);
        Self {
            accepted,
            kept,
            packed: PackedReader::default(),
            next: blobs as MemberId,
            large: None,
        }
    }

    /// What the bundle says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.accepted.metadata
    }

    /// The content of one of the bundle's own members or of a document; these stay readable.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read_kept(&self, id: MemberId) -> Result<Bytes, BundleError> {
        self.packed
            .read(&self.accepted.metadata.plan, &self.kept, id)
    }

    /// The next piece of the next blob; none when the whole stream was read and its end found right.
    ///
    /// # Errors
    /// When the stream is damaged, goes on behind the end, or cannot be read.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, BundleError> {
        let plan = self.accepted.metadata.plan.clone();
        let Some(member) = plan.contents.members().get(self.next as usize).copied() else {
            self.finish()?;
            return Ok(None);
        };
        let id = self.next;
        let stream = &mut self.accepted.stream;
        if !member.class.is_large() {
            let content = stream.blob(&member.digest, member.size)?;
            self.next += 1;
            return Ok(Some(Chunk {
                id,
                offset: 0,
                bytes: Bytes::from(content),
                last: true,
            }));
        }
        stream.expect_frame_end()?;
        let large = self.large.get_or_insert_with(|| {
            let frames = plan.layout.frames_of(id);
            Large {
                frame: frames.start,
                end: frames.end,
                offset: 0,
                file_offset: stream
                    .frames
                    .sizes()
                    .iter()
                    .map(|(len, _)| u64::from(*len))
                    .sum(),
                hasher: Hasher::new(member.digest.algorithm()),
            }
        });
        let span = plan.layout.frame(large.frame, &plan.contents);
        let mut bytes = Vec::new();
        stream
            .frames
            .next_frame(Some((span.content_len(), span.stored)), &mut bytes)?;
        let bytes = Bytes::from(bytes);
        let content = bytes.slice(super::content_piece(&plan, &span, id, 0, &bytes)?);
        large.hasher.update(&content);
        large.frame += 1;
        let offset = large.offset;
        large.offset += content.len() as u64;
        let last = large.frame == large.end;
        if last {
            let digest = large.hasher.clone().finish();
            if digest != member.digest {
                let offset = large.file_offset;
                return Err(BundleError::Digest {
                    digest: member.digest,
                    offset,
                });
            }
            self.large = None;
            self.next += 1;
        }
        Ok(Some(Chunk {
            id,
            offset,
            bytes: content,
            last,
        }))
    }

    fn finish(&mut self) -> Result<(), BundleError> {
        let plan = &self.accepted.metadata.plan;
        let stream = &mut self.accepted.stream;
        if plan.layout.packed_frames() == plan.layout.frames() {
            stream.expect(&[0; tar::CLOSING as usize], "the end of the stream")?;
        }
        stream.expect_frame_end()?;
        check_cuts(plan, stream.frames.sizes())?;
        let read = stream.frames.sizes().len() as u64;
        if read != u64::from(plan.layout.frames()) {
            return Err(BundleError::SeekTableMismatch);
        }
        stream.frames.finish()
    }
}
