//! What can go wrong between this program and a registry.

use std::{fmt, io, path::PathBuf, time::Duration};

use reqwest::{Method, StatusCode};

use super::{advice, credentials::CredentialError, host::DOCKER_HUB_API};
use crate::oci::{Algorithm, Digest};

/// Why an address is not asked: its user did not permit plain HTTP.
pub(crate) const UNENCRYPTED: &str = "it is not encrypted";
/// Why an address is not asked: it may hold a password, and is shown and stored.
pub(crate) const WITH_USER: &str = "the address carries a user name";

/// What was asked of whom; part of nearly every error. Holds no query and no credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The HTTP method.
    pub method: Method,
    /// What it was about, with the repository by its true name: ``manifest `quay.io/a/b:1` ``.
    pub what: String,
    /// Scheme and host that were asked, which for a mirror is not the host in `what`.
    pub origin: String,
    /// How often it was asked, where that was more than once; otherwise zero.
    pub attempts: u32,
    /// The path of the repository there that was to be written, if one was.
    pub pushes_to: Option<String>,
}

impl Asked {
    /// The host that was asked, as `bundle login` takes it.
    fn registry(&self) -> &str {
        match self.origin.split_once("://") {
            Some((_, DOCKER_HUB_API)) => "docker.io",
            Some((_, host)) => host,
            None => &self.origin,
        }
    }

    /// What to do about a refusal.
    pub(super) fn refused(&self) -> String {
        match &self.pushes_to {
            Some(path) => advice::push_refused(self.registry(), path),
            None => advice::pull_refused(self.registry()),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.method, self.what, self.origin)?;
        match self.attempts {
            0 | 1 => Ok(()),
            many => write!(f, " ({many} attempts)"),
        }
    }
}

/// The server's own words, clipped: the first of its OCI error list, where it sent one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerMessage {
    /// The code, for example `MANIFEST_UNKNOWN` (distribution specification, "Error Codes").
    pub code: Option<String>,
    /// The message. All three together have at most 300 characters, control characters replaced.
    pub message: Option<String>,
    /// What the registry adds to that, as JSON where it is not a text.
    pub detail: Option<String>,
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.code, &self.message].into_iter().flatten() {
            write!(f, ": {part}")?;
        }
        match &self.detail {
            Some(detail) if self.code.is_none() && self.message.is_none() => {
                write!(f, ": {detail}")
            }
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// Why there is no usable connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFault {
    /// The name does not resolve.
    Name,
    /// Nobody answers, or the connection is refused.
    Unreachable,
    /// The certificate is not acceptable.
    Certificate,
    /// The other side wants a certificate of this client, and is not content with what it was shown.
    ClientCertificate,
    /// The other side speaks no TLS, or none that we speak.
    Tls,
    /// Connecting took longer than `connect_timeout`.
    ConnectTimeout,
    /// The connection was made and then broke.
    Broken,
    /// No byte for longer than `stall_timeout`.
    Stalled,
}

impl fmt::Display for ConnectionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the host name does not resolve",
            Self::Unreachable => "no connection",
            Self::Certificate => "the TLS certificate is not accepted",
            Self::ClientCertificate => "no client certificate that the registry accepts",
            Self::Tls => "no TLS connection",
            Self::ConnectTimeout => "connecting took too long",
            Self::Broken => "the connection broke",
            Self::Stalled => "the connection stalled",
        })
    }
}

