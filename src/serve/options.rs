//! How a registry is to be served.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::{faults::FaultPlan, log::RequestLog};

/// Everything that [`Server::start`](super::Server::start) needs to know.
#[derive(Clone)]
pub struct ServeOptions {
    /// Directory of the content; it is created when missing. A directory that holds anything but
    /// a store is refused.
    pub store: PathBuf,
    /// Where to listen; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Answer pulls only: every push and deletion gets 405, and nothing in the store is changed.
    pub read_only: bool,
    /// Allow the deletion of manifests, tags and blobs; otherwise these get 405.
    pub allow_delete: bool,
    /// Accept an index whose children are not in the repository, as one has it of which only
    /// some platforms were transferred.
    pub allow_sparse_indexes: bool,
    /// Deliberate misbehaviour, for tests of clients. The default plan has none.
    pub faults: FaultPlan,
    /// User name and password that every request must carry (RFC 7617); `None` lets everyone in.
    pub basic_auth: Option<(String, String)>,
    /// Certificate and key; `None` serves plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Where to write down the requests that were answered.
    pub record: Option<RequestLog>,
}

impl ServeOptions {
    /// A writable registry without deletion, authentication, TLS, faults and log.
    pub fn new(store: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            store: store.into(),
            listen,
            read_only: false,
            allow_delete: false,
            allow_sparse_indexes: false,
            faults: FaultPlan::default(),
            basic_auth: None,
            tls: None,
            record: None,
        }
    }
}

/// Leaves the password out.
impl fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeOptions")
            .field("store", &self.store)
            .field("listen", &self.listen)
            .field("read_only", &self.read_only)
            .field("allow_delete", &self.allow_delete)
            .field("allow_sparse_indexes", &self.allow_sparse_indexes)
            .field("faults", &self.faults)
            .field(
                "basic_auth",
                &self.basic_auth.as_ref().map(|(user, _)| (user, "***")),
            )
            .field("tls", &self.tls)
            .field("record", &self.record.is_some())
            .finish()
    }
}

/// The PEM files of a TLS server.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Private key of the first certificate (PKCS #8, PKCS #1 or SEC 1), not encrypted.
    pub key: PathBuf,
}
