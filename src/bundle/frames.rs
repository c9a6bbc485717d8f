//! Frames one after the other, from a file or from a pipe.

use std::{
    io::{self, Read},
    sync::Arc,
};

use super::{
    error::BundleError,
    frame::{self, BLOCK_HEADER, CHECKSUM, Decompressor, FrameError, FrameHeader, RAW_BLOCK},
    io_at::ReadAt,
    seek_table::{FOOTER, SeekTable, TableInFile},
};

/// A source of frames in order.
pub trait Frames {
    /// Reads the next frame. `content` gets what it holds; `expected` is how much that must be, once
    /// this is known, and `stored` whether it must be a stored frame. Returns the frame's bytes in the file.
    ///
    /// # Errors
    /// When the frame is damaged, not as prescribed, or not there.
    fn next_frame(
        &mut self,
        expected: Option<(u64, bool)>,
        content: &mut Vec<u8>,
    ) -> Result<&[u8], BundleError>;

    /// Sizes in the file and content sizes of the frames read so far.
    fn sizes(&self) -> &[(u32, u32)];
}

/// Decodes one frame whose bytes are `encoded`.
pub(super) fn decode(
    encoded: &[u8],
    expected: u64,
    stored: bool,
    decompressor: &mut Decompressor,
    content: &mut Vec<u8>,
) -> Result<(), FrameError> {
    if stored {
        content.resize(expected as usize, 0);
        frame::decode_stored(encoded, content)
    } else {
        decompressor.decode(encoded, expected, content)
    }
}

/// Frames of a file, by its seek table.
#[derive(Debug)]
pub struct FileFrames<R> {
    source: Arc<R>,
    table: TableInFile,
    /// Of the frames that were read.
    sizes: Vec<(u32, u32)>,
    offset: u64,
    encoded: Vec<u8>,
    decompressor: Decompressor,
}

impl<R: ReadAt> FileFrames<R> {
    /// Reads the seek table and checks that it accounts for the whole file.
    ///
    /// # Errors
    /// When there is none, or it describes another file.
    pub fn open(source: Arc<R>) -> Result<Self, BundleError> {
        let size = source.size()?;
        let mut magic = [0; 4];
        let head = (size as usize).min(magic.len());
        source.read_exact_at(&mut magic[..head], 0)?;
        check_magic(&magic[..head])?;
        let footer_at = size
            .checked_sub(FOOTER as u64)
            .ok_or(BundleError::Truncated(size))?;
        let mut footer = [0; FOOTER];
        source.read_exact_at(&mut footer, footer_at)?;
        let frames = SeekTable::frames_in_footer(&footer)?;
        let table_len = SeekTable::encoded_len(frames);
        let table_at = size
            .checked_sub(table_len)
            .ok_or(BundleError::SeekTableMismatch)?;
        // A frame has at least a dozen bytes.
        if table_at / 12 < u64::from(frames) {
            return Err(BundleError::SeekTableMismatch);
        }
        let mut header = [0; 8];
        source.read_exact_at(&mut header, table_at)?;
        SeekTable::check_header(header, frames)?;
        let table = TableInFile::new(table_at, frames);
        let mut total = 0;
        table.for_each(&source, |_, (len, _)| {
            total += u64::from(len);
            Ok::<_, io::Error>(())
        })?;
        if total != table_at {
            return Err(BundleError::SeekTableMismatch);
        }
        Ok(Self {
            source,
            table,
            sizes: Vec::new(),
            offset: 0,
            encoded: Vec::new(),
            decompressor: Decompressor::default(),
        })
    }

    /// The file.
    pub fn source(&self) -> &Arc<R> {
        &self.source
    }

    /// The seek table.
    pub(super) fn table(&self) -> TableInFile {
        self.table
    }
}

impl<R: ReadAt> Frames for FileFrames<R> {
    fn next_frame(
        &mut self,
        expected: Option<(u64, bool)>,
        content: &mut Vec<u8>,
    ) -> Result<&[u8], BundleError> {
        let (offset, number) = (self.offset, self.sizes.len() as u32);
        let at = |error| BundleError::Frame {
            number,
            offset,
            error,
        };
        let (len, claimed) = self
            .table
            .entry(&self.source, number)?
            .ok_or(BundleError::SeekTableMismatch)?;
        let (expected, stored) = expected.unwrap_or((u64::from(claimed), false));
        if u64::from(claimed) != expected {
            return Err(BundleError::Cut { number, offset });
        }
        check_len(len, expected).map_err(at)?;
        self.encoded.resize(len as usize, 0);
        self.source
            .read_exact_at(&mut self.encoded, offset)
            .map_err(cut_short(offset))?;
        decode(
            &self.encoded,
            expected,
            stored,
            &mut self.decompressor,
            content,
        )
        .map_err(at)?;
        self.sizes.push((len, claimed));
        self.offset += u64::from(len);
        Ok(&self.encoded)
    }

    fn sizes(&self) -> &[(u32, u32)] {
        &self.sizes
    }
}

/// No honest frame is longer than libzstd's bound; a claim beyond it must not take memory.
pub(super) fn check_len(len: u32, content: u64) -> Result<(), FrameError> {
    if content > frame::MAX_FRAME_CONTENT {
        return Err(FrameError::Content {
            found: content,
            expected: frame::MAX_FRAME_CONTENT,
        });
    }
    if u64::from(len) > longest(content) {
        Err(FrameError::Length)
    } else {
        Ok(())
    }
}

