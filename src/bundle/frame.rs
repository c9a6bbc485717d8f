//! zstd frames (RFC 8878) as a bundle uses them.
//!
//! Two kinds. A *stored* frame holds its content in raw blocks and is written and read here byte by
//! byte: its length in the file follows from its content's length alone, which gives every stored
//! blob its place in the file before it is downloaded. A *compressed* frame is made by libzstd.
//! Both carry their content size and a checksum, and need a window of at most [`MAX_WINDOW`].

use xxhash_rust::xxh64::Xxh64;
use zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective};

/// Tar bytes in a full frame.
pub const FRAME_CONTENT: u64 = 8 << 20;
/// Most tar bytes in a frame: a full one that also holds the end of the stream.
pub const MAX_FRAME_CONTENT: u64 = FRAME_CONTENT + super::tar::CLOSING;
/// Largest window in bytes that a frame may ask of a reader.
pub const MAX_WINDOW: u64 = 2 << 20;
/// The compression level of libzstd.
pub const COMPRESSION_LEVEL: i32 = 3;

const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// Content size in four bytes, checksum, no dictionary, window given.
const STORED_DESCRIPTOR: u8 = 0b1000_0100;
/// Window descriptor for 2^(10+11) bytes = 2 MiB.
const STORED_WINDOW: u8 = 11 << 3;
/// Magic, descriptor, window, content size.
pub(super) const STORED_HEADER: usize = 10;
/// Most content in one raw block (RFC 8878 section 3.1.1.2.4).
pub(super) const RAW_BLOCK: usize = 128 << 10;
/// Size of a block header.
pub(super) const BLOCK_HEADER: usize = 3;
/// Size of the checksum at the end of a frame.
pub(super) const CHECKSUM: usize = 4;

/// Why bytes are not a frame of a bundle.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The first bytes are not those of a zstd frame.
    #[error("this is not a zstd frame")]
    Magic,
    /// A frame header that a bundle never has.
    #[error("the frame header is not one of a bundle: {0}")]
    Header(&'static str),
    /// The content has another size than it must have.
    #[error("the frame holds {found} bytes, expected {expected}")]
    Content {
        /// What it holds or claims to hold.
        found: u64,
        /// What it must hold.
        expected: u64,
    },
    /// The frame does not end where it should.
    #[error("the frame does not have the length that the seek table gives")]
    Length,
    /// A stored frame with other bytes than the format prescribes.
    #[error("the stored frame is not as prescribed")]
    NotStored,
    /// The content does not have its checksum.
    #[error("the content does not have its checksum")]
    Checksum,
    /// libzstd's own error.
    #[error("{0}")]
    Zstd(&'static str),
}

/// Length in the file of a stored frame with `content` tar bytes.
pub const fn stored_len(content: u64) -> u64 {
    let blocks = content.div_ceil(RAW_BLOCK as u64);
    (STORED_HEADER + CHECKSUM) as u64 + blocks * BLOCK_HEADER as u64 + content
}

/// The first bytes of a stored frame with `content` tar bytes.
pub(super) fn stored_header(content: u64) -> [u8; STORED_HEADER] {
    let mut header = [0; STORED_HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = STORED_DESCRIPTOR;
    header[5] = STORED_WINDOW;
    // At most MAX_FRAME_CONTENT, which fits.
    header[6..].copy_from_slice(&(content as u32).to_le_bytes());
    header
}

/// The header of a raw block with `len` bytes (RFC 8878 section 3.1.1.2).
pub(super) fn block_header(len: usize, last: bool) -> [u8; BLOCK_HEADER] {
    let value = (len as u32) << 3 | u32::from(last);
    let bytes = value.to_le_bytes();
    [bytes[0], bytes[1], bytes[2]]
}

/// The checksum at the end of a frame: the low four bytes of XXH64 of the content.
pub(super) fn checksum(hash: &Xxh64) -> [u8; CHECKSUM] {
    (hash.digest() as u32).to_le_bytes()
}

/// Encodes a whole stored frame.
pub fn encode_stored(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored_len(content.len() as u64) as usize);
    out.extend_from_slice(&stored_header(content.len() as u64));
    let blocks = content.chunks(RAW_BLOCK);
    let last = blocks.len() - 1;
    for (position, block) in blocks.enumerate() {
        out.extend_from_slice(&block_header(block.len(), position == last));
        out.extend_from_slice(block);
    }
    let mut hash = Xxh64::new(0);
    hash.update(content);
    out.extend_from_slice(&checksum(&hash));
    out
}

/// Decodes a whole stored frame of which `frame` are all bytes into `content`, whose length is what
/// it must hold.
///
/// # Errors
/// When any byte differs from the one encoding that the format prescribes.
pub fn decode_stored(frame: &[u8], content: &mut [u8]) -> Result<(), FrameError> {
    if frame.len() as u64 != stored_len(content.len() as u64) {
        return Err(FrameError::Length);
    }
    let (header, mut rest) = frame.split_at(STORED_HEADER);
    if header != stored_header(content.len() as u64) {
        return Err(FrameError::NotStored);
    }
    let blocks = content.chunks_mut(RAW_BLOCK);
    let last = blocks.len() - 1;
    for (position, block) in blocks.enumerate() {
        let (header, behind) = rest.split_at(BLOCK_HEADER);
        if header != block_header(block.len(), position == last) {
            return Err(FrameError::NotStored);
        }
        let (raw, behind) = behind.split_at(block.len());
        block.copy_from_slice(raw);
        rest = behind;
    }
    let mut hash = Xxh64::new(0);
    hash.update(content);
    if rest == checksum(&hash) {
        Ok(())
    } else {
        Err(FrameError::Checksum)
    }
}

/// Compresses frames with libzstd; holds the compressor's memory for reuse.
pub struct Compressor(CCtx<'static>);

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    /// A compressor with the format's parameters.
    ///
    /// # Errors
    /// When libzstd refuses a parameter.
    pub fn new() -> Result<Self, FrameError> {
        let mut context = CCtx::create();
        for parameter in [
            CParameter::CompressionLevel(COMPRESSION_LEVEL),
            CParameter::WindowLog(MAX_WINDOW.ilog2()),
            CParameter::ChecksumFlag(true),
            CParameter::ContentSizeFlag(true),
        ] {
            context.set_parameter(parameter).map_err(zstd_error)?;
        }
        Ok(Self(context))
    }

    /// Compresses `content` into one frame.
    ///
    /// # Errors
    /// When libzstd fails (out of memory).
    pub fn encode(&mut self, content: &[u8]) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::with_capacity(zstd_safe::compress_bound(content.len()));
        self.0.compress2(&mut out, content).map_err(zstd_error)?;
        Ok(out)
    }
}

