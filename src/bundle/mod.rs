//! The bundle format: a seekable, canonical archive of an OCI image layout.
//!
//! The normative text is in `bundle-spec/`. In short: a tar stream whose every byte follows from a
//! signed index (the *root*), cut into zstd frames at prescribed places.
//!
//! Writing: collect [`Contents`] with a [`Walk`], lay them out ([`Plan`]), write the packed part
//! ([`PackedWriter`]), each stored blob in its place ([`StoredWriter`]), the compressed blobs frame by
//! frame ([`Plan::encode_large`]), then the [`SeekTable`].
//!
//! Reading: [`Untrusted::read`] gives root and signatures; whoever trusts them goes on with
//! [`Untrusted::accept`], then [`FileArchive`] (random access) or [`StreamArchive`] (one pass).
//!
//! Nothing here knows a network, a key or a terminal.

mod charts;
mod contents;
mod error;
mod file_archive;
mod frame;
mod frames;
mod head;
mod io_at;
mod layout;
mod lock;
mod lock_rules;
mod names;
mod packed;
mod release;
mod root;
mod salvage;
mod seek_table;
mod stream_archive;
pub mod tar;
#[cfg(test)]
mod tests;
mod writer;

pub use contents::{Class, Contents, ContentsError, Member, MemberId, SMALL_BLOB, Walk};
pub use error::BundleError;
pub use file_archive::{BlobReader, FileArchive};
pub use frame::{Compressor, FRAME_CONTENT, FrameError};
pub use frames::{FileFrames, Frames, StreamFrames};
pub use head::{Accepted, Metadata, Untrusted, check_lock};
pub use io_at::{ReadAt, WriteAt};
pub use layout::{Layout, Span};
pub use lock::{
    API_VERSION, Absent, AbsentReason, FetchedDependency, Lock, LockError, LockedChart, LockedFile,
    LockedImage, Metadata as Name, Origin, SourceDigest,
};
pub use names::{
    is_bundle_name, is_bundle_version, is_dns_name, is_file_name, is_namespace, is_release_name,
};
pub use release::{Discover, Release, ReleaseArtifact, Setting};
pub use root::{
    BundleInfo, Entry, EntryKind, FILES_TYPE, LOCK_TYPE, MAX_METADATA_BYTES, MAX_SIGNATURES,
    OCI_LAYOUT, RELEASE_TYPE, ROOT_TYPE, Root, RootError, SIGNATURE_TYPE, TITLE,
    artifact_descriptor, artifact_manifest, files_artifact, root_descriptor,
};
pub use salvage::{salvage_compressed, salvage_packed};
pub use seek_table::SeekTable;
pub use stream_archive::{Chunk, StreamArchive};
pub use writer::{PackedWriter, Plan, StoredWriter};

/// Which part of some tar bytes of a large blob's frame is content. The rest (the blob's header
/// before, zero bytes behind) is compared with what it must be.
fn content_piece(
    plan: &Plan,
    span: &Span,
    id: MemberId,
    start: u64,
    bytes: &[u8],
) -> Result<std::ops::Range<usize>, BundleError> {
    let (content, at) = plan.layout.content_in(span, id, &plan.contents);
    let len = bytes.len() as u64;
    let clamp = |offset: u64| offset.clamp(start, start + len) - start;
    let from = clamp(at) as usize;
    let to = clamp(at + (content.end - content.start)) as usize;
    let offset = span.tar.start + start;
    if from > 0 {
        let (header, _) = plan.layout.envelope(span, id, &plan.contents);
        let expected = header.get(start as usize..start as usize + from);
        if expected != Some(&bytes[..from]) {
            let name = tar::blob_name(&plan.contents.member(id).digest);
            let expected = format!("the header of {name}");
            return Err(BundleError::NotCanonical { offset, expected });
        }
    }
    if let Some(position) = bytes[to..].iter().position(|b| *b != 0) {
        let offset = offset + (to + position) as u64;
        let expected = "zero bytes behind the content".to_owned();
        return Err(BundleError::NotCanonical { offset, expected });
    }
    Ok(from..to)
}
