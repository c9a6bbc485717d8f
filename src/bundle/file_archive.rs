//! A bundle in a file: every member at random, by several workers at once.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use xxhash_rust::xxh64::Xxh64;

use super::{
    contents::{Class, MemberId},
    error::BundleError,
    frame::{self, BLOCK_HEADER, CHECKSUM, FrameDecoder, FrameError, RAW_BLOCK, STORED_HEADER},
    frames::{FileFrames, check_len, cut_short},
    head::{Accepted, Metadata},
    io_at::ReadAt,
    layout::Span,
    packed::{PackedFrames, PackedReader},
    tar,
};
use crate::oci::Hasher;

/// Up to this many tar bytes the packed part is checked whole when a bundle is opened; the small
/// blobs of a larger one are checked as they are read.
const CHECK_WHOLE: u64 = 64 << 20;
/// Raw blocks that are read at once: about 1 MiB.
const BLOCKS_AT_ONCE: u64 = 8;
/// Bytes of a compressed frame that are read, and tar bytes that are decoded, at once.
const PIECE: u64 = 256 << 10;

/// A bundle in a file, with metadata that was checked.
#[derive(Debug)]
pub struct FileArchive<R> {
    source: Arc<R>,
    metadata: Metadata,
    /// Where each frame starts in the file, and where the last one ends.
    offsets: Vec<u64>,
    packed: PackedReader,
}

impl<R: ReadAt> FileArchive<R> {
    /// Checks the framing of the whole file: the seek table says for every frame the size that
    /// follows from the metadata.
    ///
    /// # Errors
    /// When it does not, or the packed part is damaged.
    pub fn open(mut accepted: Accepted<FileFrames<R>>) -> Result<Self, BundleError> {
        let plan = &accepted.metadata.plan;
        let table = accepted.stream.frames.table();
        if table.frames() != plan.layout.frames() {
            return Err(BundleError::SeekTableMismatch);
        }
        // It grows with what was found right, not with what is claimed.
        let mut offsets = Vec::new();
        let mut offset = 0;
        table.for_each(accepted.stream.frames.source(), |number, (len, content)| {
            let span = plan.layout.frame(number, &plan.contents);
            let cut = span.content_len() == u64::from(content)
                && span
                    .stored_len()
                    .is_none_or(|stored| stored == u64::from(len));
            if !cut {
                return Err(BundleError::Cut { number, offset });
            }
            check_len(len, u64::from(content)).map_err(|error| BundleError::Frame {
                number,
                offset,
                error,
            })?;
            offsets.push(offset);
            offset += u64::from(len);
            Ok(())
        })?;
        offsets.push(offset);
        let packed_len = (0..plan.layout.packed_frames())
            .map(|n| plan.layout.frame(n, &plan.contents).content_len())
            .sum::<u64>();
        let small = packed_len <= CHECK_WHOLE;
        if small {
            check_packed(&mut accepted)?;
        }
        let source = Arc::clone(accepted.stream.frames.source());
        let metadata = accepted.metadata;
        let archive = Self {
            source,
            metadata,
            offsets,
            packed: PackedReader::default(),
        };
        if !small {
            archive
                .packed
                .check_last(&archive.metadata.plan, &archive)?;
        }
        Ok(archive)
    }

    /// What the bundle says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Size of the file in bytes.
    pub fn file_len(&self) -> u64 {
        let frames = self.metadata.plan.layout.frames();
        self.offsets[self.offsets.len() - 1] + super::seek_table::SeekTable::encoded_len(frames)
    }

    /// Where the first frame of a member starts in the file.
    pub fn file_offset(&self, id: MemberId) -> u64 {
        let plan = &self.metadata.plan;
        self.offsets[plan.layout.frame_at(plan.layout.header_at(id)) as usize]
    }

    /// Bytes that a large member takes in the file; none for a packed one.
    pub fn file_size(&self, id: MemberId) -> Option<u64> {
        let plan = &self.metadata.plan;
        plan.contents.member(id).class.is_large().then(|| {
            let frames = plan.layout.frames_of(id);
            self.offsets[frames.end as usize] - self.offsets[frames.start as usize]
        })
    }

