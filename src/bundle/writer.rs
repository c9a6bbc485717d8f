//! Writing a bundle: the packed part in order, stored blobs each in its own place, compressed blobs
//! in order, and the seek table.

use std::{io, io::Write, sync::Arc};

use xxhash_rust::xxh64::Xxh64;

use super::{
    contents::{Class, Contents, MemberId},
    error::BundleError,
    frame::{self, BLOCK_HEADER, CHECKSUM, Compressor, FrameError, RAW_BLOCK, STORED_HEADER},
    io_at::{ReadAt, WriteAt},
    layout::{Layout, Span},
    root::OCI_LAYOUT,
    seek_table::SeekTable,
    tar,
};
use crate::oci::{Digest, Hasher};

/// What is to be written where: contents and layout together.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything in the bundle, in order.
    pub contents: Arc<Contents>,
    /// Where it goes.
    pub layout: Arc<Layout>,
}

impl Plan {
    /// Lays out `contents`.
    ///
    /// # Errors
    /// When the bundle would be larger than the format allows.
    pub fn new(index_json: &[u8], contents: Contents) -> Result<Self, BundleError> {
        let layout = Layout::new(index_json.len() as u64, &contents).ok_or(BundleError::TooMuch)?;
        Ok(Self {
            contents: Arc::new(contents),
            layout: Arc::new(layout),
        })
    }

    /// The large blobs of a class, in order.
    pub fn large(&self, class: Class) -> impl Iterator<Item = MemberId> + '_ {
        let members = self.contents.members().iter().enumerate();
        members
            .filter(move |(_, m)| m.class == class)
            .map(|(id, _)| id as MemberId)
    }

    /// Bytes in the file of all frames of a stored blob.
    pub fn stored_len(&self, id: MemberId) -> u64 {
        let frames = self.layout.frames_of(id);
        frames
            .filter_map(|n| self.layout.frame(n, &self.contents).stored_len())
            .sum()
    }

    /// The least and the most bytes that the file can have: stored blobs have a known length, what
    /// is compressed shrinks or grows by little.
    pub fn file_len_bounds(&self) -> (u64, u64) {
        let stored: u64 = self
            .large(Class::Stored)
            .map(|id| self.stored_len(id))
            .sum();
        let table = SeekTable::encoded_len(self.layout.frames());
        let frames = 0..self.layout.frames();
        let most_compressed: u64 = frames
            .map(|n| self.layout.frame(n, &self.contents))
            .filter(|span| !span.stored)
            .map(|span| zstd::zstd_safe::compress_bound(span.content_len() as usize) as u64)
            .sum();
        (stored + table, stored + table + most_compressed)
    }

    /// Encodes one frame of a large blob from the piece of content that it holds.
    ///
    /// # Errors
    /// When libzstd fails.
    pub fn encode_large(
        &self,
        number: u32,
        content: &[u8],
        compressor: &mut Compressor,
    ) -> Result<Vec<u8>, FrameError> {
        let span = self.layout.frame(number, &self.contents);
        let id = span.member.expect("a frame of a large blob");
        let (mut bytes, after) = self.layout.envelope(&span, id, &self.contents);
        bytes.reserve_exact(span.content_len() as usize - bytes.len());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + after as usize, 0);
        if span.stored {
            Ok(frame::encode_stored(&bytes))
        } else {
            compressor.encode(&bytes)
        }
    }

    /// The piece of a blob's content that one of its frames holds.
    pub fn content_of(&self, number: u32) -> std::ops::Range<u64> {
        let span = self.layout.frame(number, &self.contents);
        let id = span.member.expect("a frame of a large blob");
        self.layout.content_in(&span, id, &self.contents).0
    }
}

/// Writes the packed part: everything before the first large blob, in order.
pub struct PackedWriter<W> {
    out: W,
    plan: Plan,
    compressor: Compressor,
    buffer: Vec<u8>,
    next: MemberId,
    sizes: Vec<(u32, u32)>,
}

impl<W> std::fmt::Debug for PackedWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedWriter(member {})", self.next)
    }
}

