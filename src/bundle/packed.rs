//! Reading members of the packed part at random: manifests and small blobs.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{
    contents::MemberId, error::BundleError, frame::Decompressor, frames::decode, tar, writer::Plan,
};

/// Where packed frames come from: a file, or memory.
pub(super) trait PackedFrames {
    /// The bytes of packed frame `number`, and where it starts in the file.
    fn encoded(&self, number: u32) -> Result<(Bytes, u64), BundleError>;
}

/// Reads packed members, keeping the last decoded frame: neighbours are asked for one after the
/// other.
#[derive(Debug, Default)]
pub(super) struct PackedReader {
    last: Mutex<Option<(u32, Arc<Vec<u8>>)>>,
}

impl PackedReader {
    /// The content of a packed member, verified: header, digest and padding.
    pub(super) fn read(
        &self,
        plan: &Plan,
        frames: &dyn PackedFrames,
        id: MemberId,
    ) -> Result<Bytes, BundleError> {
        let member = plan.contents.member(id);
        debug_assert!(!member.class.is_large());
        let header = tar::blob_header(&member.digest, member.size);
        let start = plan.layout.header_at(id);
        let content_at = start + header.len() as u64;
        let len = header.len() as u64 + member.size + tar::padding(member.size);
        let bytes = self.tar_bytes(plan, frames, start, len)?;
        let not_canonical =
            |offset: u64, expected: String| Err(BundleError::NotCanonical { offset, expected });
        let (found, rest) = bytes.split_at(header.len());
        if found != header {
            let name = tar::blob_name(&member.digest);
            return not_canonical(start, format!("the header of {name}"));
        }
        let (content, padding) = rest.split_at(member.size as usize);
        if member.digest.of_same_algorithm(content) != member.digest {
            return not_canonical(content_at, format!("the content of {}", member.digest));
        }
        if padding.iter().any(|b| *b != 0) {
            let at = content_at + member.size;
            return not_canonical(at, "zero bytes up to the next block".to_owned());
        }
        Ok(bytes.slice(header.len()..header.len() + member.size as usize))
    }

    /// Checks the last packed frame, and with it the end of the stream where that is in it.
    pub(super) fn check_last(
        &self,
        plan: &Plan,
        frames: &dyn PackedFrames,
    ) -> Result<(), BundleError> {
        let number = plan.layout.packed_frames() - 1;
        let len = plan.layout.frame(number, &plan.contents).content_len();
        self.frame(plan, number, len, frames).map(|_| ())
    }

    fn tar_bytes(
        &self,
        plan: &Plan,
        frames: &dyn PackedFrames,
        start: u64,
        len: u64,
    ) -> Result<Bytes, BundleError> {
        let mut out = Vec::with_capacity(len as usize);
        let mut at = start;
        while at < start + len {
            let number = plan.layout.frame_at(at);
            let span = plan.layout.frame(number, &plan.contents);
            let content = self.frame(plan, number, span.content_len(), frames)?;
            let from = (at - span.tar.start) as usize;
            let to = content.len().min((start + len - span.tar.start) as usize);
            out.extend_from_slice(&content[from..to]);
            at = span.tar.start + to as u64;
        }
        Ok(Bytes::from(out))
    }

    fn frame(
        &self,
        plan: &Plan,
        number: u32,
        expected: u64,
        frames: &dyn PackedFrames,
    ) -> Result<Arc<Vec<u8>>, BundleError> {
        // Held while decoding, so that workers that want the same frame wait for the one decoding
        // instead of each doing it again.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, content)) = &*last
            && *known == number
        {
            return Ok(Arc::clone(content));
        }
        *last = None;
        let (encoded, offset) = frames.encoded(number)?;
        let mut content = Vec::new();
        decode(
            &encoded,
            expected,
            false,
            &mut Decompressor::default(),
            &mut content,
        )
        .map_err(|error| BundleError::Frame {
            number,
            offset,
            error,
        })?;
        if number + 1 == plan.layout.frames() {
            // Nobody else looks at the end of the stream when there is no large blob.
            let end = content.len() - super::tar::CLOSING as usize;
            if content[end..].iter().any(|b| *b != 0) {
                return Err(BundleError::NotCanonical {
                    offset: plan.layout.tar_len() - super::tar::CLOSING,
                    expected: "the end of the stream".to_owned(),
                });
            }
        }
        let content = Arc::new(content);
        *last = Some((number, Arc::clone(&content)));
        Ok(content)
    }
}
