//! Opening a bundle: trust first, metadata next, contents last.
//!
//! Everything that reads a bundle starts here. What comes back from [`open`] is [`Verified`]: the
//! signatures were checked against the user's keys before anything but root and signatures was read.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};

use crate::{
    bundle::{
        BundleError, FileArchive, FileFrames, Frames, Member, MemberId, Metadata, StreamArchive,
        StreamFrames, Untrusted,
    },
    oci::Document,
    trust::{SignatureInput, TrustError, TrustPolicy, Verified, accept_unsigned},
};

/// Where a bundle is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A regular file.
    File(PathBuf),
    /// Standard input, once and in order.
    Stdin,
}

/// What decides whether a bundle is trusted.
#[derive(Debug)]
pub enum Trust {
    /// Keys, and signatures from beside the bundle.
    Keys {
        /// The keys and how many of them must have signed.
        policy: TrustPolicy,
        /// Signatures that are not in the bundle.
        detached: Vec<SignatureInput>,
    },
    /// The user accepts a bundle that was made without a signature on purpose.
    AllowUnsigned,
}

/// An open bundle.
pub enum Medium {
    /// A file: any member at any time.
    File(Arc<FileArchive<File>>),
    /// A pipe: everything once.
    Stream(Box<StreamArchive<Box<dyn Read + Send>>>),
}

impl std::fmt::Debug for Medium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Medium({})", self.metadata().root_digest())
    }
}

impl Medium {
    /// What the bundle says of itself.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::File(archive) => archive.metadata(),
            Self::Stream(archive) => archive.metadata(),
        }
    }

    /// The content of a document or of one of the bundle's own members.
    ///
    /// # Errors
    /// When it is damaged or cannot be read.
    pub fn document(&self, id: MemberId) -> Result<Bytes, BundleError> {
        match self {
            Self::File(archive) => archive.read_packed(id),
            Self::Stream(archive) => archive.read_kept(id),
        }
    }
}

/// Why a bundle was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The name is that of something else than a file.
    #[error("{}: {what}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file cannot be opened.
    #[error("{}: {error}", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is damaged, or no bundle.
    #[error("{name}: {error}")]
    Bundle {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        error: BundleError,
    },
    /// It is not trusted.
    #[error("{name}: {error}")]
    Trust {
        /// The file's name.
        name: String,
        /// Why.
        error: TrustError,
    },
}

impl OpenError {
    /// One line for each thing that is wrong, where there are several.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Trust { error, .. } => error.details(),
            _ => Vec::new(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAFile { .. } => {
                Some("name the bundle's file, or - to read it from standard input".into())
            }
            Self::Open { .. } => None,
            Self::Bundle { error, .. } => error.hint(),
            Self::Trust { error, .. } => error.hint(),
        }
    }
}

/// Sees each document of a bundle as it is read: member, media type, bytes, what they mean.
pub type Visit<'a> = &'a mut dyn FnMut(&Member, &str, &[u8], &Document);

/// Opens a bundle that `trust` vouches for.
///
/// # Errors
/// When it is not trusted, damaged, or cannot be read. Trust is decided before anything but the
/// root, the lock's bytes and the signatures is read.
pub fn open(input: &Input, trust: &Trust, visit: Visit<'_>) -> Result<Verified<Medium>, OpenError> {
    let name = input.to_string();
    match input {
        Input::File(path) => {
            let file = Arc::new(open_file(path)?);
            let damaged = |error| OpenError::Bundle {
                name: name.clone(),
                error,
            };
            let frames = FileFrames::open(file).map_err(damaged)?;
            let untrusted = Untrusted::read(frames, false).map_err(damaged)?;
            accept(untrusted, trust, &name, |untrusted| {
                Ok(Medium::File(Arc::new(FileArchive::open(
                    untrusted.accept(visit)?,
                )?)))
            })
        }
        Input::Stdin => {
            let stdin: Box<dyn Read + Send> = Box::new(io::stdin());
            let untrusted = Untrusted::read(StreamFrames::new(stdin), true).map_err(|error| {
                OpenError::Bundle {
                    name: name.clone(),
                    error,
                }
            })?;
            accept(untrusted, trust, &name, |untrusted| {
                Ok(Medium::Stream(Box::new(StreamArchive::new(
                    untrusted.accept(visit)?,
                ))))
            })
        }
    }
}

/// Reads a bundle's metadata without asking who vouches for it: only for showing it. Returns the
/// number of embedded signatures too.
///
/// # Errors
/// When it is damaged or cannot be read.
pub fn look(input: &Input, visit: Visit<'_>) -> Result<(Medium, usize), OpenError> {
    let damaged = |error| OpenError::Bundle {
        name: input.to_string(),
        error,
    };
    match input {
        Input::File(path) => {
            let frames = FileFrames::open(Arc::new(open_file(path)?)).map_err(damaged)?;
            let untrusted = Untrusted::read(frames, false).map_err(damaged)?;
            let signatures = untrusted.signature_count();
            let accepted = untrusted.accept(visit).map_err(damaged)?;
            let archive = FileArchive::open(accepted).map_err(damaged)?;
            Ok((Medium::File(Arc::new(archive)), signatures))
        }
        Input::Stdin => {
            let stdin: Box<dyn Read + Send> = Box::new(io::stdin());
            let untrusted = Untrusted::read(StreamFrames::new(stdin), true).map_err(damaged)?;
            let signatures = untrusted.signature_count();
            let accepted = untrusted.accept(visit).map_err(damaged)?;
            Ok((
                Medium::Stream(Box::new(StreamArchive::new(accepted))),
                signatures,
            ))
        }
    }
}

fn accept<F: Frames>(
    untrusted: Untrusted<F>,
    trust: &Trust,
    name: &str,
    go_on: impl FnOnce(Untrusted<F>) -> Result<Medium, BundleError>,
) -> Result<Verified<Medium>, OpenError> {
    let root = untrusted.root_bytes().to_vec();
    let verified = match trust {
        Trust::Keys { policy, detached } => {
            let embedded =
                untrusted
                    .signatures()
                    .iter()
                    .enumerate()
                    .map(|(n, bytes)| SignatureInput {
                        origin: format!("embedded {}", n + 1),
                        bytes: bytes.clone(),
                    });
            let signatures: Vec<_> = embedded.chain(detached.iter().cloned()).collect();
            policy.verify_root(root, &signatures)
        }
        Trust::AllowUnsigned => accept_unsigned(root, untrusted.root().info.unsigned),
    };
    verified
        .map_err(|error| OpenError::Trust {
            name: name.to_owned(),
            error,
        })?
        // Everything else in the bundle is verified by digest, starting from the verified root.
        .try_map(|_| go_on(untrusted))
        .map_err(|error| OpenError::Bundle {
            name: name.to_owned(),
            error,
        })
}

/// Opens a regular file, and nothing that could hang or be something else.
fn open_file(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::Open {
        path: path.to_owned(),
        error,
    };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = File::from(opened.map_err(|error| failed(error.into()))?);
    let kind = file.metadata().map_err(failed)?.file_type();
    let what = match kind {
        kind if kind.is_file() => return Ok(file),
        kind if kind.is_dir() => "is a directory",
        kind if kind.is_fifo() => "is a named pipe",
        kind if kind.is_char_device() || kind.is_block_device() => "is a device",
        _ => "is not a regular file",
    };
    Err(OpenError::NotAFile {
        path: path.to_owned(),
        what,
    })
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}
