//! What can be wrong with a bundle, with the place where it shows.

use std::io;

use super::{
    contents::ContentsError, frame::FrameError, lock::LockError, root::RootError,
    seek_table::SeekTableError,
};
use crate::oci::{Digest, canonical_json::CanonicalJsonError};

/// Why a bundle cannot be read, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file is something else.
    #[error("this is not a bundle: {0}")]
    NotABundle(&'static str),
    /// The tar stream has other bytes than follow from the signed metadata.
    #[error("not canonical at offset {offset} of the tar stream: expected {expected}")]
    NotCanonical {
        /// Offset in the decompressed stream, in bytes.
        offset: u64,
        /// What must stand there.
        expected: String,
    },
    /// A frame is damaged.
    #[error("frame {number} at file offset {offset} is damaged: {error}")]
    Frame {
        /// Number of the frame, from 0.
        number: u32,
        /// Where it starts in the file, in bytes.
        offset: u64,
        /// What is wrong with it.
        error: FrameError,
    },
    /// A frame holds another piece of the stream than the format prescribes.
    #[error("frame {number} at file offset {offset} is not cut where the format prescribes")]
    Cut {
        /// Number of the frame, from 0.
        number: u32,
        /// Where it starts in the file, in bytes.
        offset: u64,
    },
    /// The seek table is missing, damaged or does not fit.
    #[error("{0}")]
    SeekTable(#[from] SeekTableError),
    /// The seek table says other sizes than the frames have.
    #[error("the seek table does not describe this file")]
    SeekTableMismatch,
    /// The file ends too early.
    #[error("the file ends at byte {0}, in the middle of the bundle")]
    Truncated(u64),
    /// The file goes on behind its end.
    #[error("there is more behind the end of the bundle, at file offset {0}")]
    Trailing(u64),
    /// Something is larger than is read.
    #[error("{what} has {size} bytes; at most {most} are read")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        most: u64,
    },
    /// Content that is not what its name says.
    #[error("the content of {digest} does not have its digest (file offset {offset})")]
    Digest {
        /// The digest that it should have.
        digest: Digest,
        /// Where its first frame starts in the file, in bytes.
        offset: u64,
    },
    /// `index.json` is not the one that follows from the root.
    #[error("index.json does not follow from the root")]
    IndexJson,
    /// A signature's or the lock's manifest is not as prescribed.
    #[error("the manifest {0} is not the one that the format prescribes")]
    OwnManifest(Digest),
    /// The root cannot be read.
    #[error("{0}")]
    Root(#[from] RootError),
    /// The lock cannot be read.
    #[error("{0}")]
    Lock(#[from] LockError),
    /// Root and lock say different things.
    #[error("root and lock contradict each other: {0}")]
    LockMismatch(String),
    /// The graph of documents is refused.
    #[error("{0}")]
    Contents(#[from] ContentsError),
    /// A document of ours cannot be written.
    #[error("{0}")]
    Json(#[from] CanonicalJsonError),
    /// More than the seekable format holds.
    #[error("the contents are larger than a bundle can be (1 PiB)")]
    TooMuch,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl BundleError {
    /// Whether the fault is the machine's (I/O), not the bundle's.
    pub fn is_io(&self) -> bool {
        matches!(self, Self::Io(_))
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotABundle(_) => "a bundle is what `bundle create` wrote; name that file",
            Self::Root(RootError::Format(_)) => "use a newer version of this program",
            Self::Io(_) | Self::TooMuch | Self::Json(_) => return None,
            Self::Truncated(_) => "the copy is not complete: copy the file again",
            _ => {
                "copy the file again and run the same command; \
                 `bundle verify` tells whether the copy is good"
            }
        };
        Some(text.to_owned())
    }
}