/// Decodes frames with libzstd; holds the decompressor's memory for reuse.
pub struct Decompressor(DCtx<'static>);

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self(DCtx::create())
    }
}

impl Decompressor {
    /// Decodes the one frame that `frame` consists of into `content` (cleared first).
    ///
    /// # Errors
    /// When it is not exactly one frame as the format allows, or holds other than `expected` bytes.
    pub fn decode(
        &mut self,
        frame: &[u8],
        expected: u64,
        content: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let header = FrameHeader::parse(frame)?;
        if header.content_size != expected || expected > MAX_FRAME_CONTENT {
            return Err(FrameError::Content {
                found: header.content_size,
                expected,
            });
        }
        // libzstd would go on with whatever frames follow; there must be none.
        let len = zstd_safe::find_frame_compressed_size(frame).map_err(zstd_error)?;
        if len != frame.len() {
            return Err(FrameError::Length);
        }
        content.clear();
        content.reserve_exact(expected as usize);
        self.0.decompress(content, frame).map_err(zstd_error)?;
        if content.len() as u64 == expected {
            Ok(())
        } else {
            Err(FrameError::Content {
                found: content.len() as u64,
                expected,
            })
        }
    }
}

/// Decodes one frame piece by piece, in little more memory than its window.
pub struct FrameDecoder {
    context: DCtx<'static>,
    /// Content bytes that are to come.
    left: u64,
    ended: bool,
}

impl std::fmt::Debug for FrameDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameDecoder({} bytes to come)", self.left)
    }
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self {
            context: DCtx::create(),
            left: 0,
            ended: true,
        }
    }
}