/// What can go wrong between this program and a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A CA file cannot be used.
    #[error("CA file {}: {detail}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A file of certificates for one host cannot be used.
    #[error("{}: {detail}", path.display())]
    Certificate {
        /// The file, or the directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// The HTTP client cannot be made, or a request cannot be formed.
    #[error("cannot set up HTTP: {0}")]
    Setup(String),
    /// A host name from the command line or a file is none.
    #[error("`{0}` is not a registry host: expected HOST[:PORT]")]
    Host(String),
    /// Credentials could not be read. Going on without them would ask for something else.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// No connection, or it broke.
    #[error("{asked}: {fault}: {detail}")]
    Connection {
        /// What was asked.
        asked: Box<Asked>,
        /// The kind of fault.
        fault: ConnectionFault,
        /// The transport's own words.
        detail: String,
    },
    /// The server answered with a status that is not a success.
    #[error("{asked}: {status}{server}")]
    Status {
        /// What was asked.
        asked: Box<Asked>,
        /// The answer's status.
        status: StatusCode,
        /// The server's own words.
        server: Box<ServerMessage>,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The server wants a kind of authentication that this program does not have.
    #[error("{asked}: the registry offers only these kinds of authentication: {offered}")]
    UnsupportedAuth {
        /// What was asked.
        asked: Box<Asked>,
        /// The schemes it offers.
        offered: String,
    },
    /// The token service said no, or something else than a token.
    #[error("token for {scopes} from {realm}: {detail}")]
    Token {
        /// Scheme and host of the token service.
        realm: String,
        /// The registry that wants the token, by the name under which credentials are kept.
        registry: Box<str>,
        /// The scopes that were asked for.
        scopes: String,
        /// Why there is no token.
        detail: String,
        /// The status, when it was the service that refused.
        status: Option<StatusCode>,
        /// How long the server asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The registry names a token service that credentials must not go to.
    #[error("{origin} names {realm} as its token service, which is refused: {reason}")]
    RealmRefused {
        /// The registry.
        origin: String,
        /// Scheme and host of the realm.
        realm: String,
        /// Why.
        reason: &'static str,
    },
    /// A redirect that is not followed.
    #[error("{asked}: redirected to {target}, which is not followed: {reason}")]
    RedirectRefused {
        /// What was asked.
        asked: Box<Asked>,
        /// Scheme and host of the target.
        target: String,
        /// Why.
        reason: &'static str,
    },
    /// An address that is not asked.
    #[error("{what} at {origin} is not fetched: {reason}")]
    Address {
        /// What is there.
        what: String,
        /// Scheme and host of the address.
        origin: String,
        /// Why.
        reason: &'static str,
    },
    /// The place that an upload was sent to is not acceptable.
    #[error("{asked}: the registry sends the upload to {target}, which is refused: {reason}")]
    UploadLocation {
        /// What was asked.
        asked: Box<Asked>,
        /// Scheme and host of the location, or a note that there is none.
        target: String,
        /// Why.
        reason: &'static str,
    },
    /// Something answers, but not a registry.
    #[error("{asked}: what answers is not a registry: {detail}")]
    NotARegistry {
        /// What was asked.
        asked: Box<Asked>,
        /// What gave it away.
        detail: String,
    },
    /// An answer that makes no sense for the question.
    #[error("{asked}: unexpected answer: {detail}")]
    Unexpected {
        /// What was asked.
        asked: Box<Asked>,
        /// What is wrong with it.
        detail: String,
    },
    /// More bytes than are read of such a thing.
    #[error("{asked}: the answer is larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        asked: Box<Asked>,
        /// The cap in bytes.
        limit: u64,
    },
    /// The content does not have the size that was promised.
    #[error("{asked}: {actual} bytes, expected {expected}")]
    Size {
        /// What was asked.
        asked: Box<Asked>,
        /// The promised size in bytes.
        expected: u64,
        /// The size that was announced or reached.
        actual: u64,
    },
    /// The content does not have the digest that was promised.
    #[error("{asked}: the content has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// What was asked.
        asked: Box<Asked>,
        /// The promised digest.
        expected: Box<Digest>,
        /// The digest of the bytes, or the one that the registry stored it under.
        actual: Box<Digest>,
    },
    /// A part of a blob was asked for and the registry sends the whole blob.
    #[error("{asked}: the registry does not serve parts of a blob")]
    RangeIgnored {
        /// What was asked.
        asked: Box<Asked>,
    },
    /// A Docker schema 1 manifest.
    #[error(
        "{asked}: this is a Docker schema 1 manifest, which cannot be carried: its digest is not that of its bytes"
    )]
    Schema1 {
        /// What was asked.
        asked: Box<Asked>,
    },
    /// The registry takes uploads only in one piece, and this one is in several.
    #[error("{asked}: the registry does not take uploads in chunks")]
    ChunkedUnsupported {
        /// What was asked.
        asked: Box<Asked>,
    },
    /// The registry has forgotten an upload that cannot be started again.
    #[error("{asked}: the registry lost the upload at byte {offset}")]
    UploadLost {
        /// What was asked.
        asked: Box<Asked>,
        /// How many bytes had been taken.
        offset: u64,
    },
    /// The registry refuses something that is named by another algorithm than SHA-256.
    #[error("{error}; it seems to take no {} digests", .algorithm.name())]
    AlgorithmRefused {
        /// The algorithm.
        algorithm: Algorithm,
        /// The registry's own words.
        error: Box<RegistryError>,
    },
    /// The list of referrers that is kept under a tag cannot be written.
    #[error("`{name}`, where clients keep a list of referrers, {problem}")]
    ReferrersTag {
        /// The tag, with its repository.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What was to be sent could not be read, or is not what it should be.
    #[error("cannot read what is to be sent: {0}")]
    Source(io::Error),
    /// A range that does not lie within its blob, or an upload with another size than announced.
    #[error("{0}")]
    Usage(String),
}

