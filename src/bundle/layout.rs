//! Where everything is: the tar stream's offsets and the frames that it is cut into.
//!
//! Both follow from the contents alone (bundle-spec, "Frames"), so a reader computes them and
//! believes no table.

use std::ops::Range;

use super::{
    contents::{Class, Contents, MemberId},
    frame::{FRAME_CONTENT, stored_len},
    root::OCI_LAYOUT,
    seek_table::MAX_FRAMES,
    tar,
};

/// A part of the tar stream that is cut into frames by itself.
#[derive(Debug, Clone, Copy)]
struct Region {
    start: u64,
    len: u64,
    first_frame: u32,
    /// The large blob in it; none for the packed members before the first one.
    member: Option<MemberId>,
}

/// One frame: a piece of the tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The piece of the tar stream.
    pub tar: Range<u64>,
    /// The large blob whose frame it is; none for a packed frame.
    pub member: Option<MemberId>,
    /// Whether it is a stored frame, of known length.
    pub stored: bool,
}

impl Span {
    /// Tar bytes in the frame.
    pub fn content_len(&self) -> u64 {
        self.tar.end - self.tar.start
    }

    /// Bytes of a stored frame in the file; none for a compressed one.
    pub fn stored_len(&self) -> Option<u64> {
        self.stored.then(|| stored_len(self.content_len()))
    }
}

/// Offsets of all members and frames.
#[derive(Debug)]
pub struct Layout {
    /// Where each member's header starts in the tar stream.
    headers: Vec<u64>,
    regions: Vec<Region>,
    frames: u32,
    tar_len: u64,
}

impl Layout {
    /// Computes the layout; none where the bundle is beyond what the seekable format can hold
    /// (2^27 frames).
    pub fn new(index_json_len: u64, contents: &Contents) -> Option<Self> {
        let plain = |size: u64| tar::BLOCK + size + tar::padding(size);
        let mut at = plain(OCI_LAYOUT.len() as u64) + plain(index_json_len);
        let mut headers = Vec::with_capacity(contents.members().len());
        let mut regions = vec![Region {
            start: 0,
            len: at,
            first_frame: 0,
            member: None,
        }];
        for (id, member) in contents.members().iter().enumerate() {
            headers.push(at);
            let len = tar::blob_header_len(&member.digest)
                .checked_add(member.size)?
                .checked_add(tar::padding(member.size))?;
            if member.class.is_large() {
                let member = Some(id as MemberId);
                regions.push(Region {
                    start: at,
                    len,
                    first_frame: 0,
                    member,
                });
            } else {
                // Large blobs come last: this is still the packed region.
                regions[0].len += len;
            }
            at = at.checked_add(len)?;
        }
        let mut frames = 0_u32;
        for region in &mut regions {
            region.first_frame = frames;
            let more = u32::try_from(region.len.div_ceil(FRAME_CONTENT)).ok()?;
            frames = frames
                .checked_add(more)
                .filter(|frames| *frames <= MAX_FRAMES)?;
        }
        let tar_len = at.checked_add(tar::CLOSING)?;
        Some(Self {
            headers,
            regions,
            frames,
            tar_len,
        })
    }

    /// Number of frames.
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Length of the tar stream in bytes, closing blocks included.
    pub const fn tar_len(&self) -> u64 {
        self.tar_len
    }

    /// Where a member's header starts in the tar stream.
    pub fn header_at(&self, id: MemberId) -> u64 {
        self.headers[id as usize]
    }

    /// Number of packed frames, the ones before the first large blob.
    pub fn packed_frames(&self) -> u32 {
        self.regions
            .get(1)
            .map_or(self.frames, |region| region.first_frame)
    }

    /// The frames of a large blob.
    pub fn frames_of(&self, id: MemberId) -> Range<u32> {
        let at = self.headers[id as usize];
        let position = self.regions.partition_point(|region| region.start <= at) - 1;
        let next = self
            .regions
            .get(position + 1)
            .map_or(self.frames, |r| r.first_frame);
        self.regions[position].first_frame..next
    }

    /// The frame with number `number`.
    pub fn frame(&self, number: u32, contents: &Contents) -> Span {
        let position = self
            .regions
            .partition_point(|region| region.first_frame <= number)
            - 1;
        let region = self.regions[position];
        let start = region.start + u64::from(number - region.first_frame) * FRAME_CONTENT;
        let mut end = (start + FRAME_CONTENT).min(region.start + region.len);
        if number + 1 == self.frames {
            end += tar::CLOSING;
        }
        let stored = region
            .member
            .is_some_and(|id| contents.member(id).class == Class::Stored);
        Span {
            tar: start..end,
            member: region.member,
            stored,
        }
    }

    /// The number of the frame that holds a tar offset before the closing blocks.
    pub fn frame_at(&self, tar_offset: u64) -> u32 {
        let position = self
            .regions
            .partition_point(|region| region.start <= tar_offset)
            - 1;
        let region = self.regions[position];
        // The closing blocks belong to the last frame, whatever its size.
        let inside = (tar_offset - region.start).min(region.len.saturating_sub(1));
        region.first_frame + (inside / FRAME_CONTENT) as u32
    }

    /// The piece of a member's content that a frame holds, and where in the frame it starts.
    pub fn content_in(&self, span: &Span, id: MemberId, contents: &Contents) -> (Range<u64>, u64) {
        let member = contents.member(id);
        let content_at = self.headers[id as usize] + tar::blob_header_len(&member.digest);
        let clamp = |offset: u64| offset.clamp(content_at, content_at + member.size);
        let (start, end) = (clamp(span.tar.start), clamp(span.tar.end));
        (start - content_at..end - content_at, start - span.tar.start)
    }

    /// The tar bytes of a large blob's frame around its content: what precedes it (header) and how
    /// many zero bytes follow.
    pub fn envelope(&self, span: &Span, id: MemberId, contents: &Contents) -> (Vec<u8>, u64) {
        let member = contents.member(id);
        let (content, _) = self.content_in(span, id, contents);
        let before = if span.tar.start == self.headers[id as usize] {
            tar::blob_header(&member.digest, member.size)
        } else {
            Vec::new()
        };
        let after = span.content_len() - before.len() as u64 - (content.end - content.start);
        (before, after)
    }
}