impl FrameDecoder {
    /// Starts with a frame whose first bytes are `start` (18 of them, or all if it is shorter).
    ///
    /// # Errors
    /// When it is no frame as the format allows, or holds other than `expected` bytes.
    pub fn begin(&mut self, start: &[u8], expected: u64) -> Result<(), FrameError> {
        let header = FrameHeader::parse(start)?;
        if header.content_size != expected || expected > MAX_FRAME_CONTENT {
            return Err(FrameError::Content {
                found: header.content_size,
                expected,
            });
        }
        let reset = self.context.reset(ResetDirective::SessionOnly);
        reset.map_err(zstd_error)?;
        self.left = expected;
        self.ended = false;
        Ok(())
    }

    /// Decodes from `encoded` until `content` has no capacity left or `encoded` is used up. Returns
    /// how much of `encoded` was used.
    ///
    /// # Errors
    /// When the frame is damaged, or holds more or less than it must.
    pub fn decode(&mut self, encoded: &[u8], content: &mut Vec<u8>) -> Result<usize, FrameError> {
        let mut input = InBuffer::around(encoded);
        while !self.ended {
            let (used, before) = (input.pos(), content.len());
            let mut output = OutBuffer::around_pos(content, before);
            let more = self.context.decompress_stream(&mut output, &mut input);
            self.ended = more.map_err(zstd_error)? == 0;
            let count = (content.len() - before) as u64;
            let left = self.left.checked_sub(count);
            self.left = left.filter(|left| *left == 0 || !self.ended).ok_or({
                FrameError::Content {
                    found: count,
                    expected: self.left,
                }
            })?;
            if count == 0 && input.pos() == used {
                break;
            }
        }
        Ok(input.pos())
    }

    /// Whether the frame has come to its end: all content is there and has its checksum.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// What the header of a frame says (RFC 8878 section 3.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of content.
    pub content_size: u64,
}

impl FrameHeader {
    /// Reads the header at the start of `frame`.
    ///
    /// # Errors
    /// When it is no zstd frame, or one without content size or checksum, with a dictionary, a
    /// reserved bit or a window beyond [`MAX_WINDOW`].
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        if frame.get(..4) != Some(MAGIC.as_slice()) {
            return Err(FrameError::Magic);
        }
        let descriptor = *frame.get(4).ok_or(FrameError::Header("cut off"))?;
        let single_segment = descriptor & 0x20 != 0;
        if descriptor & 0x18 != 0 {
            return Err(FrameError::Header("a reserved bit is set"));
        }
        if descriptor & 0x04 == 0 {
            return Err(FrameError::Header("there is no checksum"));
        }
        if descriptor & 0x03 != 0 {
            return Err(FrameError::Header("a dictionary is needed"));
        }
        let (window, at) = if single_segment {
            (None, 5)
        } else {
            let byte = *frame.get(5).ok_or(FrameError::Header("cut off"))?;
            let base = 1_u64 << (10 + u32::from(byte >> 3));
            (Some(base + base / 8 * u64::from(byte & 7)), 6)
        };
        let size_len = match (descriptor >> 6, single_segment) {
            (0, false) => return Err(FrameError::Header("there is no content size")),
            (0, true) => 1,
            (1, _) => 2,
            (2, _) => 4,
            _ => 8,
        };
        let field = frame
            .get(at..at + size_len)
            .ok_or(FrameError::Header("cut off"))?;
        let mut bytes = [0; 8];
        bytes[..size_len].copy_from_slice(field);
        let content_size = u64::from_le_bytes(bytes) + if size_len == 2 { 256 } else { 0 };
        if window.unwrap_or(content_size) > MAX_WINDOW {
            return Err(FrameError::Header("the window is larger than 2 MiB"));
        }
        Ok(Self { content_size })
    }
}