impl RegistryError {
    /// Whether the registry says that there is no such thing. Many registries say 401 or 403 for
    /// what they do not want to talk about; those are not counted.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Whether the registry or its token service refused the credentials, or wants some.
    pub fn is_denied(&self) -> bool {
        matches!(
            self.status(),
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        )
    }

    /// Whether a connection was made and did not last.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(
            self,
            Self::Connection {
                fault: ConnectionFault::Broken,
                ..
            }
        )
    }

    /// With the number of attempts after which it is final.
    pub(crate) fn after(mut self, attempts: u32) -> Self {
        match &mut self {
            Self::Connection { asked, .. }
            | Self::Status { asked, .. }
            | Self::DigestMismatch { asked, .. }
            | Self::UploadLost { asked, .. } => asked.attempts = attempts,
            Self::Token { detail, .. } if attempts > 1 => {
                detail.push_str(&format!(" ({attempts} attempts)"));
            }
            _ => {}
        }
        self
    }

    /// The status of the answer, where the failure is one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Token { status, .. } => *status,
            Self::AlgorithmRefused { error, .. } => error.status(),
            _ => None,
        }
    }

    /// The server's error code, for example `MANIFEST_BLOB_UNKNOWN`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Status { server, .. } => server.code.as_deref(),
            Self::AlgorithmRefused { error, .. } => error.code(),
            _ => None,
        }
    }

    /// Says what a refusal of content with this digest is likely about. Registries need not take any
    /// algorithm but SHA-256, and the answers of those that do not seldom name it.
    pub(crate) fn about(self, digest: &Digest) -> Self {
        let refused = matches!(
            self.status().map(|s| s.as_u16()),
            Some(400 | 405 | 415 | 422 | 501)
        );
        let other_reason = !matches!(
            self.code(),
            None | Some(
                "DIGEST_INVALID" | "UNSUPPORTED" | "BLOB_UPLOAD_INVALID" | "MANIFEST_INVALID"
            )
        );
        match digest.algorithm() {
            Algorithm::Sha256 => self,
            _ if !refused || other_reason => self,
            algorithm => Self::AlgorithmRefused {
                algorithm,
                error: Box::new(self),
            },
        }
    }

    /// How long the server asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } | Self::Token { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_enough_to_be_passed_around() {
        assert!(
            size_of::<RegistryError>() <= 128,
            "{}",
            size_of::<RegistryError>()
        );
    }

    #[test]
    fn a_status_is_told_with_the_words_of_the_server() {
        let error = RegistryError::Status {
            asked: Box::new(Asked {
                method: Method::GET,
                what: "manifest `quay.io/a/b:1`".to_owned(),
                origin: "https://quay.io".to_owned(),
                attempts: 0,
                pushes_to: None,
            }),
            status: StatusCode::NOT_FOUND,
            server: Box::new(ServerMessage {
                code: Some("MANIFEST_UNKNOWN".to_owned()),
                message: Some("manifest unknown".to_owned()),
                detail: Some(r#"{"Tag":"1"}"#.to_owned()),
            }),
            retry_after: None,
        };
        assert!(error.is_not_found());
        assert_eq!(
            error.to_string(),
            "GET manifest `quay.io/a/b:1` at https://quay.io: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown ({\"Tag\":\"1\"})"
        );
    }
}