impl<W: Write> PackedWriter<W> {
    /// Starts with `oci-layout` and `index.json`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn start(out: W, plan: Plan, index_json: &[u8]) -> Result<Self, BundleError> {
        let compressor = Compressor::new().map_err(|e| frame_error(0, 0, e))?;
        let mut writer = Self {
            out,
            plan,
            compressor,
            buffer: Vec::new(),
            next: 0,
            sizes: Vec::new(),
        };
        for (name, content) in [("oci-layout", OCI_LAYOUT), ("index.json", index_json)] {
            let size = content.len() as u64;
            writer.put(&tar::header(name, size))?;
            writer.put(content)?;
            writer.put(&vec![0; tar::padding(size) as usize])?;
        }
        Ok(writer)
    }

    /// The next member to be written, while it is a packed one.
    pub fn wants(&self) -> Option<MemberId> {
        let member = self.plan.contents.members().get(self.next as usize)?;
        (!member.class.is_large()).then_some(self.next)
    }

    /// Writes the member that [`Self::wants`] named.
    ///
    /// # Errors
    /// When the content does not have its digest, or writing fails.
    pub fn member(&mut self, content: &[u8]) -> Result<(), BundleError> {
        let member = *self.plan.contents.member(self.next);
        let digest = member.digest;
        if content.len() as u64 != member.size || digest.of_same_algorithm(content) != digest {
            return Err(BundleError::Digest { digest, offset: 0 });
        }
        self.put(&tar::blob_header(&digest, member.size))?;
        self.put(content)?;
        self.put(&vec![0; tar::padding(member.size) as usize])?;
        self.next += 1;
        Ok(())
    }

    /// Ends the packed part; gives back the output and the sizes of the frames.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> Result<(W, Vec<(u32, u32)>), BundleError> {
        debug_assert!(self.wants().is_none(), "a packed member is missing");
        if self.plan.layout.packed_frames() == self.plan.layout.frames() {
            self.put(&[0; tar::CLOSING as usize])?;
        }
        debug_assert!(
            self.buffer.is_empty(),
            "the last packed frame ends where it should"
        );
        Ok((self.out, self.sizes))
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), BundleError> {
        while !bytes.is_empty() {
            let number = self.sizes.len() as u32;
            let span = self.plan.layout.frame(number, &self.plan.contents);
            let len = span.content_len() as usize;
            self.buffer.reserve_exact(len - self.buffer.len());
            let (now, later) = bytes.split_at(bytes.len().min(len - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == len {
                let encoded = self.compressor.encode(&self.buffer);
                let encoded = encoded.map_err(|e| frame_error(number, 0, e))?;
                self.out.write_all(&encoded)?;
                self.sizes.push((encoded.len() as u32, len as u32));
                self.buffer.clear();
            }
        }
        Ok(())
    }
}

fn frame_error(number: u32, offset: u64, error: FrameError) -> BundleError {
    BundleError::Frame {
        number,
        offset,
        error,
    }
}

/// How much is gathered before it is written to the file.
const WRITE_SIZE: usize = 1 << 20;

/// Writes one stored blob into its place while it arrives, hashing it.
pub struct StoredWriter<F> {
    file: F,
    plan: Plan,
    id: MemberId,
    /// Frame in progress.
    span: Span,
    number: u32,
    /// Tar bytes of the frame and content bytes of the blob that are still to come.
    frame_left: u64,
    content_left: u64,
    block_left: usize,
    checksum: Xxh64,
    hasher: Hasher,
    out: Vec<u8>,
    /// Where `out` goes.
    at: u64,
}

impl<F> std::fmt::Debug for StoredWriter<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "StoredWriter(member {}, {} bytes to come)",
            self.id, self.content_left
        )
    }
}