    /// The content of a packed member (a document or a small blob), verified.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn read_packed(&self, id: MemberId) -> Result<Bytes, BundleError> {
        self.packed.read(&self.metadata.plan, self, id)
    }

    /// Starts reading any member from the beginning.
    pub fn blob(self: &Arc<Self>, id: MemberId) -> BlobReader<R> {
        let plan = &self.metadata.plan;
        let member = plan.contents.member(id);
        let frames = if member.class.is_large() {
            plan.layout.frames_of(id)
        } else {
            0..0
        };
        BlobReader {
            archive: Arc::clone(self),
            id,
            hasher: Some(Hasher::new(member.digest.algorithm())),
            left: member.size,
            frame: frames.start,
            end: frames.end,
            block: 0,
            checksum: Xxh64::new(0),
            ready: VecDeque::new(),
            held: Vec::new(),
            decoder: FrameDecoder::default(),
            encoded: Vec::new(),
            used: 0,
            decoded: 0,
            started: false,
        }
    }
}

impl<R: ReadAt> PackedFrames for FileArchive<R> {
    fn encoded(&self, number: u32) -> Result<(Bytes, u64), BundleError> {
        let (start, end) = (
            self.offsets[number as usize],
            self.offsets[number as usize + 1],
        );
        let mut encoded = vec![0; (end - start) as usize];
        self.source
            .read_exact_at(&mut encoded, start)
            .map_err(cut_short(start))?;
        Ok((Bytes::from(encoded), start))
    }
}

/// Reads the rest of the packed part in order, keeping nothing.
fn check_packed<R: ReadAt>(accepted: &mut Accepted<FileFrames<R>>) -> Result<(), BundleError> {
    let plan = &accepted.metadata.plan;
    let stream = &mut accepted.stream;
    for member in plan
        .contents
        .members()
        .iter()
        .filter(|m| m.class == Class::Small)
    {
        stream.blob(&member.digest, member.size)?;
    }
    if plan.layout.packed_frames() == plan.layout.frames() {
        stream.expect(&[0; tar::CLOSING as usize], "the end of the stream")?;
    }
    Ok(())
}

/// Reads one member in pieces. The last piece is given out only after the digest was found right,
/// so whoever sends on what it reads never completes damaged content.
pub struct BlobReader<R> {
    archive: Arc<FileArchive<R>>,
    id: MemberId,
    /// None once the digest was checked.
    hasher: Option<Hasher>,
    /// Content bytes that were not read yet.
    left: u64,
    frame: u32,
    end: u32,
    /// Next raw block of a stored frame.
    block: u64,
    checksum: Xxh64,
    ready: VecDeque<Bytes>,
    /// The last content, until what lies behind it in its frame was checked.
    held: Vec<Bytes>,
    decoder: FrameDecoder,
    /// Bytes of a compressed frame that were read and are not decoded yet.
    encoded: Vec<u8>,
    /// Bytes of a compressed frame that were decoded, and tar bytes that came out.
    used: u64,
    decoded: u64,
    started: bool,
}

impl<R> std::fmt::Debug for BlobReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "BlobReader(member {}, {} bytes to come)",
            self.id, self.left
        )
    }
}