fn zstd_error(code: zstd_safe::ErrorCode) -> FrameError {
    FrameError::Zstd(zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len as u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .take(len)
            .collect()
    }

    #[test]
    fn libzstd_reads_stored_frames() {
        for len in [
            1,
            512,
            RAW_BLOCK,
            RAW_BLOCK + 1,
            1 << 20,
            FRAME_CONTENT as usize + 1024,
        ] {
            let content = sample(len);
            let frame = encode_stored(&content);
            assert_eq!(frame.len() as u64, stored_len(len as u64));
            let mut decoded = Vec::new();
            Decompressor::default()
                .decode(&frame, len as u64, &mut decoded)
                .unwrap();
            assert!(decoded == content);
            let mut decoded = vec![0; len];
            decode_stored(&frame, &mut decoded).unwrap();
            assert!(decoded == content);
        }
    }

    #[test]
    fn every_changed_byte_of_a_stored_frame_is_noticed() {
        let content = sample(RAW_BLOCK + 700);
        let frame = encode_stored(&content);
        for at in (0..40)
            .chain(RAW_BLOCK..RAW_BLOCK + 40)
            .chain(frame.len() - 8..frame.len())
        {
            let mut changed = frame.clone();
            changed[at] ^= 1;
            assert!(
                decode_stored(&changed, &mut vec![0; content.len()]).is_err(),
                "byte {at}"
            );
        }
        assert!(decode_stored(&frame[1..], &mut vec![0; content.len()]).is_err());
    }

    #[test]
    fn compressed_frames_have_the_prescribed_header() {
        let mut compressor = Compressor::new().unwrap();
        for len in [1, 300, 70_000, MAX_WINDOW as usize, FRAME_CONTENT as usize] {
            let content = vec![7; len];
            let frame = compressor.encode(&content).unwrap();
            assert_eq!(FrameHeader::parse(&frame).unwrap().content_size, len as u64);
            let mut decoded = Vec::new();
            Decompressor::default()
                .decode(&frame, len as u64, &mut decoded)
                .unwrap();
            assert!(decoded == content);
            assert!(
                Decompressor::default()
                    .decode(&frame, len as u64 + 1, &mut decoded)
                    .is_err()
            );
            let two = [frame.as_slice(), frame.as_slice()].concat();
            assert!(
                Decompressor::default()
                    .decode(&two, len as u64, &mut decoded)
                    .is_err()
            );
        }
    }

    #[test]
    fn foreign_frames_are_refused_before_anything_is_allocated() {
        let window_41 = [0x28, 0xb5, 0x2f, 0xfd, 0x84, 31 << 3, 0, 0, 0, 1, 1, 0, 0];
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0];
        let no_checksum = [0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x58, 1, 0, 0, 0];
        let no_size = [0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 1, 0, 0];
        let dictionary = [0x28, 0xb5, 0x2f, 0xfd, 0x85, 0x58, 1, 1, 0, 0, 0];
        let reserved = [0x28, 0xb5, 0x2f, 0xfd, 0x8c, 0x58, 1, 0, 0, 0];
        let frames: [&[u8]; 7] = [
            &window_41,
            &skippable,
            &no_checksum,
            &no_size,
            &dictionary,
            &reserved,
            b"\x28\xb5",
        ];
        for frame in frames {
            assert!(FrameHeader::parse(frame).is_err(), "{frame:x?}");
        }
    }

    #[test]
    fn a_frame_is_decoded_in_pieces_of_any_size() {
        let content = sample(700_000);
        let frame = Compressor::new().unwrap().encode(&content).unwrap();
        let len = content.len() as u64;
        let decode = |frame: &[u8], piece: usize, room: usize| {
            let mut decoder = FrameDecoder::default();
            decoder.begin(&frame[..18], len)?;
            let (mut at, mut all) = (0, Vec::new());
            while !decoder.has_ended() && at < frame.len() {
                let end = frame.len().min(at + piece);
                let mut some = Vec::with_capacity(room);
                at += decoder.decode(&frame[at..end], &mut some)?;
                all.extend(some);
            }
            Ok::<_, FrameError>((all, at, decoder.has_ended()))
        };
        for (piece, room) in [
            (1 << 20, 1 << 20),
            (1000, 1 << 20),
            (1 << 20, 5000),
            (77, 3000),
        ] {
            let (all, used, ended) = decode(&frame, piece, room).unwrap();
            assert!(all == content && used == frame.len() && ended);
        }
        let (_, _, ended) = decode(&frame[..frame.len() - 1], 1000, 1 << 20).unwrap();
        assert!(!ended);
        let mut damaged = frame.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(decode(&damaged, 1000, 1 << 20).is_err());
        let mut decoder = FrameDecoder::default();
        assert!(decoder.begin(&frame[..18], len + 1).is_err());
        assert!(decoder.begin(&content[..18], len).is_err());
    }
}