impl<F: WriteAt + ReadAt> StoredWriter<F> {
    /// Starts the blob `id` whose first frame belongs at file offset `at`. Frames that are there
    /// already, whole and as prescribed, are kept when `keep` is set: the file is what an earlier run left.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn start(file: F, plan: Plan, id: MemberId, at: u64, keep: bool) -> io::Result<Self> {
        let member = *plan.contents.member(id);
        let frames = plan.layout.frames_of(id);
        let mut writer = Self {
            span: plan.layout.frame(frames.start, &plan.contents),
            number: frames.start,
            frame_left: 0,
            content_left: member.size,
            block_left: 0,
            checksum: Xxh64::new(0),
            hasher: Hasher::new(member.digest.algorithm()),
            out: Vec::with_capacity(WRITE_SIZE + (RAW_BLOCK * 2)),
            at,
            file,
            plan,
            id,
        };
        if keep {
            writer.keep_whole_frames(frames.end);
        }
        if writer.number < frames.end {
            writer.begin_frame();
            let (header, _) =
                writer
                    .plan
                    .layout
                    .envelope(&writer.span, writer.id, &writer.plan.contents);
            writer.put(&header)?;
        }
        Ok(writer)
    }

    /// Content bytes that are there already: where the rest of the blob is to be fetched from.
    pub fn position(&self) -> u64 {
        self.plan.contents.member(self.id).size - self.content_left
    }

    /// Takes the next bytes of content.
    ///
    /// # Errors
    /// When they are more than the blob has, or writing fails.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let len = content.len() as u64;
        self.content_left = self.content_left.checked_sub(len).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "more content than the blob has")
        })?;
        self.hasher.update(content);
        self.put(content)
    }

    /// Ends the blob and gives its digest, which the caller compares.
    ///
    /// # Errors
    /// When content is missing or writing fails.
    pub fn finish(mut self) -> io::Result<Digest> {
        if self.content_left > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.frame_left > 0 {
            self.put(&vec![0; self.frame_left as usize])?;
        }
        self.flush()?;
        Ok(self.hasher.finish())
    }

    fn keep_whole_frames(&mut self, end: u32) {
        while self.number < end {
            let span = self.plan.layout.frame(self.number, &self.plan.contents);
            let Some((hasher, content)) = self.whole_frame(&span) else {
                break;
            };
            self.hasher = hasher;
            self.content_left -= content;
            self.at += span.stored_len().unwrap_or_default();
            self.number += 1;
        }
        if self.number < end {
            self.span = self.plan.layout.frame(self.number, &self.plan.contents);
        }
    }

    /// Reads the frame that is at `self.at`, in small pieces because many workers do so at a time.
    /// Returns the hash of the blob up to its end and the bytes of content in it, if all of it is as
    /// it would be written now.
    fn whole_frame(&self, span: &Span) -> Option<(Hasher, u64)> {
        let len = span.content_len();
        let mut hasher = self.hasher.clone();
        let mut checksum = Xxh64::new(0);
        let mut at = self.at;
        let mut read = |buffer: &mut [u8]| {
            let done = self.file.read_exact_at(buffer, at);
            at += buffer.len() as u64;
            done.ok()
        };
        let mut header = [0; STORED_HEADER];
        read(&mut header)?;
        if header != frame::stored_header(len) {
            return None;
        }
        let mut block = vec![0; BLOCK_HEADER + RAW_BLOCK];
        let (mut start, mut content) = (0, 0);
        while start < len {
            let size = (len - start).min(RAW_BLOCK as u64);
            let block = &mut block[..BLOCK_HEADER + size as usize];
            read(block)?;
            let (header, raw) = block.split_at(BLOCK_HEADER);
            if *header != frame::block_header(raw.len(), start + size == len) {
                return None;
            }
            checksum.update(raw);
            let piece = super::content_piece(&self.plan, span, self.id, start, raw).ok()?;
            content += piece.len() as u64;
            hasher.update(&raw[piece]);
            start += size;
        }
        let mut end = [0; CHECKSUM];
        read(&mut end)?;
        (end == frame::checksum(&checksum)).then_some((hasher, content))
    }

    fn begin_frame(&mut self) {
        self.frame_left = self.span.content_len();
        self.block_left = 0;
        self.checksum = Xxh64::new(0);
        self.out
            .extend_from_slice(&frame::stored_header(self.frame_left));
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.frame_left == 0 {
                self.number += 1;
                self.span = self.plan.layout.frame(self.number, &self.plan.contents);
                self.begin_frame();
            }
            if self.block_left == 0 {
                self.block_left = (RAW_BLOCK as u64).min(self.frame_left) as usize;
                let last = self.block_left as u64 == self.frame_left;
                let header: [u8; BLOCK_HEADER] = frame::block_header(self.block_left, last);
                self.out.extend_from_slice(&header);
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.block_left));
            self.checksum.update(now);
            self.out.extend_from_slice(now);
            self.block_left -= now.len();
            self.frame_left -= now.len() as u64;
            bytes = later;
            if self.frame_left == 0 {
                self.out.extend_from_slice(&frame::checksum(&self.checksum));
            }
            // A frame that is complete is in the file at once, for the run that may have to go on.
            if self.frame_left == 0 || self.out.len() >= WRITE_SIZE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.out, self.at)?;
        self.at += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}