impl<R: ReadAt> BlobReader<R> {
    /// The next piece of content; none at the end.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, BundleError> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            let packed = !self
                .archive
                .metadata
                .plan
                .contents
                .member(self.id)
                .class
                .is_large();
            if packed && !self.started {
                self.started = true;
                let content = self.archive.read_packed(self.id)?;
                return Ok((!content.is_empty()).then_some(content));
            }
            if self.frame == self.end {
                return Ok(None);
            }
            self.read_on()?;
        }
    }

    /// Reads a piece of the file, checks it and puts its content into `ready`.
    fn read_on(&mut self) -> Result<(), BundleError> {
        let archive = Arc::clone(&self.archive);
        let plan = &archive.metadata.plan;
        let span = plan.layout.frame(self.frame, &plan.contents);
        let mut pieces = Vec::new();
        if span.stored {
            self.stored_blocks(&span, &mut pieces)?;
        } else {
            self.compressed_piece(&span, &mut pieces)?;
        }
        self.held.extend(pieces);
        if self.left == 0 && self.frame < self.end {
            return Ok(());
        }
        if self.left == 0
            && let Some(hasher) = self.hasher.take()
        {
            let digest = plan.contents.member(self.id).digest;
            if hasher.finish() != digest {
                let offset = archive.file_offset(self.id);
                return Err(BundleError::Digest { digest, offset });
            }
        }
        self.ready.extend(self.held.drain(..));
        Ok(())
    }

    /// Decodes the next piece of a compressed frame.
    fn compressed_piece(
        &mut self,
        span: &Span,
        pieces: &mut Vec<Bytes>,
    ) -> Result<(), BundleError> {
        let archive = Arc::clone(&self.archive);
        let number = self.frame;
        let (start, end) = (
            archive.offsets[number as usize],
            archive.offsets[number as usize + 1],
        );
        let wrong = |error| BundleError::Frame {
            number,
            offset: start,
            error,
        };
        let len = end - start;
        let size = PIECE.min(span.content_len() - self.decoded);
        let mut content = Vec::with_capacity(size as usize);
        loop {
            let at = start + self.used;
            if self.encoded.is_empty() {
                self.encoded.resize(PIECE.min(end - at) as usize, 0);
                archive
                    .source
                    .read_exact_at(&mut self.encoded, at)
                    .map_err(cut_short(at))?;
            }
            if self.used == 0 {
                let begun = self.decoder.begin(&self.encoded, span.content_len());
                begun.map_err(wrong)?;
            }
            let used = self.decoder.decode(&self.encoded, &mut content);
            let used = used.map_err(wrong)?;
            self.encoded.drain(..used);
            self.used += used as u64;
            if self.decoder.has_ended() || self.used == len {
                break;
            }
            // Behind the last content comes the checksum: the frame is read to its end.
            let full = content.len() as u64 == size;
            if full && self.decoded + size < span.content_len() {
                break;
            }
        }
        let from = self.decoded;
        self.decoded += content.len() as u64;
        if self.decoder.has_ended() || self.used == len {
            if self.used != len || !self.decoder.has_ended() {
                return Err(wrong(FrameError::Length));
            }
            self.encoded.clear();
            (self.used, self.decoded) = (0, 0);
            self.frame += 1;
        }
        self.content(span, from, Bytes::from(content), pieces)
    }

    /// Reads some raw blocks of a stored frame.
    fn stored_blocks(&mut self, span: &Span, pieces: &mut Vec<Bytes>) -> Result<(), BundleError> {
        let archive = Arc::clone(&self.archive);
        let number = self.frame;
        let frame_at = archive.offsets[number as usize];
        let wrong = |error| BundleError::Frame {
            number,
            offset: frame_at,
            error,
        };
        let content_len = span.content_len();
        let blocks = content_len.div_ceil(RAW_BLOCK as u64);
        let (first, end) = (self.block, (self.block + BLOCKS_AT_ONCE).min(blocks));
        // Where the raw block `n` starts in the frame, its header included.
        let block_at = |n: u64| {
            STORED_HEADER as u64 + n * BLOCK_HEADER as u64 + (n * RAW_BLOCK as u64).min(content_len)
        };
        let from = if first == 0 { 0 } else { block_at(first) };
        let to = block_at(end) + if end == blocks { CHECKSUM as u64 } else { 0 };
        let mut bytes = vec![0; (to - from) as usize];
        let at = frame_at + from;
        archive
            .source
            .read_exact_at(&mut bytes, at)
            .map_err(cut_short(at))?;
        let mut bytes = Bytes::from(bytes);
        if first == 0 {
            self.checksum = Xxh64::new(0);
            if *bytes.split_to(STORED_HEADER) != frame::stored_header(content_len) {
                return Err(wrong(FrameError::NotStored));
            }
        }
        for n in first..end {
            let start = n * RAW_BLOCK as u64;
            let len = (content_len - start).min(RAW_BLOCK as u64) as usize;
            if *bytes.split_to(BLOCK_HEADER) != frame::block_header(len, n + 1 == blocks) {
                return Err(wrong(FrameError::NotStored));
            }
            let raw = bytes.split_to(len);
            self.checksum.update(&raw);
            self.content(span, start, raw, pieces)?;
        }
        self.block = end;
        if end == blocks {
            if *bytes != frame::checksum(&self.checksum) {
                return Err(wrong(FrameError::Checksum));
            }
            self.block = 0;
            self.frame += 1;
        }
        Ok(())
    }

    /// Takes tar bytes that start at `start` in the frame: compares what surrounds the content, and
    /// hashes the content.
    fn content(
        &mut self,
        span: &Span,
        start: u64,
        bytes: Bytes,
        pieces: &mut Vec<Bytes>,
    ) -> Result<(), BundleError> {
        let plan = &self.archive.metadata.plan;
        let content = super::content_piece(plan, span, self.id, start, &bytes)?;
        let content = bytes.slice(content);
        if !content.is_empty() {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&content);
            }
            self.left -= content.len() as u64;
            pieces.push(content);
        }
        Ok(())
    }
}