fn longest(content: u64) -> u64 {
    zstd::zstd_safe::compress_bound(content as usize) as u64 + 64
}

/// A read beyond the end means that the file lost its tail since it was measured.
pub(super) fn cut_short(offset: u64) -> impl Fn(io::Error) -> BundleError {
    move |error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated(offset),
        _ => BundleError::Io(error),
    }
}

fn check_magic(head: &[u8]) -> Result<(), BundleError> {
    const OTHERS: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "it is compressed with gzip"),
        (b"\xfd7zX", "it is compressed with xz"),
        (b"PK\x03\x04", "it is a zip file"),
        (b"\x7fELF", "it is a program"),
        (b"oci-", "it is a tar file that is not compressed"),
    ];
    if head == [0x28, 0xb5, 0x2f, 0xfd] {
        return Ok(());
    }
    if head.is_empty() {
        return Err(BundleError::NotABundle("it is empty"));
    }
    let known = OTHERS.iter().find(|(magic, _)| head.starts_with(magic));
    Err(BundleError::NotABundle(
        known.map_or("it does not start with a zstd frame", |o| o.1),
    ))
}

/// Frames of a stream that cannot seek.
#[derive(Debug)]
pub struct StreamFrames<R> {
    input: R,
    sizes: Vec<(u32, u32)>,
    offset: u64,
    encoded: Vec<u8>,
    decompressor: Decompressor,
}

impl<R: Read> StreamFrames<R> {
    /// Starts at the beginning of a stream.
    pub fn new(input: R) -> Self {
        Self {
            input,
            sizes: Vec::new(),
            offset: 0,
            encoded: Vec::new(),
            decompressor: Decompressor::default(),
        }
    }

    /// Reads what follows the last frame: the seek table of exactly the frames that were read, and
    /// then nothing.
    ///
    /// # Errors
    /// When it is another table, or something follows.
    pub fn finish(&mut self) -> Result<(), BundleError> {
        let expected = SeekTable(self.sizes.clone()).encode();
        self.encoded.clear();
        let mut limited = (&mut self.input).take(expected.len() as u64 + 1);
        limited.read_to_end(&mut self.encoded)?;
        let end = self.offset + expected.len() as u64;
        if self.encoded.len() > expected.len() && self.encoded.starts_with(&expected) {
            return Err(BundleError::Trailing(end));
        }
        if self.encoded.len() < expected.len() && expected.starts_with(&self.encoded) {
            return Err(BundleError::Truncated(
                self.offset + self.encoded.len() as u64,
            ));
        }
        if self.encoded == expected {
            Ok(())
        } else {
            Err(BundleError::SeekTableMismatch)
        }
    }

    /// Reads `count` more bytes of the frame.
    fn more(&mut self, count: usize) -> Result<&[u8], BundleError> {
        let start = self.encoded.len();
        self.encoded.resize(start + count, 0);
        self.input
            .read_exact(&mut self.encoded[start..])
            .map_err(cut_short(self.offset + start as u64))?;
        Ok(&self.encoded[start..])
    }
}

impl<R: Read> Frames for StreamFrames<R> {
    fn next_frame(
        &mut self,
        expected: Option<(u64, bool)>,
        content: &mut Vec<u8>,
    ) -> Result<&[u8], BundleError> {
        let (offset, number) = (self.offset, self.sizes.len() as u32);
        let at = |error| BundleError::Frame {
            number,
            offset,
            error,
        };
        self.encoded.clear();
        if number == 0 {
            let magic = self.more(4)?;
            check_magic(magic)?;
            self.more(1)?;
        } else {
            self.more(5)?;
        }
        // The descriptor tells how much header follows (RFC 8878 section 3.1.1.1.1).
        let descriptor = self.encoded[4];
        let window = usize::from(descriptor & 0x20 == 0);
        let size = match descriptor >> 6 {
            0 => 1 - window,
            flag => 1 << flag,
        };
        self.more(window + size)?;
        let header = FrameHeader::parse(&self.encoded).map_err(at)?;
        let (expected, stored) = expected.unwrap_or((header.content_size, false));
        if header.content_size != expected {
            return Err(BundleError::Cut { number, offset });
        }
        check_len(0, expected).map_err(at)?;
        loop {
            let block = self.more(BLOCK_HEADER)?;
            let value = u32::from_le_bytes([block[0], block[1], block[2], 0]);
            let len = match (value >> 1 & 3, (value >> 3) as usize) {
                (1, len) if len <= RAW_BLOCK => 1,
                (0 | 2, len) if len <= RAW_BLOCK => len,
                _ => return Err(at(FrameError::Header("a block is not possible"))),
            };
            self.more(len)?;
            if self.encoded.len() as u64 > longest(expected) {
                return Err(at(FrameError::Length));
            }
            if value & 1 == 1 {
                break;
            }
        }
        self.more(CHECKSUM)?;
        decode(
            &self.encoded,
            expected,
            stored,
            &mut self.decompressor,
            content,
        )
        .map_err(at)?;
        self.offset += self.encoded.len() as u64;
        self.sizes
            .push((self.encoded.len() as u32, expected as u32));
        Ok(&self.encoded)
    }

    fn sizes(&self) -> &[(u32, u32)] {
        &self.sizes
    }
}
