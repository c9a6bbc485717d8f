//! What can go wrong when the registry is started or stopped.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why the embedded registry did not start, or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listening socket could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The store directory could not be prepared.
    #[error("cannot use the registry store {}: {source}", path.display())]
    Store {
        /// The file or directory concerned.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory holds something else; nothing in it was touched.
    #[error("{} is not a registry store", path.display())]
    NotAStore {
        /// The directory that was named.
        path: PathBuf,
    },
    /// The store was written by a version with another directory layout.
    #[error("the registry store {} has an unknown layout", path.display())]
    Layout {
        /// The marker file that was read.
        path: PathBuf,
    },
    /// Another process serves the same store.
    #[error("the registry store {} is in use by another process", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// Certificate or key cannot be used.
    #[error("cannot use {} for TLS: {reason}", path.display())]
    Tls {
        /// The PEM file concerned.
        path: PathBuf,
        /// Why, without any key material.
        reason: String,
    },
    /// The task that accepts connections ended by itself.
    #[error("the registry stopped unexpectedly")]
    Stopped,
    /// The process could not be told to react to signals.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
}

impl ServeError {
    /// What to do next, where that is not obvious from the message.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "another program listens there: choose another port, or port 0 for any free one"
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need privileges: choose a higher one"
                }
                io::ErrorKind::AddrNotAvailable => "the address must belong to this host",
                _ => return None,
            },
            Self::Store { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => {
                    "its parent directory must exist; with --read-only, the store too"
                }
                io::ErrorKind::PermissionDenied => {
                    "the store must be writable, or be served read-only"
                }
                _ => return None,
            },
            Self::NotAStore { .. } => "name an empty or new directory, or an existing store",
            Self::Layout { .. } => {
                "serve it with the version that wrote it, or use a new directory"
            }
            Self::InUse { .. } => "stop the other registry first, or use another directory",
            Self::Tls { .. } => {
                "expected are PEM files: the certificate chain, server certificate first, and its key"
            }
            Self::Stopped | Self::Signals(_) => return None,
        };
        Some(text.to_owned())
    }
}
